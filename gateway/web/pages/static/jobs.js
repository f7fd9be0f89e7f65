// Keeps lists of jobs fresh while a page is open, and performs their buttons without leaving it. A list is an element
// with `data-jobs`, the address of its rows; rows come escaped from the server's template.

import { ago } from "./words.js";

const OPEN_EVERY = 1000;
const OVER_EVERY = 5000;

export class JobList {
  // `place` has `data-jobs`; `said` is its live region.
  constructor(place, said) {
    this.place = place;
    this.said = said;
    this.timer = 0;
    this.came = new WeakMap();  // the markup of each row as it came, before times were told
    this.place.addEventListener("submit", (event) => this.act(event));
    this.tellTime();
    this.wait();
  }

  // Shows the rows at an address from now on.
  show(address) {
    this.place.dataset.jobs = address;
    return this.refresh();
  }

  get open() {
    return Number(this.place.querySelector("[data-open]")?.dataset.open || 0);
  }

  wait() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), this.open ? OPEN_EVERY : OVER_EVERY);
  }

  async refresh() {
    clearTimeout(this.timer);
    try {
      if (this.place.dataset.jobs && !document.hidden) {
        const answer = await fetch(this.place.dataset.jobs, { headers: { Accept: "text/html" } });
        if (answer.status === 401) location.reload(); // The session has ended: the gateway asks for a sign-in.
        if (answer.ok) this.take(await answer.text());
      }
    } catch (error) {
      console.warn("jobs not refreshed:", error);
    } finally {
      this.wait();
    }
  }

  // Puts the new rows in place of those that have changed, so that focus and opened details stay where they are.
  take(text) {
    const found = new DOMParser().parseFromString(text, "text/html").body;
    const before = this.place.querySelector("table.jobs");
    const after = found.querySelector("table.jobs");
    if (!before || !after) {
      this.place.replaceChildren(...[...found.childNodes].map((node) => document.importNode(node, true)));
    } else {
      before.dataset.open = after.dataset.open;
      before.dataset.said = after.dataset.said;
      const known = new Map([...before.tBodies[0].rows].map((row) => [row.dataset.job, row]));
      const rows = [...after.tBodies[0].rows].map((row) => this.row(known.get(row.dataset.job), document.importNode(row, true)));
      const same = rows.length === before.tBodies[0].rows.length && rows.every((row, at) => row === before.tBodies[0].rows[at]);
      if (!same) this.replace(before.tBodies[0], rows);
    }
    this.tellTime();
    const said = this.place.querySelector("[data-said]")?.dataset.said || "";
    if (this.said && this.said.textContent !== said) this.said.textContent = said;
    this.place.dispatchEvent(new CustomEvent("jobs", { bubbles: true }));
  }

  row(old, fresh) {
    this.came.set(fresh, fresh.innerHTML);
    if (old && this.came.get(old) === this.came.get(fresh)) return old;
    if (old?.querySelector("details[open]")) fresh.querySelector("details")?.setAttribute("open", "");
    return fresh;
  }

  replace(body, rows) {
    const focused = body.contains(document.activeElement) ? document.activeElement : null;
    const job = focused?.closest("tr")?.dataset.job;
    const what = focused?.value;
    body.replaceChildren(...rows);
    if (focused && !focused.isConnected) {
      const row = body.querySelector(`tr[data-job="${CSS.escape(job || "")}"]`);
      const button = [...(row?.querySelectorAll("button") || [])].find((each) => each.value === what) || row?.querySelector("button, a");
      button?.focus();
    }
  }

  async act(event) {
    const form = event.target.closest("form[data-job-action]");
    if (!form) return;
    event.preventDefault();
    const body = new URLSearchParams(new FormData(form, event.submitter));
    try {
      await fetch(form.action, { method: "POST", body, headers: { Accept: "text/html" } });
    } catch (error) {
      console.warn("the job did not hear it:", error);
    }
    await this.refresh();
  }

  tellTime() {
    for (const time of this.place.querySelectorAll("time")) {
      const at = new Date(time.dateTime);
      time.title = at.toLocaleString();
      time.textContent = ago(at);
    }
  }
}

for (const place of document.querySelectorAll("[data-jobs]")) {
  if (!place.dataset.own) new JobList(place, place.parentElement.querySelector("[data-jobs-said]"));
}
