// A plot over a time axis, drawn by plotly.js, which can be zoomed and moved by mouse, wheel and keys.

import { colour, drawNextFrame, make, onThemeChange, setText } from "./elements.js";
import { clockText } from "./texts.js";

export const MARGIN = { l: 46, r: 8, t: 6, b: 30 };
const MINUTE_S = 60;
const HOUR_S = 3600;
const TICK_STEPS_S = [
  ...[0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30],
  ...[1, 2, 5, 10, 20, 30].map((minutes) => minutes * MINUTE_S),
  ...[1, 2, 4, 12, 24].map((hours) => hours * HOUR_S),
];
const MIN_VIEW_S = 0.2;
const CLICK_PIXELS = 5; // a press that moves less is a click
const DOUBLE_CLICK_MS = 400;
const NO_PLOTLY =
  "The curves cannot be drawn, because this server has no plotly.js. All values can still be read and saved. " +
  "The administrator can install it with: pip install 'emow2v[server]'";

// plotly.js is large and comes last, so that values are requested before it is compiled; a plot waits for it.
let isLoading = true;
addEventListener("DOMContentLoaded", () => (isLoading = false));

/** Subclasses have `duration`, the seconds of the axis, `traces(from, to)` and `axes(axis, title)` for plotly.js. */
export class TimeAxis {
  /**
   * @param element holds the plot
   * @param name of the plot for screen readers
   * @param seek is called with a time that was clicked on
   * @param onView is called when another part of the time is visible
   */
  constructor(element, name, { seek = null, onView = null } = {}) {
    Object.assign(this, { element, seek, onView, range: null });
    this.draw = drawNextFrame(() => this.#draw());
    this.plot = make("div", { role: "img", "aria-label": name });
    element.append(this.plot);
    new ResizeObserver(() => this.draw()).observe(element);
    onThemeChange(() => this.draw());
    addEventListener("DOMContentLoaded", () => this.draw());
    this.#listen();
  }

  /** Seconds of the whole time axis. */
  get whole() {
    return Math.max(this.duration, 0.001);
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

  /** The time around which buttons and keys zoom. */
  get centre() {
    return (this.view[0] + this.view[1]) / 2;
  }

  /** Zoom by a factor around a time. */
  scale(factor, around = null) {
    const [from, to] = this.view;
    const centre = around ?? this.centre;
    this.zoom([centre - (centre - from) * factor, centre + (to - centre) * factor]);
  }

  /** Move the visible part by a fraction of its width. */
  move(fraction) {
    if (!this.range) return;
    const [from, to] = this.range;
    const seconds = Math.min(Math.max(fraction * (to - from), -from), this.whole - to);
    this.zoom([from + seconds, to + seconds]);
  }

  /** Draw what lies above the plot. */
  drawAbove() {}

  #draw() {
    const Plotly = globalThis.Plotly;
    if (!this.element.clientWidth || (!Plotly && isLoading)) return;
    const [from, to] = this.view;
    if (!Plotly) {
      this.element.classList.add("no-plot");
      setText(this.plot, NO_PLOTLY);
      this.plot.setAttribute("role", "note");
      this.onView?.(from, to);
      return;
    }
    const config = { displayModeBar: false, doubleClick: false, showTips: false, responsive: false };
    Plotly.react(this.plot, this.traces(from, to), this.#layout(from, to), config);
    if (!this.isListening) {
      this.isListening = true;
      document.getElementById("js-plotly-tester")?.setAttribute("aria-hidden", "true"); // plotly.js measures texts there
      this.plot.on("plotly_relayout", (change) => {
        const range = change["xaxis.range"] ?? [change["xaxis.range[0]"], change["xaxis.range[1]"]];
        if (Number.isFinite(range[0])) this.zoom(range.map(Number));
      });
    }
    this.drawAbove();
    this.onView?.(from, to);
  }

  #layout(from, to) {
    const [text, line] = [colour("text"), colour("line")];
    const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, fixedrange: true, tickfont: { size: 11 }, automargin: false };
    const title = (name) => ({ text: name, font: { size: 11, color: colour("muted") }, standoff: 4 });
    return {
      width: this.element.clientWidth,
      height: this.element.clientHeight,
      margin: MARGIN,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: text, family: getComputedStyle(document.body).fontFamily },
      showlegend: false,
      hovermode: false, // slow where there are many points
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      xaxis: { ...axis, ...this.#ticks(from, to), fixedrange: false, range: [from, to], anchor: "y3", zeroline: false },
      ...this.axes(axis, title),
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

  /** The visible part as an SVG picture with a legend, on the background of the page. */
  async pictureFile(title) {
    if (!globalThis.Plotly) throw new Error(NO_PLOTLY);
    const background = colour("background");
    const layout = { ...this.plot.layout, title: { text: escaped(title), font: { size: 15 } }, showlegend: true, legend: { orientation: "h", y: -0.09 } };
    Object.assign(layout, { margin: { l: 56, r: 20, t: 44, b: 60 }, paper_bgcolor: background, plot_bgcolor: background, height: layout.height + 70 });
    const data = this.plot.data.map((trace) => ({ ...trace, visible: trace.visible !== false }));
    const size = { width: layout.width, height: layout.height };
    const address = await globalThis.Plotly.toImage({ data, layout }, { format: "svg", ...size });
    const text = decodeURIComponent(address.slice(address.indexOf(",") + 1));
    return new Blob([text], { type: "image/svg+xml" });
  }

  /** The time under the pointer; null beside the axis. */
  timeAt(event) {
    const [from, to] = this.view;
    const box = this.element.getBoundingClientRect();
    const fraction = (event.clientX - box.left - MARGIN.l) / (box.width - MARGIN.l - MARGIN.r);
    return fraction >= 0 && fraction <= 1 ? from + fraction * (to - from) : null;
  }

  /** A press without movement is a click. With movement plotly.js zooms; it covers the page during that. */
  #listen() {
    let [press, lastClick] = [null, 0];
    this.element.addEventListener("pointerdown", (event) => (press = event), true);
    const release = (event) => {
      const distance = press ? Math.hypot(event.clientX - press.clientX, event.clientY - press.clientY) : Infinity;
      const time = event.type === "pointerup" && distance < CLICK_PIXELS ? this.timeAt(event) : null;
      press = null;
      if (time === null) return;
      if (event.timeStamp - lastClick < DOUBLE_CLICK_MS) this.zoom(null);
      else this.seek?.(time);
      lastClick = event.timeStamp;
    };
    for (const kind of ["pointerup", "pointercancel"]) addEventListener(kind, release, true);
    this.listenToWheel(this.element);
  }

  /** Zoom and move with the wheel above an element that has the time axis of the plot. */
  listenToWheel(element) {
    const wheel = (event) => {
      const isSideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
      const sideways = event.shiftKey ? event.deltaX || event.deltaY : isSideways ? event.deltaX : 0;
      if (!event.ctrlKey && !(sideways && this.range)) return; // the page scrolls
      event.preventDefault();
      if (event.ctrlKey) this.scale(Math.exp(Math.min(Math.max(event.deltaY, -100), 100) / 300), this.timeAt(event));
      else this.move(sideways / this.element.clientWidth);
    };
    element.addEventListener("wheel", wheel, { passive: false });
  }
}

/**
 * Connect the buttons that zoom, and the slider that moves the visible part.
 * @returns a function that shows which of them can be used
 */
export function addZoomButtons(plot, find) {
  const [zoomIn, zoomOut, zoomAll, pan] = ["zoom-in", "zoom-out", "zoom-all", "pan"].map(find);
  pan.addEventListener("input", () => {
    const [from, to] = plot.view;
    const start = pan.value * (plot.whole - (to - from));
    plot.zoom([start, start + to - from]);
  });
  zoomIn.addEventListener("click", () => plot.scale(0.5));
  zoomOut.addEventListener("click", () => plot.scale(2));
  zoomAll.addEventListener("click", () => plot.zoom(null));
  return (from, to) => {
    zoomAll.disabled = zoomOut.disabled = pan.disabled = !plot.range;
    const isHeld = document.activeElement === pan && plot.range;
    if (!isHeld) pan.value = plot.range ? from / (plot.whole - (to - from)) : 0.5;
    pan.setAttribute("aria-valuetext", `${clockText(from, 1)} to ${clockText(to, 1)}`);
  };
}

/** plotly.js reads some markup in titles; names of files are shown as they are. */
const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
