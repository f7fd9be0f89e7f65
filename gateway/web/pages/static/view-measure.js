// Measured lines, by frame, in millimetres where the data set says how far pixels are apart, and what that is a distance
// of (PS3.3 §10.7.1.3); and the cursor with which the keyboard measures.

import { figure, t } from "./words.js";
import { FrameStore } from "./view-frame.js";

export class Measurements {
  constructor(view) {
    this.view = view;
    this.lines = new Map();
    this.open = null;
  }

  of(place, frame) {
    const lines = this.lines.get(FrameStore.key(place)) ?? [];
    return lines.map((line) => ({ ...line, text: length(line, frame) }));
  }

  clear(place) {
    this.lines.delete(FrameStore.key(place));
    this.open = null;
  }

  begin(from) {
    this.open = { from, to: from };
    const key = FrameStore.key(this.view.place);
    this.lines.set(key, [...(this.lines.get(key) ?? []), this.open]);
    this.redraw();
  }

  extend(to) {
    if (!this.open) return;
    this.open.to = to;
    this.redraw();
  }

  end() {
    const { open, view } = this;
    if (!open) return;
    if (Math.hypot(open.to[0] - open.from[0], open.to[1] - open.from[1]) < 1) this.abandon();
    else view.part("status").textContent = length(open, view.frame);
    this.open = null;
  }

  abandon() {
    const key = FrameStore.key(this.view.place);
    this.lines.set(key, (this.lines.get(key) ?? []).filter((line) => line !== this.open));
    this.open = null;
    this.redraw();
  }

  stop() {
    this.open = null;
    this.view.stage.cursor = null;
    this.view.stage.draw();
  }

  redraw() {
    const { view } = this;
    view.stage.lines = this.of(view.place, view.frame);
    view.stage.draw();
  }

  // With the tool, arrows move a cursor (ten pixels with Shift), Enter begins and ends a line. Whether it was such a key.
  key(event) {
    const { view } = this, moves = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
    const move = moves[event.key];
    if (!view.frame || (!move && event.key !== "Enter" && event.key !== "Escape")) return false;
    const { rows, columns } = view.frame.about;
    const cursor = view.stage.cursor ?? [Math.floor(columns / 2), Math.floor(rows / 2)];
    if (move) {
      const step = event.shiftKey ? 10 : 1, inside = (value, most) => Math.min(Math.max(value, 0), most - 1);
      view.stage.cursor = [inside(cursor[0] + move[0] * step, columns), inside(cursor[1] + move[1] * step, rows)];
      view.pointer.at = null;
    } else if (event.key === "Escape") {
      if (this.open) this.abandon();
      view.stage.cursor = null;
    } else if (this.open) this.end();
    else {
      view.stage.cursor = cursor;
      this.begin(cursor.map((each) => each + 0.5));
    }
    if (view.stage.cursor) this.extend(view.stage.cursor.map((each) => each + 0.5));
    view.tellValue();
    view.stage.draw();
    return true;
  }
}

// The smallest region of an ultrasound picture that has all of some places; it has a scale of its own.
function region(places, frame) {
  const size = ({ left, top, right, bottom }) => (right - left) * (bottom - top);
  return frame.about.regions
    .filter(({ left, top, right, bottom }) => places.every(([x, y]) => x >= left && x <= right + 1 && y >= top && y <= bottom + 1))
    .sort((one, other) => size(one) - size(other))[0];
}

// How long a line is, in words.
export function length({ from, to }, frame) {
  const spacing = frame.about.spacing ?? region([from, to], frame), [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  if (!spacing) return t("view.pixels", { length: figure(Math.hypot(dx, dy)) });
  const size = figure(Math.hypot(dx * spacing.column, dy * spacing.row));
  return !spacing.kind || spacing.kind === "patient" ? t("view.millimetres", { length: size })
    : t("view.millimetres_of", { length: size, kind: t(`view.spacing.${spacing.kind}`) });
}
