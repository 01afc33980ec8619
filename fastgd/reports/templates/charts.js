// Charts, drawn by Plotly in the colours of the page. Names from files are escaped: Plotly reads tags in its texts.
"use strict";

const MOST_CURVES = 90; // lines that are drawn at once; more could not be told apart
const CONFIG = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["lasso2d", "select2d"] };

function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

// A colour of the style sheet. They are kept: to ask for one makes the browser compute the styles of a changed page anew.
const inks = new Map();

function ink(name) {
  if (!inks.has(name)) inks.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return inks.get(name);
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
  const axis = { gridcolor: ink("--grid"), zerolinecolor: ink("--grid"), linecolor: ink("--line") };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink("--ink"), size: 12 },
    margin: { l: 76, r: 12, t: 12, b: 48 }, hovermode: "closest", showlegend: false,
    modebar: { bgcolor: "rgba(0,0,0,0)", color: ink("--line"), activecolor: ink("--accent") },
    ...options,
    xaxis: { ...axis, ...options.xaxis }, yaxis: { ...axis, ...options.yaxis },
  };
}

// A logarithmic axis has a number at each power of ten, or where there is but one, at 1, 2 and 5 times it.
function logAxis([low, high]) {
  const decades = high - low;
  return { type: "log", range: [low, high], exponentformat: "power", dtick: decades > 1.2 ? Math.ceil(decades / 8) : "D2" };
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

// Writes the key of a chart below it: Plotly's own takes longer than all of its lines.
function showKey(place, entries) {
  const items = entries.map(({ name, color, dash }) => {
    const line = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    line.setAttribute("class", `swatch ${dash || "solid"}`);
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", "M0 5H26");
    path.setAttribute("stroke", color);
    line.append(path);
    return element("li", {}, line, name);
  });
  if (!place.keyList) {
    place.keyList = element("ul", { class: "key" });
    place.after(place.keyList);
  }
  place.keyList.replaceChildren(...items);
}

// Which trials are drawn: the median one of the best configuration of each optimizer, and evenly spaced ones of the others.
function chosenCurves(study, filter) {
  const groups = new Map();
  for (const trial of filter.trials) {
    if (!study.curves.length(trial)) continue;
    const name = study.configurations.column("method").at(study.owners[trial]);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(trial);
  }
  const share = Math.max(2, Math.floor(MOST_CURVES / Math.max(1, groups.size)));
  return [...groups].map(([name, trials]) => {
    const first = trials.reduce((least, trial) => Math.min(least, study.owners[trial]), Infinity);
    const best = middleOf(study, trials.filter((trial) => study.owners[trial] === first));
    const others = trials.filter((trial) => trial !== best);
    others.sort((a, b) => study.owners[a] - study.owners[b] || a - b);
    const room = Math.min(others.length, share - 1);
    const spaced = Array.from({ length: room }, (_, k) => others[Math.floor(((k + 0.5) * others.length) / room)]);
    return { name, best: [best], others: spaced, all: trials.length };
  });
}

// The trial in the middle of some of a configuration, by its final value.
function middleOf(study, trials) {
  const value = study.trials.column(study.value);
  const sorted = [...trials];
  if (value) sorted.sort((a, b) => compareValues(value.at(a), value.at(b)));
  return sorted[Math.floor((sorted.length - 1) / 2)];
}

// Joins curves to one line with gaps: a line for each curve would cost Plotly ten times as long.
function joined(study, trials, metric, gap, axis) {
  const [x, y, owners] = [[], [], []];
  for (const trial of trials) {
    x.push(...study.curves.x(trial, axis), null);
    y.push(...study.curves.y(trial, metric, gap), null);
    for (let k = study.curves.length(trial); k >= 0; k--) owners.push(trial);
  }
  return x.length ? { x, y, customdata: owners } : { x: [null], y: [null], customdata: [] };
}

function drawCurves(place, study, filter, options) {
  const { metric, gap, axis, log } = options;
  const groups = chosenCurves(study, filter);
  const byName = new Map(groups.map((group) => [group.name, group]));
  const [thin, thick, entries] = [[], [], []];
  // Every optimizer has its two lines, if need be without a point: Plotly takes longer where their number changes.
  for (const look of study.looks) {
    const { best, others } = byName.get(look.name) || { best: [], others: [] };
    const color = colored(look.color);
    const hover = `${plain(look.name)}<br>%{x}: %{y:.6g}<extra></extra>`;
    const shared = { type: "scatter", mode: "lines", connectgaps: false, hovertemplate: hover };
    thin.push({ ...shared, ...joined(study, others, metric, gap, axis), line: { color, width: 0.8 }, opacity: 0.35 });
    thick.push({ ...shared, ...joined(study, best, metric, gap, axis), line: { color, width: 2.2, dash: look.dash } });
    if (best.length) entries.push({ name: look.name, color, dash: look.dash });
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
  const range = metric.scale === "gap" && low < Infinity ? [low - 0.03 * (high - low), high + 0.06 * (high - low)] : undefined;
  const ends = low < Infinity ? [low, Math.max(high, low)] : [0.1, 1];
  const span = gap ? [Math.log10(ends[0]) - 0.1, Math.log10(ends[1]) + 0.2] : null;
  const layout = layoutOf({
    xaxis: { title: { text: axis === "epoch" ? "epochs" : "steps" }, type: log ? "log" : "linear" },
    yaxis: { title: { text: plain(gap ? unit : metric.label) }, ...(span ? logAxis(span) : { range }) },
  });
  Plotly.react(place, drawn, layout, CONFIG);
  showKey(place, entries);
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
  const all = Array.from({ length: study.configurations.count }, (_, row) => row);
  const within = (rows) => (column ? rows.filter((row) => column.at(row) === problem) : rows);
  return { configurations: within(filter.configurations), least: leastOf(study, within(all)) };
}

// The least value of a problem, over all of its seeds and whatever the filter: distances are measured from it.
function leastOf(study, rows) {
  const column = study.configurations.column(`${study.value}_min`) || study.configurations.column(study.value);
  let least = Infinity;
  for (const row of rows) {
    const value = column.at(row);
    if (value !== null && value < least) least = value;
  }
  return least;
}

function drawSensitivity(place, study, filter, setting, gap) {
  const points = bestAt(study, filter, ["method", setting]).filter(({ key }) => key[1] !== null);
  const ends = ["_min", "_max"].map((end) => study.configurations.column(`${study.value}${end}`));
  const finite = points.map((point) => point.value).filter((value) => value !== null && Number.isFinite(value));
  finite.sort((a, b) => a - b);
  const base = gap ? filter.least : 0;
  // On a logarithmic axis a distance of zero has no place: it stands at half of the least one.
  const floor = gap ? (finite.find((value) => value > base) - base) / 2 : -Infinity;
  const height = (value) => (value !== null && Number.isFinite(value) ? Math.max(value - base, floor) : null);
  const [drawn, entries] = [[], []];
  for (const look of study.looks) {
    const own = points.filter(({ key }) => key[0] === look.name).sort((a, b) => a.key[1] - b.key[1]);
    if (!own.length) continue;
    const color = colored(look.color);
    const over = (row) => (ends[0] ? `<br>${ends[0].text(row)} to ${ends[1].text(row)} over ${study.repeats}` : "");
    const text = own.map(({ value, row }) => `${shortNumber(value ?? NaN)}${over(row)}`);
    entries.push({ name: look.name, color, dash: look.dash });
    drawn.push({ type: "scatter", mode: "lines+markers", x: own.map(({ key }) => key[1]), y: own.map(({ value }) => height(value)),
      text, customdata: own.map(({ row }) => row), line: { color, width: 1.6, dash: look.dash },
      marker: { color, size: 6, symbol: look.symbol }, hovertemplate: `${plain(look.name)}<br>%{x}: %{text}<extra></extra>` });
  }
  const [low, high] = logRange(points.map(({ key }) => key[1]).filter((value) => value > 0));
  // The worst tenth, mostly of rates that are too large, leaves the picture at its upper edge.
  const top = finite.length ? finite[finite.length < 20 ? finite.length - 1 : Math.floor(0.9 * finite.length)] - base : 1;
  const bottom = finite.length ? height(finite[0]) : 0;
  const room = finite.length > 3 && top > bottom ? [bottom - 0.05 * (top - bottom), top + 0.1 * (top - bottom)] : undefined;
  const scale = gap && bottom > 0 ? logAxis([Math.log10(bottom) - 0.1, Math.log10(Math.max(top, bottom)) + 0.15]) : { range: room };
  const words = study.configurations.column(study.value).label;
  Plotly.react(place, drawn, layoutOf({
    xaxis: { title: { text: plain(study.configurations.column(setting).label) },
      ...(high - low > 1 ? logAxis([low - 0.1, high + 0.1]) : {}) },
    yaxis: { title: { text: plain(gap ? `${words} above ${shortNumber(base, 5)}` : words) }, ...scale },
  }), CONFIG);
  showKey(place, entries);
}

function drawHeatmap(place, study, filter, method, across, up, gap) {
  const name = study.configurations.column("method");
  const own = { configurations: filter.configurations.filter((row) => name.at(row) === method) };
  const points = bestAt(study, own, [across, up]).filter(({ key }) => key[0] !== null && key[1] !== null);
  const sorted = (at) => [...new Set(points.map(({ key }) => key[at]))].sort((a, b) => (a < b ? -1 : 1));
  const [x, y] = [sorted(0), sorted(1)];
  const [z, rows] = [y.map(() => x.map(() => null)), y.map(() => x.map(() => null))];
  const finite = points.map(({ value }) => value).filter((value) => value !== null && Number.isFinite(value)).sort((a, b) => a - b);
  const floor = gap ? (finite.find((value) => value > filter.least) - filter.least) / 2 : 0;
  const height = (value) => (gap ? Math.log10(Math.max(value - filter.least, floor)) : value);
  for (const { key, value, row } of points) {
    const [i, j] = [y.indexOf(key[1]), x.indexOf(key[0])];
    rows[i][j] = row;
    if (value !== null && Number.isFinite(value)) z[i][j] = height(value);
  }
  const column = study.configurations.column(study.value);
  const words = (value) => plain(typeof value === "number" ? shortNumber(value, 3) : value);
  const label = (setting) => plain(study.configurations.column(setting).label);
  const [zmin, zmax] = [finite[0], finite[finite.length < 20 ? finite.length - 1 : Math.floor(0.9 * finite.length)]].map(height);
  const bar = { thickness: 12, outlinewidth: 0 };
  if (gap) {
    bar.tickvals = Array.from({ length: 9 }, (_, k) => Math.ceil(zmin) + k).filter((k) => k <= zmax);
    if (bar.tickvals.length < 2) bar.tickvals = [zmin, (zmin + zmax) / 2, zmax];
    bar.ticktext = bar.tickvals.map((k) => shortNumber(10 ** k, 2));
    bar.title = { text: "above the least", side: "right" };
  }
  const text = rows.map((line) => line.map((row) => (row === null ? "" : column.text(row))));
  const drawn = [{ type: "heatmap", x: x.map(words), y: y.map(words), z, text, colorscale: "Viridis", xgap: 1, ygap: 1, zmin, zmax,
    hoverongaps: false, hovertemplate: `${label(across)} %{x}<br>${label(up)} %{y}<br>%{text}<extra></extra>`, colorbar: bar }];
  Plotly.react(place, drawn, layoutOf({
    xaxis: { title: { text: label(across), standoff: 8 }, type: "category", automargin: true },
    yaxis: { title: { text: label(up), standoff: 8 }, type: "category", automargin: true },
  }), CONFIG);
}

function drawProfile(place, study, profile) {
  const ratio = profile.name === "performance";
  const end = Math.max(1.05 * profile.end, ratio ? 2 : 0);
  const [drawn, entries] = [[], []];
  for (const { method, x, y } of profile.lines) {
    const look = study.looks[study.methodIndex.get(method)];
    const color = colored(look.color);
    const last = y.length ? y[y.length - 1] : 0;
    entries.push({ name: method, color, dash: look.dash });
    drawn.push({ type: "scatter", mode: "lines", x: [...x, end], y: [...y, last],
      line: { color, width: 2, dash: look.dash, shape: "hv" }, hovertemplate: `${plain(method)}<br>%{x}: %{y:.0%}<extra></extra>` });
  }
  Plotly.react(place, drawn, layoutOf({
    xaxis: { title: { text: plain(profile.axis) }, ...(ratio ? logAxis([-0.02, Math.log10(end)]) : {}) },
    yaxis: { title: { text: "share of trials" }, range: [-0.02, 1.04], tickformat: ".0%" },
  }), CONFIG);
  showKey(place, entries);
}

// From the valleys up. Valleys, where walks end, are nearest to the page's own colour.
const HEIGHTS = {
  light: ["#fdfcf7", "#eef1ec", "#d5e0e2", "#b3c7d2", "#8fabbf", "#7393ac"],
  dark: ["#12181d", "#1b262f", "#263643", "#344959", "#455e70", "#5a7588"],
};
const NO_HEIGHT = 65535;

// A map's heights, row by row, as places among its levels, and the loss at such a place.
function heightsOf(map) {
  const codes = new Uint16Array(bytesOf(map.codes));
  const last = map.levels.length - 1;
  const loss = (at) => {
    const below = Math.min(Math.floor(at), last - 1);
    const height = map.levels[below] + (at - below) * (map.levels[below + 1] - map.levels[below]);
    return map.low + map.scale * Math.expm1(height);
  };
  const width = map.x.length;
  const place = (code) => (code === NO_HEIGHT ? null : (code / (NO_HEIGHT - 1)) * last);
  return { z: map.y.map((_, row) => Array.from(codes.subarray(row * width, (row + 1) * width), place)), last, loss };
}

function drawMap(place, map) {
  const { z, last, loss } = heightsOf(map);
  const colors = HEIGHTS[isDark() ? "dark" : "light"];
  const ticks = Array.from({ length: 6 }, (_, k) => Math.round((k * last) / 5)).filter((at, k, all) => at !== all[k - 1]);
  const [labelX, labelY] = map.labels.map(plain);
  const drawn = [{
    type: "contour", x: map.x, y: map.y, z, autocontour: false, contours: { start: 0, end: last, size: 1 }, connectgaps: false,
    colorscale: colors.map((color, k) => [k / (colors.length - 1), color]), line: { width: 0.4, color: ink("--line") },
    text: z.map((row) => row.map((at) => (at === null ? "" : shortNumber(loss(at), 4)))),
    hovertemplate: `${labelX} %{x:.4g}, ${labelY} %{y:.4g}: %{text}<extra></extra>`,
    colorbar: { thickness: 12, outlinewidth: 0, tickvals: ticks, ticktext: ticks.map((at) => shortNumber(loss(at), 3)),
      title: { text: "loss", side: "right" } },
  }];
  const dots = (x, y, marker, hovertemplate) => drawn.push({ type: "scatter", mode: "markers", x, y, hovertemplate,
    marker: { line: { color: "#222222", width: 1 }, ...marker }, cliponaxis: false });
  const within = (axis, value) => Math.min(Math.max(value, axis[0]), axis[axis.length - 1]);
  const entries = new Map();
  for (const walk of map.walks) {
    const color = colored(walk.color);
    const name = `${plain(walk.name)}, start ${walk.start}`;
    entries.set(walk.name, { name: walk.name, color, dash: walk.dash });
    drawn.push({ type: "scatter", mode: "lines+markers", x: walk.x, y: walk.y, customdata: walk.step, connectgaps: false,
      line: { color, width: 1.6, dash: walk.dash }, marker: { color, size: 3.5 },
      hovertemplate: `${name}<br>step %{customdata}: %{x:.5g}, %{y:.5g}<extra></extra>` });
  }
  dots(...map.minima, { symbol: "star", color: "#ffd23f", size: 11 }, "minimum %{x:.5g}, %{y:.5g}<extra></extra>");
  for (const walk of map.walks) {
    dots([walk.x[0]], [walk.y[0]], { symbol: "circle", color: "#ffffff", size: 8 }, `start ${walk.start}<extra></extra>`);
    const off = walk.end[0] !== within(map.x, walk.end[0]) || walk.end[1] !== within(map.y, walk.end[1]);
    dots([within(map.x, walk.end[0])], [within(map.y, walk.end[1])], { symbol: walk.symbol, color: colored(walk.color), size: 9 },
      `${plain(walk.name)}, start ${walk.start}: ${walk.status}${off ? ", ends off the map" : ""}<extra></extra>`);
  }
  const range = (axis) => [axis[0], axis[axis.length - 1]];
  Plotly.react(place, drawn, layoutOf({
    xaxis: { title: { text: labelX }, range: range(map.x), constrain: "domain" },
    yaxis: { title: { text: labelY }, range: range(map.y), ...(map.equal ? { scaleanchor: "x", constrain: "domain" } : {}) },
  }), CONFIG);
  showKey(place, [...entries.values()]);
}

function drawTrial(place, study, trial, options) {
  const siblings = [...study.trialsOf(study.owners[trial])].filter((other) => other !== trial).slice(0, 40);
  const look = study.look(study.owners[trial]);
  const { metric, gap, axis } = options;
  const grey = ink("--line");
  const drawn = [
    { type: "scatter", mode: "lines", ...joined(study, siblings, metric, gap, axis), line: { color: grey, width: 1 },
      hoverinfo: "skip", visible: siblings.length > 0 },
    { type: "scatter", mode: "lines+markers", ...joined(study, [trial], metric, gap, axis),
      line: { color: colored(look.color), width: 2 }, marker: { size: 4 }, hovertemplate: "%{x}: %{y:.6g}<extra></extra>" },
  ];
  Plotly.react(place, drawn, layoutOf({
    xaxis: { title: { text: axis === "epoch" ? "epochs" : "steps" } },
    yaxis: { title: { text: plain(gap ? `above ${options.floor}` : metric.label) },
      type: gap ? "log" : "linear", exponentformat: "power" },
  }), CONFIG);
  const others = siblings.length ? [{ name: `its other ${study.repeats}`, color: grey }] : [];
  showKey(place, [{ name: "this trial", color: colored(look.color) }, ...others]);
}
