// Charts, drawn by Plotly in the colours of the page. Names from files are escaped: Plotly reads tags in its texts.
"use strict";

const MOST_CURVES = 90; // lines that are drawn at once; more could not be told apart
const CONFIG = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["lasso2d", "select2d"] };

function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function ink(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

// A colour of the pictures, which are on white, lighter where the page is dark and it would vanish.
function colored(color) {
  if (!isDark()) return color;
  const parts = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  const light = (0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]) / 255;
  const share = light < 0.05 ? 0.85 : light < 0.25 ? 0.5 : light < 0.4 ? 0.25 : 0;
  return `rgb(${parts.map((part) => Math.round(part + (255 - part) * share)).join(",")})`;
}

function layoutOf(options) {
  const axis = { gridcolor: ink("--grid"), zerolinecolor: ink("--grid"), linecolor: ink("--line"), automargin: true };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink("--ink"), size: 12 },
    margin: { l: 56, r: 12, t: 12, b: 44 }, hovermode: "closest", showlegend: true,
    legend: { orientation: "h", y: -0.22, yanchor: "top", x: 0, font: { size: 11 } },
    ...options,
    xaxis: { ...axis, ...options.xaxis }, yaxis: { ...axis, ...options.yaxis },
  };
}

function logRange(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value > 0 && Number.isFinite(value)) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  return low < Infinity ? [Math.log10(low), Math.log10(high)] : [0, 1];
}

// Which trials are drawn: those of the best configuration of each optimizer, and of the others evenly spaced ones.
function chosenCurves(study, filter) {
  const groups = new Map();
  const first = new Map();
  for (const trial of filter.trials) {
    if (!study.curves.length(trial)) continue;
    const owner = study.owners[trial];
    const name = study.configurations.column("method").at(owner);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(trial);
    if (!first.has(name) || owner < first.get(name)) first.set(name, owner);
  }
  const share = Math.max(2, Math.floor(MOST_CURVES / Math.max(1, groups.size)));
  return [...groups].map(([name, trials]) => {
    const best = trials.filter((trial) => study.owners[trial] === first.get(name)).slice(0, share);
    const others = trials.filter((trial) => study.owners[trial] !== first.get(name));
    others.sort((a, b) => study.owners[a] - study.owners[b] || a - b);
    const room = Math.min(others.length, share - Math.min(best.length, share - 1));
    const spaced = Array.from({ length: room }, (_, k) => others[Math.floor(((k + 0.5) * others.length) / room)]);
    return { name, best, others: spaced, all: trials.length };
  });
}

// Joins curves to one line with gaps: a line for each curve would cost Plotly ten times as long.
function joined(study, trials, metric, gap, axis) {
  const [x, y, owners] = [[], [], []];
  for (const trial of trials) {
    x.push(...study.curves.x(trial, axis), null);
    y.push(...study.curves.y(trial, metric, gap), null);
    for (let k = study.curves.length(trial); k >= 0; k--) owners.push(trial);
  }
  return { x, y, customdata: owners };
}

function drawCurves(place, study, filter, options) {
  const { metric, gap, axis, log } = options;
  const groups = chosenCurves(study, filter);
  const [thin, thick] = [[], []];
  for (const { name, best, others } of groups) {
    const look = study.looks[study.methodIndex.get(name)];
    const color = colored(look.color);
    const shared = { type: "scatter", mode: "lines", legendgroup: plain(name), connectgaps: false };
    const hover = `${plain(name)}<br>%{x}: %{y:.6g}<extra></extra>`;
    if (others.length) {
      thin.push({ ...shared, ...joined(study, others, metric, gap, axis), line: { color, width: 0.8 }, opacity: 0.35,
        showlegend: false, hovertemplate: hover });
    }
    thick.push({ ...shared, ...joined(study, best, metric, gap, axis), line: { color, width: 2.2, dash: look.dash },
      name: plain(name), hovertemplate: hover });
  }
  const drawn = [...thin, ...thick];
  const starts = [];
  let low = Infinity;
  for (const trace of drawn) {
    for (let k = 0; k < trace.y.length; k++) {
      if ((k === 0 || trace.y[k - 1] === null) && trace.y[k] !== null) starts.push(trace.y[k]);
      if (trace.y[k] !== null && (!gap || trace.y[k] > 0)) low = Math.min(low, trace.y[k]);
    }
  }
  // Curves that grow beyond the start leave the picture at its upper edge.
  const high = starts.length ? Math.max(...starts) : 1;
  const unit = metric.scale === "gap" ? `${metric.label} above ${options.floor}` : metric.label;
  let range = metric.scale === "gap" ? [low - 0.03 * (high - low), high + 0.06 * (high - low)] : undefined;
  if (gap && low < Infinity) range = [Math.log10(low) - 0.1, Math.log10(Math.max(high, low)) + 0.2];
  const several = drawn.length > 1;
  const layout = layoutOf({
    xaxis: { title: { text: axis === "epoch" ? "epochs" : "steps" }, type: log ? "log" : "linear" },
    yaxis: { title: { text: plain(gap ? unit : metric.label) }, type: gap ? "log" : "linear", range, exponentformat: "power" },
    showlegend: several,
  });
  Plotly.react(place, drawn, layout, CONFIG);
  const shown = groups.reduce((sum, group) => sum + group.best.length + group.others.length, 0);
  const all = groups.reduce((sum, group) => sum + group.all, 0);
  return { shown, all };
}

