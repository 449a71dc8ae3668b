// Waveform, curves and confidence over one time axis, drawn by plotly.js. The cursor is an element above the plot:
// to draw the whole plot for every frame of a video would be too slow.

import { colour, make, setText } from "./elements.js";
import { Readout } from "./readout.js";
import { COLUMNS, DIMENSIONS, SPEECH } from "./series.js";
import { clockText, durationText } from "./texts.js";
import { MARGIN, TimeAxis } from "./timeaxis.js";

const SEEK_ROUNDING_S = 0.001; // players round times

export class TimePlot extends TimeAxis {
  /**
   * @param element holds the plot; the legend is put before it
   * @param series the values; the properties `waveform` (or a list of the left and the right one), and `note`, a remark beside the legend, are set later
   * @param seek is called with a time that was clicked on; without it there is no cursor
   * @param onView is called when another part of the time is visible
   */
  constructor(element, series, { seek = null, onView = null } = {}) {
    super(element, "Waveform, curves and confidence over time", { seek, onView });
    Object.assign(this, { series, waveform: null, soundSeconds: 0, note: "", time: 0 });
    this.visible = new Set(DIMENSIONS);
    const range = { "aria-valuemin": 0, "aria-valuemax": 0, "aria-valuenow": 0 };
    const slider = { role: "slider", tabindex: 0, "aria-label": "Cursor", ...range };
    this.cursor = make("div", { class: "cursor", hidden: !seek, ...slider });
    this.tip = make("div", { class: "tip", hidden: true, "aria-hidden": "true" }, (this.tipTime = make("div")));
    this.tipValues = new Readout(this.tip);
    element.append(this.cursor, this.tip);
    element.before(this.#legend());
    element.addEventListener("pointermove", (event) => this.#showTip(event));
    for (const kind of ["pointerleave", "pointerdown"]) element.addEventListener(kind, () => (this.tip.hidden = true));
  }

  /** Seconds of the recording; `soundSeconds` is set when the sound is known. */
  get duration() {
    return Math.max(this.soundSeconds, this.series.duration);
  }

  /** The cursor if it is visible, else the middle. */
  get centre() {
    const [from, to] = this.view;
    return this.seek && this.time >= from && this.time <= to ? this.time : super.centre;
  }

  /**
   * Move the cursor to a time. The view follows when the cursor leaves it.
   * @param follow the view follows in any case
   * @param spoken what screen readers say of the cursor; "" leaves it as it is
   */
  moveCursor(time, { follow = false, spoken = "" } = {}) {
    const [from, to] = this.view;
    const wasVisible = this.time >= from && this.time <= to;
    this.time = time;
    this.cursor.setAttribute("aria-valuemax", this.whole.toFixed(2));
    if (spoken) {
      this.cursor.setAttribute("aria-valuenow", time.toFixed(2));
      this.cursor.setAttribute("aria-valuetext", spoken);
    }
    const isOutside = time < from - SEEK_ROUNDING_S || time > to + SEEK_ROUNDING_S;
    if (this.range && isOutside && (wasVisible || follow)) {
      this.zoom([time - 0.1 * (to - from), time + 0.9 * (to - from)]);
      return;
    }
    this.#placeCursor();
  }

  #placeCursor() {
    const [from, to] = this.view;
    const width = this.element.clientWidth - MARGIN.l - MARGIN.r;
    const fraction = (this.time - from) / (to - from);
    this.cursor.style.opacity = fraction >= 0 && fraction <= 1 ? 1 : 0;
    this.cursor.style.transform = `translateX(${MARGIN.l + Math.min(Math.max(fraction, 0), 1) * width}px)`;
  }

  drawAbove() {
    this.cursor.style.top = `${MARGIN.t}px`;
    this.cursor.style.height = `${this.element.clientHeight - MARGIN.t - MARGIN.b}px`;
    this.#placeCursor();
  }

  traces(from, to) {
    const maxPoints = Math.max(800, 2 * this.element.clientWidth);
    const mode = this.series.length === 1 && !this.series.isTurns ? "markers" : "lines";
    const traces = [];
    const area = { fill: "toself", showlegend: false };
    let meanSeconds = 0;
    COLUMNS.forEach((name, column) => {
      const { x, y, band, seconds } = this.series.points(column, from, to, maxPoints);
      const isScore = column < DIMENSIONS.length;
      const color = colour(isScore ? name : "muted");
      const common = { name, yaxis: isScore ? "y2" : "y3", visible: !isScore || this.visible.has(name) };
      const width = (isScore ? 1.8 : 1.2) * (this.series.isTurns ? 1.6 : 1);
      const range = { name: `${name} from lowest to highest`, mode: "none", fillcolor: `${color}38` };
      if (band) traces.unshift({ ...common, ...band, ...area, ...range });
      traces.push({ ...common, x, y, mode, line: { color, width }, marker: { color, size: 5 * width } });
      meanSeconds = seconds;
    });
    setText(this.remark, this.note || curvesText(this.series, meanSeconds));
    this.speechKey.hidden = !this.series.hasSpeech;
    setText(this.speechName, this.series.isTurns ? "share of the turn with speech" : "probability of speech");
    if (this.series.hasSpeech) {
      const { x, y } = this.series.points(SPEECH, from, to, maxPoints);
      const look = { mode: "lines", line: { width: 0 }, fill: "tozeroy", fillcolor: `${colour("sound")}66` };
      traces.unshift({ name: "speech", yaxis: "y3", x, y, ...look });
    }
    const color = colour("sound");
    this.#waves.forEach((wave, number) => {
      const { x, y } = wave.outline(from, to, maxPoints);
      const shifted = this.#waves.length > 1 ? y.map((value) => value + (number ? -1 : 1) * this.#loudest) : y;
      const name = number ? "sound of the right channel" : "sound";
      traces.push({ x, y: shifted, ...area, name, yaxis: "y", mode: "lines", fillcolor: color, line: { color, width: 1 } });
    });
    return traces;
  }

  get #waves() {
    return this.waveform ? [this.waveform].flat() : [];
  }

  get #loudest() {
    return 1.05 * Math.max(0.01, ...this.#waves.map((wave) => wave.loudest));
  }

  axes(axis, title) {
    const [low, high] = this.series.bounds;
    const isStereo = this.#waves.length > 1;
    const loudest = this.#loudest * (isStereo ? 2 : 1);
    const names = { showticklabels: isStereo, tickvals: [loudest / 2, -loudest / 2], ticktext: ["left", "right"] };
    return {
      yaxis: { ...axis, ...names, domain: [0.83, 1], range: [-loudest, loudest], title: title(isStereo ? "" : "sound"), showgrid: false },
      yaxis2: { ...axis, domain: [0.24, 0.8], range: [Math.min(0, low) - 0.03, Math.max(1, high) + 0.03], title: title("score"), zeroline: false },
      yaxis3: { ...axis, domain: [0, 0.19], range: [-0.05, 1.1], title: title("confidence"), tickvals: [0, 1], zeroline: false },
    };
  }

  #legend() {
    const toggle = (name) => (event) => {
      const isVisible = !this.visible.delete(name);
      if (isVisible) this.visible.add(name);
      event.currentTarget.setAttribute("aria-pressed", String(isVisible));
      this.draw();
    };
    const buttons = DIMENSIONS.map((name) => {
      const attributes = { class: `small ${name}`, "aria-pressed": "true", onclick: toggle(name) };
      return make("button", attributes, make("span", { class: "swatch" }), name);
    });
    this.remark = make("span", { class: "muted" });
    this.speechKey = make("span", { class: "muted speech", hidden: true }, make("span", { class: "swatch" }), (this.speechName = make("span")));
    const group = make("div", { role: "group", "aria-label": "Visible curves" }, ...buttons);
    return make("div", { class: "legend" }, group, this.speechKey, this.remark);
  }

  /** Show the values under the mouse. */
  #showTip(event) {
    const time = event.pointerType === "mouse" && !event.buttons ? this.timeAt(event) : null;
    const row = time === null ? -1 : this.series.at(time);
    this.tip.hidden = row < 0 || time > this.series.duration;
    if (this.tip.hidden) return;
    this.tipTime.textContent = clockText(time, 2);
    this.tipValues.show(this.series, row);
    const box = this.element.getBoundingClientRect();
    const x = event.clientX - box.left;
    const isLeft = x > box.width / 2;
    this.tip.classList.toggle("left", isLeft);
    this.tip.style.transform = `translateX(${x}px)${isLeft ? " translateX(-100%)" : ""}`;
  }
}

/** What curves show if not single values. */
export function curvesText({ smoothing, every }, meanSeconds) {
  const smooth = smoothing ? `Curves are smoothed over ${durationText(smoothing)}; tables and files are not.` : "";
  const means = meanSeconds ? `Each line shows means of ${durationText(meanSeconds)}, each band the lowest to highest values.` : "";
  const more = meanSeconds && !every ? "Zoom in to see single values." : "";
  return [smooth, means, more].filter(Boolean).join(" ");
}
