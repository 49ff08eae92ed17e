// -- The histogram, and the filter that is dragged over it

const binWidth = (nineSpan.high - nineSpan.low) / BINS;
const bins = {
  counts: new Uint32Array(BINS),
  edge: (k) => nineSpan.low + binWidth * k,
  of: (nine) => Math.min(BINS - 1, Math.max(0, Math.floor((nine - nineSpan.low) / binWidth))),
};
for (let i = 0; i < N; i++) bins.counts[bins.of(height[i])]++;
const tallest = Math.log10(Math.max(...bins.counts)) + 0.15;
const histogram = new Chart("histogram", {
  margin: [10, 14, 44, 84],
  x: { ...nineSpan, label: "overlap", ticks: overlapTicks },
  y: { low: -0.3, high: tallest, label: "waveforms",
    ticks: (low, high) => Array.from({ length: Math.floor(high) + 1 },
      (_, k) => [k, counted(10 ** k)]) },
  content(chart, context) {
    const [, , , bottom] = chart.area, inside = state.range.map((o) => nines(1 - o));
    for (let k = 0; k < BINS; k++) {
      if (!bins.counts[k]) continue;
      const x = chart.toX(bins.edge(k)), y = chart.toY(Math.log10(bins.counts[k]));
      const middle = (bins.edge(k) + bins.edge(k + 1)) / 2;
      context.fillStyle = middle >= inside[0] && middle <= inside[1] ? paint.accent : paint.line;
      context.fillRect(x, y, chart.toX(bins.edge(k + 1)) - x - 1, bottom - y);
    }
  },
  drags: "x",
  dragged(chart, [x0, , x1]) {
    const [left, , right] = chart.area;
    const overlap = (x) => 1 - 10 ** -chart.fromX(x);
    filter(x0 <= left ? 0 : overlap(x0), x1 >= right ? 1 : overlap(x1));
  },
  hover(chart, here, event) {
    if (!here) { hideTip(); return; }
    const k = bins.of(chart.fromX(here[0]));
    if (!(bins.counts[k] > 0)) { hideTip(); return; }
    const ends = [k, k + 1].map((j) => (1 - 10 ** -Math.max(0, bins.edge(j))).toPrecision(5));
    tip.replaceChildren(said(`${counted(bins.counts[k])} waveforms, overlap ${ends.join(" to ")}`));
    tip.hidden = false;
    const most = innerWidth - tip.offsetWidth - 4;
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, most))}px`;
    tip.style.top = `${event.clientY + 18}px`;
  },
  reset: () => filter(0, 1),
});

function filter(low, high) {
  state.range = [Math.max(0, Math.min(low, high)), Math.min(1, Math.max(low, high))];
  element("from").value = Number(state.range[0].toPrecision(6));
  element("to").value = Number(state.range[1].toPrecision(6));
  for (const chip of element("chips").children) {
    const pressed = Number(chip.value) === state.range[1] && state.range[0] === 0;
    chip.setAttribute("aria-pressed", String(pressed));
  }
  histogram.draw();
  map.draw();
  whole.draw();
  const shown = whole.rows.length;
  const share = Number((100 * shown / N).toPrecision(3));
  element("count").textContent = filtered()
    ? `${counted(shown)} of ${counted(N)} (${share} %)` : `all ${counted(N)}`;
  sayCount();
  listWorst();
}

function listWorst() {
  const items = [];
  for (let k = 0; k < N && items.length < WORST; k++) {
    const i = ranked[k];
    if (!passes(i)) continue;
    const item = document.createElement("li"), button = document.createElement("button");
    const place = [fixed(q[i], 2), fixed(s1[i], 3), fixed(s2[i], 3)];
    [overlapText(mismatch[i], 1e-4), ...place].forEach((text, k) => {
      const part = document.createElement(k ? "span" : "b");
      part.textContent = text;
      button.append(part);
    });
    button.type = "button";
    button.dataset.index = i;
    button.addEventListener("click", () => open(i));
    item.append(button);
    items.push(item);
  }
  element("worst").replaceChildren(...items);
  element("worst-title").textContent = items.length < WORST
    ? (items.length ? "Lowest overlaps" : "No overlaps there") : `${WORST} lowest overlaps`;
  markWorst();
}

function markWorst() {
  for (const button of element("worst").querySelectorAll("button")) {
    button.setAttribute("aria-current", String(Number(button.dataset.index) === state.chosen));
  }
}

// -- Turning

function sayCount() {
  const rows = members[state.slice], shown = map.rows.length;
  element("slice-count").textContent = filtered()
    ? `${counted(shown)} of ${counted(rows.length)}` : `${counted(rows.length)} waveforms`;
  element("map").setAttribute("aria-label", `Map of ${quantities[state.quantity].name} over the `
    + `spins, ${about.slices[state.slice]}, ${counted(shown)} waveforms. `
    + "Arrow keys move, Enter opens.");
}

function turn(k) {
  state.slice = Math.min(about.slices.length - 1, Math.max(0, k));
  if (state.cursor >= 0 && member[state.cursor] !== state.slice) { state.cursor = -1; hideTip(); }
  const slider = element("slice"), label = about.slices[state.slice];
  slider.value = state.slice;
  slider.setAttribute("aria-valuetext", label);
  element("slice-label").textContent = label;
  element("previous").disabled = state.slice === 0;
  element("next").disabled = state.slice === about.slices.length - 1;
  map.draw();
  whole.mark();
  sayCount();
}

/** Move the cursor on the map to the nearest point in a direction. */
function step(dx, dy) {
  const from = map.rows.includes(state.cursor) ? state.cursor
    : map.rows.includes(state.chosen) ? state.chosen : -1;
  let best = from < 0 ? map.rows[0] ?? -1 : from, least = Infinity;
  for (const i of from < 0 ? [] : map.rows) {
    const [x, y] = [map.px(i) - map.px(from), map.py(i) - map.py(from)];
    const along = x * dx + y * dy, beside = Math.abs(x * dy) + Math.abs(y * dx);
    if (along > 0.5 && along + 3 * beside < least) { least = along + 3 * beside; best = i; }
  }
  if (best < 0) return;
  state.cursor = best;
  map.mark();
  whole.mark();
  const frame = map.host.getBoundingClientRect();
  showTip(best, { clientX: frame.left + map.px(best), clientY: frame.top + map.py(best) });
  element("said").textContent = `q ${fixed(q[best], 3)}, s1 ${fixed(s1[best], 3)}, `
    + `s2 ${fixed(s2[best], 3)}, overlap ${overlapText(mismatch[best], 1e-5)}`;
}
