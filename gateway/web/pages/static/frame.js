// What every page does: a choice that is marked `data-sends` sends its form at once, and needs no button.

for (const choice of document.querySelectorAll("select[data-sends]")) {
  for (const button of choice.form.querySelectorAll("button")) button.hidden = true;
  choice.addEventListener("change", () => choice.form.requestSubmit());
}
