// Searches every chosen system at once, and puts what each has into one list as it comes; shows the series of a study
// below it, tests systems, and follows what is retrieved. Rows come escaped from the server's templates.

import { JobList } from "./jobs.js";
import { t } from "./words.js";

const form = document.getElementById("query");
const results = document.getElementById("results");
const retrieve = document.getElementById("retrieve");
const asking = document.getElementById("asking");
const problem = document.getElementById("problem");
const stop = document.getElementById("stop");
const HTML = { Accept: "text/html" };

function parsed(text) {
  return document.importNode(new DOMParser().parseFromString(text, "text/html").body, true);
}

// The parts of an answer as they arrive; a comment ends each of them.
async function* parts(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const found = text.split("<!--part-->");
    text = found.pop();
    for (const each of found) yield parsed(each);
  }
}

async function details(answer) {
  try {
    return (await answer.json()).Details || answer.statusText;
  } catch {
    return answer.statusText;
  }
}

// --- search -------------------------------------------------------------------------------------------------------

let running = null;

function asked() {
  const fields = new URLSearchParams();
  for (const [name, value] of new FormData(form)) {
    if (name !== "run" && value.trim() !== "" && !(name === "when" && value === "any") && !(name === "level" && value === "study")) fields.append(name, value.trim());
  }
  return fields;
}

function tell(pending, rows) {
  asking.textContent = pending ? t("query.asking", { count: pending }) : t("query.all_answered", { count: rows });
  results.setAttribute("aria-busy", pending ? "true" : "false");
  if (!pending && document.activeElement === stop) form.querySelector("[type=submit]").focus();
  stop.hidden = !pending;
}

function search() {
  running?.abort();
  const control = running = new AbortController();
  const fields = asked();
  const sources = fields.getAll("source");
  const address = fields.toString();
  if (`?${address}` !== location.search) history.pushState(null, "", address ? `?${address}` : location.pathname);
  complain("");
  const said = document.createElement("div");
  said.className = "said-by-source";
  results.replaceChildren(said);
  if (!sources.length) { complain(t("query.choose_source")); stop.hidden = true; return; }
  const count = { pending: sources.length, rows: 0 };
  tell(count.pending, 0);
  for (const source of sources) {
    const line = document.createElement("p");
    line.className = "said waiting";
    line.textContent = t("query.asks", { name: source.slice(source.indexOf(":") + 1) });
    said.append(line);
    ask(source, fields, control.signal, line).then((rows) => { count.rows += rows; }).finally(() => {
      count.pending -= 1;
      if (!control.signal.aborted) tell(count.pending, count.rows);
    });
  }
}

async function ask(source, fields, signal, line) {
  const own = new URLSearchParams(fields);
  own.delete("source");
  own.append("source", source);
  const name = source.slice(source.indexOf(":") + 1);
  let count = 0;
  try {
    const answer = await fetch(`${form.dataset.results}?${own}`, { signal, headers: HTML });
    if (!answer.ok) {
      line.className = "said problem";
      line.textContent = `${source}: ${await details(answer)}`;
      return 0;
    }
    for await (const found of parts(answer)) {
      if (signal.aborted) break;
      count += merge(found.querySelector("table.results"));
      const said = found.querySelectorAll(".said");
      if (said.length) line.replaceWith(...said);
      else line.textContent = t("query.so_far", { name, count });
    }
  } catch (error) {
    line.className = "said";
    line.textContent = error.name === "AbortError" ? t("query.stopped", { name: source }) : `${source}: ${error.message}`;
  }
  return count;
}

// Puts the rows of a table where they belong among those that are there: later dates first.
function merge(table) {
  const rows = [...table.tBodies[0].rows];
  const shown = results.querySelector(":scope > table.results");
  if (!rows.length) return 0;
  if (!shown) {
    table.querySelector("[data-all]").hidden = false;
    results.append(table);
    return rows.length;
  }
  const body = shown.tBodies[0];
  for (const row of rows) {
    const next = [...body.rows].find((each) => each.dataset.order !== undefined && each.dataset.order < row.dataset.order);
    body.insertBefore(row, next || null);
  }
  return rows.length;
}

function complain(text) {
  problem.textContent = text;
  problem.hidden = !text;
}

// --- a study's series ---------------------------------------------------------------------------------------------

