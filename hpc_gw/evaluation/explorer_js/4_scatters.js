// -- Scatters: the map of one slice, and the whole set

/** The row drawn nearest to a place in CSS pixels, or -1. */
function nearest(chart, [x, y], reach = 16) {
  let best = -1, least = reach * reach;
  for (const i of chart.rows) {
    const square = (chart.px(i) - x) ** 2 + (chart.py(i) - y) ** 2;
    if (square <= least) { least = square; best = i; }
  }
  return best;
}

function scatterMarks(chart, context) {
  const [left, top, right, bottom] = chart.area;
  const rings = [[state.cursor, 1.6, paint.text], [state.chosen, 2.4, paint.ring]];
  for (const [i, width, colour] of rings) {
    if (i < 0 || (chart === map && member[i] !== state.slice)) continue;
    const x = chart.px(i), y = chart.py(i);
    if (x < left - 1 || x > right + 1 || y < top - 1 || y > bottom + 1) continue;
    for (const [stroke, w] of [[paint.card, width + 2.4], [colour, width]]) {
      context.beginPath();
      context.arc(x, y, chart.ring ?? 7, 0, 2 * Math.PI);
      Object.assign(context, { strokeStyle: stroke, lineWidth: w });
      context.stroke();
    }
  }
}

const scatter = {
  ground: "ground",
  marks: scatterMarks,
  hover(chart, here, event) {
    const i = here ? nearest(chart, here) : -1;
    if (i < 0) hideTip(); else showTip(i, event);
    if (i === state.cursor) return;
    state.cursor = i;
    map.mark();
    whole.mark();
  },
  click(chart, here) { const i = nearest(chart, here); if (i >= 0) open(i); },
  drags: "xy",
  dragged(chart, [x0, y0, x1, y1]) {
    if (y1 - y0 < 5) return;
    const [low, high] = [chart.fromX(x0), chart.fromX(x1)];
    Object.assign(chart.y, { low: chart.fromY(y1), high: chart.fromY(y0) });
    Object.assign(chart.x, { low, high });
    chart.zoomed = true;
    chart.draw();
  },
  reset(chart) { chart.zoomed = false; chart.draw(); },
};

function padded(values, rows, share = 0.03) {
  let low = Infinity, high = -Infinity;
  for (const i of rows) {
    if (values[i] < low) low = values[i];
    if (values[i] > high) high = values[i];
  }
  if (!(high >= low)) [low, high] = [0, 1];
  const pad = (high - low) * share || 0.05;
  return { low: low - pad, high: high + pad };
}

/** Spacing of values that form a grid, else 0. */
function spacing(values, rows) {
  const distinct = new Set(Array.from(rows, (i) => Number(values[i].toPrecision(6))));
  const sorted = [...distinct].sort((a, b) => a - b);
  if (sorted.length < 3 || sorted.length > Math.max(8, 2.5 * Math.sqrt(rows.length))) return 0;
  return Math.min(...sorted.slice(1).map((v, k) => v - sorted[k]));
}
const cellOf = members.map((rows) => {  // (s1, s2) spacing, where the points fill a grid
  const [dx, dy] = [spacing(s1, rows), spacing(s2, rows)];
  if (!dx || !dy) return null;
  const [x, y] = [padded(s1, rows, 0), padded(s2, rows, 0)];
  const full = ((x.high - x.low) / dx + 1) * ((y.high - y.low) / dy + 1);
  return rows.length > CELL_SHARE * full ? [dx, dy] : null;
});
const spins = [padded(s1, everything), padded(s2, everything)];

const map = new Chart("map", {
  ...scatter,
  margin: [10, 100, 44, 58],
  x: { label: "s_1, spin of the heavier body" },
  y: { label: "s_2, spin of the lighter body" },
  rows: [],
  px: (i) => map.toX(s1[i]),
  py: (i) => map.toY(s2[i]),
  before(chart) {
    if (chart.zoomed) return;
    Object.assign(chart.x, spins[0]);
    Object.assign(chart.y, spins[1]);
  },
  content(chart, context) {
    const rows = members[state.slice], cell = cellOf[state.slice], [l, top, r, b] = chart.area;
    const disc = Math.min(5, Math.max(1.5, 0.3 * Math.sqrt((r - l) * (b - top) / rows.length)));
    const half = cell ? [chart.kx * cell[0] / 2, chart.ky * cell[1] / 2] : undefined;
    chart.ring = Math.max(6, 2 + (half ? Math.max(...half) : disc));
    drawScatter(chart, context, rows, disc, half);
  },
  after: colourBar,
});

