// The rows of a list of studies: fetched anew from the server's template, for the address that the page has now.

import { ago, t } from "./words.js";

export class Rows {
  // `shown` is called whenever other rows are there.
  constructor(results, url, shown) {
    this.results = results;
    this.url = url;
    this.whenShown = shown;
    this.loading = null;
    this.again = false;
    this.lacking = false;
    results.addEventListener("click", (event) => this.#open(event));
    setInterval(() => this.tellTime(), 20000);
  }

  // With `announce` because something has changed: that waits for what is being loaded, so that it ends however often
  // something changes. A search of the reader does not wait.
  async refresh({ announce }) {
    if (announce && this.loading) { this.again = true; return; }
    this.loading?.abort();
    const loading = this.loading = new AbortController();
    try {
      const answer = await fetch(`${this.url}${location.search}`, { signal: loading.signal });
      if (answer.status === 401) { location.reload(); return; } // The session has ended: the gateway asks for a sign-in.
      const text = await answer.text();
      if (loading === this.loading) answer.ok ? this.#show(text, announce) : this.#lack(announce);
    } catch (error) {
      if (error.name !== "AbortError") this.#lack(announce);
    }
    if (loading !== this.loading) return;
    this.loading = null;
    if (this.again) { this.again = false; this.refresh({ announce: true }); }
  }

  // Rows of another search never stand for the answer to this one. What was right may stay until it is fetched anew.
  #lack(announce) {
    if (announce) return;
    this.lacking = true;
    const said = Object.assign(document.createElement("p"), { className: "pad problem", textContent: t("studies.not_loaded") });
    said.setAttribute("role", "alert");
    this.results.replaceChildren(said);
    this.whenShown();
  }

  #show(text, announce) {
    this.lacking = false;
    const known = new Map([...this.results.querySelectorAll("tr[data-study]")].map((row) => [row.dataset.study, row.dataset.count]));
    const focused = this.results.contains(document.activeElement) ? document.activeElement : null;
    const [study, kind] = [focused?.closest("tr")?.dataset.study, focused?.localName];
    const found = new DOMParser().parseFromString(text, "text/html");
    this.results.replaceChildren(...[...found.body.childNodes].map((node) => document.importNode(node, true)));
    if (study) this.results.querySelector(`tr[data-study="${CSS.escape(study)}"] ${kind}`)?.focus();
    const said = document.getElementById("announce");
    if (!announce) said.textContent = this.results.querySelector(".matches, h3")?.textContent ?? "";
    let fresh = 0;
    if (announce) {
      for (const row of this.results.querySelectorAll("tr[data-study]")) {
        if (known.get(row.dataset.study) !== row.dataset.count) row.classList.add("fresh");
        if (!known.has(row.dataset.study)) fresh += 1;
      }
      if (fresh) said.textContent = t("studies.new_studies", { count: fresh });
    }
    this.shown();
  }

  shown() {
    this.tellTime();
    this.whenShown();
  }

  tellTime() {
    for (const time of this.results.querySelectorAll("time")) {
      const at = new Date(time.dateTime);
      time.title = at.toLocaleString();
      time.textContent = ago(at);
    }
  }

  // A click on a row that hits nothing else opens the study. With the keyboard its name is the link.
  #open(event) {
    if (event.target.closest("a, button, input, label, .pick") || !getSelection().isCollapsed) return;
    event.target.closest("tr[data-study]")?.querySelector("a.name")?.click();
  }
}
