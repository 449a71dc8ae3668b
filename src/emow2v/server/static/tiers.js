// Turns as blocks under the curves: a row for each tier, on the time axis of the plot. Each row is one control, in which
// arrow keys go from turn to turn; a canvas draws thousands of turns at once.

import { colour, drawNextFrame, make, onThemeChange } from "./elements.js";
import { clockText, countText } from "./texts.js";
import { MARGIN } from "./timeaxis.js";
import { headText, valuesText } from "./turns.js";

const LANE_PX = 24; // WCAG: the least size of a target
const LABEL_MIN_PX = 26; // narrower blocks have no label
const NEAR_PX = 4; // so far beside a turn a pointer still means it
const SEEK_ROUNDING_S = 0.01; // players round times
const VIEW_TURNS = 4; // a turn that somebody zooms to has a quarter of the view

export class Tiers {
  /**
   * @param element holds the rows
   * @param detail holds a line for each turn that is pointed at, chosen or at the cursor
   * @param plot whose time axis they share
   * @param seek is called with a time that somebody chose
   * @param onChoice is called when other tiers are chosen
   */
  constructor(element, detail, plot, seek, onChoice) {
    Object.assign(this, { element, detail, plot, seek, onChoice, turns: null, rows: [], pointed: null, time: 0, shown: null });
    this.draw = drawNextFrame(() => this.#draw());
    this.cursor = make("div", { class: "cursor" });
    onThemeChange(() => this.draw());
    plot.listenToWheel(element);
  }

  /** Show turns; null shows none. */
  show(turns) {
    this.turns = turns;
    this.element.hidden = this.detail.hidden = !turns;
    this.rows = (turns?.tiers ?? []).map((tier) => this.#row(tier));
    this.element.replaceChildren(...this.rows.map(({ head, canvas }) => make("div", { class: "tier" }, head, canvas)), this.cursor);
    this.pointed = this.shown = null;
    this.moveCursor(this.time);
    this.draw();
  }

  #row(tier) {
    const seconds = tier.turns.reduce((sum, turn) => sum + turn.end - turn.start, 0);
    const remark = `${countText(tier.turns.length, "turn")}, ${clockText(seconds)} min`;
    const head = make("div", { class: "tier-name" }, this.#title(tier), " ", make("span", { class: "muted" }, remark));
    const range = { "aria-valuemin": 1, "aria-valuemax": Math.max(1, tier.turns.length), "aria-valuenow": 1 };
    const name = { role: "slider", tabindex: 0, "aria-label": `Turns of ${tier.title}`, "aria-valuetext": "no turn is chosen" };
    const canvas = make("canvas", { ...name, ...range });
    canvas.style.marginLeft = `${MARGIN.l}px`;
    canvas.style.height = `${tier.lanes * LANE_PX}px`;
    const row = { tier, canvas, head, chosen: -1 };
    canvas.addEventListener("pointermove", (event) => this.#point(this.#under(row, event)));
    canvas.addEventListener("pointerleave", () => this.#point(null));
    canvas.addEventListener("click", (event) => {
      const turn = this.#under(row, event);
      if (turn) this.#choose(row, tier.turns.indexOf(turn));
      else this.seek(this.#timeAt(event));
    });
    canvas.addEventListener("dblclick", (event) => this.#zoom(this.#under(row, event)));
    canvas.addEventListener("keydown", (event) => this.#handleKey(row, event));
    for (const kind of ["focus", "blur"]) canvas.addEventListener(kind, () => this.draw());
    return row;
  }

  /** The name of a tier; a box to choose it where there are others. */
  #title(tier) {
    const name = [make("span", { class: `swatch speaker${tier.colour}` }), tier.title];
    if (this.turns.tiers.length < 2) return make("span", {}, ...name);
    const onchange = (event) => {
      tier.isChosen = event.target.checked;
      this.draw();
      this.onChoice();
    };
    return make("label", { class: "inline" }, make("input", { type: "checkbox", checked: true, onchange }), " ", ...name);
  }

  #handleKey(row, event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || !row.tier.turns.length) return;
    const { turns } = row.tier;
    const begun = turns.filter((turn) => turn.start <= this.time + SEEK_ROUNDING_S).length;
    const isAtChosen = Math.abs(turns[row.chosen]?.start - this.time) < SEEK_ROUNDING_S;
    const action = {
      ArrowRight: () => this.#choose(row, isAtChosen ? row.chosen + 1 : begun),
      ArrowLeft: () => this.#choose(row, isAtChosen ? row.chosen - 1 : begun - 1),
      Home: () => this.#choose(row, 0),
      End: () => this.#choose(row, turns.length - 1),
      Enter: () => this.#zoom(turns[row.chosen]),
    }[event.key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation(); // the page has other uses for these keys
    action();
  }

  /** Choose a turn: the cursor moves to its beginning. */
  #choose(row, index) {
    row.chosen = Math.min(Math.max(index, 0), row.tier.turns.length - 1);
    const turn = row.tier.turns[row.chosen];
    row.canvas.setAttribute("aria-valuenow", row.chosen + 1);
    row.canvas.setAttribute("aria-valuetext", `${headText(turn)}, ${valuesText(turn)}`);
    this.seek(turn.start);
    this.draw();
  }

  #zoom(turn) {
    if (!turn) return;
    const half = (VIEW_TURNS * (turn.end - turn.start)) / 2;
    const middle = (turn.start + turn.end) / 2;
    this.plot.zoom([middle - half, middle + half]);
  }

  #point(turn) {
    if (turn === this.pointed) return;
    this.pointed = turn;
    this.#showDetail();
    this.draw();
  }

  get width() {
    return Math.max(1, this.plot.element.clientWidth - MARGIN.l - MARGIN.r);
  }

  #timeAt(event) {
    const [from, to] = this.plot.view;
    return from + (event.offsetX / this.width) * (to - from);
  }

  /** The turn under the pointer, or beside it if nothing is nearer; null for none. */
  #under({ tier }, event) {
    const [from, to] = this.plot.view;
    const time = this.#timeAt(event);
    const lane = Math.floor(event.offsetY / LANE_PX);
    let [best, least] = [null, (NEAR_PX * (to - from)) / this.width];
    for (const turn of tier.turns) {
      const distance = Math.max(turn.start - time, time - turn.end, 0);
      if (turn.lane === lane && (distance < least || (distance === 0 && least === 0))) [best, least] = [turn, distance];
    }
    return best;
  }

  /** Move the cursor to a time; the turns there are described unless somebody points at another one. */
  moveCursor(time) {
    this.time = time;
    if (!this.turns) return;
    const [from, to] = this.plot.view;
    const part = (time - from) / (to - from);
    this.cursor.style.opacity = part >= 0 && part <= 1 ? 1 : 0;
    this.cursor.style.transform = `translateX(${MARGIN.l + Math.min(Math.max(part, 0), 1) * this.width}px)`;
    this.#showDetail();
  }

  #showDetail() {
    const turns = this.pointed ? [this.pointed] : this.turns.at(this.time);
    const key = turns.map((turn) => this.turns.all.indexOf(turn)).join();
    if (key === this.shown) return;
    this.shown = key;
    const lines = turns.map((turn) => {
      const name = make("b", {}, make("span", { class: `swatch speaker${turn.colour}` }), headText(turn));
      return make("div", {}, name, " ", make("span", { class: "muted" }, valuesText(turn)));
    });
    if (!lines.length) lines.push(make("div", { class: "muted" }, "No turn at the cursor. Point at a turn, or choose one with the arrow keys."));
    this.detail.replaceChildren(...lines);
  }

