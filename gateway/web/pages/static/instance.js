// The page of an instance: the view of its frames, and the table of its attributes, which is searched as one types.
// Without this file the search is a form, and more rows are a link.

import { View, remember } from "./view.js";
import { t } from "./words.js";

document.documentElement.classList.add("has-scripts");
const root = document.getElementById("view");
if (root) {
  const about = JSON.parse(document.getElementById("view-about").textContent);
  const view = new View(root, about), still = document.getElementById("still");
  let isShown = false;
  view.onPlace = () => { isShown = true; };
  // Where the browser is not given the pixels, since a frame is too large, the gateway may still render a picture.
  view.failed = ({ status }) => {
    if (status !== 415 || isShown) return;
    const found = new DOMParser().parseFromString(still.textContent, "text/html").querySelector("img");
    still.replaceWith(document.importNode(found, true));
    root.hidden = true;
  };
  remember(view, false);
}

const search = document.getElementById("tag-search");
const rows = document.getElementById("tag-rows");
const typed = search.elements.namedItem("search");
let loading = null;
let typing = 0;

async function fetched(url) {
  loading?.abort();
  loading = new AbortController();
  const answer = await fetch(url, { signal: loading.signal });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const found = new DOMParser().parseFromString(await answer.text(), "text/html");
  return [...found.body.childNodes].map((node) => document.importNode(node, true));
}

async function show() {
  const fields = new URLSearchParams(), text = typed.value.trim();
  if (text) fields.set("search", text);
  try {
    rows.replaceChildren(...await fetched(`${search.dataset.rows}?${fields}`));
  } catch (error) {
    if (error.name !== "AbortError") console.warn("attributes not searched:", error);
  }
}

typed.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(show, 200); });
search.addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(typing); show(); });

rows.addEventListener("click", async (event) => {
  const more = event.target.closest("a[data-more]"), button = event.target.closest("button");
  if (more) {
    event.preventDefault();
    const from = new URL(more.href).searchParams;
    const added = document.createElement("div");
    added.append(...await fetched(`${search.dataset.rows}?${from}`));
    const body = rows.querySelector("tbody"), first = added.querySelector("tbody tr");
    body.append(...added.querySelectorAll("tbody tr"));
    more.parentElement.replaceWith(...added.querySelectorAll(".more"));
    first?.querySelector("button")?.focus();
  } else if (button?.dataset.copy !== undefined) copy(button);
  else if (button?.dataset.fold !== undefined) fold(button);
});

async function copy(button) {
  const value = button.closest("tr").querySelector("[data-value]");
  try {
    await navigator.clipboard.writeText(value.textContent);
    button.lastChild.textContent = t("instance.copied");
  } catch {
    getSelection().selectAllChildren(value);
    button.lastChild.textContent = t("instance.selected");
  }
  setTimeout(() => { button.lastChild.textContent = t("instance.copy"); }, 1500);
}

// Hide or show the rows below a sequence or item, up to the next that is no deeper.
function fold(button) {
  const row = button.closest("tr"), depth = Number(row.dataset.depth), hide = button.getAttribute("aria-expanded") === "true";
  button.setAttribute("aria-expanded", String(!hide));
  let closed = Infinity;
  for (let next = row.nextElementSibling; next && Number(next.dataset.depth) > depth; next = next.nextElementSibling) {
    const its = Number(next.dataset.depth), inner = next.querySelector("[data-fold]");
    if (its <= closed) closed = Infinity;
    next.hidden = hide || its > closed;
    if (inner?.getAttribute("aria-expanded") === "false" && closed === Infinity) closed = its;
  }
}
