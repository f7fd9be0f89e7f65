// The keys of the view. `templates/view.html` lists them for its reader.

export function listen(view) {
  const keys = {
    ArrowUp: () => view.step(-1), ArrowLeft: () => view.step(-1),
    ArrowDown: () => view.step(1), ArrowRight: () => view.step(1),
    PageUp: () => view.step(-10), PageDown: () => view.step(10),
    Home: () => view.go(0), End: () => view.go(view.places.length - 1),
    "+": () => view.stage.zoom(1.25), "=": () => view.stage.zoom(1.25), "-": () => view.stage.zoom(0.8),
    0: () => view.act("fit"), 1: () => view.act("actual"),
    "[": () => view.changeWindow(-0.1, 0), "]": () => view.changeWindow(0.1, 0),
    ",": () => view.changeWindow(0, -0.05), ".": () => view.changeWindow(0, 0.05),
    " ": () => view.places.length > 1 && view.act("play"),
    w: () => view.choose("window"), p: () => view.choose("pan"), z: () => view.choose("zoom"),
    m: () => view.choose("measure"), i: () => view.act("invert"), o: () => view.act("overlay"),
    t: () => view.act("texts"), e: () => view.act("erase"), r: () => view.act("reset"), f: () => view.act("full"), "?": () => view.act("help"),
  };
  const pans = { ArrowUp: [0, 30], ArrowDown: [0, -30], ArrowLeft: [30, 0], ArrowRight: [-30, 0] };
  view.part("stage").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (view.tool === "measure" && view.measurements.key(event)) { event.preventDefault(); return; }
    const pan = event.shiftKey && pans[event.key], act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!pan && !act) return;
    event.preventDefault();
    if (pan) view.stage.pan(...pan); else act();
  });
}