  #draw() {
    if (!this.turns || !this.plot.element.clientWidth) return;
    const ratio = devicePixelRatio || 1;
    const names = ["text", "on-speaker", "surface", "background"];
    const ink = Object.fromEntries(names.map((name) => [name, colour(name)]));
    const font = `12px ${getComputedStyle(document.body).fontFamily}`;
    for (const { tier, canvas, chosen } of this.rows) {
      const [width, height] = [this.width, tier.lanes * LANE_PX];
      canvas.style.width = `${width}px`;
      if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
      if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
      const pen = canvas.getContext("2d");
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.fillStyle = ink.surface;
      pen.clearRect(0, 0, width, height);
      pen.fillRect(0, 0, width, height);
      Object.assign(pen, { font, textBaseline: "middle" });
      this.#drawTurns(pen, tier, colour(`speaker${tier.colour}`), ink["on-speaker"]);
      const marked = [this.pointed, document.activeElement === canvas ? tier.turns[chosen] : null];
      for (const turn of marked) if (turn && tier.turns.includes(turn)) this.#mark(pen, turn, ink);
    }
    this.moveCursor(this.time);
  }

  /** Left edge, top, width and height of a turn in pixels. */
  #box(turn, least) {
    const [from, to] = this.plot.view;
    const x = ((turn.start - from) / (to - from)) * this.width;
    const width = ((turn.end - turn.start) / (to - from)) * this.width;
    return [x, turn.lane * LANE_PX + 1, Math.max(least, width > 4 ? width - 1 : width), LANE_PX - 2];
  }

  #drawTurns(pen, tier, fill, ink) {
    const [from, to] = this.plot.view;
    const visible = tier.turns.filter((turn) => turn.end >= from && turn.start <= to);
    const least = visible.length > this.width / 4 ? 0 : 1.5; // very many turns: the share of each pixel that they cover
    pen.globalAlpha = tier.isChosen ? 1 : 0.3;
    for (const turn of visible) {
      const [x, y, width, height] = this.#box(turn, least);
      pen.fillStyle = fill;
      pen.fillRect(x, y, width, height);
      const left = Math.max(x, 0); // the label of a turn that began before the view stays visible
      const room = Math.min(x + width, this.width) - left - 8;
      if (!turn.label || room + 8 < LABEL_MIN_PX) continue;
      pen.fillStyle = ink;
      pen.fillText(fitted(pen, turn.label, room), left + 4, y + height / 2 + 0.5);
    }
    pen.globalAlpha = 1;
  }

  #mark(pen, turn, ink) {
    const [x, y, width, height] = this.#box(turn, 3);
    pen.lineWidth = 2;
    pen.strokeStyle = ink.background;
    pen.strokeRect(x + 2, y + 2, Math.max(0, width - 4), height - 4);
    pen.strokeStyle = ink.text;
    pen.strokeRect(x, y, width, height);
  }
}

/** The beginning of a text that fits into so many pixels. */
function fitted(pen, text, room) {
  if (pen.measureText(text).width <= room) return text;
  let [low, high] = [0, Math.min(text.length, Math.ceil(room / 3))];
  while (low < high) {
    const half = (low + high + 1) >> 1;
    if (pen.measureText(`${text.slice(0, half)}…`).width <= room) low = half;
    else high = half - 1;
  }
  return low ? `${text.slice(0, low)}…` : "";
}
