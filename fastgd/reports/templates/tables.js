// Tables: those in the page, which sort by the button in a column's head; and virtual ones of any length, which hold the
// rows that are in view.
"use strict";

const ROW = 30; // pixels, as in the style sheet
const HEIGHT = 480; // pixels of a table at most, as there; to ask the browser would make it lay out the page at once
const SPARE = 8; // rows above and below those in view

function compareValues(a, b) {
  if (a === b) return 0;
  if (a === null || a === "") return 1;
  if (b === null || b === "") return -1;
  return a < b ? -1 : 1;
}

// Whether a column was sorted upwards, downwards or not at all, in turn.
function nextOrder(head) {
  return head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
}

function markSorted(heads, head, order) {
  for (const each of heads) each.setAttribute("aria-sort", each === head ? order : "none");
}

function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, at) => {
    const words = head.textContent;
    head.setAttribute("aria-sort", "none");
    head.replaceChildren(element("button", { type: "button", onclick: () => {
      const order = nextOrder(head);
      const sign = order === "ascending" ? 1 : -1;
      const key = (row) => {
        const cell = row.cells[at];
        if (cell.dataset.sort === undefined) return cell.textContent.trim();
        return cell.dataset.sort === "" || Number.isNaN(Number(cell.dataset.sort)) ? null : Number(cell.dataset.sort);
      };
      const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
      rows.sort(([a], [b]) => (a === null || b === null ? compareValues(a, b) : sign * compareValues(a, b)));
      table.tBodies[0].append(...rows.map(([, row]) => row));
      markSorted(heads, head, order);
    } }, words));
  });
}

class VirtualTable {
  constructor(place, table, name, open) {
    this.table = table;
    this.open = open;
    this.rows = new Uint32Array(0);
    this.scrolled = 0;
    this.active = -1;
    this.heads = table.shown.map((column) => this.head(column));
    this.body = element("tbody");
    this.grid = element("table", { "aria-label": name, "aria-rowcount": "0" },
      element("thead", {}, element("tr", { "aria-rowindex": "1" }, ...this.heads)), this.body);
    this.box = element("div", { class: "rows", tabindex: "0", role: "region",
      "aria-label": `${name}: arrow keys move, Enter opens`, onscroll: () => this.scroll(),
      onkeydown: (event) => this.key(event), onclick: (event) => this.click(event) }, this.grid);
    this.box.style.minHeight = `${Math.min(HEIGHT, (table.count + 2) * ROW)}px`; // what is below stays where it is
    place.append(this.box);
  }

  head(column) {
    const head = element("th", { scope: "col", "aria-sort": "none", class: column.isNumber ? "number" : "text" });
    head.append(element("button", { type: "button", onclick: () => this.sort(column, head, nextOrder(head)) }, column.label));
    return head;
  }

  show(rows) {
    this.rows = Uint32Array.from(rows);
    this.active = -1;
    this.grid.setAttribute("aria-rowcount", String(rows.length + 1));
    if (this.sorted) this.arrange();
    this.top(0);
  }

  // Scrolls, and draws what is there; a table that is hidden waits until it is shown.
  top(pixels) {
    this.scrolled = pixels;
    if (this.box.parentElement.hidden) return;
    if (this.first || pixels) this.box.scrollTop = pixels;
    this.draw(true);
  }

  sort(column, head, order) {
    this.sorted = { column, sign: order === "ascending" ? 1 : -1 };
    markSorted(this.heads, head, order);
    this.arrange();
    this.top(0);
  }

  arrange() {
    const { column, sign } = this.sorted;
    const keys = new Map();
    for (const row of this.rows) keys.set(row, column.at(row));
    this.rows.sort((a, b) => {
      const [one, other] = [keys.get(a), keys.get(b)];
      if (one === null || other === null) return compareValues(one, other) || a - b;
      return sign * compareValues(one, other) || a - b;
    });
  }

  scroll() {
    this.scrolled = this.box.scrollTop;
    this.draw();
  }

  draw(anew = false) {
    const first = Math.max(0, Math.floor(this.scrolled / ROW) - SPARE);
    const last = Math.min(this.rows.length, first + Math.ceil(HEIGHT / ROW) + 2 * SPARE);
    if (!anew && first === this.first && last === this.last) return;
    [this.first, this.last] = [first, last];
    const shown = [];
    if (first) shown.push(this.spacer(first));
    for (let at = first; at < last; at++) shown.push(this.row(at));
    if (last < this.rows.length) shown.push(this.spacer(this.rows.length - last));
    this.body.replaceChildren(...shown);
  }

  spacer(rows) {
    const made = element("tr", { "aria-hidden": "true", class: "spacer" }, element("td", { colspan: String(this.heads.length) }));
    made.style.height = `${rows * ROW}px`;
    return made;
  }

  row(at) {
    const index = this.rows[at];
    const cells = this.table.shown.map((column) =>
      element("td", { class: column.isNumber ? "number" : "text" }, column.text(index)));
    const attributes = { "aria-rowindex": String(at + 2), "data-at": String(at), class: at === this.active ? "active" : "" };
    return element("tr", attributes, ...cells);
  }

  click(event) {
    const row = event.target.closest("tr[data-at]");
    if (row) this.open(this.rows[Number(row.dataset.at)]);
  }

  key(event) {
    if (event.target !== this.box) return;
    const page = Math.max(1, Math.floor(this.box.clientHeight / ROW) - 2);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -this.rows.length, End: this.rows.length };
    if (event.key === "Enter" && this.active >= 0) {
      event.preventDefault();
      this.open(this.rows[this.active]);
    } else if (event.key in moves && this.rows.length) {
      event.preventDefault();
      this.active = Math.min(this.rows.length - 1, Math.max(0, this.active + moves[event.key]));
      const top = this.active * ROW;
      if (top < this.box.scrollTop) this.box.scrollTop = top;
      if (top + 3 * ROW > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = top + 3 * ROW - this.box.clientHeight;
      this.draw(true);
    }
  }
}