// The best of each optimizer at each value of a setting, over all other settings.
function bestAt(study, filter, names) {
  const value = study.configurations.column(study.value);
  const columns = names.map((name) => study.configurations.column(name));
  const found = new Map();
  for (const row of filter.configurations) {
    const key = columns.map((column) => column.at(row));
    const text = JSON.stringify(key);
    const own = value.at(row);
    const before = found.get(text);
    if (!before || (own !== null && (before.value === null || own < before.value))) found.set(text, { key, value: own, row });
  }
  return [...found.values()];
}

function problemOf(study, filter, problem) {
  const column = study.configurations.column("problem");
  if (!column) return filter;
  return { configurations: filter.configurations.filter((row) => column.at(row) === problem) };
}

function drawSensitivity(place, study, filter, setting) {
  const points = bestAt(study, filter, ["method", setting]).filter(({ key }) => key[1] !== null);
  const least = study.configurations.column(`${study.value}_min`);
  const most = study.configurations.column(`${study.value}_max`);
  const drawn = [];
  const values = points.map((point) => point.value).filter((value) => value !== null && Number.isFinite(value));
  values.sort((a, b) => a - b);
  for (const look of study.looks) {
    const own = points.filter(({ key }) => key[0] === look.name).sort((a, b) => a.key[1] - b.key[1]);
    if (!own.length) continue;
    const color = colored(look.color);
    const line = own.map(({ value }) => (value !== null && Number.isFinite(value) ? value : null));
    const text = own.map(({ row }) => `${shortNumber(least.at(row) ?? NaN)} to ${shortNumber(most.at(row) ?? NaN)}`);
    drawn.push({ type: "scatter", mode: "lines+markers", name: plain(look.name), x: own.map(({ key }) => key[1]), y: line, text,
      customdata: own.map(({ row }) => row), line: { color, width: 1.6, dash: look.dash },
      marker: { color, size: 6, symbol: look.symbol },
      hovertemplate: `${plain(look.name)}<br>%{x}: %{y:.6g}<br>%{text} over ${study.repeats}<extra></extra>` });
  }
  const x = points.map(({ key }) => key[1]).filter((value) => value > 0);
  const [low, high] = logRange(x);
  const label = study.configurations.column(setting).label;
  // The upper half of the values, which a logarithmic spread of rates fills with bad ones, is not to flatten the lower.
  const top = values.length ? values[Math.floor(0.9 * (values.length - 1))] : 1;
  const bottom = values.length ? values[0] : 0;
  const range = values.length > 3 && top > bottom ? [bottom - 0.05 * (top - bottom), top + 0.1 * (top - bottom)] : undefined;
  Plotly.react(place, drawn, layoutOf({
    xaxis: { title: { text: plain(label) }, type: high - low > 1 ? "log" : "linear", exponentformat: "power" },
    yaxis: { title: { text: plain(study.configurations.column(study.value).label) }, range },
  }), CONFIG);
}

function drawHeatmap(place, study, filter, method, across, up) {
  const name = study.configurations.column("method");
  const own = { configurations: filter.configurations.filter((row) => name.at(row) === method) };
  const points = bestAt(study, own, [across, up]).filter(({ key }) => key[0] !== null && key[1] !== null);
  const sorted = (at) => [...new Set(points.map(({ key }) => key[at]))].sort((a, b) => (a < b ? -1 : 1));
  const [x, y] = [sorted(0), sorted(1)];
  const z = y.map(() => x.map(() => null));
  for (const { key, value } of points) {
    if (value !== null && Number.isFinite(value)) z[y.indexOf(key[1])][x.indexOf(key[0])] = value;
  }
  const words = (value) => plain(typeof value === "number" ? shortNumber(value, 3) : value);
  const values = z.flat().filter((value) => value !== null).sort((a, b) => a - b);
  const label = (column) => plain(study.configurations.column(column).label);
  const drawn = [{ type: "heatmap", x: x.map(words), y: y.map(words), z, colorscale: "Viridis", xgap: 1, ygap: 1,
    zmin: values[0], zmax: values[Math.floor(0.9 * (values.length - 1))], hoverongaps: false,
    hovertemplate: `${label(across)} %{x}<br>${label(up)} %{y}<br>%{z:.6g}<extra></extra>`,
    colorbar: { thickness: 12, outlinewidth: 0 } }];
  Plotly.react(place, drawn, layoutOf({
    xaxis: { title: { text: label(across) }, type: "category" }, yaxis: { title: { text: label(up) }, type: "category" },
    showlegend: false,
  }), CONFIG);
}

function drawTrial(place, study, trial, options) {
  const siblings = [...study.trialsOf(study.owners[trial])].filter((other) => other !== trial).slice(0, 40);
  const look = study.look(study.owners[trial]);
  const { metric, gap, axis } = options;
  const grey = ink("--line");
  const drawn = [
    { type: "scatter", mode: "lines", ...joined(study, siblings, metric, gap, axis), name: `its other ${study.repeats}`,
      line: { color: grey, width: 1 }, hoverinfo: "skip", visible: siblings.length > 0 },
    { type: "scatter", mode: "lines+markers", ...joined(study, [trial], metric, gap, axis), name: "this trial",
      line: { color: colored(look.color), width: 2 }, marker: { size: 4 }, hovertemplate: "%{x}: %{y:.6g}<extra></extra>" },
  ];
  Plotly.react(place, drawn, layoutOf({
    xaxis: { title: { text: axis === "epoch" ? "epochs" : "steps" } },
    yaxis: { title: { text: plain(gap ? `${metric.label} above ${options.floor}` : metric.label) },
      type: gap ? "log" : "linear", exponentformat: "power" },
  }), CONFIG);
}
