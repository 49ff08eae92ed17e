// ---- Charts ---------------------------------------------------------------------------------

const FONT = getComputedStyle(document.body).fontFamily;
const paint = {};  // the page's colours

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["card", "text", "soft", "line", "grid", "accent", "wash", "truth", "prediction",
    "faint", "plot", "ground", "ring"];
  for (const name of names) paint[name] = style.getPropertyValue(`--${name}`).trim();
}

/** Round values between low and high, about `count` of them, as [value, text]. */
function niceTicks(low, high, count) {
  const raw = (high - low) / Math.max(count, 1), power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((m) => m * power >= raw * 0.75) * power;
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9)), ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) {
    const big = Math.abs(k * step) >= 1000;
    ticks.push([k * step, big ? minus(counted(k * step)) : fixed(k * step + 0, digits)]);
  }
  return ticks;
}

/** Ticks of an axis of -log10(1 - O), labelled as overlaps. */
function overlapTicks(low, high) {
  const whole = ([v]) => Math.abs(v - Math.round(v)) < 1e-6;  // 0.9, 0.99, ... are labelled first
  return about.levels.map((o) => [-Math.log10(1 - o), String(o)])
    .filter(([v]) => v >= low - 1e-9 && v <= high + 1e-9)
    .sort((a, b) => whole(b) - whole(a) || a[0] - b[0]);
}

/** A test whether a label of half width `half` at `at` stays clear of those before it. */
function labelRoom(gap) {
  const taken = [];
  return (at, half) => {
    if (taken.some(([place, size]) => Math.abs(at - place) < half + size + gap)) return false;
    taken.push([at, half]);
    return true;
  };
}

/** Text with subscripts, at the middle of its line. */
function drawText(context, text, x, y, { size = 12, align = "left", colour = paint.soft } = {}) {
  const parts = scripts(text).map((part, k) => (
    k % 2 ? { part, size: 0.78 * size, drop: 0.24 * size } : { part, size, drop: 0 }));
  const font = (part) => { context.font = `${part.size}px ${FONT}`; };
  for (const part of parts) { font(part); part.width = context.measureText(part.part).width; }
  const width = parts.reduce((sum, part) => sum + part.width, 0);
  let at = x - width * { left: 0, center: 0.5, right: 1 }[align];
  Object.assign(context, { fillStyle: colour, textBaseline: "middle", textAlign: "left" });
  for (const part of parts) {
    font(part);
    context.fillText(part.part, at, y + part.drop);
    at += part.width;
  }
}

/** Two canvases: a picture that is kept, and marks over it that change with the pointer. */
class Chart {
  constructor(id, options) {
    this.host = element(id);
    Object.assign(this, { margin: [10, 14, 44, 60], width: 0 }, options);
    [this.base, this.over] = [0, 1].map(() => {
      const canvas = document.createElement("canvas");
      canvas.setAttribute("aria-hidden", "true");
      return this.host.appendChild(canvas);
    });
    new ResizeObserver(() => this.resize()).observe(this.host);
    this.listen();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.host;
    if (!width || !height) return;
    this.ratio = window.devicePixelRatio || 1;
    Object.assign(this, { width, height });
    for (const canvas of [this.base, this.over]) {
      canvas.width = Math.round(width * this.ratio);
      canvas.height = Math.round(height * this.ratio);
    }
    this.draw();
  }

  /** The plotting area in CSS pixels: left, top, right, bottom. */
  get area() {
    const [top, right, bottom, left] = this.margin;
    return [left, top, this.width - right, this.height - bottom];
  }

  /** Fit the scales to the area and the axes' ends. */
  fit() {
    const [left, top, right, bottom] = this.area, { x, y } = this;
    const kx = (right - left) / (x.high - x.low), ky = (bottom - top) / (y.high - y.low);
    Object.assign(this, { kx, ky, cx: left - kx * x.low, cy: bottom + ky * y.low });
  }

  toX(v) { return this.cx + this.kx * v; }
  toY(v) { return this.cy - this.ky * v; }
  fromX(p) { return (p - this.cx) / this.kx; }
  fromY(p) { return (this.cy - p) / this.ky; }

  pen(canvas) {
    const context = canvas.getContext("2d");
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    return context;
  }

  draw() {
    if (!this.width) return;
    this.before?.(this);
    this.fit();
    const context = this.pen(this.base), [left, top, right, bottom] = this.area;
    context.fillStyle = paint[this.ground ?? "plot"];
    context.fillRect(left, top, right - left, bottom - top);
    this.axes(context);
    context.save();
    context.beginPath();
    context.rect(left, top, right - left, bottom - top);
    context.clip();
    this.content(this, context);
    context.restore();
    context.strokeStyle = paint.line;
    context.lineWidth = 1;
    context.strokeRect(left + 0.5, top + 0.5, right - left - 1, bottom - top - 1);
    this.after?.(this, context);
    this.mark();
  }

