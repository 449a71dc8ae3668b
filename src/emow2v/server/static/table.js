// The values as a table, a page at a time: an hour has 90,000 rows.

import { byId, clock, COLUMNS, make } from "./common.js";

const PAGE = 50; // rows

export class Table {
  constructor(series, seek) {
    Object.assign(this, { series, seek, page: -1, row: -1, lines: [] });
    const head = ["start", "end", ...COLUMNS].map((name) => make("th", { scope: "col" }, name));
    byId("rows").append(make("thead", {}, make("tr", {}, ...head)), (this.body = make("tbody")));
    byId("before").addEventListener("click", () => this.turn(this.page - 1));
    byId("after").addEventListener("click", () => this.turn(this.page + 1));
    byId("values").addEventListener("toggle", () => this.turn(Math.max(0, this.page), true));
  }

  get pages() {
    return Math.max(1, Math.ceil(this.series.length / PAGE));
  }

  turn(page, anew = false) {
    page = Math.min(Math.max(page, 0), this.pages - 1);
    if ((page === this.page && !anew) || !byId("values").open) return;
    this.page = page;
    const begin = page * PAGE;
    const end = Math.min(this.series.length, begin + PAGE);
    this.lines = [];
    for (let k = begin; k < end; k++) {
      const [start, stop, ...values] = this.series.row(k);
      const go = make("button", { class: "link", "aria-label": `Go to ${clock(start, 2)}`, onclick: () => this.seek(start) }, clock(start, 2));
      this.lines.push(make("tr", {}, make("td", {}, go), make("td", {}, clock(stop, 2)), ...values.map((one) => make("td", {}, Number.isNaN(one) ? "–" : one.toFixed(3)))));
    }
    this.body.replaceChildren(...this.lines);
    byId("page").textContent = end ? `${begin + 1} to ${end} of ${this.series.length}` : "no values";
    byId("before").disabled = page === 0;
    byId("after").disabled = page === this.pages - 1;
    this.mark();
  }

  /** Show where the cursor is; turns the page where that is wished. */
  show(row) {
    this.row = row;
    if (!byId("values").open) return;
    if (byId("follow").checked && row >= 0) this.turn(Math.floor(row / PAGE));
    this.mark();
  }

  mark() {
    const now = this.lines[this.row - this.page * PAGE];
    if (now === this.marked && now?.hasAttribute("aria-current")) return;
    this.marked?.removeAttribute("aria-current");
    now?.setAttribute("aria-current", "true");
    this.marked = now;
  }
}
