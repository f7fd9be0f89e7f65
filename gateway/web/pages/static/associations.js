// The list of open associations. One that has ended stays for a few seconds, greyed, so that short ones can be seen.

import { bytes, span, t } from "./words.js";

const LINGER = 6000;
const MOST = 50;

export class Associations {
  constructor(list, nobody) {
    this.list = list;
    this.nobody = nobody;
    this.rows = new Map();
  }

  show(open) {
    const now = Date.now();
    const numbers = new Set(open.map((each) => each.number));
    for (const each of open.slice(0, MOST)) {
      const row = this.rows.get(each.number) ?? this.make(each.number);
      row.gone = 0;
      row.item.className = "";
      row.set("who", each.calling || t("studies.nameless"));
      row.set("host", each.host);
      row.set("count", t("studies.received_so_far", { count: each.instances }));
      row.set("size", bytes(each.bytes));
      row.set("age", span(now / 1000 - each.since));
    }
    for (const [number, row] of this.rows) {
      if (numbers.has(number)) continue;
      row.gone ||= now;
      row.item.className = "gone";
      row.set("age", t("studies.ended"));
      if (now - row.gone > LINGER || this.rows.size > MOST) {
        row.item.remove();
        this.rows.delete(number);
      }
    }
    this.nobody.hidden = this.rows.size > 0;
  }

  make(number) {
    const item = document.createElement("li");
    const parts = {};
    for (const name of ["who", "host", "count", "size", "age"]) {
      const part = item.appendChild(document.createElement("span"));
      part.className = name;
      parts[name] = name === "who" ? part.appendChild(document.createElement("span")) : part;
    }
    const set = (name, text) => { if (parts[name].textContent !== text) parts[name].textContent = text; };
    const row = { item, set, gone: 0 };
    this.rows.set(number, row);
    this.list.prepend(item);
    return row;
  }
}
