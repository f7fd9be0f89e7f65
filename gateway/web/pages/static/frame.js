// What every page does: a choice that is marked `data-sends` sends its form at once, and needs no button but for the
// keyboard, whose arrows pass over choices on their way. What is unfolded over the page is folded by Escape, and by a
// click or the focus elsewhere.

import { restore } from "./focus.js";

for (const choice of document.querySelectorAll("select[data-sends]")) {
  const buttons = choice.form.querySelectorAll("button");
  let isByKeys = false;
  const show = (is) => { isByKeys = is; for (const button of buttons) button.hidden = !is; };
  show(false);
  choice.addEventListener("keydown", (event) => { if (!["Tab", "Shift"].includes(event.key)) show(true); });
  choice.addEventListener("pointerdown", () => show(false));
  choice.addEventListener("change", () => { if (!isByKeys) choice.form.requestSubmit(); });
}

const UNFOLDED = "details.menu[open], details.choice[open]";

function foldOthers(event) {
  for (const unfolded of document.querySelectorAll(UNFOLDED)) {
    if (!unfolded.contains(event.target)) unfolded.open = false;
  }
}

document.addEventListener("click", foldOthers);
document.addEventListener("focusin", foldOthers);
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const unfolded of document.querySelectorAll(UNFOLDED)) {
    const held = unfolded.contains(document.activeElement);
    unfolded.open = false;
    if (held) unfolded.querySelector("summary").focus();
  }
});

restore();
