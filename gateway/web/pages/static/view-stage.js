// The canvas of the view: a frame in its place and size, overlays, measured lines, and letters for directions.

import { paint, shade } from "./view-shade.js";

const LINE = "#ffd24a";
const CURSOR = "#63d3ff";
const OVERLAY = 0xff4fd2ff;
const MOST_SCALE = 40;

export class Stage {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.picture = document.createElement("canvas");
    this.overlay = null;
    this.frame = null;
    this.lines = [];
    this.cursor = null;
    this.scale = 0;
    this.center = [0.5, 0.5];
    this.fitted = true;
    this.smooth = true;
  }

  get ratio() { return window.devicePixelRatio || 1; }

  resize() {
    const box = this.canvas.getBoundingClientRect();
    this.canvas.width = Math.max(1, Math.round(box.width * this.ratio));
    this.canvas.height = Math.max(1, Math.round(box.height * this.ratio));
    if (this.fitted) this.fit(); else this.draw();
  }

  // Show a frame. `voi` is a window or table of `view-shade.js`; of pictures it says nothing.
  show(frame, voi, invert) {
    const { rows, columns } = frame.about, other = this.frame;
    const same = other && other.about.rows === rows && other.about.columns === columns;
    this.frame = frame;
    if (!same) {
      this.picture.width = columns;
      this.picture.height = rows;
    }
    const context = this.picture.getContext("2d");
    if (frame.bitmap) {
      context.filter = invert ? "invert(1)" : "none";
      context.drawImage(frame.bitmap, 0, 0);
    } else {
      this.image = same && this.image?.width === columns && this.image.height === rows ? this.image : context.createImageData(columns, rows);
      const pixels = new Uint32Array(this.image.data.buffer);
      if (frame.colours) paint(frame, invert, pixels); else shade(frame, voi, invert, pixels);
      context.putImageData(this.image, 0, 0);
    }
    if (frame !== other) this.overlay = frame.has("overlay") ? plane(frame) : null;
    if (!same || !this.scale) this.fit(); else this.draw();
  }

  clear() {
    this.frame = null;
    this.overlay = null;
    this.draw();
  }

  // --- place and size. `scale` is screen pixels for a column; a row has `aspect` times as many. -------------------

  get aspect() { return this.frame?.about.aspect ?? 1; }

  fit() {
    this.fitted = true;
    this.center = [0.5, 0.5];
    if (this.frame) {
      const { rows, columns } = this.frame.about;
      this.scale = Math.min(this.canvas.width / columns, this.canvas.height / (rows * this.aspect));
    }
    this.draw();
  }

  actual() {
    this.fitted = false;
    this.scale = this.ratio;
    this.draw();
  }

  // Change the scale; the pixel at a place on the canvas (CSS pixels) stays there.
  zoom(factor, x = this.canvas.width / this.ratio / 2, y = this.canvas.height / this.ratio / 2) {
    if (!this.frame) return;
    const before = this.pixel(x, y);
    this.fitted = false;
    this.scale = Math.min(Math.max(this.scale * factor, 0.02), MOST_SCALE * this.ratio);
    const after = this.pixel(x, y), { rows, columns } = this.frame.about;
    this.center[0] += (before[0] - after[0]) / columns;
    this.center[1] += (before[1] - after[1]) / rows;
    this.draw();
  }

  pan(dx, dy) {
    if (!this.frame) return;
    const { rows, columns } = this.frame.about;
    this.fitted = false;
    this.center[0] -= (dx * this.ratio) / this.scale / columns;
    this.center[1] -= (dy * this.ratio) / (this.scale * this.aspect) / rows;
    this.center = this.center.map((each) => Math.min(Math.max(each, 0), 1));
    this.draw();
  }

  // The place in the frame (columns, rows; not whole) of one on the canvas in CSS pixels.
  pixel(x, y) {
    const { rows, columns } = this.frame.about;
    return [
      this.center[0] * columns + (x * this.ratio - this.canvas.width / 2) / this.scale,
      this.center[1] * rows + (y * this.ratio - this.canvas.height / 2) / (this.scale * this.aspect),
    ];
  }

  // --- drawing ----------------------------------------------------------------------------------------------------

  draw() {
    if (this.pending) return;
    this.pending = requestAnimationFrame(() => { this.pending = 0; this.paint(); });
  }

  paint() {
    const { context, canvas } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (!this.frame) return;
    const { rows, columns } = this.frame.about;
    context.setTransform(
      this.scale, 0, 0, this.scale * this.aspect,
      canvas.width / 2 - this.center[0] * columns * this.scale,
      canvas.height / 2 - this.center[1] * rows * this.scale * this.aspect,
    );
    context.imageSmoothingEnabled = this.scale < 3 * this.ratio;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.picture, 0, 0);
    if (this.overlay && this.overlays) context.drawImage(this.overlay, 0, 0);
    const place = context.getTransform();
    context.setTransform(1, 0, 0, 1, 0, 0);
    for (const line of this.lines) this.paintLine(line, place);
    if (this.cursor) this.paintCursor(place);
    this.paintDirections();
  }

  paintLine({ from, to, text }, place) {
    const { context, ratio } = this;
    const [a, b] = [from, to].map(([x, y]) => place.transformPoint(new DOMPoint(x, y)));
    context.strokeStyle = context.fillStyle = LINE;
    context.lineWidth = 1.5 * ratio;
    context.beginPath();
    context.moveTo(a.x, a.y);
    context.lineTo(b.x, b.y);
    context.stroke();
    for (const end of [a, b]) context.fillRect(end.x - 2.5 * ratio, end.y - 2.5 * ratio, 5 * ratio, 5 * ratio);
    this.text(text, b.x + 8 * ratio, b.y + 16 * ratio, LINE);
  }

  paintCursor(place) {
    const { context, ratio } = this;
    const { x, y } = place.transformPoint(new DOMPoint(this.cursor[0] + 0.5, this.cursor[1] + 0.5));
    context.strokeStyle = CURSOR;
    context.lineWidth = 1.5 * ratio;
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + 4 * dx * ratio, y + 4 * dy * ratio);
      context.lineTo(x + 14 * dx * ratio, y + 14 * dy * ratio);
    }
    context.stroke();
  }

  paintDirections() {
    const { orientation } = this.frame.about, { width, height } = this.canvas, inset = 12 * this.ratio;
    if (orientation?.length !== 6) return;
    const [right, down] = [orientation.slice(0, 3), orientation.slice(3)];
    const back = (vector) => vector.map((each) => -each);
    for (const [vector, x, y] of [
      [right, width - inset, height / 2], [back(right), inset, height / 2],
      [down, width / 2, height - inset], [back(down), width / 2, inset],
    ]) this.text(letters(vector), x, y, "#fff", "center");
  }

  text(text, x, y, colour, align = "left") {
    const { context, ratio } = this;
    context.font = `600 ${13 * ratio}px system-ui, sans-serif`;
    context.textAlign = align;
    context.textBaseline = "middle";
    context.lineWidth = 3 * ratio;
    context.strokeStyle = "rgb(0 0 0 / 75%)";
    context.strokeText(text, x, y);
    context.fillStyle = colour;
    context.fillText(text, x, y);
  }
}

// The direction of a vector of the patient's coordinates (PS3.3 C.7.6.1.1.1), its greatest part first.
export function letters(vector) {
  return [["L", "R"], ["P", "A"], ["H", "F"]]
    .map(([plus, minus], axis) => [vector[axis] >= 0 ? plus : minus, Math.abs(vector[axis])])
    .filter(([, size]) => size > 0.25)
    .sort(([, one], [, other]) => other - one)
    .map(([letter]) => letter)
    .join("");
}

function plane(frame) {
  const { rows, columns } = frame.about, bits = frame.part("overlay");
  const canvas = document.createElement("canvas");
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d"), image = context.createImageData(columns, rows);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i += 1) if ((bits[i >> 3] >> (i & 7)) & 1) pixels[i] = OVERLAY;
  context.putImageData(image, 0, 0);
  return canvas;
}
