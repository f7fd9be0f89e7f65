// A job that a form of a page has begun: its progress, and in the end a link to what has come of it or the reason.

import { call, filled } from "./rest.js";
import { t } from "./words.js";

const EVERY = 600;

// Shows the progress of a job in `place` until it is over. The answer is what the job says of itself; throws its reason.
export async function watch(place, template, job) {
  const bar = Object.assign(document.createElement("progress"), { max: 100 });
  const text = document.createElement("span");
  place.replaceChildren(bar, text);
  for (;;) {
    const state = await call("GET", filled(template, { id: job }));
    bar.value = state.Progress;
    text.textContent = t("study.working", { job: String(job), percent: state.Progress });
    if (state.State === "Success") return state.Content;
    if (state.State === "Failure") throw new Error(state.ErrorDetails || state.ErrorDescription);
    await new Promise((resolve) => { setTimeout(resolve, EVERY); });
  }
}

// Says in `place` that something is done, with a link to it where there is an address.
export function done(place, address) {
  const text = Object.assign(document.createElement("span"), { className: "done", textContent: `${t("study.done")} ` });
  place.replaceChildren(text);
  if (address) place.append(Object.assign(document.createElement("a"), { href: address, textContent: t("study.open_result") }));
}

export function failed(place, error) {
  place.replaceChildren(Object.assign(document.createElement("span"), { className: "problem", textContent: t("common.failed", { reason: error.message }) }));
}
