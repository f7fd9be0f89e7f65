// The page of a series: the view of its frames, and a filmstrip that follows it. Without this file the pictures of the
// filmstrip lead to the pages of the instances.

import { View, remember } from "./view.js";

const about = JSON.parse(document.getElementById("view-about").textContent);
const film = document.getElementById("film");
const items = new Map([...film.querySelectorAll("a[data-id]")].map((link) => [link.dataset.id, link]));
document.getElementById("content").classList.add("has-view");

const view = new View(document.getElementById("view"), about);
let marked = null;

view.onPlace = ({ id }) => {
  const link = items.get(id);
  if (link === marked) return;
  marked?.removeAttribute("aria-current");
  marked = link ?? null;
  if (!link) return;
  link.setAttribute("aria-current", "true");
  // `scrollIntoView` would move the page as well.
  const box = link.getBoundingClientRect(), strip = film.getBoundingClientRect();
  film.scrollTop += box.top < strip.top ? box.top - strip.top : Math.max(0, box.bottom - strip.bottom);
  film.scrollLeft += box.left < strip.left ? box.left - strip.left : Math.max(0, box.right - strip.right);
};
remember(view, true);

film.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-id]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  view.go(view.places.findIndex(({ id }) => id === link.dataset.id));
});
