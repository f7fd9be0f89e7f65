// Uploads files and folders, a few at a time, each by a request of its own. What is on its way, and what was refused, is
// listed; of the rest there are counts, so that a folder of many thousands does not weigh the page down.

import { bytes, count, t } from "./words.js";

const AT_ONCE = 3;
const TRIES = 6;
const WAIT = 2000;

const form = document.getElementById("upload");
const bar = document.getElementById("bar");
const state = document.getElementById("state");
const said = document.getElementById("said");
const current = document.getElementById("current");
const refused = document.getElementById("refused");
const drop = document.getElementById("drop");
const LISTED = Number(form.dataset.listed);

// --- what is to be sent -------------------------------------------------------------------------------------------

function* listed(files) {
  for (const file of files) yield { file, name: file.webkitRelativePath || file.name };
}

// The files below what was dropped, found as they are needed.
async function* below(entries) {
  for (const entry of entries) {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => { entry.file(resolve, reject); });
      yield { file, name: entry.fullPath.replace(/^\//, "") };
    } else if (entry.isDirectory) {
      const reader = entry.createReader();
      for (;;) {
        const some = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
        if (!some.length) break;
        yield* below(some);
      }
    }
  }
}

// --- one upload of many files -------------------------------------------------------------------------------------

const totals = { stored: 0, already: 0, refused: 0, not_dicom: 0 };
const studies = new Set();
const queue = [];
let run = null;

class Run {
  constructor() {
    this.done = 0;
    this.sent = 0;
    this.requests = new Set();
    this.cancelled = false;
    this.began = performance.now();
  }

  async start() {
    show(true);
    await Promise.all(Array.from({ length: AT_ONCE }, () => this.work()));
    show(false);
    run = null;
    tell(this.cancelled ? t("upload.cancelled", { count: this.done }) : t("upload.over", { count: this.done }));
    await summarize();
  }

  async next() {
    while (queue.length) {
      const { value, done } = await queue[0].next();
      if (!done) return value;
      queue.shift();
    }
    return null;
  }

  async work() {
    for (;;) {
      // One at a time asks for the next file: the sources are read in order.
      this.turn = (this.turn || Promise.resolve()).catch(() => {}).then(() => (this.cancelled ? null : this.next()));
      let item = null;
      try {
        item = await this.turn;
      } catch (error) {
        queue.shift();
        note("refused", "", error.message);
        continue;
      }
      if (!item) return;
      await this.send(item);
      this.done += 1;
      this.draw(0);
    }
  }

  async send({ file, name }) {
    const row = line(name, file.size);
    current.append(row);
    try {
      for (let attempt = 1; ; attempt += 1) {
        const answer = await this.post(file, row);
        if (this.cancelled && !answer.status) return;
        if (answer.status === 200) { take(answer.files, name); return; }
        if (attempt === TRIES || (answer.status && answer.status !== 503)) { note("refused", name, answer.details); return; }
        await new Promise((resolve) => { setTimeout(resolve, WAIT * attempt); });
        if (this.cancelled) return;
      }
    } finally {
      row.remove();
      this.sent += file.size;
    }
  }

  post(file, row) {
    return new Promise((resolve) => {
      const request = new XMLHttpRequest();
      const over = (answer) => { this.requests.delete(request); resolve(answer); };
      this.requests.add(request);
      request.open("POST", form.dataset.file);
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.upload.onprogress = (event) => {
        row.lastElementChild.value = event.loaded / Math.max(1, event.total);
        this.draw();
      };
      request.onload = () => {
        let body = {};
        try { body = JSON.parse(request.responseText); } catch { /* a proxy's own page */ }
        over({ status: request.status, files: body.Files || [], details: body.Details || request.statusText });
      };
      request.onerror = () => over({ status: 0, files: [], details: t("upload.lost") });
      request.onabort = () => over({ status: 0, files: [], details: "" });
      request.send(file);
    });
  }

  cancel() {
    this.cancelled = true;
    queue.length = 0;
    for (const request of this.requests) request.abort();
  }

