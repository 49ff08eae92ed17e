// The explorer's page: data, the surrogate, charts on canvas, and what the reader does with them.
// Conventions are those of the Python package: h22 = A exp(-i phi), times in M, and the prediction
// is drawn as h(t + t_c) exp(-i phi_c).
const element = (id) => document.getElementById(id);
const about = JSON.parse(element("about").textContent);

// ---- Data -----------------------------------------------------------------------------------

const DTYPES = {
  float64: Float64Array, float32: Float32Array, uint16: Uint16Array, uint8: Uint8Array,
};

/** What Python packed: base64 of deflated columns, bytes of equal significance together. */
async function unpacked(text) {
  const letters = atob(text);
  const deflated = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) deflated[i] = letters.charCodeAt(i);
  const stream = new Blob([deflated]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const columns = {};
  for (const [name, [dtype, count, offset]] of Object.entries(about.columns)) {
    const column = new DTYPES[dtype](count);
    const size = column.BYTES_PER_ELEMENT, target = new Uint8Array(column.buffer);
    for (let b = 0; b < size; b++) {
      const plane = offset + b * count;
      for (let i = 0; i < count; i++) target[i * size + b] = bytes[plane + i];
    }
    columns[name] = column;
  }
  return columns;
}

// ---- The surrogate --------------------------------------------------------------------------

/** Natural cubic splines, as scipy's CubicSpline(bc_type="natural"). */
class Spline {
  constructor(knots, values) {
    const n = knots.length, curve = new Float64Array(n), ratio = new Float64Array(n);
    for (let i = 1; i < n - 1; i++) {  // the Thomas algorithm for the second derivatives
      const left = knots[i] - knots[i - 1], right = knots[i + 1] - knots[i];
      const slope = (values[i + 1] - values[i]) / right - (values[i] - values[i - 1]) / left;
      const pivot = 2 * (left + right) - left * ratio[i - 1];
      ratio[i] = right / pivot;
      curve[i] = (6 * slope - left * curve[i - 1]) / pivot;
    }
    for (let i = n - 2; i > 0; i--) curve[i] -= ratio[i] * curve[i + 1];
    Object.assign(this, { knots, values, curve });
  }

  /** Values at increasing times, each moved by `shift`; NaN outside the knots. */
  at(times, shift = 0) {
    const { knots, values, curve } = this, out = new Float64Array(times.length);
    const last = knots.length - 1;
    for (let i = 0, k = 0; i < times.length; i++) {
      const t = times[i] + shift;
      if (t < knots[0] || t > knots[last]) { out[i] = NaN; continue; }
      while (k < last - 1 && knots[k + 1] < t) k++;
      const width = knots[k + 1] - knots[k];
      const a = (knots[k + 1] - t) / width, b = (t - knots[k]) / width;
      out[i] = a * values[k] + b * values[k + 1]
        + ((a * a * a - a) * curve[k] + (b * b * b - b) * curve[k + 1]) * width * width / 6;
    }
    return out;
  }
}

const eta = (q) => q / (1 + q) ** 2;
const sigmaEff = (q, s1, s2) => (q * s1 + s2) / (1 + q);
const sEff = (q, s1, s2) => (1 + 0.75 / q) * s1 + (1 + 0.75 * q) * s2;

class Surrogate {
  constructor(layout, columns) {
    this.bounds = layout.bounds;
    this.zero = layout.zero;
    this.time = columns["surrogate/time"];
    this.basis = {
      phase: columns["surrogate/phase"], amplitude: columns["surrogate/amplitude"],
    };
    const fits = (piece) => layout[piece].map((set, j) => ({
      train: columns[`surrogate/train/${set}`], values: columns[`surrogate/${piece}/${j}`],
    }));
    this.fits = { phase: fits("phase"), amplitude: fits("amplitude") };
  }

  /** Amplitude and phase of h22 as splines in time. */
  curves(q, s1, s2) {
    const nu = eta(q);
    const hat = (sigmaEff(q, s1, s2) - 38 * nu / 113 * (s1 + s2)) / (1 - 76 * nu / 113);
    const x = [Math.log(q), hat, (s1 - s2) / 2];
    const nodes = (piece) => this.fits[piece].map((fit) => gaussianProcess(fit, x));
    const amplitude = new Spline(this.time, this.sum("amplitude", nodes("amplitude")));
    const phase = new Spline(this.time, this.sum("phase", [...nodes("phase"), nu ** -0.375]));
    return { amplitude, phase, start: phase.at([this.zero])[0] };
  }

  sum(piece, nodes) {
    const n = this.time.length, basis = this.basis[piece], out = new Float64Array(n);
    nodes.forEach((node, j) => {
      for (let i = 0; i < n; i++) out[i] += node * basis[j * n + i];
    });
    return out;
  }
}

/** One fit's mean at x; `values`: scales (3), slopes (3), offset, weights (n). */
function gaussianProcess({ train, values }, x) {
  let sum = values[6];
  for (let c = 0; c < 3; c++) sum += values[3 + c] * x[c];
  for (let i = 0, n = values.length - 7; i < n; i++) {
    let square = 0;
    for (let c = 0; c < 3; c++) square += ((x[c] - train[3 * i + c]) / values[c]) ** 2;
    sum += values[7 + i] * Math.exp(-0.5 * square);
  }
  return sum;
}

/** Amplitude, phase and Re h of curves at increasing times, moved by t_c [M] and phi_c. */
function sampled(curves, times, tc = 0, phic = 0) {
  const amplitude = curves.amplitude.at(times, tc), phase = curves.phase.at(times, tc);
  const real = new Float64Array(times.length);
  for (let i = 0; i < times.length; i++) {
    phase[i] += phic - curves.start;
    if (!(amplitude[i] > 0)) amplitude[i] = 0;  // before the start and after the ringdown
    real[i] = amplitude[i] === 0 ? 0 : amplitude[i] * Math.cos(phase[i]);
  }
  return { amplitude, phase, real };
}

// ---- Numbers as text ------------------------------------------------------------------------

const minus = (text) => text.replace("-", "−");
const fixed = (x, digits) => Number.isFinite(x) ? minus(x.toFixed(digits)) : "–";
const counted = (n) => n.toLocaleString("en-US");
const brief = (x) => Number.isFinite(x) ? String(Number(x.toPrecision(7))) : "nan";
const signed = (x, digits) => (x > 0 ? "+" : "") + fixed(x, digits);

/** An overlap with as many digits as its bound allows, never rounded up to 1. */
function overlapText(mismatch, bound = 1e-5) {
  if (!Number.isFinite(mismatch)) return "failed";
  if (mismatch <= 0) return "1";
  const digits = Math.min(8, Math.max(4, Math.ceil(-Math.log10(bound || 1e-8) - 0.01)));
  return Math.min(1 - mismatch, 1 - 10 ** -digits).toFixed(digits);
}

/** A small number: 0.0012, or 1.0 × 10⁻⁶. */
function small(x) {
  if (!(x > 0) || x >= 1e-3) return x.toPrecision(2);
  const [digits, power] = x.toExponential(1).split("e-");
  return `${digits} × 10⁻${[...power].map((d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]).join("")}`;
}

/** Text as parts, every second of them a subscript: "S_eff" is S with eff below the line. */
const scripts = (text) => text.split(/_(\w+)/);

/** Put text with subscripts into an element. */
function write(target, text) {
  target.replaceChildren(...scripts(text).map((part, k) => {
    if (k % 2 === 0) return part;
    const below = document.createElement("sub");
    below.textContent = part;
    return below;
  }));
  return target;
}
