// Waveform, curves and confidence over one time axis, drawn by plotly.js. The cursor is an element above the plot:
// to draw the whole plot for every frame of a video would be too slow.

import { colour, drawNextFrame, make, onThemeChange, setText } from "./elements.js";
import { Readout } from "./readout.js";
import { COLUMNS, DIMENSIONS, SPEECH } from "./series.js";
import { clockText, durationText } from "./texts.js";

export const MARGIN = { l: 46, r: 8, t: 6, b: 30 };
const MINUTE_S = 60;
const HOUR_S = 3600;
const TICK_STEPS_S = [
  ...[0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30],
  ...[1, 2, 5, 10, 20, 30].map((minutes) => minutes * MINUTE_S),
  ...[1, 2, 4, 12, 24].map((hours) => hours * HOUR_S),
];
const MIN_VIEW_S = 0.2;
const SEEK_ROUNDING_S = 0.001; // players round times
const CLICK_PIXELS = 5; // a press that moves less is a click
const DOUBLE_CLICK_MS = 400;
const NO_PLOTLY =
  "The curves cannot be drawn, because this server has no plotly.js. All values can still be read and saved. " +
  "The administrator can install it with: pip install 'emow2v[server]'";

export class TimePlot {
  /**
   * @param element holds the plot; the legend is put before it
   * @param series the values; the properties `waveform`, and `note`, a remark beside the legend, are set later
   * @param seek is called with a time that was clicked on; without it there is no cursor
   * @param onView is called when another part of the time is visible
   */
  constructor(element, series, { seek = null, onView = null } = {}) {
    Object.assign(this, { element, series, seek, onView, waveform: null, duration: 0, range: null, note: "", time: 0 });
    this.visible = new Set(DIMENSIONS);
    this.draw = drawNextFrame(() => this.#draw());
    this.plot = make("div", { role: "img", "aria-label": "Waveform, curves and confidence over time" });
    const range = { "aria-valuemin": 0, "aria-valuemax": 0, "aria-valuenow": 0 };
    const slider = { role: "slider", tabindex: 0, "aria-label": "Cursor", ...range };
    this.cursor = make("div", { class: "cursor", hidden: !seek, ...slider });
    this.tip = make("div", { class: "tip", hidden: true, "aria-hidden": "true" }, (this.tipTime = make("div")));
    this.tipValues = new Readout(this.tip);
    element.append(this.plot, this.cursor, this.tip);
    element.before(this.#legend());
    new ResizeObserver(() => this.draw()).observe(element);
    onThemeChange(() => this.draw());
    this.#listen();
  }

  /** Seconds of the whole time axis. */
  get whole() {
    return Math.max(this.duration, this.series.duration, 0.001);
  }

  /** The visible part: [from, to] in seconds. */
  get view() {
    return this.range ?? [0, this.whole];
  }

  /** Set the sentence by which screen readers describe the plot. */
  describe(sentence) {
    this.plot.setAttribute("aria-label", sentence);
  }

  /** Show a part of the time, or all of it for null. */
  zoom(range) {
    if (range) {
      const width = Math.min(Math.max(range[1] - range[0], MIN_VIEW_S), this.whole);
      const from = Math.min(Math.max((range[0] + range[1] - width) / 2, 0), this.whole - width);
      range = width >= this.whole ? null : [from, from + width];
    }
    this.range = range;
    this.draw();
  }

  /** Zoom by a factor around a time; by default around the cursor if it is visible, else around the middle. */
  scale(factor, around = null) {
    const [from, to] = this.view;
    const centre = around ?? (this.seek && this.time >= from && this.time <= to ? this.time : (from + to) / 2);
    this.zoom([centre - (centre - from) * factor, centre + (to - centre) * factor]);
  }

  /** Move the visible part by a fraction of its width. */
  move(fraction) {
    if (!this.range) return;
    const [from, to] = this.range;
    const seconds = Math.min(Math.max(fraction * (to - from), -from), this.whole - to);
    this.zoom([from + seconds, to + seconds]);
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

  #draw() {
    const Plotly = globalThis.Plotly;
    if (!this.element.clientWidth) return;
    const [from, to] = this.view;
    if (!Plotly) {
      this.element.classList.add("no-plot");
      setText(this.plot, NO_PLOTLY);
      this.plot.setAttribute("role", "note");
      this.onView?.(from, to);
      return;
    }
    const height = this.element.clientHeight;
    this.cursor.style.top = `${MARGIN.t}px`;
    this.cursor.style.height = `${height - MARGIN.t - MARGIN.b}px`;
    const config = { displayModeBar: false, doubleClick: false, showTips: false, responsive: false };
    Plotly.react(this.plot, this.#traces(from, to), this.#layout(from, to, height), config);
    if (!this.isListening) {
      this.isListening = true;
      document.getElementById("js-plotly-tester")?.setAttribute("aria-hidden", "true"); // plotly.js measures texts there
      this.plot.on("plotly_relayout", (change) => {
        const range = change["xaxis.range"] ?? [change["xaxis.range[0]"], change["xaxis.range[1]"]];
        if (Number.isFinite(range[0])) this.zoom(range.map(Number));
      });
    }
    this.#placeCursor();
    this.onView?.(from, to);
  }

  #traces(from, to) {
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
    const means = meanSeconds
      ? `Each line shows means of ${durationText(meanSeconds)}, each band the lowest to highest values. ` +
        "Zoom in to see single values."
      : "";
    setText(this.remark, this.note || means);
    this.speechKey.hidden = !this.series.hasSpeech;
    setText(this.speechName, this.series.isTurns ? "share of the turn with speech" : "probability of speech");
    if (this.series.hasSpeech) {
      const { x, y } = this.series.points(SPEECH, from, to, maxPoints);
      const look = { mode: "lines", line: { width: 0 }, fill: "tozeroy", fillcolor: `${colour("sound")}66` };
      traces.unshift({ name: "speech", yaxis: "y3", x, y, ...look });
    }
    if (this.waveform) {
      const color = colour("sound");
      const corners = this.waveform.outline(from, to, maxPoints);
      traces.push({ ...corners, ...area, name: "sound", yaxis: "y", mode: "lines", fillcolor: color, line: { color, width: 1 } });
    }
    return traces;
  }

  #layout(from, to, height) {
    const [text, line] = [colour("text"), colour("line")];
    const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, fixedrange: true, tickfont: { size: 11 }, automargin: false };
    const title = (name) => ({ text: name, font: { size: 11, color: colour("muted") }, standoff: 4 });
    const loudest = 1.05 * Math.max(0.01, this.waveform?.loudest ?? 0);
    const [low, high] = this.series.bounds;
    return {
      width: this.element.clientWidth,
      height,
      margin: MARGIN,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: text, family: getComputedStyle(document.body).fontFamily },
      showlegend: false,
      hovermode: false, // this.tip shows all values, and is faster
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      xaxis: { ...axis, ...this.#ticks(from, to), fixedrange: false, range: [from, to], anchor: "y3", zeroline: false },
      yaxis: { ...axis, domain: [0.83, 1], range: [-loudest, loudest], title: title("sound"), showticklabels: false, showgrid: false },
      yaxis2: { ...axis, domain: [0.24, 0.8], range: [Math.min(0, low) - 0.03, Math.max(1, high) + 0.03], title: title("score"), zeroline: false },
      yaxis3: { ...axis, domain: [0, 0.19], range: [-0.05, 1.1], title: title("confidence"), tickvals: [0, 1], zeroline: false },
    };
  }

