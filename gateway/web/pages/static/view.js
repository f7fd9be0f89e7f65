// The view of frames on the pages of series and instances: window, zoom, scroll, cine, measure, by pointer and keyboard.
// `templates/view.html` has its parts; pixels come from `pages/instance_pictures.py`. Nothing of an object is put in as markup.

import { FrameStore } from "./view-frame.js";
import { listen } from "./view-keys.js";
import { Pointer } from "./view-pointer.js";
import { Measurements } from "./view-measure.js";
import { presets } from "./view-presets.js";
import { rescaled, whole } from "./view-shade.js";
import { Stage } from "./view-stage.js";
import { figure, t } from "./words.js";

const AHEAD = 8;
const BEHIND = 2;
const SETTLED_MS = 250;

export class View {
  // about: {corners, pixels, slices: [{id, frames, number}], start: {instance, frame, window}}
  constructor(root, about) {
    this.root = root;
    this.store = new FrameStore(about.pixels);
    this.instance = about.instance;
    this.places = about.slices.flatMap(({ id, frames, number }) =>
      Array.from({ length: frames }, (_, frame) => ({ id, frame, frames, number })));
    this.stage = new Stage(root.querySelector("canvas"));
    this.stage.overlays = true;
    this.measurements = new Measurements(this);
    const { instance, frame, window } = about.start;
    this.window = window && { center: window[0], width: window[1], function: "LINEAR" };
    this.preset = null;
    this.invert = false;
    this.playing = 0;
    this.changed = () => {};
    this.failed = () => {};
    this.at = Math.max(0, this.places.findIndex((each) => each.id === instance && each.frame === frame));
    this.fillCorners(about.corners);
    this.bindTools();
    this.pointer = new Pointer(this);
    listen(this);
    root.hidden = false;
    new ResizeObserver(() => this.stage.resize()).observe(this.stage.canvas);
    this.go(this.at);
  }

  part(name) { return this.root.querySelector(`[data-part="${name}"]`); }

  get place() { return this.places[this.at]; }

  get frame() { return this.stage.frame; }

  // --- frames -----------------------------------------------------------------------------------------------------

  step(by) { return this.go(Math.min(Math.max(this.at + by, 0), this.places.length - 1)); }

  async go(at) {
    const direction = at < this.at ? -1 : 1;
    this.at = at;
    this.part("slider").value = at;
    this.tellPlace();
    const place = this.place, known = this.store.peek(place);
    if (!known) this.root.dataset.state = "loading";
    try {
      const frame = await this.store.get(place);
      if (place !== this.place) return;
      this.root.dataset.state = "shown";
      this.display(frame);
      this.changed(place);
      this.ahead(direction);
    } catch (error) {
      if (place !== this.place) return;
      this.stage.clear();
      this.root.dataset.state = "failed";
      this.failed(error);
      this.part("message").textContent = error.status === 415 ? t("view.no_picture") : t("view.not_loaded");
    }
  }

  ahead(direction) {
    const wanted = [];
    for (let by = 1; by <= AHEAD; by += 1) wanted.push(this.at + by * direction);
    for (let by = 1; by <= BEHIND; by += 1) wanted.push(this.at - by * direction);
    this.store.prefetch(wanted.map((at) => this.places[at]).filter(Boolean), this.frame.bytes);
  }

  display(frame) {
    const isOther = frame !== this.frame;
    this.stage.lines = this.measurements.of(this.place, frame);
    this.stage.show(frame, this.shown(frame), this.invert);
    if (isOther) this.fillPresets(frame);
    this.root.dataset.kind = frame.samples ? "grey" : "colour";
    this.part("overlay").hidden = !frame.has("overlay");
    this.tellWindow();
    this.tellValue();
  }

  redraw() { if (this.frame) this.display(this.frame); }

