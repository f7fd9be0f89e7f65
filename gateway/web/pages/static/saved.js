// Searches that somebody has saved: a name and a query string each. Those of a user are the gateway's, which has put them
// into the page; those of a reader whom it does not know stay in this browser.

import { ask } from "./dialogs.js";
import { call } from "./rest.js";
import { t } from "./words.js";

const KEY = "dicom-gateway-searches";
const MOST = 30;

class OfBrowser {
  title = t("studies.save_title");

  list() {
    try {
      const found = JSON.parse(localStorage.getItem(KEY) || "[]");
      return Array.isArray(found) ? found.filter((each) => typeof each?.name === "string" && typeof each?.query === "string") : [];
    } catch {
      return [];
    }
  }

  save(name, query) {
    this.#write([...this.list().filter((each) => each.name !== name), { name, query }]);
  }

  forget(name) {
    this.#write(this.list().filter((each) => each.name !== name));
  }

  #write(searches) {
    localStorage.setItem(KEY, JSON.stringify(searches.slice(-MOST)));
  }
}

class OfUser {
  title = t("studies.save_own_title");

  constructor(place) {
    this.url = place.dataset.searches;
    this.known = [...place.querySelectorAll("a")].map((link) => ({ name: link.textContent, query: new URL(link.href).search.slice(1) }));
  }

  list() {
    return this.known;
  }

  async save(name, query) {
    await call("PUT", this.url, { Name: name, Query: query });
    this.known = [...this.known.filter((each) => each.name !== name), { name, query }].slice(-MOST);
  }

  async forget(name) {
    await call("DELETE", `${this.url}?${new URLSearchParams({ name })}`);
    this.known = this.known.filter((each) => each.name !== name);
  }
}

export class SavedSearches {
  // `asked` gives the query string of now.
  constructor(place, save, asked) {
    this.place = place;
    this.save = save;
    this.asked = asked;
    this.shelf = place.dataset.searches ? new OfUser(place) : new OfBrowser();
    save.addEventListener("click", () => this.#add());
    this.show();
  }

  show() {
    const query = this.asked();
    const searches = this.shelf.list();
    this.save.hidden = query === "" || searches.some((each) => each.query === query);
    this.place.replaceChildren(...searches.map(({ name, query: saved }) => {
      const whole = document.createElement("span");
      whole.className = "saved";
      const link = whole.appendChild(document.createElement("a"));
      link.textContent = name;
      link.href = `?${saved}`;
      if (saved === query) link.setAttribute("aria-current", "true");
      const forget = whole.appendChild(document.createElement("button"));
      forget.type = "button";
      forget.className = "forget";
      forget.textContent = "×";
      forget.setAttribute("aria-label", t("studies.forget", { name }));
      forget.addEventListener("click", () => this.#forget(name));
      return whole;
    }));
  }

  async #forget(name) {
    try {
      await this.shelf.forget(name);
    } catch (error) {
      document.getElementById("announce").textContent = t("common.failed", { reason: error.message });
    }
    this.show();
  }

  async #add() {
    const query = this.asked();
    const keep = (name) => this.shelf.save(name, query);
    await ask({ title: this.shelf.title, field: { title: t("studies.save_name"), most: 40 }, acts: { [t("studies.save_it")]: keep } });
    this.show();
  }
}
