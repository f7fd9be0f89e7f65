// The view by mouse, pen and finger: the chosen tool with the first button, pan with the middle, zoom with the right one,
// frames with the wheel (zoom with Ctrl), two fingers for zoom and pan.

const WHEEL = 40;

export class Pointer {
  constructor(view) {
    this.view = view;
    this.at = null;
    this.pointers = new Map();
    this.wheel = 0;
    const { canvas } = view.stage;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.up(event));
    canvas.addEventListener("pointerleave", () => { this.at = null; view.tellValue(); });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", () => view.act("fit"));
    canvas.addEventListener("wheel", (event) => this.scroll(event), { passive: false });
  }

  down(event) {
    const { view } = this;
    if (!view.frame) return;
    view.part("stage").focus({ preventScroll: true });
    event.preventDefault();
    view.stage.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    this.drag = event.button === 1 ? "pan" : event.button === 2 ? "zoom" : view.tool;
    if (this.drag === "measure" && this.pointers.size === 1) view.measurements.begin(view.stage.pixel(event.offsetX, event.offsetY));
    if (this.pointers.size === 2) view.measurements.abandon();
  }

  move(event) {
    const { view } = this, { stage } = view;
    if (!view.frame) return;
    const here = [event.offsetX, event.offsetY], before = this.pointers.get(event.pointerId);
    this.at = stage.pixel(...here);
    view.tellValue();
    if (!before) return;
    if (this.pointers.size === 2) { this.pinch(event.pointerId, here); return; }
    this.pointers.set(event.pointerId, here);
    const [dx, dy] = [here[0] - before[0], here[1] - before[1]];
    if (this.drag === "window" && view.frame.samples) view.changeWindow(dx / 250, dy / 400);
    else if (this.drag === "pan" || this.drag === "window") stage.pan(dx, dy);
    else if (this.drag === "zoom") stage.zoom(Math.exp(-dy / 150));
    else view.measurements.extend(this.at);
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    if (this.drag === "measure") this.view.measurements.end();
  }

  pinch(id, here) {
    const [other] = [...this.pointers].filter(([each]) => each !== id).map(([, place]) => place);
    const before = this.pointers.get(id);
    const distance = (place) => Math.max(Math.hypot(place[0] - other[0], place[1] - other[1]), 1);
    const middle = [(here[0] + other[0]) / 2, (here[1] + other[1]) / 2];
    this.view.stage.zoom(distance(here) / distance(before), ...middle);
    this.view.stage.pan((here[0] - before[0]) / 2, (here[1] - before[1]) / 2);
    this.pointers.set(id, here);
  }

  scroll(event) {
    const { view } = this;
    const isZoom = event.ctrlKey || view.places.length < 2;
    if (!view.frame || (!event.ctrlKey && document.activeElement !== view.part("stage") && view.places.length < 2)) return;
    event.preventDefault();
    const size = event.deltaMode === 1 ? 20 : event.deltaMode === 2 ? 400 : 1;
    if (isZoom) { view.stage.zoom(Math.exp((-event.deltaY * size) / 400), event.offsetX, event.offsetY); return; }
    this.wheel += event.deltaY * size;
    const steps = Math.trunc(this.wheel / WHEEL);
    if (steps) { this.wheel -= steps * WHEEL; view.step(steps); }
  }
}
