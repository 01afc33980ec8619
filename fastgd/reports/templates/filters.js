// What a filter leaves: choices of values in lists, and words and comparisons in a field ("adam lr<0.1 status=diverged").
"use strict";

const TERM = /^([\w.]+)(<=|>=|!=|=|<|>)(.*)$/;
const MOST_CHOICES = 60;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

// A list of words with a label; `choose` gets the value of the word that is chosen.
function chooser(label, choices, choose, value) {
  const select = element("select", { onchange: () => choose(select.value) });
  for (const [key, text] of choices) select.append(element("option", { value: key }, text));
  if (value !== undefined) select.value = value;
  return element("label", {}, element("span", {}, label), select);
}

// Comparisons of one term with a column, value by value; null where the term names no column of the table.
function testOf(term, table) {
  const found = term.match(TERM);
  const column = found && table.column(found[1]) || null;
  if (!found) {
    const word = term.toLowerCase();
    const texts = table.columns.filter((each) => !each.isNumber);
    return (row) => texts.some((each) => (each.at(row) || "").toLowerCase().includes(word));
  }
  if (!column) return null;
  const [, , operator, text] = found;
  const number = Number(text);
  const equal = (value) => column.isNumber
    ? value !== null && Math.abs(value - number) <= 5e-4 * Math.abs(number)
    : (value || "").toLowerCase() === text.toLowerCase();
  const tests = {
    "=": equal,
    "!=": (value) => !equal(value),
    "<": (value) => value !== null && value < number,
    ">": (value) => value !== null && value > number,
    "<=": (value) => value !== null && value <= number,
    ">=": (value) => value !== null && value >= number,
  };
  const test = tests[operator];
  return (row) => test(column.at(row));
}

class Filter {
  constructor(study, place, changed) {
    this.study = study;
    this.chosen = new Map();
    this.terms = [];
    this.changed = changed;
    this.controls(place);
    this.apply();
  }

  controls(place) {
    const names = ["method", "problem", ...this.study.settings.map((column) => column.name), "status", "seed"];
    for (const name of new Set(names)) {
      const column = this.study.configurations.column(name) || this.study.trials.column(name);
      const values = column && column.values;
      if (!values || values.length < 2 || values.length > MOST_CHOICES) continue;
      const choices = values.map((value, index) => [String(index), column.isNumber ? shortNumber(value) : value]);
      place.append(chooser(column.label, [["", "all"], ...choices], (value) => {
        if (value === "") this.chosen.delete(name);
        else this.chosen.set(name, values[Number(value)]);
        this.update();
      }));
    }
    const field = element("input", {
      type: "search", placeholder: "adam lr<0.1 status=diverged", spellcheck: "false", autocomplete: "off",
      oninput: () => {
        this.terms = field.value.split(/\s+/).filter(Boolean);
        this.update();
      },
    });
    this.field = field;
    place.append(element("label", { class: "search" }, element("span", {}, "words, or column<value"), field));
    place.append(element("button", { type: "button", class: "reset", onclick: () => this.reset(place) }, "Show all"));
    this.fault = element("p", { class: "fault", role: "alert" });
    place.append(this.fault);
  }

  reset(place) {
    for (const select of place.querySelectorAll("select")) select.value = "";
    this.field.value = "";
    this.chosen.clear();
    this.terms = [];
    this.update();
  }

  update() {
    this.apply();
    this.changed();
  }

  // The trials that pass; the configurations that pass are those of at least one such trial.
  apply() {
    const { trials, configurations, owners } = this.study;
    const unknown = this.terms.find((term) => TERM.test(term) && !this.finished(term));
    this.fault.textContent = unknown
      ? `${unknown}: there is no such column; the columns are ${trials.columns.map((column) => column.name).join(", ")}`
      : "";
    const passing = this.terms.filter((term) => term !== unknown);
    const ofConfigurations = this.tests(configurations, passing, configurations);
    const configurationPasses = new Uint8Array(configurations.count);
    for (let i = 0; i < configurations.count; i++) configurationPasses[i] = ofConfigurations.every((test) => test(i)) ? 1 : 0;
    const tests = this.tests(trials, passing, null);
    const hasTrial = new Uint8Array(configurations.count);
    const rows = new Uint32Array(trials.count);
    let count = 0;
    for (let row = 0; row < trials.count; row++) {
      if (!configurationPasses[owners[row]] || !tests.every((test) => test(row))) continue;
      rows[count++] = row;
      hasTrial[owners[row]] = 1;
    }
    this.trials = rows.subarray(0, count);
    const narrowed = tests.length > 0;
    const kept = [];
    for (let i = 0; i < configurations.count; i++) {
      if (configurationPasses[i] && (!narrowed || hasTrial[i])) kept.push(i);
    }
    this.configurations = Uint32Array.from(kept);
  }

  finished(term) {
    const name = term.match(TERM)[1];
    return this.study.configurations.column(name) || this.study.trials.column(name);
  }

  // Tests of the rows of a table. Those that the configurations answer are not asked again of trials.
  tests(table, terms, configurations) {
    const found = [];
    const ofTrialsAlone = (name) => !this.study.configurations.column(name);
    for (const [name, value] of this.chosen) {
      const column = table.column(name);
      if (column && (configurations || ofTrialsAlone(name))) found.push((row) => column.at(row) === value);
    }
    for (const term of terms) {
      const named = term.match(TERM);
      if (configurations ? !named || ofTrialsAlone(named[1]) : named && !ofTrialsAlone(named[1])) continue;
      const test = testOf(term, table);
      if (test) found.push(test);
    }
    return found;
  }
}
