// The plane of arousal and valence: where the voice has been, its last seconds, and where it is now.

import { colour, onTheme } from "./common.js";

const TRAIL_S = 6;
const MARGIN = 30; // pixels
const MOST = 1500; // points of the whole way

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
    pen.lineWidth = 2.5 * ratio;
    pen.lineCap = "round";
    pen.strokeStyle = colour("accent");
    const since = series.start(index) - TRAIL_S;
    for (let k = index; k > 0 && series.start(k) > since; k--) {
      pen.globalAlpha = Math.max(0.05, 1 - (series.start(index) - series.start(k)) / TRAIL_S);
      pen.beginPath();
      pen.moveTo(...this.#place(k, size, ratio));
      pen.lineTo(...this.#place(k - 1, size, ratio));
      pen.stroke();
    }
    pen.globalAlpha = 1;
    pen.fillStyle = colour("accent");
    pen.strokeStyle = colour("ground");
    pen.lineWidth = 2 * ratio;
    pen.beginPath();
    pen.arc(...this.#place(index, size, ratio), 7 * ratio, 0, 2 * Math.PI);
    pen.fill();
    pen.stroke();
  }

  /** Pixels of a row; scores outside 0..1 stay at the border. */
  #place(index, size, ratio) {
    const room = size - 2 * MARGIN * ratio;
    const part = (column) => Math.min(Math.max(this.series.value(index, column), -0.05), 1.05);
    return [MARGIN * ratio + part(2) * room, size - MARGIN * ratio - part(0) * room];
  }

  #ground(size, ratio) {
    const ground = new OffscreenCanvas(size, size);
    const pen = ground.getContext("2d");
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
    pen.fillText("valence →", size / 2, size - 9 * ratio);
    pen.fillText("0", low, size - 9 * ratio);
    pen.fillText("1", high, size - 9 * ratio);
    pen.save();
    pen.translate(18 * ratio, size / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText("arousal →", 0, 0);
    pen.restore();
    const step = Math.max(1, Math.floor(this.series.length / MOST));
    pen.strokeStyle = pen.fillStyle = colour("edge");
    pen.globalAlpha = 0.45;
    pen.lineWidth = ratio;
    pen.beginPath();
    for (let k = 0; k < this.series.length; k += step) pen.lineTo(...this.#place(k, size, ratio));
    pen.stroke();
    return ground;
  }
}