  #ticks(from, to) {
    const minStep = (to - from) / Math.max(2, this.element.clientWidth / 90); // a label every 90 pixels
    const step = TICK_STEPS_S.find((seconds) => seconds >= minStep) ?? TICK_STEPS_S.at(-1);
    const decimals = step < 0.1 ? 2 : step < 1 ? 1 : 0;
    const tickvals = [];
    for (let k = Math.ceil(from / step - 1e-6); k * step <= to + 1e-9; k++) tickvals.push(k * step);
    return { tickvals, ticktext: tickvals.map((time) => clockText(time, decimals)) };
  }

  /** The visible part as an SVG picture with a legend, on the background of the page; an address of type data:. */
  async picture(title) {
    if (!globalThis.Plotly) throw new Error(NO_PLOTLY);
    const background = colour("background");
    const layout = { ...this.plot.layout, title: { text: escaped(title), font: { size: 15 } }, showlegend: true, legend: { orientation: "h", y: -0.09 } };
    Object.assign(layout, { margin: { l: 56, r: 20, t: 44, b: 60 }, paper_bgcolor: background, plot_bgcolor: background, height: layout.height + 70 });
    const data = this.plot.data.map((trace) => ({ ...trace, visible: trace.visible !== false }));
    return globalThis.Plotly.toImage({ data, layout }, { format: "svg", width: layout.width, height: layout.height });
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

  /** The time under the pointer; null beside the axis. */
  #timeAt(event) {
    const [from, to] = this.view;
    const box = this.element.getBoundingClientRect();
    const fraction = (event.clientX - box.left - MARGIN.l) / (box.width - MARGIN.l - MARGIN.r);
    return fraction >= 0 && fraction <= 1 ? from + fraction * (to - from) : null;
  }

  /** Show the values under the mouse. */
  #showTip(event) {
    const time = event.pointerType === "mouse" && !event.buttons ? this.#timeAt(event) : null;
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

  /** A press without movement is a click. With movement plotly.js zooms; it covers the page during that. */
  #listen() {
    let [press, lastClick] = [null, 0];
    this.element.addEventListener("pointerdown", (event) => (press = event), true);
    const release = (event) => {
      const distance = press ? Math.hypot(event.clientX - press.clientX, event.clientY - press.clientY) : Infinity;
      const time = event.type === "pointerup" && distance < CLICK_PIXELS ? this.#timeAt(event) : null;
      press = null;
      if (time === null) return;
      if (event.timeStamp - lastClick < DOUBLE_CLICK_MS) this.zoom(null);
      else this.seek?.(time);
      lastClick = event.timeStamp;
    };
    for (const kind of ["pointerup", "pointercancel"]) addEventListener(kind, release, true);
    this.element.addEventListener("pointermove", (event) => this.#showTip(event));
    for (const kind of ["pointerleave", "pointerdown"]) this.element.addEventListener(kind, () => (this.tip.hidden = true));
    this.listenToWheel(this.element);
  }

  /** Zoom and move with the wheel above an element that has the time axis of the plot. */
  listenToWheel(element) {
    const wheel = (event) => {
      const isSideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
      const sideways = event.shiftKey ? event.deltaX || event.deltaY : isSideways ? event.deltaX : 0;
      if (!event.ctrlKey && !(sideways && this.range)) return; // the page scrolls
      event.preventDefault();
      if (event.ctrlKey) this.scale(Math.exp(Math.min(Math.max(event.deltaY, -100), 100) / 300), this.#timeAt(event));
      else this.move(sideways / this.element.clientWidth);
    };
    element.addEventListener("wheel", wheel, { passive: false });
  }
}

/** plotly.js reads some markup in titles; names of files are shown as they are. */
const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
