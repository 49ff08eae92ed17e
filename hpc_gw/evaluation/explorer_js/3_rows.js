// ---- The page -------------------------------------------------------------------------------

const WORST = 100, CELL_SHARE = 0.5, NINES_MAX = 8, BINS = 64, DISCS = 20000;
const tip = element("tip");
const hideTip = () => { tip.hidden = true; };

const columns = await unpacked(element("data").textContent).catch((problem) => {
  element("loading").textContent = typeof DecompressionStream === "undefined"
    ? "This browser is too old for this page: take one of 2023 or later."
    : `The data of this page is damaged (${problem.message}): make it again.`;
  throw problem;
});
const N = about.total, column = (name) => columns[name];
const [q, s1, s2] = ["q", "s1", "s2"].map((name) => column(`truth/${name}`));
const [pq, p1, p2] = ["q", "s1", "s2"].map((name) => column(`prediction/${name}`));
const mismatch = column("mismatch"), member = column("slice"), rowId = column("row");
const surrogate = about.surrogate && new Surrogate(about.surrogate, columns);
const computed = (of) => Float32Array.from({ length: N }, (_, i) => of(i));

/** -log10(1 - O), the number of nines; a failure has none. */
const nines = (m) => Number.isNaN(m) ? 0 : Math.min(-Math.log10(Math.max(m, 0)), NINES_MAX);
const height = computed((i) => nines(mismatch[i]));
const sigma = computed((i) => sigmaEff(q[i], s1[i], s2[i]));
const ratio = computed((i) => eta(q[i]));
const predicted = {
  sigma_eff: (i) => sigmaEff(pq[i], p1[i], p2[i]) + column("residual/sigma_eff")[i],
  s_eff: (i) => sEff(pq[i], p1[i], p2[i]) + column("residual/s_eff")[i],
};
const colours = Uint32Array.from({ length: 256 }, (_, k) => {
  const [r, g, b] = column("colours").subarray(3 * k, 3 * k + 3);
  return (255 << 24 | b << 16 | g << 8 | r) >>> 0;
});
const packed = (text) => {  // a colour of the style sheet, as a pixel
  const [r, g, b] = [1, 3, 5].map((k) => parseInt(text.slice(k, k + 2), 16));
  return (255 << 24 | b << 16 | g << 8 | r) >>> 0;
};

const members = about.slices.map(() => []);
for (let i = 0; i < N; i++) members[member[i]].push(i);
const ranked = Uint32Array.from({ length: N }, (_, i) => i)
  .sort((a, b) => height[a] - height[b] || a - b);
const everything = Uint32Array.from(ranked).reverse();

// Quantities that a point can be coloured by. What is worse has the brighter colour.
const error = (of, truth) => () => computed((i) => Math.abs(of(i) - truth(i)));
const quantities = {
  overlap: { name: "Overlap", label: "overlap", nines: true, make: () => height },
  dq: { name: "|Δq|", label: "|Δq|", make: error((i) => pq[i], (i) => q[i]) },
  ds1: { name: "|Δs₁|", label: "|Δs₁|", make: error((i) => p1[i], (i) => s1[i]) },
  ds2: { name: "|Δs₂|", label: "|Δs₂|", make: error((i) => p2[i], (i) => s2[i]) },
  dsigma: { name: "|Δσeff|", label: "|Δσ_eff|",
    make: error(predicted.sigma_eff, (i) => sigmaEff(q[i], s1[i], s2[i])) },
  ds: { name: "|ΔSeff|", label: "|ΔS_eff|",
    make: error(predicted.s_eff, (i) => sEff(q[i], s1[i], s2[i])) },
};
if (column("refined/mismatch")) {
  const refined = column("refined/mismatch");
  quantities.refined = { name: "Overlap, refined", label: "overlap, refined", nines: true,
    make: () => computed((i) => Number.isNaN(refined[i]) ? NaN : nines(refined[i])) };
}
for (const [key, name, label] of [["q", "q", "q"], ["s1", "s₁", "s_1"], ["s2", "s₂", "s_2"]]) {
  const reach = column(`reach/${key}`);
  if (reach) quantities[`reach_${key}`] = { name: `Valley reach in ${name}`,
    label: `valley reach in ${label}`, make: () => reach };
}

/** A quantity with its values (N,), the ends of its colour scale and a colour for each row. */
function ready(key) {
  const quantity = quantities[key];
  if (quantity.values) return quantity;
  const values = quantity.make();
  const sorted = values.filter((v, i) => Number.isFinite(v) && !Number.isNaN(mismatch[i])).sort();
  const quantile = (p) => sorted[Math.round(p * (sorted.length - 1))] ?? 0;
  let low = 0, high = quantile(0.99) || 1;
  if (quantity.nines) {
    [low, high] = [quantile(1e-4), quantile(0.95)];
    low = Math.max(0, Math.floor(4 * low) / 4);
    high = Math.max(low + 1, Math.ceil(4 * high) / 4);
  }
  const levels = new Uint8Array(N), bad = new Uint8Array(N);
  for (let i = 0; i < N; i++) {
    let part = (values[i] - low) / (high - low);
    if (quantity.nines) part = 1 - part;
    bad[i] = !Number.isFinite(values[i]) || (quantity.nines && Number.isNaN(mismatch[i]));
    levels[i] = Math.round(255 * Math.min(1, Math.max(0, bad[i] ? 1 : part)));
  }
  return Object.assign(quantity, { values, low, high, levels, bad });
}

