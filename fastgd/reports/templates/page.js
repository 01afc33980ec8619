// Puts each study's filter, tables and charts together, and the page's colours.
"use strict";

const SCALES = [["gap", "above the least, logarithmic"], ["plain", "as it is"]];

function explore(study, section) {
  const find = (selector) => section.querySelector(selector);
  const { metrics, axes } = study.curves;
  const state = { metric: metrics.find((metric) => metric.name === study.metric) || metrics[0], gap: true, axis: axes[0], log: false };
  const options = () => ({
    ...state, gap: state.gap && state.metric.scale === "gap",
    floor: state.metric.name === "loss" && study.sources.every((source) => source !== "best seen")
      ? "the minimum" : "the least one seen",
  });
  const open = (trial) => showTrial(study, trial, options());
  const openMedian = (row) => study.trialsOf(row).length && open(middleOf(study, study.trialsOf(row)));
  const tables = {
    configurations: new VirtualTable(find(".virtual[id$=-configurations]"), study.configurations, "Configurations", openMedian),
    trials: new VirtualTable(find(".virtual[id$=-trials]"), study.trials, "Trials", open),
  };
  const charts = new Map(); // what draws a chart, by its place; it is drawn when it comes into view
  const filter = new Filter(study, find(".filters"), () => update());

  const place = find(".curves");
  if (metrics.length) charts.set(place, () => {
    const { shown, all } = drawCurves(place, study, filter, options());
    onPoint(place, open);
    find(".shown").textContent = shown < all
      ? `${grouped.format(shown)} of ${grouped.format(all)} curves are drawn: the best of each optimizer ` +
        "with a thick line, and others evenly spaced in the ranking. A click on one shows its trial."
      : "The best of each optimizer has a thick line. A click on a curve shows its trial.";
  });
  else place.hidden = true;
  curveControls(find(".curve-controls"), study, state, () => charts.get(place)?.());
  rateControls(section, study, filter, charts, openMedian);

  profileControls(section, study, charts);
  mapControls(section, study, charts);

  const seen = new Set();
  let waiting = [];
  const observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) {
        if (!seen.has(target)) charts.get(target)?.();
        seen.add(target);
      } else seen.delete(target);
    }
  }, { rootMargin: "200px" });
  for (const chart of charts.keys()) observer.observe(chart);

  function update() {
    const { trials, configurations } = filter;
    find(".count").textContent =
      `${grouped.format(configurations.length)} of ${grouped.format(study.configurations.count)} configurations, ` +
      `${grouped.format(trials.length)} of ${grouped.format(study.trials.count)} trials`;
    tables.configurations.show(configurations);
    tables.trials.show(trials);
    // What is out of view is drawn when it comes into view again; charts below wait until tables and curves are shown.
    waiting.forEach(clearTimeout);
    const [first, ...others] = [...seen].sort((a) => (a === place ? -1 : 1));
    charts.get(first)?.();
    waiting = others.map((chart) => setTimeout(() => seen.has(chart) && charts.get(chart)()));
  }
  tabs(section, () => Object.values(tables).forEach((table) => table.top(0)));
  update();
  return () => seen.forEach((chart) => charts.get(chart)?.());
}

// Opens what a point of a chart stands for, when it is clicked.
function onPoint(place, open) {
  if (place.opens) return;
  place.opens = true;
  place.on("plotly_click", ({ points }) => points[0].customdata !== undefined && open(points[0].customdata));
}

function curveControls(place, study, state, draw) {
  const { metrics, axes } = study.curves;
  if (!metrics.length) return;
  const set = (key) => (value) => {
    state[key] = value;
    draw();
  };
  place.append(chooser("metric", metrics.map((metric) => [metric.name, metric.label]),
    (name) => set("metric")(metrics.find((metric) => metric.name === name)), state.metric.name));
  place.append(chooser("scale", SCALES, (value) => set("gap")(value === "gap")));
  if (axes.length > 1) {
    place.append(chooser("along", axes.map((axis) => [axis, axis === "epoch" ? "epochs" : "steps"]), set("axis")));
  }
  place.append(chooser("axis", [["", "linear"], ["log", "logarithmic"]], (value) => set("log")(value === "log")));
}