  axes(context) {
    const [left, top, right, bottom] = this.area;
    const ticks = (axis, count) => (axis.ticks ?? niceTicks)(axis.low, axis.high, count);
    context.lineWidth = 1;
    const roomX = labelRoom(10), roomY = labelRoom(3);
    for (const [value, text] of ticks(this.x, (right - left) / 58)) {
      const at = this.toX(value);
      this.line(context, at, top, at, bottom, paint.grid);
      context.font = `12px ${FONT}`;
      if (!roomX(at, context.measureText(text).width / 2)) continue;
      drawText(context, text, at, bottom + 13, { align: "center" });
    }
    for (const [value, text] of ticks(this.y, (bottom - top) / 36)) {
      const at = this.toY(value);
      this.line(context, left, at, right, at, paint.grid);
      if (roomY(at, 6)) drawText(context, text, left - 7, at, { align: "right" });
    }
    const text = { size: 12.5, align: "center", colour: paint.text };
    drawText(context, this.x.label, (left + right) / 2, bottom + 33, text);
    context.save();
    context.translate(11, (top + bottom) / 2);
    context.rotate(-Math.PI / 2);
    drawText(context, this.y.label, 0, 0, text);
    context.restore();
  }

  line(context, x0, y0, x1, y1, colour) {
    context.strokeStyle = colour;
    context.beginPath();
    context.moveTo(Math.round(x0) + 0.5 * (x0 === x1), Math.round(y0) + 0.5 * (y0 === y1));
    context.lineTo(Math.round(x1) + 0.5 * (x0 === x1), Math.round(y1) + 0.5 * (y0 === y1));
    context.stroke();
  }

  mark() {
    if (!this.width) return;
    const context = this.pen(this.over), [left, top, right, bottom] = this.area;
    this.marks?.(this, context);
    if (!this.box) return;
    const [x0, y0, x1, y1] = this.box, flat = this.drags === "x";
    context.fillStyle = paint.wash;
    context.strokeStyle = paint.accent;
    const place = [x0, flat ? top : y0, x1 - x0, flat ? bottom - top : y1 - y0];
    context.fillRect(...place);
    context.strokeRect(...place);
  }

  listen() {
    const canvas = this.over;
    let start = null;
    const place = (event) => {
      const frame = canvas.getBoundingClientRect();
      return [event.clientX - frame.left, event.clientY - frame.top];
    };
    const inside = ([x, y]) => {
      const [left, top, right, bottom] = this.area;
      return [Math.min(Math.max(x, left), right), Math.min(Math.max(y, top), bottom)];
    };
    canvas.addEventListener("mousedown", (event) => event.preventDefault());  // keeps the focus
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      start = place(event);
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      const here = place(event);
      const moved = start && this.drags && Math.hypot(here[0] - start[0], here[1] - start[1]) > 4;
      if (!moved && !this.box) { this.hover?.(this, here, event); return; }
      hideTip();
      const [x0, y0] = inside(start), [x1, y1] = inside(here);
      this.box = [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
      this.mark();
    });
    canvas.addEventListener("pointerup", (event) => {
      const box = this.box, began = start;
      this.box = start = null;
      if (box) {
        if (box[2] - box[0] > 4) this.dragged(this, box);
        this.mark();
      } else if (began) this.click?.(this, place(event));
    });
    canvas.addEventListener("pointercancel", () => { this.box = start = null; this.mark(); });
    canvas.addEventListener("pointerleave", () => { if (!this.box) this.hover?.(this, null); });
    canvas.addEventListener("dblclick", () => this.reset?.(this));
  }
}

/** Stamps on a chart's pixels, later ones on top; half sizes in device pixels. */
class Stamps {
  constructor(chart, context) {
    Object.assign(this, { chart, context });
    this.image = context.getImageData(0, 0, chart.base.width, chart.base.height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    const [left, top, right, bottom] = chart.area.map((v) => Math.round(v * chart.ratio));
    Object.assign(this, { left, top, right, bottom });
  }

  /** A disc of half height `h`, or a rectangle where `w` is given, at CSS pixels (x, y). */
  put(x, y, colour, h, w) {
    const stride = this.image.width, cx = x * this.chart.ratio, cy = y * this.chart.ratio;
    const first = Math.max(this.top, Math.round(cy - h));
    const end = Math.min(this.bottom, Math.round(cy + h));
    for (let row = first; row < end; row++) {
      const half = w ?? Math.sqrt(Math.max(0, h * h - (row + 0.5 - cy) ** 2));
      const from = Math.max(this.left, Math.round(cx - half));
      const to = Math.min(this.right, Math.round(cx + half));
      for (let column = from; column < to; column++) this.pixels[row * stride + column] = colour;
    }
  }

  finish() { this.context.putImageData(this.image, 0, 0); }
}

/** Curves [{t, y, colour, width}] of a chart; gaps where y is not finite. */
function drawCurves(chart, context, curves) {
  for (const { t, y, colour, width } of curves) {
    context.beginPath();
    let down = false;
    for (let i = 0; i < t.length; i++) {
      if (!Number.isFinite(y[i])) { down = false; continue; }
      if (down) context.lineTo(chart.toX(t[i]), chart.toY(y[i]));
      else context.moveTo(chart.toX(t[i]), chart.toY(y[i]));
      down = true;
    }
    Object.assign(context, { strokeStyle: colour, lineWidth: width, lineJoin: "round" });
    context.stroke();
  }
}
