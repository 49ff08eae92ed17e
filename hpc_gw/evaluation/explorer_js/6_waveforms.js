// -- Waveforms

const [first, final] = about.span;
const timesFor = (low, high, pixels) => {
  const count = Math.min(40000, Math.max(2, Math.ceil(Math.max((high - low), 3 * pixels))));
  return Float64Array.from({ length: count + 1 }, (_, k) => low + (high - low) * k / count);
};

function strainChart(id, home) {
  return new Chart(id, {
    margin: [8, 14, 44, 70],
    x: { label: "time t [M]" }, y: { label: "r h22 / M" },
    series: null,
    before(chart) {
      if (!chart.zoomed) Object.assign(chart.x, home());
      const { drawn } = state;
      chart.series = null;
      Object.assign(chart.y, { low: -1, high: 1 });
      if (!drawn) return;
      const times = timesFor(chart.x.low, chart.x.high, chart.width);
      const truth = sampled(drawn.truth, times);
      const answer = drawn.answer && sampled(drawn.answer, times, drawn.tc, drawn.phic);
      let most = 1e-6;
      for (const part of answer ? [truth, answer] : [truth]) {
        for (const a of part.amplitude) if (a > most) most = a;
      }
      Object.assign(chart.y, { low: -1.1 * most, high: 1.1 * most });
      chart.series = { times, truth, answer };
    },
    content(chart, context) {
      if (!chart.series) return;
      const { times, truth, answer } = chart.series, curves = [];
      const dense = chart.x.high - chart.x.low > 4 * chart.width;  // cycles a few pixels apart
      const both = (part, colour) => [-1, 1].forEach((sign) => curves.push(
        { t: times, y: part.amplitude.map((a) => sign * a || NaN), colour, width: 0.8 }));
      context.globalAlpha = 0.7;
      both(truth, paint.truth);
      if (answer) both(answer, paint.prediction);
      drawCurves(chart, context, curves);
      context.globalAlpha = 1;
      const [broad, thin] = dense ? [2.4, 1] : [4, 1.3];
      const lines = [{ t: times, y: truth.real, colour: paint.truth, width: broad }];
      if (answer) lines.push({ t: times, y: answer.real, colour: paint.prediction, width: thin });
      drawCurves(chart, context, lines);
    },
    ...timeline((chart, k) => {
      const { truth, answer } = chart.series;
      const other = answer ? `   prediction ${signed(answer.real[k], 4)}` : "";
      return `truth ${signed(truth.real[k], 4)}${other}`;
    }),
  });
}

/** What charts over time share: zoom along the time, and a cursor that reads the curves. */
function timeline(read) {
  return {
    drags: "x",
    dragged(chart, [x0, , x1]) {
      Object.assign(chart.x, { low: chart.fromX(x0), high: chart.fromX(x1) });
      chart.zoomed = true;
      chart.draw();
    },
    reset(chart) { chart.zoomed = false; chart.draw(); },
    hover(chart, here) {
      const [left, , right] = chart.area;
      const outside = !here || here[0] < left || here[0] > right;
      chart.at = outside || !chart.series ? null : here[0];
      chart.mark();
    },
    marks(chart, context) {
      if (chart.at == null || !chart.series) return;
      const { times } = chart.series, [left, top, , bottom] = chart.area;
      const t = chart.fromX(chart.at), last = times.length - 1;
      const k = Math.round((t - times[0]) / (times[last] - times[0]) * last);
      if (!(k >= 0 && k <= last)) return;
      chart.line(context, chart.at, top, chart.at, bottom, paint.soft);
      const text = `t = ${fixed(times[k], 1)} M   ${read(chart, k)}`;
      context.font = `12px ${FONT}`;
      context.globalAlpha = 0.88;
      context.fillStyle = paint.card;
      context.fillRect(left + 6, top + 5, context.measureText(text).width + 12, 20);
      context.globalAlpha = 1;
      drawText(context, text, left + 12, top + 15, { colour: paint.text });
    },
  };
}

const inspiral = strainChart("inspiral", () => (
  { low: Math.max(first, -state.window), high: Math.min(final, 100) }));
const merger = strainChart("merger", () => (
  { low: Math.max(first, -150), high: Math.min(final, 100) }));
