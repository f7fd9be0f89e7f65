// The page of a study or patient: labels, notes, files, protection, deletion. `changes.js` has the forms that make others.

import { makeChanges } from "./changes.js";
import { ask } from "./dialogs.js";
import { call, filled, send } from "./rest.js";
import { ago, t } from "./words.js";

const head = document.getElementById("resource");
const id = head.dataset.id;
const problem = document.getElementById("problem");
const address = (name, parts = {}) => filled(head.dataset[name], { id, ...parts });

// Does something and loads the page anew; what fails is said at the head of the page.
async function act(doing) {
  problem.hidden = true;
  try {
    await doing();
    location.reload();
  } catch (error) {
    problem.textContent = t("common.failed", { reason: error.message });
    problem.hidden = false;
    problem.scrollIntoView({ block: "nearest" });
  }
}

document.getElementById("add-label")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const label = new FormData(event.target).get("label").trim();
  act(() => call("PUT", address("label", { label }), ""));
});

document.getElementById("labels").addEventListener("click", (event) => {
  const { label } = event.target.closest("button[data-label]")?.dataset ?? {};
  if (label) act(() => call("DELETE", address("label", { label })));
});

document.getElementById("protect")?.addEventListener("click", ({ target }) => {
  act(() => call("PUT", filled(head.dataset.protected, { id: target.dataset.patient }), target.dataset.to));
});

const notes = document.getElementById("notes");

// Only over the notes that the page has shown: what somebody else has written meanwhile is not lost.
notes?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = notes.querySelector("[role=status]");
  const text = new FormData(notes).get("notes").trim();
  const headers = notes.dataset.tag ? { "If-Match": `"${notes.dataset.tag}"` } : { "If-None-Match": "*" };
  try {
    if (text) {
      const answer = await send("PUT", address("notes", { name: "Notes" }), text, { headers });
      notes.dataset.tag = (answer.headers.get("ETag") ?? "").replaceAll('"', "");
    } else if (notes.dataset.tag) {
      await call("DELETE", address("notes", { name: "Notes" }), undefined, { headers });
      notes.dataset.tag = "";
    }
    said.textContent = t("study.saved");
  } catch (error) {
    said.textContent = t("common.failed", { reason: error.message });
  }
});

notes?.addEventListener("input", () => { notes.querySelector("[role=status]").textContent = ""; });

document.getElementById("attach-file")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const file = new FormData(event.target).get("file");
  const headers = { "Content-Type": "application/octet-stream" };
  act(() => call("PUT", address("attachment", { name: file.name }), undefined, { body: file, headers }));
});

document.getElementById("attachments")?.addEventListener("click", async (event) => {
  const name = event.target.closest("[data-detach]")?.dataset.detach;
  if (!name) return;
  const remove = () => call("DELETE", address("attachment", { name }));
  if (await ask({ title: t("study.remove_question", { name }), acts: { [t("common.delete")]: remove }, danger: true })) location.reload();
});

document.getElementById("delete")?.addEventListener("click", async ({ target }) => {
  const { name, what, series, instances, size } = target.dataset;
  const gone = await ask({
    title: head.dataset.level === "patient" ? t("study.delete_patient_question") : t("study.delete_question"),
    items: [what ? `${name}: ${what}` : name, t("study.delete_what", { series: Number(series), count: Number(instances), size })],
    acts: { [t("study.delete")]: () => call("DELETE", address("remove")) },
    danger: true,
  });
  if (gone) location.assign(head.dataset.home);
});

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
