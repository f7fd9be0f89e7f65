// The chosen studies of the list, over several pages of it, and what can be done with them.

import { ask } from "./dialogs.js";
import { call, filled } from "./rest.js";
import { t } from "./words.js";

const MOST = 150; // Addresses of a download and of sending name each of them.
const MOST_NAMED = 12;

export class Selection {
  // `changed` is called when studies have other labels, or are gone.
  constructor(bar, results, changed) {
    this.bar = bar;
    this.results = results;
    this.changed = changed;
    this.chosen = new Map();
    this.last = null;
    this.said = ""; // What was done last, until something else is chosen.
    results.addEventListener("click", (event) => this.#clicked(event));
    bar.addEventListener("click", (event) => {
      const act = event.target.closest("[data-act]")?.dataset.act;
      if (act) this.#act(act);
    });
  }

  // Marks what is chosen among the rows that are shown now.
  mark() {
    this.last = null;
    for (const box of this.#boxes()) {
      box.checked = this.chosen.has(box.value);
      box.closest("tr").classList.toggle("chosen", box.checked);
    }
    this.#tell();
  }

  #boxes() {
    return [...this.results.querySelectorAll("td.pick input")];
  }

  #clicked(event) {
    const boxes = this.#boxes();
    if (event.target.matches("[data-pick-all]")) {
      for (const box of boxes) this.#choose(box, event.target.checked);
    } else if (boxes.includes(event.target)) {
      const box = event.target;
      const from = event.shiftKey && this.last ? boxes.indexOf(this.last) : -1;
      const here = boxes.indexOf(box);
      const range = from < 0 ? [box] : boxes.slice(Math.min(from, here), Math.max(from, here) + 1);
      for (const each of range) this.#choose(each, box.checked);
      this.last = box;
    } else {
      return;
    }
    this.#tell();
  }

  #choose(box, checked) {
    const row = box.closest("tr");
    if (checked && this.chosen.size < MOST) {
      this.chosen.set(box.value, { name: row.dataset.name, what: row.dataset.what, count: Number(row.dataset.count) });
    } else if (!checked) {
      this.chosen.delete(box.value);
    }
    box.checked = this.chosen.has(box.value);
    row.classList.toggle("chosen", box.checked);
  }

  #tell() {
    const count = this.chosen.size;
    if (count) this.said = "";
    const boxes = this.#boxes();
    const here = boxes.filter((box) => box.checked).length;
    for (const all of this.results.querySelectorAll("[data-pick-all]")) {
      all.checked = here > 0 && here === boxes.length;
      all.indeterminate = here > 0 && here < boxes.length;
    }
    this.bar.hidden = count === 0 && !this.said;
    for (const button of this.bar.querySelectorAll("button")) button.hidden = count === 0;
    const full = count >= MOST ? ` ${t("studies.no_more_selected", { count: MOST })}` : "";
    document.getElementById("selected").textContent = this.said || t("studies.selected", { count }) + full;
  }

  #act(act) {
    const ids = [...this.chosen.keys()];
    if (act === "none") {
      this.chosen.clear();
      this.mark();
    } else if (act === "download") {
      location.assign(`${this.bar.dataset.download}?resources=${ids.join(",")}`);
    } else if (act === "send") {
      location.assign(`${this.bar.dataset.send}?${new URLSearchParams(ids.map((id) => ["id", id]))}`);
    } else if (act === "label") {
      this.#label(ids);
    } else if (act === "delete") {
      this.#delete(ids);
    }
  }

  #named() {
    const names = [...this.chosen.values()].map(({ name, what }) => (what ? `${name}: ${what}` : name));
    return names.length > MOST_NAMED ? [...names.slice(0, MOST_NAMED - 1), "…"] : names;
  }

  async #label(ids) {
    const each = (method) => async (label) => {
      for (const id of ids) await call(method, filled(this.bar.dataset.label, { id, label }), method === "PUT" ? "" : undefined);
    };
    const acts = { [t("studies.label_remove")]: each("DELETE"), [t("studies.label_add")]: each("PUT") };
    const field = { title: t("studies.label_name"), list: "known-labels", pattern: "[A-Za-z0-9_\\-]+" };
    const done = await ask({ title: t("studies.label_question", { count: ids.length }), items: this.#named(), field, acts });
    if (done) this.changed();
  }

  async #delete(ids) {
    const instances = [...this.chosen.values()].reduce((sum, each) => sum + each.count, 0);
    const done = await ask({
      title: t("studies.delete_question", { count: ids.length }),
      paragraphs: [t("studies.delete_counts", { count: instances })],
      items: this.#named(),
      acts: { [t("common.delete")]: () => call("POST", this.bar.dataset.delete, { Resources: ids }) },
      danger: true,
    });
    if (!done) return;
    this.chosen.clear();
    this.said = t("studies.deleted", { count: ids.length });
    this.#tell();
    this.changed();
  }
}