const state = {
  slice: 0, quantity: "overlap", view: "overlap", range: [0, 1], chosen: -1, cursor: -1,
  window: 2000, drawn: null,
};
const passes = (i) => {
  const o = Number.isNaN(mismatch[i]) ? 0 : 1 - mismatch[i];
  return o >= state.range[0] && o <= state.range[1];
};
const filtered = () => state.range[0] > 0 || state.range[1] < 1;

/** Rows by colour, the worst last, so that it lies on top. */
function byLevel(rows, levels) {
  const next = new Uint32Array(257), out = new Uint32Array(rows.length);
  for (const i of rows) next[levels[i] + 1]++;
  for (let k = 0; k < 256; k++) next[k + 1] += next[k];
  for (const i of rows) out[next[levels[i]]++] = i;
  return out;
}

// -- What is known of one row

function cells(tag, texts) {
  const row = document.createElement("tr");
  texts.forEach((text, k) => {
    const cell = document.createElement(k ? tag : "th");
    if (!k && tag === "td") cell.scope = "row";
    write(cell, text);
    row.append(cell);
  });
  return row;
}

function said(text, name = "") {
  const line = write(document.createElement("p"), text);
  line.className = name;
  return line;
}

/** Parameters, prediction, errors and overlap of row i, as elements. */
function facts(i) {
  const refined = column("refined/mismatch");
  const table = document.createElement("table"), body = document.createElement("tbody");
  const head = document.createElement("thead");
  head.append(cells("th", ["", "truth", "prediction", "error", ...(refined ? ["refined"] : [])]));
  const truth = [q[i], s1[i], s2[i], sigmaEff(q[i], s1[i], s2[i]), sEff(q[i], s1[i], s2[i])];
  const answer = [pq[i], p1[i], p2[i], predicted.sigma_eff(i), predicted.s_eff(i)];
  const r = refined && ["q", "s1", "s2"].map((name) => column(`refined/${name}`)[i]);
  const fitted = r && [...r, sigmaEff(...r), sEff(...r)];
  ["q", "s_1", "s_2", "σ_eff", "S_eff"].forEach((name, k) => {
    const row = [name, fixed(truth[k], 4), fixed(answer[k], 4), signed(answer[k] - truth[k], 4)];
    body.append(cells("td", fitted ? [...row, fixed(fitted[k], 4)] : row));
  });
  table.append(head, body);
  const lines = [];
  const bound = column("bound")[i], t = column("t_c")[i], phase = column("phi_c")[i];
  if (Number.isFinite(t)) lines.push(said(`t_c = ${fixed(t, 2)} M, φ_c = ${fixed(phase, 3)} rad`));
  if (Number.isFinite(bound)) lines.push(said(`Overlap known to ±${small(bound)}`, "soft"));
  if (Number.isNaN(mismatch[i])) {
    lines.push(said("The prediction or its waveform is not finite.", "bad"));
  }
  if (column("clipped")[i]) {
    lines.push(said("The prediction lies outside the waveform model's domain: its waveform is "
      + "that of the nearest point inside.", "bad"));
  }
  if (refined) {
    const converged = column("refined/converged")[i] ? "converged" : "not converged";
    lines.push(said(`Refined: overlap ${overlapText(refined[i], 1e-6)}, `
      + `${counted(column("refined/steps")[i])} steps, ${converged}`));
  }
  if (column("reach/q")) {
    const reach = ["q", "s1", "s2"].map((name) => column(`reach/${name}`)[i].toPrecision(2));
    lines.push(said(`Degenerate: (q, s_1, s_2) may move by (±${reach.join(", ±")}) with overlap `
      + "≥\u00a00.999"));
  }
  return { overlap: overlapText(mismatch[i], bound), table, lines };
}

function showTip(i, event) {
  const { overlap, table, lines } = facts(i), title = document.createElement("p");
  const strong = document.createElement("b");
  strong.textContent = `overlap ${overlap}`;
  const row = document.createElement("span");
  row.className = "soft";
  row.textContent = `   row ${rowId[i]}`;
  title.append(strong, row);
  tip.replaceChildren(title, table, ...lines);
  tip.hidden = false;
  const { offsetWidth: width, offsetHeight: tall } = tip, gap = 18;
  const right = event.clientX + gap + width < innerWidth;
  const below = event.clientY + gap + tall < innerHeight;
  tip.style.left = `${Math.max(4, right ? event.clientX + gap : event.clientX - gap - width)}px`;
  tip.style.top = `${Math.max(4, below ? event.clientY + gap : event.clientY - gap - tall)}px`;
}
