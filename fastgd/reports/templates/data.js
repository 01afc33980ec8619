// Reads what the page holds of each study: columns of codes or numbers in base64, and curves on scales of 65,534 levels.
"use strict";

const ARRAYS = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: Float64Array };

function bytesOf(text) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes.buffer;
}

// A column: `at(row)` is its value there, a text, a number, or null where it is missing.
class Column {
  constructor(record) {
    this.name = record.name;
    this.label = record.label;
    this.hidden = record.hidden === true; // shown with a trial alone
    this.isNumber = record.kind === "number";
    if (record.list) {
      this.list = record.list;
    } else if (record.numbers) {
      this.numbers = new Float64Array(bytesOf(record.numbers));
    } else {
      this.values = this.isNumber ? record.values.map(Number) : record.values;
      this.codes = new ARRAYS[record.codes.bytes](bytesOf(record.codes.data));
    }
  }

  at(row) {
    if (this.list) return this.list[row];
    if (this.numbers) return Number.isNaN(this.numbers[row]) ? null : this.numbers[row];
    const code = this.codes[row];
    return code ? this.values[code - 1] : null;
  }

  text(row) {
    const value = this.at(row);
    return value === null ? "" : this.isNumber ? shortNumber(value) : value;
  }
}

// A column of configurations, as the trials have it.
class OwnersColumn {
  constructor(column, owners) {
    Object.assign(this, { name: column.name, label: column.label, hidden: column.hidden, isNumber: column.isNumber });
    this.values = column.values;
    this.column = column;
    this.owners = owners;
  }

  at(row) {
    return this.column.at(this.owners[row]);
  }

  text(row) {
    return this.column.text(this.owners[row]);
  }
}

class Table {
  constructor(columns, count) {
    this.columns = columns;
    this.count = count;
    this.shown = columns.filter((column) => !column.hidden);
    this.byName = new Map(columns.map((column) => [column.name, column]));
  }

  column(name) {
    return this.byName.get(name);
  }
}

const grouped = new Intl.NumberFormat("en");

function shortNumber(value, digits = 6) {
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return grouped.format(value);
  const size = Math.abs(value);
  if (size >= 1e-4 && size < 1e6) return String(Number(value.toPrecision(digits)));
  return value.toExponential(Math.min(digits - 1, 3)).replace(/\.?0+e/, "e").replace("e+", "e");
}

const LEVELS = 65533; // from the least distance, 1, on; 0 is the minimum itself, or below the scale
const BEYOND = 65534;
const NOT_MEASURED = 65535;

class Curves {
  constructor(record, objectiveOf) {
    this.axes = record.axes;
    this.patterns = record.patterns;
    this.pattern = new Uint32Array(bytesOf(record.pattern));
    this.metrics = record.metrics.map((metric) => ({ ...metric, codes: new Uint16Array(bytesOf(metric.codes)) }));
    this.objectiveOf = objectiveOf;
    this.first = new Uint32Array(this.pattern.length + 1);
    for (let i = 0; i < this.pattern.length; i++) {
      this.first[i + 1] = this.first[i] + this.patterns[this.pattern[i]][0].length;
    }
  }

  length(trial) {
    return this.first[trial + 1] - this.first[trial];
  }

  x(trial, axis) {
    return this.patterns[this.pattern[trial]][Math.max(0, this.axes.indexOf(axis))];
  }

  // The values of a curve: of a loss, its distance from the least known one where `gap` is true. null: not measured.
  y(trial, metric, gap) {
    const { codes, low, high, scale, bases } = metric;
    const base = scale === "gap" ? bases[this.objectiveOf(trial)] : null;
    const found = [];
    for (let k = this.first[trial]; k < this.first[trial + 1]; k++) {
      const code = codes[k];
      if (code === NOT_MEASURED || (scale === "gap" && base === null)) {
        found.push(null);
        continue;
      }
      const place = code >= BEYOND ? high : low + (Math.max(0, code - 1) / (LEVELS - 1)) * (high - low);
      if (scale === "linear") found.push(place);
      else if (gap) found.push(10 ** place); // a logarithmic axis has no place for 0: it stands at the least distance
      else found.push(base + (code ? 10 ** place : 0));
    }
    return found;
  }
}

class Study {
  constructor(record) {
    Object.assign(this, {
      name: record.name, value: record.value, metric: record.metric, repeats: record.repeats, looks: record.looks,
      rates: record.rates, landscape: record.landscape, sources: record.sources,
      profiles: record.profiles, maps: record.maps,
    });
    const of = record.configurations;
    this.configurations = new Table(of.columns.map((column) => new Column(column)), of.count);
    this.owners = new Uint32Array(bytesOf(record.trials.owners));
    const objectives = new Uint32Array(bytesOf(record.objectives));
    const results = new Set([this.value, `${this.value}_min`, `${this.value}_max`]);
    const counts = ["seeds", "starts", "diverged", "timeout", "retired"];
    ["rank", ...counts, "target_epochs", "tied"].forEach((name) => results.add(name));
    const settings = this.configurations.columns.filter((column) => !results.has(column.name));
    const own = record.trials.columns.map((column) => new Column(column));
    const id = own.filter((column) => column.name === "trial_id");
    this.trials = new Table(
      [...id, ...settings.map((column) => new OwnersColumn(column, this.owners)),
        ...own.filter((column) => column.name !== "trial_id")],
      record.trials.count,
    );
    this.settings = settings.filter((column) => !column.hidden);
    this.curves = new Curves(record.curves, (trial) => objectives[this.owners[trial]]);
    // The trials of each configuration are a range of `byOwner`.
    this.byOwner = Uint32Array.from(this.owners.keys()).sort((a, b) => this.owners[a] - this.owners[b] || a - b);
    this.firstOf = new Uint32Array(of.count + 1);
    for (const owner of this.owners) this.firstOf[owner + 1]++;
    for (let i = 0; i < of.count; i++) this.firstOf[i + 1] += this.firstOf[i];
    this.methodIndex = new Map(this.looks.map((look, index) => [look.name, index]));
  }

  trialsOf(configuration) {
    return this.byOwner.subarray(this.firstOf[configuration], this.firstOf[configuration + 1]);
  }

  look(configuration) {
    return this.looks[this.methodIndex.get(this.configurations.column("method").at(configuration))];
  }
}