async function unfold(link) {
  const row = link.closest("tr");
  const open = link.getAttribute("aria-expanded") === "true";
  link.setAttribute("aria-expanded", open ? "false" : "true");
  if (row.nextElementSibling?.matches(".below-row")) { row.nextElementSibling.hidden = open; return; }
  const below = document.createElement("tr");
  below.className = "below-row";
  const cell = below.insertCell();
  cell.colSpan = row.cells.length;
  cell.textContent = t("query.asking", { count: 1 });
  row.after(below);
  const fields = new URL(link.href).searchParams;
  fields.delete("run");
  try {
    const answer = await fetch(`${form.dataset.results}?${fields}`, { headers: HTML });
    if (answer.ok) await fill(cell, answer);
    else cell.textContent = await details(answer);
  } catch (error) {
    cell.textContent = error.message;
  }
}

// Shows the parts of an answer in a cell: what it was all, and one table of all rows.
async function fill(cell, answer) {
  let body = null;
  cell.replaceChildren();
  for await (const found of parts(answer)) {
    const table = found.querySelector("table.results");
    cell.prepend(...found.querySelectorAll(".said"));
    if (body) body.append(...table.tBodies[0].rows);
    else { cell.append(table); [body] = table.tBodies; }
  }
}

// --- tests of systems ---------------------------------------------------------------------------------------------

async function test(link) {
  const outcome = link.parentElement.querySelector(".outcome");
  outcome.textContent = "…";
  try {
    const answer = await fetch(`${form.dataset.echo}?${new URLSearchParams({ source: link.dataset.echo })}`, { headers: HTML });
    if (answer.ok) outcome.replaceChildren(...parsed(await answer.text()).childNodes);
    else outcome.textContent = await details(answer);
  } catch (error) {
    outcome.textContent = error.message;
  }
}

// --- retrieving ---------------------------------------------------------------------------------------------------

const place = document.getElementById("jobs");
const list = place && new JobList(place, place.parentElement.querySelector("[data-jobs-said]"));
const rowOf = new Map();

async function begin(submitter) {
  const body = new URLSearchParams(new FormData(retrieve, submitter));
  const only = submitter?.name === "only";
  const rows = only ? [submitter.closest("tr")] : [...retrieve.querySelectorAll('input[name="row"]:checked')].map((each) => each.closest("tr"));
  complain("");
  if (!rows.length) { complain(t("query.choose_rows")); return; }
  try {
    const answer = await fetch(retrieve.action, { method: "POST", body, headers: HTML });
    if (!answer.ok) { complain(await details(answer)); return; }
    const ids = new URL(answer.url).searchParams.getAll("id");
    ids.forEach((id, at) => rowOf.set(id, rows[at]));
    for (const box of retrieve.querySelectorAll('input[name="row"]:checked')) if (!only) box.checked = false;
    document.getElementById("retrievals").hidden = false;
    await list.show(`${retrieve.dataset.jobsPage}?${[...rowOf.keys()].slice(-50).reverse().map((id) => `id=${id}`).join("&")}`);
  } catch (error) {
    complain(error.message);
  }
}

// Says beside a row how far its retrieval is.
function mark() {
  for (const job of place.querySelectorAll("tr[data-job]")) {
    const row = rowOf.get(job.dataset.job);
    if (!row?.isConnected) continue;
    let state = row.querySelector(".retrieval");
    if (!state) {
      state = document.createElement("span");
      state.className = "retrieval tag";
      row.cells[row.cells.length - 1].prepend(state);
    }
    const tag = job.querySelector(".tag[class*='state-']");
    state.textContent = job.dataset.state === "running" ? `${tag.textContent} ${job.dataset.percent} %` : tag.textContent;
    state.className = `retrieval ${tag.className}`;
  }
}

// --- the page -----------------------------------------------------------------------------------------------------

function showRange() {
  for (const each of form.querySelectorAll("[data-range]")) each.hidden = form.elements.when.value !== "range";
}

if (form) {
  form.elements.run.remove();
  form.addEventListener("submit", (event) => { event.preventDefault(); search(); });
  form.elements.when.addEventListener("change", showRange);
  form.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-echo]");
    if (link) { event.preventDefault(); test(link); }
  });
  stop.addEventListener("click", () => { running?.abort(); tell(0, results.querySelectorAll("tr[data-order]").length); });
  results.addEventListener("change", (event) => {
    if (!event.target.matches("[data-all]")) return;
    const boxes = results.querySelectorAll(':scope > table > tbody > tr:not(.below-row) > .choice input[name="row"]');
    for (const box of boxes) box.checked = event.target.checked;
  });
  results.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-below]");
    if (link) { event.preventDefault(); unfold(link); }
  });
  retrieve.addEventListener("submit", (event) => { event.preventDefault(); begin(event.submitter); });
  place.addEventListener("jobs", mark);
  addEventListener("popstate", () => location.reload());
  showRange();
  if (form.dataset.runs === undefined && new URLSearchParams(location.search).has("source")) search();
}
