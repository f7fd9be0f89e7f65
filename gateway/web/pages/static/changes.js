// The forms that make other studies of one: modified, anonymized, merged, split; and a series of a document.
// All of them use the REST that scripts use, which has a job do it.

import { done, failed, watch } from "./outcome.js";
import { call, filled } from "./rest.js";
import { t } from "./words.js";

const DESCRIPTIONS = ["StudyDescription", "SeriesDescription", "ProtocolName"];
const DATES = ["StudyDate", "StudyTime", "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime", "ContentDate", "ContentTime"];
const PATIENT = ["PatientID", "PatientName", "PatientBirthDate", "PatientSex"];

export function makeChanges(head) {
  const address = (name) => filled(head.dataset[name], { id: head.dataset.id });
  const page = (id) => filled(head.dataset.page, { id });

  // A form whose `body` is sent to an address, and whose job is then watched. `result` gives the study that is made.
  function changing(form, name, body, result) {
    form?.addEventListener("submit", async (event) => {
      event.preventDefault();
      const place = form.querySelector(".outcome");
      const button = form.querySelector("button[type=submit]");
      button.disabled = true;
      try {
        const { ID: job } = await call("POST", address(name), { ...body(new FormData(form)), Asynchronous: true });
        done(place, page(result(await watch(place, head.dataset.job, job))));
      } catch (error) {
        failed(place, error);
      } finally {
        button.disabled = false;
      }
    });
  }

  const made = (content) => content.ID;
  const modify = document.getElementById("modify-form");
  changing(modify, "modify", modified, made);
  modify?.addEventListener("input", () => preview(modify));
  const anonymize = document.getElementById("anonymize-form");
  changing(anonymize, "anonymize", anonymized, made);
  anonymize?.querySelector("[data-preview]")?.addEventListener("click", async () => {
    const place = anonymize.querySelector(".preview");
    try {
      const changes = await call("POST", address("preview"), anonymized(new FormData(anonymize)));
      place.replaceChildren(table(changes.map(({ Path, Before, After }) => [Path, Before, After])));
    } catch (error) {
      failed(place, error);
    }
  });
  const merged = (fields) => ({ Resources: [fields.get("other")], KeepSource: !fields.has("move") });
  changing(document.getElementById("merge-form"), "merge", merged, () => head.dataset.id);
  changing(document.getElementById("split-form"), "split", split, (content) => content.TargetStudy);
  attaching(document.getElementById("attach-document"), head);
}

function changedFields(form) {
  return [...form.querySelectorAll("input[data-now]")].filter((input) => input.value.trim() !== input.dataset.now);
}

// What the modification is to be. Whoever becomes another patient becomes it with all that the form says of one.
function modified(fields) {
  const form = document.getElementById("modify-form");
  const replaced = new Set(changedFields(form).map((input) => input.name));
  if (PATIENT.some((name) => replaced.has(name))) PATIENT.forEach((name) => replaced.add(name));
  const Replace = Object.fromEntries([...replaced].map((name) => [name, fields.get(name).trim()]));
  return { Replace, Force: true, KeepSource: !fields.has("replace"), KeepLabels: fields.has("labels") };
}

function anonymized(fields) {
  const Replace = Object.fromEntries(["PatientName", "PatientID"].filter((name) => fields.get(name).trim()).map((name) => [name, fields.get(name).trim()]));
  const Keep = [...(fields.has("descriptions") ? DESCRIPTIONS : []), ...(fields.has("dates") ? DATES : [])];
  return { Replace, Keep, Force: true };
}

function split(fields) {
  const Replace = fields.get("StudyDescription").trim() ? { StudyDescription: fields.get("StudyDescription").trim() } : {};
  return { Series: fields.getAll("series"), Replace, KeepSource: !fields.has("move") };
}

function preview(form) {
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
