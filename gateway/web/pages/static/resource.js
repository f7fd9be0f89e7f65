// The page of a study or patient: notes are saved in place. `changes.js` has the forms that make others; all else is
// plain forms.

import { makeChanges } from "./changes.js";
import { call, filled, send } from "./rest.js";
import { ago, t } from "./words.js";

const head = document.getElementById("resource");
const notes = document.getElementById("notes");

// Only over the notes that the page has shown: what somebody else has written meanwhile is not lost.
notes?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = notes.querySelector("[role=status]");
  const place = filled(head.dataset.notes, { id: head.dataset.id, name: "Notes" });
  const text = notes.elements.notes.value.trim();
  const { tag } = notes.elements;
  const headers = tag.value ? { "If-Match": `"${tag.value}"` } : { "If-None-Match": "*" };
  try {
    if (text) {
      const answer = await send("PUT", place, text, { headers });
      tag.value = (answer.headers.get("ETag") ?? "").replaceAll('"', "");
    } else if (tag.value) {
      await call("DELETE", place, undefined, { headers });
      tag.value = "";
    }
    said.textContent = t("study.saved");
  } catch (error) {
    said.textContent = t("common.failed", { reason: error.message });
  }
});

notes?.addEventListener("input", () => { notes.querySelector("[role=status]").textContent = ""; });

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const code = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = t("study.copied");
  } catch {
    getSelection().selectAllChildren(code);
  }
});

for (const time of document.querySelectorAll("time")) {
  const at = new Date(time.dateTime);
  time.title = at.toLocaleString();
  time.textContent = ago(at);
}

makeChanges(head);
