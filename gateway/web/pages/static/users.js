// Keeps what a role with conditions on studies cannot permit from being chosen. The server checks it too.
import { t } from "./words.js";

const form = document.querySelector("form.role");
const conditions = [...form.querySelectorAll("[data-condition]")];
const others = [...form.querySelectorAll("[data-all-only]")];
const notice = document.getElementById("all-only");

function check() {
  const limited = conditions.some((field) => field.value.trim() !== "");
  let taken = false;
  for (const box of others) {
    taken ||= limited && box.checked;
    box.disabled = limited && !box.checked; // What is chosen already can be taken back.
    box.title = limited ? t("users.all_only") : "";
  }
  notice.textContent = taken ? t("users.all_only") : "";
}

form.addEventListener("input", check);
check();