const phase = new Chart("phase", {
  margin: [8, 14, 44, 70],
  x: { label: "time t [M]" }, y: { label: "Δφ [rad]" },
  before(chart) {
    if (!chart.zoomed) Object.assign(chart.x, { low: first, high: final });
    Object.assign(chart.y, { low: -1, high: 1 });
    chart.series = null;
    if (!state.drawn?.answer) return;
    chart.series = phaseDifference(timesFor(chart.x.low, chart.x.high, chart.width));
    let [low, high] = [Infinity, -Infinity];
    for (const y of chart.series.difference) { if (y < low) low = y; if (y > high) high = y; }
    if (!(high >= low)) return;
    const pad = Math.max(0.08 * (high - low), 1e-4);
    Object.assign(chart.y, { low: Math.min(low, 0) - pad, high: Math.max(high, 0) + pad });
  },
  content(chart, context) {
    const [left, top, right, bottom] = chart.area, zero = chart.toY(0);
    if (!chart.series) {
      const middle = [(left + right) / 2, (top + bottom) / 2 - 12];
      drawText(context, "no prediction to compare", ...middle, { align: "center", size: 13 });
      return;
    }
    chart.line(context, left, zero, right, zero, paint.soft);
    const { times, difference } = chart.series;
    drawCurves(chart, context, [{ t: times, y: difference, colour: paint.prediction, width: 1.8 }]);
  },
  ...timeline((chart, k) => `Δφ = ${signed(chart.series.difference[k], 4)} rad`),
});

/** Phase of the moved prediction minus the truth's, while both are loud enough to have one. */
function phaseDifference(times) {
  const { truth, answer, tc, phic } = state.drawn;
  const a = sampled(truth, times), b = sampled(answer, times, tc, phic);
  const peak = truth.amplitude.values.reduce((x, y) => Math.max(x, y), 0);
  const difference = times.map((_, i) => (
    Math.min(a.amplitude[i], b.amplitude[i]) > 1e-3 * peak ? b.phase[i] - a.phase[i] : NaN));
  // Whole turns are of no meaning; those are taken off that the loudest cycles show.
  const probe = [-1000, -500, -200, -100, -50].filter((t) => t > first);
  const [c, d] = [sampled(truth, probe), sampled(answer, probe, tc, phic)];
  const mean = probe.reduce((sum, _, i) => sum + d.phase[i] - c.phase[i], 0) / probe.length;
  const turns = 2 * Math.PI * Math.round((Number.isFinite(mean) ? mean : 0) / (2 * Math.PI));
  return { times, difference: difference.map((y) => y - turns) };
}

function drawWaveforms() {
  const i = state.chosen;
  state.drawn = null;
  if (surrogate && i >= 0) {
    const answer = inDomain(i);
    const finite = answer.every(Number.isFinite) && Number.isFinite(column("t_c")[i]);
    state.drawn = {
      truth: surrogate.curves(...exact(i)),
      answer: finite ? surrogate.curves(...answer) : null,
      tc: column("t_c")[i], phic: column("phi_c")[i],
    };
  }
  for (const chart of [inspiral, merger, phase]) { chart.zoomed = false; chart.draw(); }
}

/** The truth of row i; float32 is undone where it stands for a short decimal number. */
const exact = (i) => [q[i], s1[i], s2[i]].map((v) => Number(v.toPrecision(7)));

/** The prediction of row i, moved into the surrogate's domain as its overlap was. */
function inDomain(i) {
  const box = surrogate?.bounds ?? Array(3).fill([-Infinity, Infinity]);
  return [pq[i], p1[i], p2[i]].map((v, k) => Math.min(box[k][1], Math.max(box[k][0], v)));
}

/** What makes both waveforms on the command line. */
function commands(i) {
  const say = (name, [a, b, c]) => `${about.command} -q ${brief(a)} --s1z=${brief(b)} `
    + `--s2z=${brief(c)} --output ${name}.txt --plot ${name}.png`;
  const answer = inDomain(i);
  const lines = [say("truth", exact(i))];
  if (answer.every(Number.isFinite)) lines.push(say("prediction", answer));
  return lines.join("\n");
}

/** Show everything about row i: what a click on its point does. */
function open(i) {
  state.chosen = i;
  if (member[i] !== state.slice) turn(member[i]);
  const { overlap, table, lines } = facts(i);
  element("wave-title").textContent = `Waveforms of row ${rowId[i]}`;
  const value = said(Number.isNaN(mismatch[i]) ? "failed" : overlap, "big");
  const label = said(`overlap · ${about.slices[member[i]]}`, "soft");
  element("facts-text").replaceChildren(value, label, table, ...lines);
  element("commands-box").hidden = !about.command;
  element("commands").replaceChildren(...commands(i).split(/( (?=-)|\n)/).map((token) => {
    const span = document.createElement("span");
    span.textContent = token;
    return token.trim() ? span : token;
  }));
  drawWaveforms();
  map.mark();
  whole.mark();
  markWorst();
  if (location.hash !== `#row=${rowId[i]}`) history.replaceState(null, "", `#row=${rowId[i]}`);
}

/** Open the row that the address names; false where it names none. */
function openNamed() {
  const id = /^#row=(\d+)$/.exec(location.hash)?.[1];
  const i = id === undefined ? -1 : rowId.indexOf(Number(id));
  if (i >= 0) open(i);
  return i >= 0;
}
