// A small curve of bytes a second. Its scale grows with what it shows; silence is a flat line at the bottom.

const SAMPLES = 120;
const [WIDTH, HEIGHT, TOP] = [240, 48, 3];

export class Spark {
  constructor(svg) {
    this.area = svg.querySelector(".spark-area");
    this.line = svg.querySelector(".spark-line");
    this.clear();
  }

  clear() {
    this.values = new Array(SAMPLES).fill(0);
    this.draw();
  }

  // rates: [[bytes, instances], ...], oldest first
  add(rates) {
    this.values = [...this.values, ...rates.map(([size]) => size)].slice(-SAMPLES);
    this.draw();
  }

  draw() {
    const most = Math.max(64 * 1024, ...this.values);
    const points = this.values.map((value, i) => {
      const x = (i / (SAMPLES - 1)) * WIDTH;
      const y = HEIGHT - 1 - (value / most) * (HEIGHT - 1 - TOP);
      return `${x.toFixed(1)} ${y.toFixed(1)}`;
    });
    this.line.setAttribute("d", `M${points.join("L")}`);
    this.area.setAttribute("d", `M0 ${HEIGHT}L${points.join("L")}L${WIDTH} ${HEIGHT}Z`);
  }
}
