// A form, or a button that loads its page anew, must not take the focus away. Whoever works by keyboard finds it on what
// the page says of the outcome, otherwise where it was, or at the head of the panel where what had it is gone.

const KEPT = "focus";
const TOLD = "main :is([role=alert], [role=status])";

// How an element is found again on the same page: by its id, or as one of those alike within the panel.
function described(element) {
  const panel = element.closest("[aria-labelledby]");
  const attributes = ["name", "value", "href", "aria-label"].filter((name) => element.hasAttribute(name) && element.type !== "text");
  const names = element.hasAttribute("name") && !attributes.includes("name") ? [...attributes, "name"] : attributes;
  const alike = element.localName + names.map((name) => `[${name}="${CSS.escape(element.getAttribute(name))}"]`).join("");
  const scope = panel ? `[aria-labelledby="${CSS.escape(panel.getAttribute("aria-labelledby"))}"]` : "main";
  return { id: element.id, alike, scope, at: [...(panel ?? document).querySelectorAll(alike)].indexOf(element) };
}

function focus(element) {
  if (!element.matches("a, button, input, select, textarea, summary, [tabindex]")) element.tabIndex = -1;
  element.focus();
}

function find({ id, alike, scope, at }) {
  if (id) return document.getElementById(id);
  return document.querySelectorAll(`${scope} ${alike}`)[at];
}

function heading({ scope }) {
  const panel = document.querySelector(scope) ?? document.querySelector("main");
  return panel?.querySelector("h1, h2, h3");
}

export function restore() {
  const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
  sessionStorage.removeItem(KEPT);
  if (!kept?.paths.includes(location.pathname) || document.activeElement !== document.body) return;
  if (location.hash && location.hash !== kept.hash && !kept.isSent) return;  // A link to a place on the page.
  const told = [...document.querySelectorAll(TOLD)].find((each) => each.textContent.trim() && each.checkVisibility() && !each.matches(".unseen"));
  const found = find(kept), isThere = found?.checkVisibility() && !found.disabled;
  const place = (kept.isSent && told) || (isThere ? found : heading(kept));
  if (place) focus(place);
}

let sentTo = "";
addEventListener("submit", (event) => {
  const action = event.submitter?.getAttribute("formaction") ?? event.target.getAttribute("action") ?? "";
  sentTo = event.defaultPrevented ? "" : new URL(action, location).pathname;
});
addEventListener("pagehide", () => {
  const at = document.activeElement;
  if (!at || at === document.body || !at.matches(":focus-visible")) return;
  const place = described(at.form?.querySelector("[data-sends]") ?? at);
  const kept = { paths: [location.pathname, sentTo], hash: location.hash, isSent: Boolean(sentTo), ...place };
  sessionStorage.setItem(KEPT, JSON.stringify(kept));
});