/** Draw rows, ordered by colour: as discs where there are few, else pixel by pixel. */
function drawRows(chart, context, rows, colourOf, disc, half) {
  if (half === undefined && rows.length <= DISCS) {
    for (let k = 0, n = rows.length; k < n;) {
      const colour = colourOf(rows[k]);
      context.beginPath();
      for (; k < n && colourOf(rows[k]) === colour; k++) {
        const [x, y] = [chart.px(rows[k]), chart.py(rows[k])];
        context.moveTo(x + disc, y);
        context.arc(x, y, disc, 0, 2 * Math.PI);
      }
      context.fillStyle = `rgb(${[0, 8, 16].map((bits) => colour >> bits & 255)})`;
      context.fill();
    }
    return;
  }
  const stamps = new Stamps(chart, context), unit = chart.ratio;
  const [w, h] = half ? half.map((v) => v * unit) : [undefined, disc * unit];
  for (const i of rows) stamps.put(chart.px(i), chart.py(i), colourOf(i), h, w);
  stamps.finish();
}

/** The rows that pass, by their colour, over the others, faint; failures as red crosses. */
function drawScatter(chart, context, rows, disc, half) {
  const { levels, bad } = ready(state.quantity), faint = packed(paint.faint);
  chart.rows = filtered() ? rows.filter(passes) : rows;
  if (filtered()) drawRows(chart, context, rows, () => faint, disc, half);
  const order = byLevel(chart.rows, levels);
  drawRows(chart, context, order, (i) => bad[i] ? faint : colours[levels[i]], disc, half);
  crosses(chart, context, order.filter((i) => bad[i]));
}

/** Failures, as red crosses. */
function crosses(chart, context, rows) {
  Object.assign(context, { strokeStyle: paint.ring, lineWidth: 1.6 });
  context.beginPath();
  for (const i of rows) {
    const x = chart.px(i), y = chart.py(i);
    context.moveTo(x - 3.5, y - 3.5);
    context.lineTo(x + 3.5, y + 3.5);
    context.moveTo(x - 3.5, y + 3.5);
    context.lineTo(x + 3.5, y - 3.5);
  }
  context.stroke();
}

function colourBar(chart, context) {
  const quantity = ready(state.quantity), [, top, right, bottom] = chart.area, left = right + 18;
  for (let y = top; y < bottom; y++) {
    const part = (bottom - y) / (bottom - top);
    const level = Math.round(255 * (quantity.nines ? 1 - part : part));
    const [r, g, b] = column("colours").subarray(3 * level, 3 * level + 3);
    context.fillStyle = `rgb(${r}, ${g}, ${b})`;
    context.fillRect(left, y, 14, 1.5);
  }
  const { low, high } = quantity;
  const ticks = (quantity.nines ? overlapTicks : niceTicks)(low, high, 8);
  const room = labelRoom(3);
  for (const [value, text] of ticks) {
    const y = bottom - (value - low) / (high - low) * (bottom - top);
    if (room(y, 6)) drawText(context, text, left + 19, y);
  }
  context.save();
  context.translate(chart.width - 8, (top + bottom) / 2);
  context.rotate(-Math.PI / 2);
  drawText(context, quantity.label, 0, 0, { size: 12.5, align: "center", colour: paint.text });
  context.restore();
}

const [lowest, highest] = [height[ranked[0]], height[ranked[N - 1]]];
const nineSpan = {
  low: Math.max(-0.25, lowest - 0.06 * (highest - lowest) - 0.02),
  high: Math.min(NINES_MAX, highest) + 0.04 * (highest - lowest) + 0.02,
};
const views = {
  overlap: { name: "q, overlap", x: q, y: height, xLabel: "mass ratio q", yLabel: "overlap",
    range: () => nineSpan, ticks: overlapTicks },
  spin: { name: "σeff, η", x: sigma, y: ratio, xLabel: "effective spin σ_eff",
    yLabel: "symmetric mass ratio η", range: () => padded(ratio, everything) },
};
const qStep = spacing(q, everything);
const whole = new Chart("whole", {
  ...scatter,
  margin: [10, 14, 44, 84],
  x: {}, y: {}, rows: [],
  px: (i) => whole.toX(views[state.view].x[i]),
  py: (i) => whole.toY(views[state.view].y[i]),
  before(chart) {
    const view = views[state.view];
    Object.assign(chart.x, { label: view.xLabel });
    Object.assign(chart.y, { label: view.yLabel, ticks: view.ticks });
    if (chart.zoomed) return;
    Object.assign(chart.x, padded(view.x, everything));
    Object.assign(chart.y, view.range());
  },
  content(chart, context) {
    const disc = Math.min(3, Math.max(0.9, 110 / Math.sqrt(N)));
    const dashes = state.view === "overlap" && qStep > 0;
    const half = dashes ? [Math.max(1, 0.36 * chart.kx * qStep), disc] : undefined;
    drawScatter(chart, context, everything, disc, half);
  },
});
