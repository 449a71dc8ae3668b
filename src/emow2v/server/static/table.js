// The values as a table, one page of rows at a time: an hour has 90,000 rows.

import { byId, make } from "./elements.js";
import { COLUMNS } from "./series.js";
import { clockText, valueText } from "./texts.js";

const PAGE_ROWS = 50;

export class Table {
  /** @param seek is called with the time of a row that somebody chose */
  constructor(series, seek) {
    Object.assign(this, { series, seek, page: -1, row: -1, lines: [] });
    const head = ["start", "end", ...COLUMNS].map((name) => make("th", { scope: "col" }, name));
    byId("rows").append(make("thead", {}, make("tr", {}, ...head)), (this.body = make("tbody")));
    byId("previous-page").addEventListener("click", () => this.turn(this.page - 1));
    byId("next-page").addEventListener("click", () => this.turn(this.page + 1));
    byId("values").addEventListener("toggle", () => this.turn(Math.max(0, this.page), true));
  }

  get pages() {
    return Math.max(1, Math.ceil(this.series.length / PAGE_ROWS));
  }

  /** Show a page of the table; `redraw` draws it also where it is shown already. */
  turn(page, redraw = false) {
    page = Math.min(Math.max(page, 0), this.pages - 1);
    if ((page === this.page && !redraw) || !byId("values").open) return;
    this.page = page;
    const begin = page * PAGE_ROWS;
    const end = Math.min(this.series.length, begin + PAGE_ROWS);
    this.lines = [];
    for (let index = begin; index < end; index++) this.lines.push(this.#line(...this.series.row(index)));
    this.body.replaceChildren(...this.lines);
    byId("page").textContent = end ? `${begin + 1} to ${end} of ${this.series.length}` : "no values";
    byId("previous-page").disabled = page === 0;
    byId("next-page").disabled = page === this.pages - 1;
    this.#mark();
  }

  #line(start, end, ...values) {
    const time = clockText(start, 2);
    const button = make("button", { class: "link", "aria-label": `Go to ${time}`, onclick: () => this.seek(start) }, time);
    const cells = [button, clockText(end, 2), ...values.map((value) => valueText(value, 3))];
    return make("tr", {}, ...cells.map((cell) => make("td", {}, cell)));
  }

  /** Mark the row of the cursor; turn to its page if the table follows the cursor. */
  show(row) {
    this.row = row;
    if (!byId("values").open) return;
    if (byId("follow").checked && row >= 0) this.turn(Math.floor(row / PAGE_ROWS));
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
