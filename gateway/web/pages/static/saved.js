// Searches that somebody has saved, in this browser: a name and a query string each.

import { ask } from "./dialogs.js";
import { t } from "./words.js";

const KEY = "dicom-gateway-searches";
const MOST = 30;

function read() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) || "[]");
    return Array.isArray(found) ? found.filter((each) => typeof each?.name === "string" && typeof each?.query === "string") : [];
  } catch {
    return [];
  }
}

function write(searches) {
  localStorage.setItem(KEY, JSON.stringify(searches.slice(-MOST)));
}

export class SavedSearches {
  // `asked` gives the query string of now.
  constructor(place, save, asked) {
    this.place = place;
    this.save = save;
    this.asked = asked;
    save.addEventListener("click", () => this.#add());
    this.show();
  }

  show() {
    const query = this.asked();
    this.save.hidden = query === "" || read().some((each) => each.query === query);
    this.place.replaceChildren(...read().map(({ name, query: saved }) => {
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
      forget.addEventListener("click", () => {
        write(read().filter((each) => each.name !== name));
        this.show();
      });
      return whole;
    }));
  }

  async #add() {
    const query = this.asked();
    const keep = (name) => write([...read().filter((each) => each.name !== name), { name, query }]);
    await ask({ title: t("studies.save_title"), field: { title: t("studies.save_name"), most: 40 }, acts: { [t("studies.save_it")]: keep } });
    this.show();
  }
}
