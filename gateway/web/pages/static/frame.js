// What every page does: a choice that is marked `data-sends` sends its form at once, and needs no button. What is
// unfolded over the page is folded by Escape, and by a click or the focus elsewhere.

for (const choice of document.querySelectorAll("select[data-sends]")) {
  for (const button of choice.form.querySelectorAll("button")) button.hidden = true;
  choice.addEventListener("change", () => choice.form.requestSubmit());
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