  // The window of a frame: as chosen, or the frame's own.
  shown(frame) {
    if (!frame.samples) return null;
    if (this.window) return this.window;
    const chosen = this.preset && presets(frame).find(({ key }) => key === this.preset);
    return chosen?.voi ?? frame.about.voi;
  }

  // --- window -----------------------------------------------------------------------------------------------------

  // Change centre and width by parts of the range; the first change of a table begins with the whole range.
  changeWindow(dx, dy) {
    if (!this.frame?.samples) return;
    const voi = this.shown(this.frame), from = voi.part ? whole(this.frame) : voi;
    const least = from.function === "LINEAR" || !from.function ? 1 : 1e-9;
    this.window = {
      center: from.center + dy * Math.max(from.width, 1e-6),
      width: Math.max(from.width * Math.exp(dx), least),
      function: from.function,
    };
    this.preset = null;
    this.part("preset").value = "";
    this.redraw();
    this.changed(this.place);
  }

  choosePreset(key) {
    this.preset = key || null;
    this.window = null;
    this.redraw();
    this.changed(this.place);
  }

  fillPresets(frame) {
    const select = this.part("preset"), found = frame.samples ? presets(frame) : [];
    select.hidden = !found.length;
    const options = found.map(({ key, label }) => new Option(label, key));
    select.replaceChildren(new Option(t("view.own_window"), ""), ...options);
    select.value = this.preset ?? "";
    if (select.selectedIndex < 0) select.value = "";
  }

  reset() {
    this.window = null;
    this.preset = null;
    this.invert = false;
    this.part("preset").value = "";
    this.press("invert", false);
    this.stage.fit();
    this.redraw();
    this.changed(this.place);
  }

  // --- tools ------------------------------------------------------------------------------------------------------

  bindTools() {
    const slider = this.part("slider");
    slider.max = this.places.length - 1;
    slider.addEventListener("input", () => this.go(Number(slider.value)));
    for (const each of this.root.querySelectorAll("[data-many]")) each.hidden = this.places.length < 2;
    this.part("preset").addEventListener("change", (event) => this.choosePreset(event.target.value));
    this.root.addEventListener("click", (event) => {
      const button = event.target.closest("[data-do], [data-tool]");
      if (button?.dataset.do) this.act(button.dataset.do);
      if (button?.dataset.tool) this.choose(button.dataset.tool);
    });
    this.choose("window");
    this.press("overlay", true);
  }

  act(what) {
    const acts = {
      fit: () => this.stage.fit(),
      actual: () => this.stage.actual(),
      invert: () => { this.invert = !this.invert; this.press("invert", this.invert); this.redraw(); },
      overlay: () => {
        this.stage.overlays = !this.stage.overlays;
        this.press("overlay", this.stage.overlays);
        this.redraw();
      },
      texts: () => {
        const isOff = this.root.dataset.texts === "off";
        this.root.dataset.texts = isOff ? "on" : "off";
        this.press("texts", isOff);
      },
      erase: () => { this.measurements.clear(this.place); this.redraw(); },
      previous: () => this.step(-1),
      next: () => this.step(1),
      play: () => this.play(!this.playing),
      reset: () => this.reset(),
      help: () => { const help = this.part("help"); help.open ? help.close() : help.showModal(); },
      full: () => (document.fullscreenElement ? document.exitFullscreen() : this.root.requestFullscreen?.()),
    };
    acts[what]?.();
  }

  choose(tool) {
    this.tool = tool;
    for (const each of this.root.querySelectorAll("[data-tool]")) {
      each.setAttribute("aria-pressed", String(each.dataset.tool === tool));
    }
    this.stage.canvas.dataset.mode = tool;
    if (tool !== "measure") this.measurements.stop();
  }

  press(name, is) { this.root.querySelector(`[data-do="${name}"]`).setAttribute("aria-pressed", String(is)); }

  // --- cine -------------------------------------------------------------------------------------------------------

  play(is) {
    clearTimeout(this.playing);
    this.playing = 0;
    const button = this.root.querySelector('[data-do="play"]');
    button.setAttribute("aria-pressed", String(is));
    if (is) this.tick(performance.now());
  }

