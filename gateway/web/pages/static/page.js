// The studies page: hears the gateway's events, keeps rows, totals and rates fresh, searches while one types.
// Without this file the page still shows and searches. Nothing from an image is ever put in as markup here: rows
// come escaped from the server's template, everything else goes in as text.

import { Spark } from "./spark.js";
import { Associations } from "./associations.js";
import { ago, bytes, count } from "./words.js";

const overview = document.getElementById("overview");
const search = document.getElementById("search");
const results = document.getElementById("results");
const spark = new Spark(document.getElementById("spark"));
const associations = new Associations(document.getElementById("associations"), document.getElementById("nobody"));

// --- rows ---------------------------------------------------------------------------------------------------------

let loading = null;
let again = false;

function asked() {
  const fields = new URLSearchParams();
  for (const [name, value] of new FormData(search)) {
    if (value.trim() !== "") fields.set(name, value.trim());
  }
  return fields;
}

async function refresh({ announce }) {
  if (loading) { again = true; return; }
  const fields = asked();
  const before = new URLSearchParams(location.search).get("before");
  if (before && announce) fields.set("before", before);
  loading = new AbortController();
  try {
    const answer = await fetch(`${search.dataset.rows}?${fields}`, { signal: loading.signal });
    if (answer.ok) show(await answer.text(), announce);
  } catch (error) {
    if (error.name !== "AbortError") console.warn("studies not refreshed:", error);
  } finally {
    loading = null;
    if (again) { again = false; refresh({ announce }); }
  }
}

function show(text, announce) {
  const known = new Map([...results.querySelectorAll("tr[data-study]")].map((row) => [row.dataset.study, row.dataset.count]));
  const found = new DOMParser().parseFromString(text, "text/html");
  results.replaceChildren(...[...found.body.childNodes].map((node) => document.importNode(node, true)));
  let fresh = 0;
  if (announce) {
    for (const row of results.querySelectorAll("tr[data-study]")) {
      if (known.get(row.dataset.study) !== row.dataset.count) row.classList.add("fresh");
      if (!known.has(row.dataset.study)) fresh += 1;
    }
    if (fresh) document.getElementById("announce").textContent = fresh === 1 ? "One new study" : `${fresh} new studies`;
  }
  tellTime();
}

function tellTime() {
  for (const time of results.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    time.title = at.toLocaleString();
    time.textContent = ago(at);
  }
}

let typing = 0;

function searchNow() {
  clearTimeout(typing);
  const fields = asked();
  const text = fields.toString();
  history.replaceState(null, "", text ? `?${text}` : location.pathname);
  document.getElementById("clear").hidden = text === "";
  refresh({ announce: false });
}

search.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(searchNow, 250); });
search.addEventListener("submit", (event) => { event.preventDefault(); searchNow(); });
document.getElementById("clear").addEventListener("click", (event) => {
  event.preventDefault();
  for (const input of search.querySelectorAll("input")) input.value = "";
  searchNow();
  search.querySelector("input").focus();
});

results.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const code = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(code);
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
});

// --- events -------------------------------------------------------------------------------------------------------

const names = ["patients", "studies", "series", "instances"];
let seq = Number(overview.dataset.seq);

function hear(state) {
  for (const name of names) {
    if (name in state.totals) document.getElementById(`total-${name}`).textContent = count(state.totals[name]);
  }
  if ("bytes" in state.totals) document.getElementById("total-bytes").textContent = bytes(state.totals.bytes);
  spark.add(state.rates);
  if (state.rates.length) {
    const [size, instances] = state.rates.at(-1);
    document.getElementById("rate-bytes").textContent = `${bytes(size)}/s`;
    document.getElementById("rate-instances").textContent = `${count(Math.round(instances))} instances/s`;
  }
  associations.show(state.associations);
  if (state.seq !== seq) {
    seq = state.seq;
    refresh({ announce: true });
  }
}

function live(state, text) {
  document.getElementById("live").dataset.state = state;
  const place = document.getElementById("live-text");
  if (place.textContent !== text) place.textContent = text;
}

function listen() {
  const source = new EventSource(overview.dataset.events);
  source.onopen = () => { spark.clear(); live("on", "Live"); };
  source.onmessage = (event) => hear(JSON.parse(event.data));
  source.onerror = () => {
    live("lost", "Reconnecting");
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
  };
  addEventListener("pagehide", () => source.close(), { once: true });
}

addEventListener("pageshow", (event) => { if (event.persisted) listen(); });
tellTime();
setInterval(tellTime, 20000);
listen();
