// From stored values to greys, in the steps of `render/grey.py` (PS3.4 Annex N.2): Modality LUT, window or VOI LUT,
// Presentation LUT, inversion. Values of up to 16 bits go through one table.

const clamp = (value, low, high) => (value < low ? low : value > high ? high : value);

// A function from stored values to the units of the data set.
export function rescaled(frame) {
  const { table, slope, intercept } = frame.about;
  if (!table) return (value) => value * slope + intercept;
  const entries = frame.part(table.part, Uint16Array);
  return (value) => entries[clamp(Math.round(value) - table.first, 0, entries.length - 1)];
}

// The least value that can be stored, in the units of the data set.
function least(frame) {
  const { bits, signed } = frame.about;
  return rescaled(frame)(signed ? -(2 ** (bits - 1)) : 0);
}

// A function from values to 0 (black) to 1 (white). voi: {center, width, function}, or {part, first, bits} of a table.
function normalised(frame, voi) {
  if (voi.part) {
    const entries = frame.part(voi.part, Uint16Array), most = 2 ** voi.bits - 1;
    const first = voi.first > 0x7fff && least(frame) < 0 ? voi.first - 0x10000 : voi.first;
    return (value) => entries[clamp(Math.round(value) - first, 0, entries.length - 1)] / most;
  }
  if (voi.function === "SIGMOID") {
    return (value) => 1 / (1 + Math.exp(clamp((-4 * (value - voi.center)) / voi.width, -700, 700)));
  }
  const exact = voi.function === "LINEAR_EXACT";
  const center = exact ? voi.center : voi.center - 0.5, width = exact ? voi.width : voi.width - 1;
  if (width <= 0) return (value) => (value > center ? 1 : 0);
  return (value) => clamp((value - center) / width + 0.5, 0, 1);
}

function grey(frame, voi, invert) {
  const { presentation, inverse } = frame.about;
  const units = rescaled(frame), shown = normalised(frame, voi);
  const entries = presentation && frame.part(presentation.part, Uint16Array);
  const most = presentation && 2 ** presentation.bits - 1;
  return (value) => {
    let display = shown(units(value));
    if (entries) display = entries[Math.round(display * (entries.length - 1))] / most;
    if (inverse !== invert) display = 1 - display;
    return Math.round(clamp(display, 0, 1) * 255) || 0;
  };
}

const opaque = (level) => (0xff000000 | (level << 16) | (level << 8) | level) >>> 0;

// Put the colours of a frame, which is no JPEG, into `pixels`.
export function paint(frame, invert, pixels) {
  const { colours } = frame, turn = invert ? 0x00ffffff : 0;
  for (let i = 0, at = 0; i < pixels.length; i += 1, at += 3) {
    pixels[i] = (0xff000000 | ((colours[at + 2] << 16) | (colours[at + 1] << 8) | colours[at]) ^ turn) >>> 0;
  }
}

// Put the greys of a frame into `pixels`, one number of 32 bits each.
export function shade(frame, voi, invert, pixels) {
  const { samples } = frame, level = grey(frame, voi, invert);
  const size = samples.BYTES_PER_ELEMENT;
  if (size > 2) {
    for (let i = 0; i < samples.length; i += 1) pixels[i] = opaque(level(samples[i]));
    return;
  }
  const count = 1 << (8 * size), signed = samples instanceof Int8Array || samples instanceof Int16Array;
  const table = new Uint32Array(count);
  const [from, to] = bounds(frame, signed, count);
  for (let value = from; value <= to; value += 1) table[value & (count - 1)] = opaque(level(value));
  for (let i = 0; i < samples.length; i += 1) pixels[i] = table[samples[i] & (count - 1)];
}

// The values that can be stored: a table of 12 bits is a sixteenth of one of 16.
function bounds(frame, signed, count) {
  const values = Math.min(2 ** frame.about.bits, count);
  return signed ? [-values / 2, values / 2 - 1] : [0, values - 1];
}

// The window from the least to the greatest value of a frame.
export function whole(frame) {
  const [low, high] = frame.range().map(rescaled(frame)).sort((a, b) => a - b);
  return { center: (low + high) / 2, width: Math.max(high - low, 1e-9), function: "LINEAR_EXACT" };
}