  // The next frame, when its time has come and it is there: a slow network makes a slow cine, not a jumping one.
  tick(due) {
    const rate = Number(this.part("rate").value), own = this.frame?.about.milliseconds ?? 100;
    const wait = rate ? 1000 / rate : own;
    const [from, to] = this.loop();
    this.playing = setTimeout(async () => {
      await this.go(this.at >= to ? from : this.at + 1);
      if (this.playing) this.tick(Math.max(due + wait, performance.now() - wait));
    }, Math.max(0, due + wait - performance.now()));
  }

  // The first and last place of a cine: the frames of the instance, if it has several, else everything.
  loop() {
    const { id, frame, frames } = this.place;
    return frames > 1 && id ? [this.at - frame, this.at - frame + frames - 1] : [0, this.places.length - 1];
  }

  // --- words in the corners -----------------------------------------------------------------------------------------

  fillCorners(corners) {
    for (const [name, levels] of [["left", ["patient"]], ["right", ["study", "series"]]]) {
      const lines = levels.flatMap((level) => corners[level] ?? []).filter(Boolean);
      this.part(`corner-${name}`).replaceChildren(...lines.map(paragraph));
    }
  }

  tellPlace() {
    const { number, frame, frames } = this.place, lines = [];
    lines.push(t("view.place", { at: this.at + 1, total: this.places.length }));
    if (number !== null) lines.push(t("view.instance", { number: String(number) }));
    if (frames > 1) lines.push(t("view.frame", { at: frame + 1, total: frames }));
    this.part("corner-place").replaceChildren(...lines.map(paragraph));
    if (this.instance) this.part("open").href = this.instance.replace("{id}", this.place.id);
    clearTimeout(this.telling);
    this.telling = setTimeout(() => { if (!this.playing) this.part("status").textContent = lines.join(", "); }, SETTLED_MS);
  }

  tellWindow() {
    const voi = this.frame && this.shown(this.frame);
    this.part("window").textContent = !voi ? this.frame?.about.photometric ?? ""
      : voi.part ? t("view.table")
        : t("view.window_of", { center: figure(voi.center), width: figure(voi.width) });
    const { thickness } = this.frame.about;
    this.part("thickness").textContent = thickness ? t("view.thickness", { size: figure(thickness) }) : "";
  }

  // The value of the pixel that the pointer, or the cursor of the keyboard, is at.
  tellValue() {
    const at = this.pointer?.at ?? this.stage.cursor, frame = this.frame;
    const [x, y] = (at ?? [-1, -1]).map(Math.floor);
    let text = "";
    if (at && frame && x >= 0 && y >= 0 && x < frame.about.columns && y < frame.about.rows) {
      const stored = frame.stored(x, y);
      text = `${x}, ${y}: ${stored === null ? frame.colour(x, y).join(" ") : `${figure(rescaled(frame)(stored))} ${frame.about.units}`}`;
    }
    this.part("value").textContent = text.trim();
  }
}

function paragraph(text) {
  const made = document.createElement("p");
  made.textContent = text;
  return made;
}

// Keep the address that of what is shown.
export function remember(view, withInstance) {
  let waiting = 0, first = true;
  view.changed = (place) => {
    view.onPlace?.(place);
    if (first) { first = false; return; }
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      const fields = new URLSearchParams(location.search), set = (name, value) => (value ? fields.set(name, value) : fields.delete(name));
      if (withInstance) set("instance", place.id);
      set("frame", place.frame ? String(place.frame + 1) : "");
      set("window", view.window ? `${round(view.window.center)},${round(view.window.width)}` : "");
      const text = fields.toString();
      history.replaceState(history.state, "", `${location.pathname}${text ? `?${text}` : ""}`);
    }, SETTLED_MS);
  };
}

const round = (number) => String(Number(number.toPrecision(6)));
