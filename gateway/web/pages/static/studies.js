// The studies page: hears the gateway's events, keeps rows, totals and rates fresh, searches while one types, turns pages.
// Without this file the page still shows, searches and turns pages. Nothing from an image is ever put in as markup here:
// rows come escaped from the server's template, everything else goes in as text.

import { Associations } from "./associations.js";
import { Rows } from "./rows.js";
import { SavedSearches } from "./saved.js";
import { Selection } from "./selection.js";
import { Spark } from "./spark.js";
import { bytes, count, t } from "./words.js";

const overview = document.getElementById("overview");
const search = document.getElementById("search");
const results = document.getElementById("results");
const bar = document.getElementById("selection");
const spark = new Spark(document.getElementById("spark"));
const associations = new Associations(document.getElementById("associations"), document.getElementById("nobody"));

// --- search -------------------------------------------------------------------------------------------------------

function asked() {
  const fields = new URLSearchParams();
  for (const [name, value] of new FormData(search)) {
    if (value.trim() !== "") fields.append(name, value.trim());
  }
  return fields.toString();
}

function told() {
  const { search: query } = location;
  const fields = new URLSearchParams(query);
  for (const name of ["after", "before", "sort"]) fields.delete(name);
  document.getElementById("clear").hidden = fields.toString() === "";
  for (const choice of search.querySelectorAll("details.choice")) {
    const chosen = [...choice.querySelectorAll("input:checked")].map((box) => box.value);
    choice.querySelector(".chosen").textContent = chosen.join(", ") || t("studies.any");
  }
  for (const link of document.querySelectorAll(".prepared a")) {
    if (new URL(link.href).search === query) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  saved.show();
}

// Sets the form to what a query string says, after the browser has gone back or a link was followed.
function setForm(query) {
  const fields = new URLSearchParams(query);
  for (const field of search.elements) {
    if (field.type === "checkbox") field.checked = fields.getAll(field.name).includes(field.value);
    else if (field.name && field.name !== "sort") field.value = fields.get(field.name) ?? "";
  }
  search.querySelector("[name=sort]")?.remove();
  if (fields.has("sort")) {
    const sort = Object.assign(document.createElement("input"), { type: "hidden", name: "sort", value: fields.get("sort") });
    search.append(sort);
  }
}

const saved = new SavedSearches(document.getElementById("saved"), document.getElementById("save"), asked);
const rows = new Rows(results, search.dataset.rows, () => {
  selection?.mark();
  told();
});
const selection = bar && new Selection(bar, results, () => rows.refresh({ announce: false }));

let typing = 0;

function searchNow() {
  clearTimeout(typing);
  const text = asked();
  history.replaceState(null, "", text ? `?${text}` : location.pathname);
  rows.refresh({ announce: false });
}

search.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(searchNow, 250); });
search.addEventListener("submit", (event) => { event.preventDefault(); searchNow(); });

// --- pages, orders and prepared searches, without loading the whole page anew -------------------------------------------

async function follow(url) {
  history.pushState(null, "", url);
  setForm(new URL(url).search);
  await rows.refresh({ announce: false });
}

document.querySelector(".browse").addEventListener("click", async (event) => {
  if (event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const link = event.target.closest("[data-page], thead a, .sorting a, .prepared a, #clear");
  if (!link) return;
  event.preventDefault();
  const column = link.closest("th")?.className;
  await follow(link.href);
  if (link.matches("[data-page]")) document.getElementById("studies-heading").scrollIntoView({ block: "start" });
  if (column) results.querySelector(`th.${column} a`)?.focus();
  if (link.closest(".sorting")) results.querySelector(".sorting summary")?.focus();
});

addEventListener("popstate", () => { setForm(location.search); rows.refresh({ announce: false }); });

results.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const code = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = t("studies.copied");
  } catch {
    getSelection().selectAllChildren(code);
    button.textContent = t("studies.copy_selected");
  }
  setTimeout(() => { button.textContent = t("studies.copy"); }, 2000);
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
    document.getElementById("rate-instances").textContent = t("studies.rate", { count: Math.round(instances) });
  }
  associations.show(state.associations);
  if (state.seq !== seq) {
    seq = state.seq;
    rows.refresh({ announce: true });
  } else if (rows.lacking && !rows.loading) {
    rows.refresh({ announce: false });
  }
}

function live(state, text) {
  document.getElementById("live").dataset.state = state;
  const place = document.getElementById("live-text");
  if (place.textContent !== text) place.textContent = text;
}

function listen() {
  const source = new EventSource(overview.dataset.events);
  source.onopen = () => { spark.clear(); live("on", t("studies.live")); };
  source.onmessage = (event) => hear(JSON.parse(event.data));
  source.onerror = () => {
    live("lost", t("studies.reconnecting"));
    if (source.readyState !== EventSource.CLOSED) return;
    setTimeout(listen, 5000);
    rows.refresh({ announce: true }); // Says whether the session has ended, which an event source does not.
  };
  addEventListener("pagehide", () => source.close(), { once: true });
}

addEventListener("pageshow", (event) => { if (event.persisted) listen(); });
rows.shown();
listen();