function rateControls(section, study, filter, charts, open) {
  const settings = study.settings.map((column) => column.name).filter((name) => name !== "method" && name !== "problem");
  const rates = study.rates.filter((name) => settings.includes(name));
  if (!rates.length) {
    section.querySelector(".charts").hidden = true;
    return;
  }
  const label = (name) => study.configurations.column(name).label;
  const problems = study.configurations.column("problem")?.values || [];
  const state = { problem: problems[0], setting: rates[0], gap: true, across: rates[0], up: "" };
  const varying = (name) => valuesOf(study, name, settings).filter((seen) => seen.size > 1).length;
  const others = study.looks.map((look) => look.name).filter((name) => varying(name) > 1);
  const ranked = Array.from({ length: study.configurations.count }, (_, row) => study.configurations.column("method").at(row));
  state.method = ranked.find((name) => others.includes(name));
  const [sensitivity, heatmap] = [section.querySelector(".sensitivity"), section.querySelector(".heatmap")];
  const left = () => problemOf(study, filter, state.problem);
  charts.set(sensitivity, () => {
    drawSensitivity(sensitivity, study, left(), state.setting, state.gap);
    onPoint(sensitivity, open);
  });
  const set = (key, ...places) => (value) => {
    state[key] = value;
    places.forEach((place) => charts.get(place)?.());
  };
  const controls = section.querySelector(".rate-controls");
  if (problems.length > 1) {
    controls.append(chooser("problem", problems.map((name) => [name, name]), set("problem", sensitivity, heatmap)));
  }
  if (rates.length > 1) controls.append(chooser("along", rates.map((name) => [name, label(name)]), set("setting", sensitivity)));
  controls.append(chooser("scale", SCALES, (value) => set("gap", sensitivity, heatmap)(value === "gap")));
  if (!others.length) {
    heatmap.parentElement.hidden = true; // no optimizer has two settings that vary
    return;
  }
  const methods = chooser("heatmap of", others.map((name) => [name, name]), set("method", heatmap), state.method);
  const method = study.configurations.column("method");
  charts.set(heatmap, () => {
    const passing = left().configurations;
    if (!passing.some((row) => method.at(row) === state.method)) { // the filter leaves others: the best of them is shown
      const best = passing.find((row) => others.includes(method.at(row)));
      if (best !== undefined) state.method = methods.querySelector("select").value = method.at(best);
    }
    const up = state.up || secondSetting(study, state.method, settings.filter((name) => name !== state.across));
    drawHeatmap(heatmap, study, left(), state.method, state.across, up, state.gap);
  });
  const beside = section.querySelector(".heatmap-controls");
  beside.append(methods);
  if (settings.length > 2) {
    const words = settings.map((name) => [name, label(name)]);
    beside.append(chooser("across", words, set("across", heatmap), state.across));
    beside.append(chooser("up", [["", "what varies most"], ...words], set("up", heatmap), state.up));
  }
}

function profileControls(section, study, charts) {
  const place = section.querySelector(".profiles");
  if (!place) return;
  const state = { name: study.profiles[0].name, goal: study.profiles[0].goal };
  const found = () => study.profiles.find(({ name, goal }) => name === state.name && goal === state.goal) || study.profiles[0];
  charts.set(place, () => drawProfile(place, study, found()));
  const controls = section.querySelector(".profile-controls");
  const set = (key) => (value) => {
    state[key] = value;
    charts.get(place)();
  };
  const names = new Map(study.profiles.map(({ name, title }) => [name, title]));
  const goals = new Set(study.profiles.map(({ goal }) => goal));
  controls.append(chooser("profile", [...names], set("name")));
  controls.append(chooser("goal", [...goals].map((goal) => [goal, goal]), set("goal")));
}

