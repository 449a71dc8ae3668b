// Tables of which one page of rows is shown at a time: an hour has 90,000 values.

import { make } from "./elements.js";
import { COLUMNS } from "./series.js";
import { clockText, valueText } from "./texts.js";

const PAGE_ROWS = 50;

/** A button with a time, which moves the cursor there. */
export const timeButton = (time, seek) => {
  const text = clockText(time, 2);
  return make("button", { class: "link", "aria-label": `Go to ${text}`, onclick: () => seek(time) }, text);
};

export class PagedTable {
  /**
   * @param details holds the table, and the buttons for earlier and later rows
   * @param content has `names` of the columns, `count` of rows, and `line(index)`, the element of a row
   */
  constructor(details, content) {
    Object.assign(this, { details, content, page: -1, row: -1, lines: [] });
    const find = (selector) => details.querySelector(selector);
    [this.earlier, this.later, this.place, this.follow] = [".earlier", ".later", ".page", ".follow"].map(find);
    this.head = make("tr");
    find("table").append(make("thead", {}, this.head), (this.body = make("tbody")));
    this.earlier.addEventListener("click", () => this.turn(this.page - 1));
    this.later.addEventListener("click", () => this.turn(this.page + 1));
    details.addEventListener("toggle", () => this.turn(Math.max(0, this.page), true));
  }

  get pages() {
    return Math.max(1, Math.ceil(this.content.count / PAGE_ROWS));
  }

  /** Show a page of the table; `redraw` draws it also where it is shown already. */
  turn(page, redraw = false) {
    page = Math.min(Math.max(page, 0), this.pages - 1);
    if ((page === this.page && !redraw) || !this.details.open) return;
    this.page = page;
    const begin = page * PAGE_ROWS;
    const end = Math.min(this.content.count, begin + PAGE_ROWS);
    this.lines = [];
    for (let index = begin; index < end; index++) this.lines.push(this.content.line(index));
    this.head.replaceChildren(...this.content.names.map((name) => make("th", { scope: "col", class: name }, name)));
    this.body.replaceChildren(...this.lines);
    this.place.textContent = end ? `${begin + 1} to ${end} of ${this.content.count}` : "no values";
    this.earlier.disabled = page === 0;
    this.later.disabled = page === this.pages - 1;
    this.#mark();
  }

  /** Mark the row of the cursor; turn to its page if the table follows the cursor. */
  show(row) {
    this.row = row;
    if (!this.details.open) return;
    if (this.follow.checked && row >= 0) this.turn(Math.floor(row / PAGE_ROWS));
    this.#mark();
  }

  #mark() {
    const line = this.lines[this.row - this.page * PAGE_ROWS];
    if (line === this.marked && line?.hasAttribute("aria-current")) return;
    this.marked?.removeAttribute("aria-current");
    line?.setAttribute("aria-current", "true");
    this.marked = line;
  }
}

/** The rows of a series for a table. `seek` is called with the time of a row that somebody chose. */
export const valueRows = (series, seek) => ({
  get names() {
    return ["start", "end", ...series.columns];
  },
  get count() {
    return series.length;
  },
  line(index) {
    const values = series.columns.map((_, column) => valueText(series.value(index, column), 3));
    const cells = [timeButton(series.start(index), seek), clockText(series.end(index), 2), ...values];
    return make("tr", {}, ...cells.map((cell, place) => make("td", { class: this.names[place] }, cell)));
  },
});
