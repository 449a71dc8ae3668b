// The plane of arousal and valence: how often the voice was where, its last seconds, and where it is now.

import { colour, onTheme } from "./common.js";

const TRAIL_S = 4;
const MARGIN = 34; // pixels
const CELLS = 40; // along each side
const [FROM, TO] = [-0.05, 1.05]; // what is drawn; scores beyond stay at the border

export class Plane {
  constructor(canvas, series) {
    Object.assign(this, { canvas, series, index: -1, drawn: null });
    new ResizeObserver(() => this.#again()).observe(canvas);
    onTheme(() => this.#again());
  }

  #again() {
    this.drawn = null;
    this.show(this.index);
  }

  /** Show a row, -1 for none. */
  show(index) {
    this.index = index;
    this.due ??= requestAnimationFrame(() => {
      this.due = null;
      this.#draw();
    });
  }

  #draw() {
    const { canvas, series, index } = this;
    const ratio = devicePixelRatio || 1;
    const size = Math.round(canvas.clientWidth * ratio);
    if (!size) return;
    if (canvas.width !== size || canvas.height !== size) canvas.width = canvas.height = size;
    const key = `${size} ${series.length} ${series.length ? series.value(series.length - 1, 0) : 0}`;
    if (!this.drawn || this.key !== key) {
      this.key = key;
      this.drawn = this.#ground(size, ratio);
    }
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, size, size);
    pen.drawImage(this.drawn, 0, 0);
    if (index < 0 || index >= series.length) return;
    const place = (row) => this.#place(series.value(row, 2), series.value(row, 0), size, ratio);
    pen.lineCap = "round";
    const since = series.start(index) - TRAIL_S;
    for (const [ink, width] of [["ground", 5], ["accent", 2]]) { // the line has a seam, since cells are dark too
      pen.strokeStyle = colour(ink);
      pen.lineWidth = width * ratio;
      for (let k = index; k > 0 && series.start(k) > since; k--) {
        pen.globalAlpha = Math.max(0.03, 1 - (series.start(index) - series.start(k)) / TRAIL_S);
        pen.beginPath();
        pen.moveTo(...place(k));
        pen.lineTo(...place(k - 1));
        pen.stroke();
      }
    }
    pen.globalAlpha = 1;
    pen.fillStyle = colour("accent");
    pen.strokeStyle = colour("ground");
    pen.lineWidth = 2 * ratio;
    pen.beginPath();
    pen.arc(...place(index), 7 * ratio, 0, 2 * Math.PI);
    pen.fill();
    pen.stroke();
  }

  #place(valence, arousal, size, ratio) {
    const room = size - 2 * MARGIN * ratio;
    const part = (value) => Math.min(Math.max(value, FROM), TO);
    return [MARGIN * ratio + part(valence) * room, size - MARGIN * ratio - part(arousal) * room];
  }

  #ground(size, ratio) {
    const ground = new OffscreenCanvas(size, size);
    const pen = ground.getContext("2d");
    this.#density(pen, size, ratio);
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
    pen.fillStyle = colour("quiet");
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
    return ground;
  }

  /** How often every cell was visited: the more, the darker. An hour of lines would be one blot. */
  #density(pen, size, ratio) {
    const { series } = this;
    const counts = new Float64Array(CELLS * CELLS);
    const cell = (value) => Math.min(CELLS - 1, Math.max(0, Math.floor(((value - FROM) / (TO - FROM)) * CELLS)));
    let most = 0;
    for (let k = 0; k < series.length; k++) {
      const [arousal, valence] = [series.value(k, 0), series.value(k, 2)];
      if (Number.isNaN(arousal) || Number.isNaN(valence)) continue;
      most = Math.max(most, ++counts[cell(arousal) * CELLS + cell(valence)]);
    }
    pen.fillStyle = colour("visited");
    const edge = (number) => FROM + (number / CELLS) * (TO - FROM);
    counts.forEach((count, number) => {
      if (!count) return;
      const [row, column] = [Math.floor(number / CELLS), number % CELLS];
      const [left, bottom] = this.#place(edge(column), edge(row), size, ratio);
      const [right, top] = this.#place(edge(column + 1), edge(row + 1), size, ratio);
      pen.globalAlpha = 0.62 + 0.38 * Math.sqrt(count / most); // seen against the ground (3 to 1) also where it was but once
      pen.fillRect(left, top, right - left, bottom - top);
    });
    pen.globalAlpha = 1;
  }
}
