// One frame in the format of `render/frame_view.py`, and a bounded store of them.

const TYPES = {
  u1: Uint8Array, i1: Int8Array, u2: Uint16Array, i2: Int16Array,
  u4: Uint32Array, i4: Int32Array, f4: Float32Array, f8: Float64Array,
};
const MOST_BYTES = 256 << 20;
const AT_ONCE = 4;

export class Frame {
  static async of(buffer) {
    const length = new DataView(buffer).getUint32(0, true);
    const about = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    const frame = new Frame(buffer, about, 4 + length);
    if (frame.has("jpeg")) frame.bitmap = await createImageBitmap(new Blob([frame.part("jpeg")], { type: "image/jpeg" }));
    return frame;
  }

  constructor(buffer, about, start) {
    this.buffer = buffer;
    this.about = about;
    this.start = start;
    this.bitmap = null;
    this.samples = this.has("samples") ? this.part("samples", TYPES[about.type]) : null;
    this.colours = this.has("colours") ? this.part("colours") : null;
  }

  get bytes() { return this.bitmap ? 4 * this.about.rows * this.about.columns : this.buffer.byteLength; }

  has(name) { return name in this.about.parts; }

  part(name, Type = Uint8Array) {
    const [at, length] = this.about.parts[name];
    return new Type(this.buffer, this.start + at, Math.floor(length / Type.BYTES_PER_ELEMENT));
  }

  // The stored value at a pixel; null outside, and of colours.
  stored(x, y) {
    const { rows, columns } = this.about;
    if (!this.samples || x < 0 || y < 0 || x >= columns || y >= rows) return null;
    return this.samples[y * columns + x];
  }

  // Red, green and blue of a pixel; null of greys.
  colour(x, y) {
    const at = 3 * (y * this.about.columns + x);
    if (this.colours) return [...this.colours.subarray(at, at + 3)];
    if (!this.bitmap) return null;
    const context = new OffscreenCanvas(1, 1).getContext("2d");
    context.drawImage(this.bitmap, -x, -y);
    return [...context.getImageData(0, 0, 1, 1).data.subarray(0, 3)];
  }

  // The least and greatest stored values, without padding.
  range() {
    if (this.extent) return this.extent;
    const [from, to] = this.about.padding ?? [NaN, NaN];
    let least = Infinity, greatest = -Infinity;
    for (const value of this.samples) {
      if (value >= from && value <= to) continue;
      if (value < least) least = value;
      if (value > greatest) greatest = value;
    }
    this.extent = least <= greatest ? [least, greatest] : [0, 1];
    return this.extent;
  }
}

export class FrameStore {
  // template: the path of a frame's pixels, with {id} and {frame}
  constructor(template) {
    this.template = template;
    this.frames = new Map();
    this.loading = new Map();
    this.ahead = [];
    this.size = 0;
  }

  static key({ id, frame }) { return `${id}/${frame}`; }

  peek(place) { return this.frames.get(FrameStore.key(place)) ?? null; }

  // The frame of a place {id, frame}. What is asked for goes before what is fetched ahead.
  get(place) {
    const key = FrameStore.key(place), found = this.frames.get(key);
    if (found) {
      this.frames.delete(key);
      this.frames.set(key, found);
      return Promise.resolve(found);
    }
    return this.loading.get(key) ?? this.load(key, place);
  }

  // Fetch these ahead, in place of those that were to be; of frames of so many bytes as many as leave room for others.
  prefetch(places, bytes) {
    const most = Math.max(1, Math.floor(MOST_BYTES / 2 / bytes));
    this.ahead = places.slice(0, most).filter((place) => !this.frames.has(FrameStore.key(place)));
    this.next();
  }

  next() {
    while (this.loading.size < AT_ONCE && this.ahead.length) {
      const place = this.ahead.shift(), key = FrameStore.key(place);
      if (!this.frames.has(key) && !this.loading.has(key)) this.load(key, place).catch(() => {});
    }
  }

  load(key, { id, frame }) {
    const url = this.template.replace("{id}", encodeURIComponent(id)).replace("{frame}", frame);
    const loading = this.fetch(url).then((found) => { this.keep(key, found); return found; }).finally(() => {
      this.loading.delete(key);
      this.next();
    });
    this.loading.set(key, loading);
    return loading;
  }

  async fetch(url) {
    const answer = await fetch(url);
    if (!answer.ok) throw new Refused(answer.status);
    return Frame.of(await answer.arrayBuffer());
  }

  keep(key, frame) {
    this.frames.set(key, frame);
    this.size += frame.bytes;
    for (const [old, other] of this.frames) {
      if (this.size <= MOST_BYTES || this.frames.size < 3) break;
      this.frames.delete(old);
      this.size -= other.bytes;
    }
  }
}

export class Refused extends Error {
  constructor(status) {
    super(`status ${status}`);
    this.status = status;
  }
}
