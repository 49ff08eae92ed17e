// -- Controls

function choices(id, entries, press, chosen) {
  const buttons = entries.map(([value, text]) => {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", value, textContent: text });
    button.setAttribute("aria-pressed", String(value === chosen));
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      press(value);
    });
    return button;
  });
  element(id).replaceChildren(...buttons);
}

choices("views", Object.entries(views).map(([key, view]) => [key, view.name]), (key) => {
  state.view = key;
  whole.zoomed = false;
  whole.draw();
}, "overlap");
choices("chips", [[1, "all"], [0.99, "≤ 0.99"], [0.97, "≤ 0.97"], [0.9, "≤ 0.9"]],
  (limit) => filter(0, limit), 1);
const longest = -first;
choices("windows", [longest, 5000, 2000, 500].filter((w, k) => !k || w < longest)
  .map((w) => [w, w === longest ? "whole" : `last ${counted(w)} M`]), (w) => {
  state.window = w;
  inspiral.zoomed = false;
  inspiral.draw();
}, (state.window = Math.min(2000, longest)));

const select = element("quantity");
for (const [key, { name }] of Object.entries(quantities)) select.add(new Option(name, key));
select.addEventListener("change", () => {
  state.quantity = select.value;
  map.draw();
  whole.draw();
  sayCount();
});
element("slice").max = about.slices.length - 1;
element("slice").addEventListener("input", (event) => turn(Number(event.target.value)));
element("previous").addEventListener("click", () => turn(state.slice - 1));
element("next").addEventListener("click", () => turn(state.slice + 1));
for (const id of ["from", "to"]) {
  element(id).addEventListener("change", () => {
    const [low, high] = ["from", "to"].map((name) => element(name).valueAsNumber);
    filter(Number.isFinite(low) ? low : 0, Number.isFinite(high) ? high : 1);
  });
}
element("copy").addEventListener("click", async () => {
  const text = element("commands").textContent;
  let done = true;
  try { await navigator.clipboard.writeText(text); } catch {
    getSelection().selectAllChildren(element("commands"));
    done = document.execCommand("copy");
  }
  element("copy").textContent = done ? "Copied" : "Press Ctrl+C";
  setTimeout(() => { element("copy").textContent = "Copy commands"; }, 1600);
});
const keys = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
element("map").addEventListener("keydown", (event) => {
  if (keys[event.key]) step(...keys[event.key]);
  else if (event.key === "Enter" && state.cursor >= 0) open(state.cursor);
  else return;
  event.preventDefault();
  event.stopPropagation();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hideTip();
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (/^(INPUT|SELECT)$/.test(event.target.tagName)) return;  // they know what an arrow means
  if (event.key === "ArrowLeft") turn(state.slice - 1);
  else if (event.key === "ArrowRight") turn(state.slice + 1);
  else return;
  event.preventDefault();
});
window.addEventListener("hashchange", openNamed);

const charts = [map, whole, histogram, inspiral, merger, phase];
const dark = matchMedia("(prefers-color-scheme: dark)"), theme = element("theme");
const isDark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : dark.matches;
};
const recolour = () => {
  readColours();
  theme.textContent = isDark() ? "Light" : "Dark";
  for (const chart of charts) chart.draw();
};
theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  recolour();
});
dark.addEventListener("change", recolour);

element("recipe").textContent = about.recipe;
element("charts").hidden = element("legend").hidden = element("windows").hidden = !surrogate;
element("no-waveforms").hidden = Boolean(surrogate);
element("no-waveforms").textContent = `The waveforms of ${about.engine || "this engine"} cannot be `
  + "drawn offline: this page can evaluate surrogates in NRHybSur3dq8's form only. "
  + (about.command ? "The commands make them." : "");
element("loading").hidden = true;
element("page").hidden = false;
const spoken = {
  whole: "All waveforms: overlap over mass ratio, or symmetric mass ratio over effective spin",
  histogram: "Histogram of overlaps; the fields below it choose which are shown",
  inspiral: "Inspiral of truth and prediction",
  merger: "Merger of truth and prediction",
  phase: "Phase difference over the whole waveform",
};
for (const [id, text] of Object.entries(spoken)) element(id).setAttribute("aria-label", text);
recolour();
for (const chart of charts) chart.resize();
turn(0);
filter(0, 1);
if (!openNamed()) open(ranked[0]);

// For scripts and tests: what is shown, and any waveform.
window.explorer = {
  state, open, turn, filter, members, ranked,
  charts: { map, whole, histogram, inspiral, merger, phase },
  waveform(a, b, c, times) {
    const { amplitude, phase: phi } = sampled(surrogate.curves(a, b, c), times);
    return { real: Array.from(phi, (p, k) => amplitude[k] * Math.cos(p)),
      imaginary: Array.from(phi, (p, k) => -amplitude[k] * Math.sin(p)) };
  },
};