function mapControls(section, study, charts) {
  const place = section.querySelector(".map");
  if (!place) return;
  let shown = study.maps[0];
  charts.set(place, () => {
    drawMap(place, shown);
    section.querySelector(".map-words").textContent = shown.words.join("; ");
  });
  if (study.maps.length < 2) return;
  section.querySelector(".map-controls").append(chooser("map of", study.maps.map(({ title }, at) => [at, title]), (at) => {
    shown = study.maps[at];
    charts.get(place)();
  }));
}

// The values that an optimizer's configurations have of some settings, a set for each.
function valuesOf(study, method, settings) {
  const name = study.configurations.column("method");
  const columns = settings.map((setting) => study.configurations.column(setting));
  const found = settings.map(() => new Set());
  for (let row = 0; row < study.configurations.count; row++) {
    if (name.at(row) === method) columns.forEach((column, at) => column.at(row) !== null && found[at].add(column.at(row)));
  }
  return found;
}

// The setting of which an optimizer has the most values.
function secondSetting(study, method, settings) {
  const sizes = valuesOf(study, method, settings).map((seen) => seen.size);
  return settings[sizes.indexOf(Math.max(...sizes))];
}

function tabs(section, shown) {
  const buttons = [...section.querySelectorAll("[role=tab]")];
  const choose = (chosen) => {
    for (const button of buttons) {
      button.setAttribute("aria-selected", String(button === chosen));
      button.tabIndex = button === chosen ? 0 : -1;
      document.getElementById(button.getAttribute("aria-controls")).hidden = button !== chosen;
    }
    shown();
  };
  buttons.forEach((button, at) => {
    button.addEventListener("click", () => choose(button));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = buttons[(at + step + buttons.length) % buttons.length];
      choose(next);
      next.focus();
    });
  });
}

function showTrial(study, trial, options) {
  const dialog = document.getElementById("trial");
  const value = (name) => study.trials.column(name)?.text(trial) || "";
  const start = study.trials.column("start") ? `:${value("start")}` : "";
  document.getElementById("trial-title").textContent = `Trial ${value("trial_id")}${start}`;
  const reason = value("reason");
  document.getElementById("trial-status").textContent = value("status") + (reason ? `: ${reason}` : "");
  const facts = document.getElementById("trial-facts");
  facts.replaceChildren();
  const rank = study.configurations.column("rank");
  facts.append(element("dt", {}, "rank of its configuration"), element("dd", {}, rank.text(study.owners[trial])));
  for (const column of study.trials.columns) {
    const text = column.text(trial);
    if (["trial_id", "status", "reason"].includes(column.name) || text === "") continue;
    facts.append(element("dt", {}, column.label), element("dd", {}, text));
  }
  document.getElementById("trial-command").textContent = `fastgd run study.toml --trial ${value("trial_id")}${start}`;
  const chart = document.getElementById("trial-chart");
  chart.hidden = !options.metric || !study.curves.length(trial);
  dialog.showModal();
  if (!chart.hidden) drawTrial(chart, study, trial, options);
  dialog.redraw = () => chart.hidden || drawTrial(chart, study, trial, options);
}

function copyButtons() {
  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", async () => {
      const file = button.parentElement.querySelector(".file");
      getSelection().selectAllChildren(file);
      try {
        await navigator.clipboard.writeText(file.textContent);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Selected: copy it with the keyboard"; // some browsers let no local page write there
      }
    });
  }
}

function themeButton(redraw) {
  const button = document.getElementById("theme");
  const words = { "": "as the system", light: "light", dark: "dark" };
  button.addEventListener("click", () => {
    const root = document.documentElement;
    const names = Object.keys(words);
    const next = names[(names.indexOf(root.dataset.theme || "") + 1) % names.length];
    if (next) root.dataset.theme = next;
    else delete root.dataset.theme;
    button.textContent = `Colours: ${words[next]}`;
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

function start() {
  const records = JSON.parse(document.getElementById("data").textContent);
  const redraws = records.map((record, at) => explore(new Study(record), document.getElementById(`study-${at + 1}`)));
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  copyButtons();
  themeButton(() => {
    inks.clear();
    redraws.forEach((redraw) => redraw());
    const dialog = document.getElementById("trial");
    if (dialog.open) dialog.redraw();
  });
  document.documentElement.dataset.ready = "yes";
}

start();
