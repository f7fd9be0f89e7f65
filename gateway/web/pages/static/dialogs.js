// Questions before something happens. The browser's own <dialog> keeps the focus in it, and gives it back.

import { t } from "./words.js";

function made(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// Asks with a title, some paragraphs, a list of what it is about, and a field. `act` is what the button that does it
// calls, with the value of the field: while it works the dialog stays, and so it does with the reason where it fails.
// `acts` maps the names of buttons to such functions; the answer is the name of the one that was pressed, or null.
export function ask({ title, paragraphs = [], items = [], field = null, acts, danger = false }) {
  const problem = made("p", { className: "problem", hidden: true });
  problem.setAttribute("role", "alert");
  const input = field && made("input", { required: true, maxLength: field.most ?? 64, autocomplete: "off", value: field.value ?? "" });
  if (field?.list) input.setAttribute("list", field.list);
  if (field?.pattern) input.pattern = field.pattern;
  const cancel = made("button", { type: "button", className: "plain", textContent: t("common.cancel") });
  const buttons = Object.keys(acts).map((name) => made("button", { type: "submit", value: name, textContent: name, className: danger ? "alarm" : "" }));
  const heading = made("h2", { id: "dialog-title", textContent: title });
  const form = made("form", { method: "dialog" }, heading, ...paragraphs.map((text) => made("p", { textContent: text })));
  if (items.length) form.append(made("ul", {}, ...items.map((text) => made("li", { textContent: text }))));
  if (field) form.append(made("label", {}, made("span", { textContent: field.title }), input));
  form.append(problem, made("p", { className: "buttons" }, cancel, ...buttons));
  const dialog = made("dialog", {}, form);
  dialog.setAttribute("aria-labelledby", "dialog-title");
  document.body.append(dialog);
  return new Promise((resolve) => {
    let answer = null;
    cancel.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => { dialog.remove(); resolve(answer); });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const name = event.submitter?.value || Object.keys(acts)[0];
      for (const button of [...buttons, cancel]) button.disabled = true;
      try {
        await acts[name](input?.value.trim());
        answer = name;
        dialog.close();
      } catch (error) {
        problem.textContent = t("common.failed", { reason: error.message });
        problem.hidden = false;
      } finally {
        for (const button of [...buttons, cancel]) button.disabled = false;
      }
    });
    dialog.showModal();
    (input ?? cancel).focus();
  });
}
