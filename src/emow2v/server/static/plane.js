// The plane of arousal and valence: how often each part of it was visited, the last seconds, and the present value.

import { colour, drawNextFrame, onThemeChange } from "./elements.js";
import { COLUMNS } from "./series.js";

const [AROUSAL, VALENCE] = [COLUMNS.indexOf("arousal"), COLUMNS.indexOf("valence")];
const TRAIL_S = 4;
const MARGIN = 34; // pixels
const CELLS = 40; // along each side
const [LOW, HIGH] = [-0.05, 1.05]; // the range that is drawn; scores outside are drawn at the border

export class Plane {
  constructor(canvas, series) {
    Object.assign(this, { canvas, series, index: -1, background: null, draw: drawNextFrame(() => this.#draw()) });
    new ResizeObserver(() => this.#redraw()).observe(canvas);
    onThemeChange(() => this.#redraw());
  }

  #redraw() {
    this.background = null;
    this.draw();
  }

  /** Show a row, -1 for none. */
  show(index) {
    this.index = index;
    this.draw();
  }

  #draw() {
    const { canvas, series, index } = this;
    const ratio = devicePixelRatio || 1;
    const size = Math.round(canvas.clientWidth * ratio);
    if (!size) return;
    if (canvas.width !== size || canvas.height !== size) canvas.width = canvas.height = size;
    const key = [size, series.choices, series.length, series.length ? series.value(series.length - 1, AROUSAL) : 0].join();
    if (!this.background || this.key !== key) {
      this.key = key;
      this.background = this.#drawBackground(size, ratio);
    }
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, size, size);
    pen.drawImage(this.background, 0, 0);
    if (index < 0 || index >= series.length) return;
    const position = (row) => this.#position(series.value(row, VALENCE), series.value(row, AROUSAL), size, ratio);
    pen.lineCap = "round";
    const begin = series.start(index) - (series.isTurns ? 0 : TRAIL_S); // turns follow no path
    for (const [name, width] of [["background", 5], ["accent", 2]]) { // the line has a border, since cells are dark too
      pen.strokeStyle = colour(name);
      pen.lineWidth = width * ratio;
      for (let k = index; k > 0 && series.start(k) > begin; k--) {
        pen.globalAlpha = Math.max(0.03, 1 - (series.start(index) - series.start(k)) / TRAIL_S);
        pen.beginPath();
        pen.moveTo(...position(k));
        pen.lineTo(...position(k - 1));
        pen.stroke();
      }
    }
    pen.globalAlpha = 1;
    pen.fillStyle = colour("accent");
    pen.strokeStyle = colour("background");
    pen.lineWidth = 2 * ratio;
    pen.beginPath();
    pen.arc(...position(index), 7 * ratio, 0, 2 * Math.PI);
    pen.fill();
    pen.stroke();
  }

  /** Horizontal and vertical place of scores, in pixels. */
  #position(valence, arousal, size, ratio) {
    const width = size - 2 * MARGIN * ratio;
    const clipped = (value) => Math.min(Math.max(value, LOW), HIGH);
    return [MARGIN * ratio + clipped(valence) * width, size - MARGIN * ratio - clipped(arousal) * width];
  }

  #drawBackground(size, ratio) {
    const background = new OffscreenCanvas(size, size);
    const pen = background.getContext("2d");
    this.#drawDensity(pen, size, ratio);
    const [low, high] = [MARGIN * ratio, size - MARGIN * ratio];
    pen.strokeStyle = colour("line");
    pen.lineWidth = ratio;
    for (const part of [0, 0.25, 0.5, 0.75, 1]) {
      const at = low + part * (high - low);
      pen.globalAlpha = part === 0.5 || part % 1 === 0 ? 1 : 0.5;
      pen.beginPath();
      pen.moveTo(at, low);
      pen.lineTo(at, high);
      pen.moveTo(low, at);
      pen.lineTo(high, at);
      pen.stroke();
    }
    pen.globalAlpha = 1;
    pen.fillStyle = colour("muted");
    pen.font = `${12 * ratio}px ${getComputedStyle(document.body).fontFamily}`;
    pen.textAlign = "center";
    const labels = (name) => {
      const base = size - 11 * ratio;
      pen.fillText(name, size / 2, base);
      pen.fillText("0", low, base);
      pen.fillText("1", high, base);
    };
    labels("valence →");
    pen.save();
    pen.translate(0, size); // the vertical axis is the horizontal one, turned
    pen.rotate(-Math.PI / 2);
    pen.translate(0, 29 * ratio - size);
    labels("arousal →");
    pen.restore();
    return background;
  }

  /** Draw how often each cell was visited: more often is darker. Lines of an hour would cover everything. */
  #drawDensity(pen, size, ratio) {
    const { series } = this;
    const counts = new Float64Array(CELLS * CELLS);
    const cell = (value) => Math.min(CELLS - 1, Math.max(0, Math.floor(((value - LOW) / (HIGH - LOW)) * CELLS)));
    let highest = 0;
    for (let k = 0; k < series.length; k++) {
      const [arousal, valence] = [series.value(k, AROUSAL), series.value(k, VALENCE)];
      if (Number.isNaN(arousal) || Number.isNaN(valence)) continue;
      highest = Math.max(highest, ++counts[cell(arousal) * CELLS + cell(valence)]);
    }
    pen.fillStyle = colour("density");
    const edge = (number) => LOW + (number / CELLS) * (HIGH - LOW);
    counts.forEach((count, number) => {
      if (!count) return;
      const [row, column] = [Math.floor(number / CELLS), number % CELLS];
      const [left, bottom] = this.#position(edge(column), edge(row), size, ratio);
      const [right, top] = this.#position(edge(column + 1), edge(row + 1), size, ratio);
      pen.globalAlpha = 0.62 + 0.38 * Math.sqrt(count / highest); // one visit has a contrast of 3 to 1
      pen.fillRect(left, top, right - left, bottom - top);
    });
    pen.globalAlpha = 1;
  }
}
