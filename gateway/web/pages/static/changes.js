// The forms that make other studies of one: modified, anonymized, merged, split; and a series of a document.
// Each is sent to where it would be sent without scripts; a job does what it says (`pages/change_forms.py`).

import { done, failed, watch } from "./outcome.js";
import { call, filled } from "./rest.js";
import { t } from "./words.js";

export function makeChanges(head) {
  const page = (id) => filled(head.dataset.page, { id });
  const sent = (form, url) => call("POST", url, undefined, { body: new URLSearchParams(new FormData(form)) });

  // A form, and the job that comes of it: in the end it links to what is made.
  async function change(form) {
    const place = form.querySelector(".outcome");
    const button = form.querySelector("button[type=submit]");
    button.disabled = true;
    try {
      const { ID: job } = await sent(form, form.dataset.do);
      const content = await watch(place, head.dataset.job, job);
      done(place, page(content.ID ?? content.TargetStudy));
    } catch (error) {
      failed(place, error);
    } finally {
      button.disabled = false;
    }
  }

  // What a form would change, of the newest question alone.
  async function preview(form) {
    const asked = (form.asked ?? 0) + 1;
    form.asked = asked;
    try {
      const changes = await sent(form, form.action);
      if (form.asked !== asked) return;
      form.querySelector(".outcome").replaceChildren();
      form.querySelector(".preview").replaceChildren(table(changes.map(({ Path, Before, After }) => [Path, Before, After])));
    } catch (error) {
      if (form.asked === asked) failed(form.querySelector(".outcome"), error);
    }
  }

  for (const form of document.querySelectorAll("form[data-do]")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      (event.submitter?.hasAttribute("data-preview") ? preview : change)(form);
    });
  }
  for (const [id, chosen] of [["merge-form", "select[name=other]"], ["split-form", "[name=series]:checked"]]) {
    const form = document.getElementById(id);
    form?.addEventListener("input", () => {
      if (form.querySelector(chosen)?.value) preview(form);
      else form.querySelector(".preview").replaceChildren();
    });
  }
  const modify = document.getElementById("modify-form");
  if (modify) showChanged(modify);
  modify?.addEventListener("input", () => showChanged(modify));
  attaching(document.getElementById("attach-document"), head);
}

function changedFields(form) {
  return [...form.querySelectorAll("input[data-now]")].filter((input) => input.value.trim() !== input.dataset.now);
}

function showChanged(form) {
  const changed = changedFields(form);
  for (const input of form.querySelectorAll("input[data-now]")) input.parentElement.classList.toggle("changed", changed.includes(input));
  form.querySelector("button[type=submit]").disabled = changed.length === 0;
  const rows = changed.map((input) => [input.previousElementSibling.textContent, input.dataset.now, input.value.trim()]);
  form.querySelector(".preview").replaceChildren(...(rows.length ? [table(rows)] : []));
}

// A table of what changes: the attribute, its value now, and its value then.
function table(rows) {
  const whole = document.createElement("table");
  const headings = whole.createTHead().insertRow();
  for (const title of [t("study.change"), t("study.now"), t("study.then")]) {
    headings.append(Object.assign(document.createElement("th"), { scope: "col", textContent: title }));
  }
  const body = whole.createTBody();
  for (const [title, now, then] of rows) {
    const row = body.insertRow();
    row.append(Object.assign(document.createElement("th"), { scope: "row", textContent: title }));
    for (const value of [now, then]) row.insertCell().textContent = value || t("study.nothing");
  }
  return whole;
}

function attaching(form, head) {
  form?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const place = form.querySelector(".outcome");
    const fields = new FormData(form);
    const SeriesDescription = fields.get("description").trim() || fields.get("file").name.slice(0, 64);
    const button = form.querySelector("button[type=submit]");
    button.disabled = true;
    try {
      const Content = await read(fields.get("file"));
      await call("POST", head.dataset.create, { Parent: head.dataset.id, Tags: { SeriesDescription }, Content });
      location.reload();
    } catch (error) {
      failed(place, error);
      button.disabled = false;
    }
  });
}

function read(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