  draw() {
    const seconds = (performance.now() - this.began) / 1000;
    state.textContent = t("upload.state", { files: count(this.done), size: bytes(this.sent), rate: bytes(this.sent / Math.max(1, seconds)) });
    if (known) bar.value = Math.min(1, this.done / known); else bar.removeAttribute("value");
  }
}

// --- what has become of it ----------------------------------------------------------------------------------------

let known = 0;  // files, where it is known how many there are

function take(files, name) {
  if (!files.length) note("not_dicom", name, t("upload.empty"));
  for (const each of files) {
    if (each.Study) studies.add(each.Study);
    if (each.Status === "stored" || each.Status === "already") {
      totals[each.Status] += 1;
      if (each.Reason) list(name, t("upload.incomplete"), each.Reason);
    } else {
      note(each.Status, each.File ? `${name}/${each.File}` : name, each.Reason);
    }
  }
  counts();
}

function note(status, name, reason) {
  totals[status] += 1;
  list(name, t(`upload.statuses.${status}`), reason);
  counts();
}

let unlisted = 0;

function list(name, what, reason) {
  document.getElementById("refusals").hidden = false;
  if (refused.children.length >= LISTED) {
    unlisted += 1;
    const more = document.getElementById("more");
    more.hidden = false;
    more.textContent = t("upload.more", { count: unlisted });
    return;
  }
  const item = document.createElement("li");
  for (const [text, kind, lang] of [[name, "name", ""], [what, "problem", ""], [reason, "detail", "en"]]) {
    const part = document.createElement("span");
    part.className = kind;
    part.textContent = text;
    if (lang) part.lang = lang;
    item.append(part, " ");
  }
  refused.append(item);
}

function line(name, size) {
  const row = document.createElement("li");
  const label = document.createElement("span");
  label.className = "name";
  label.textContent = `${name} · ${bytes(size)}`;
  const progress = document.createElement("progress");
  progress.max = 1;
  progress.value = 0;
  progress.setAttribute("aria-label", name);
  row.append(label, progress);
  return row;
}

function counts() {
  for (const [status, number] of Object.entries(totals)) {
    const place = document.querySelector(`[data-status="${status}"]`);
    if (place) place.textContent = count(number);
  }
}

function tell(text) {
  said.textContent = text;
  state.textContent = text;
}

function show(running) {
  document.getElementById("progress").hidden = false;
  document.getElementById("counts").hidden = false;
  document.getElementById("cancel").hidden = !running;
  bar.hidden = !running;
}

async function summarize() {
  if (!studies.size || !form.dataset.studies) return;
  const ids = [...studies].slice(-LISTED).map((id) => `id=${encodeURIComponent(id)}`).join("&");
  try {
    const answer = await fetch(`${form.dataset.studies}?${ids}`, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const found = document.importNode(new DOMParser().parseFromString(await answer.text(), "text/html").body, true);
    document.getElementById("studies").replaceChildren(...found.childNodes);
    document.getElementById("summary").hidden = false;
  } catch (error) {
    console.warn("studies not shown:", error);
  }
}

// --- the page -----------------------------------------------------------------------------------------------------

function add(source, number) {
  queue.push(source);
  known = run && !known ? 0 : number && (known + number);
  if (!run) { run = new Run(); run.start(); }
}

for (const each of document.querySelectorAll("[data-script]")) each.hidden = false;
document.getElementById("send").hidden = true;
for (const input of form.querySelectorAll("input[type=file]")) {
  input.addEventListener("change", () => {
    const files = [...input.files];
    if (files.length) { if (!run) known = 0; add(listed(files), files.length); }
    input.value = "";
  });
}
form.addEventListener("submit", (event) => event.preventDefault());
document.getElementById("cancel").addEventListener("click", () => run?.cancel());
addEventListener("beforeunload", (event) => { if (run) event.preventDefault(); });
for (const kind of ["dragover", "dragenter"]) {
  drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  // Entries must be taken before the event is over.
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  const files = [...event.dataTransfer.files];
  if (!run) known = 0;
  if (entries.length) add(below(entries), 0);
  else if (files.length) add(listed(files), files.length);
});
