// Sound, curves and confidence over one time axis, drawn by plotly.js; the cursor is a line of our own above it,
// since drawing everything anew for every picture of a film would be too slow.

import { clock, colour, COLUMNS, DIMENSIONS, lasting, make, onTheme } from "./common.js";
import { Readout } from "./readout.js";

const MARGIN = { l: 46, r: 8, t: 6, b: 30 };
const STEPS = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400];
const SHORTEST_S = 0.2; // that can be zoomed to
const STILL = 5; // pixels that a press may move and still be a click
const TWICE_MS = 400; // between the two presses of a double click

export class TimePlot {
  /**
   * @param element takes the plot; the legend goes before it
   * @param series the values that are shown; `peaks`, the sound, and `note`, a remark on it, are set later
   * @param seek is called with the time that somebody clicked on; without it there is no cursor
   * @param seen is called when another part of the time is shown
   */
  constructor(element, series, { seek = null, seen = null } = {}) {
    Object.assign(this, { element, series, seek, seen, peaks: null, duration: 0, range: null, note: "", shown: new Set(DIMENSIONS), at: 0 });
    this.plot = make("div", { role: "img", "aria-label": "Sound, curves and confidence over time" });
    this.line = make("div", { class: "cursor", hidden: !seek, role: "slider", tabindex: 0, "aria-label": "Cursor", "aria-valuemin": 0, "aria-valuemax": 0, "aria-valuenow": 0 });
    this.tip = make("div", { class: "tip", hidden: true, "aria-hidden": "true" }, (this.tipTime = make("div")));
    this.tipValues = new Readout(this.tip);
    element.append(this.plot, this.line, this.tip);
    element.before(this.#legend());
    new ResizeObserver(() => this.draw()).observe(element);
    onTheme(() => this.draw());
    this.#pointer();
  }

  /** Seconds of the whole axis. */
  get whole() {
    return Math.max(this.duration, this.series.duration, 0.001);
  }

  get view() {
    return this.range ?? [0, this.whole];
  }

  /** What the picture shows, in a sentence for people who do not see it. */
  describe(sentence) {
    this.plot.setAttribute("aria-label", sentence);
  }

  /** Show a part of the time, or with null all of it. */
  zoom(range) {
    if (range) {
      const width = Math.min(Math.max(range[1] - range[0], SHORTEST_S), this.whole);
      const from = Math.min(Math.max((range[0] + range[1] - width) / 2, 0), this.whole - width);
      range = width >= this.whole ? null : [from, from + width];
    }
    this.range = range;
    this.draw();
  }

  /** Zoom by a factor around a time: that of the cursor where it is seen, else the middle. */
  scale(factor, around = null) {
    const [from, to] = this.view;
    const centre = around ?? (this.seek && this.at >= from && this.at <= to ? this.at : (from + to) / 2);
    this.zoom([centre - (centre - from) * factor, centre + (to - centre) * factor]);
  }

  /** Move the part that is shown, by a part of its width. */
  move(part) {
    if (!this.range) return;
    const [from, to] = this.range;
    const by = Math.min(Math.max(part * (to - from), -from), this.whole - to);
    this.zoom([from + by, to + by]);
  }

  /** Put the cursor to a time. One that leaves the picture, or is sent elsewhere, takes it along. */
  cursor(time, { sent = false, says = "" } = {}) {
    const [from, to] = this.view;
    const was = this.at >= from && this.at <= to;
    this.at = time;
    this.line.setAttribute("aria-valuemax", this.whole.toFixed(2));
    if (says) {
      this.line.setAttribute("aria-valuenow", time.toFixed(2));
      this.line.setAttribute("aria-valuetext", says);
    }
    if (this.range && (time < from || time > to) && (was || sent)) {
      this.zoom([time - 0.1 * (to - from), time + 0.9 * (to - from)]);
      return;
    }
    this.#place();
  }

  #place() {
    const [from, to] = this.view;
    const width = this.element.clientWidth - MARGIN.l - MARGIN.r;
    const part = (this.at - from) / (to - from);
    this.line.style.opacity = part >= 0 && part <= 1 ? 1 : 0;
    this.line.style.transform = `translateX(${MARGIN.l + Math.min(Math.max(part, 0), 1) * width}px)`;
  }

  /** Draw at the next picture; asked for often, done once. */
  draw() {
    this.due ??= requestAnimationFrame(() => {
      this.due = null;
      this.#draw();
    });
  }

  #draw() {
    const Plotly = globalThis.Plotly;
    if (!this.element.clientWidth) return;
    if (!Plotly) {
      this.plot.textContent = "The curves cannot be drawn: plotly.js is not on this server (pip install plotly).";
      return;
    }
    const [from, to] = this.view;
    const height = this.element.clientHeight;
    this.line.style.top = `${MARGIN.t}px`;
    this.line.style.height = `${height - MARGIN.t - MARGIN.b}px`;
    const config = { displayModeBar: false, doubleClick: false, showTips: false, responsive: false };
    Plotly.react(this.plot, this.#traces(from, to), this.#layout(from, to, height), config);
    if (!this.listening) {
      this.listening = true;
      document.getElementById("js-plotly-tester")?.setAttribute("aria-hidden", "true"); // where plotly.js measures texts
      this.plot.on("plotly_relayout", (change) => {
        const range = change["xaxis.range"] ?? [change["xaxis.range[0]"], change["xaxis.range[1]"]];
        if (Number.isFinite(range[0])) this.zoom(range.map(Number));
      });
    }
    this.#place();
    this.seen?.(from, to);
  }

  #traces(from, to) {
    const most = Math.max(800, 2 * this.element.clientWidth);
    const mode = this.series.length === 1 ? "markers" : "lines";
    const traces = [];
    let stretch = 0;
    COLUMNS.forEach((name, column) => {
      const { x, y, band, seconds } = this.series.points(column, from, to, most);
      const score = column < DIMENSIONS.length;
      const ink = colour(score ? name : "quiet");
      const own = { name, yaxis: score ? "y2" : "y3", visible: !score || this.shown.has(name) };
      const width = score ? 1.8 : 1.2;
      if (band) traces.unshift({ ...own, ...band, name: `${name} from lowest to highest`, mode: "none", fill: "toself", fillcolor: `${ink}38`, showlegend: false });
      traces.push({ ...own, x, y, mode, line: { color: ink, width }, marker: { color: ink, size: 5 * width } });
      stretch = seconds;
    });
    const averaged = stretch ? `Lines are means of ${lasting(stretch)}, bands go from lowest to highest; zoom in for single values.` : "";
    if (this.remark.textContent !== (this.note || averaged)) this.remark.textContent = this.note || averaged;
    if (this.peaks) {
      const ink = colour("sound");
      traces.push({ ...this.peaks.outline(from, to, most), name: "sound", yaxis: "y", mode: "lines", fill: "toself", fillcolor: ink, line: { color: ink, width: 1 }, showlegend: false });
    }
    return traces;
  }

  #layout(from, to, height) {
    const [text, line] = [colour("text"), colour("line")];
    const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, fixedrange: true, tickfont: { size: 11 }, automargin: false };
    const title = (name) => ({ text: name, font: { size: 11, color: colour("quiet") }, standoff: 4 });
    const loudest = 1.05 * Math.max(0.01, this.peaks?.loudest ?? 0);
    const [low, high] = this.series.bounds;
    return {
      width: this.element.clientWidth,
      height,
      margin: MARGIN,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: text, family: getComputedStyle(document.body).fontFamily },
      showlegend: false,
      hovermode: false, // the tip says more, and is quicker
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      xaxis: { ...axis, ...this.#ticks(from, to), fixedrange: false, range: [from, to], anchor: "y3", zeroline: false },
      yaxis: { ...axis, domain: [0.83, 1], range: [-loudest, loudest], title: title("sound"), showticklabels: false, showgrid: false },
      yaxis2: { ...axis, domain: [0.24, 0.8], range: [Math.min(0, low) - 0.03, Math.max(1, high) + 0.03], title: title("score"), zeroline: false },
      yaxis3: { ...axis, domain: [0, 0.19], range: [-0.05, 1.1], title: title("confidence"), tickvals: [0, 1], zeroline: false },
    };
  }

  #ticks(from, to) {
    const wanted = (to - from) / Math.max(2, this.element.clientWidth / 90);
    const step = STEPS.find((one) => one >= wanted) ?? STEPS.at(-1);
    const decimals = step < 0.1 ? 2 : step < 1 ? 1 : 0;
    const tickvals = [];
    for (let k = Math.ceil(from / step - 1e-6); k * step <= to + 1e-9; k++) tickvals.push(k * step);
    return { tickvals, ticktext: tickvals.map((time) => clock(time, decimals)) };
  }

  /** What is shown as an SVG picture with a legend, on the page's own ground. */
  async picture(title) {
    const ground = colour("ground");
    const layout = { ...this.plot.layout, title: { text: escaped(title), font: { size: 15 } }, showlegend: true, legend: { orientation: "h", y: -0.09 } };
    Object.assign(layout, { margin: { l: 56, r: 20, t: 44, b: 60 }, paper_bgcolor: ground, plot_bgcolor: ground, height: layout.height + 70 });
    const data = this.plot.data.map((trace) => ({ ...trace, visible: trace.visible !== false }));
    return globalThis.Plotly.toImage({ data, layout }, { format: "svg", width: layout.width, height: layout.height });
  }

  #legend() {
    const toggle = (name) => (event) => {
      const on = !this.shown.has(name);
      on ? this.shown.add(name) : this.shown.delete(name);
      event.currentTarget.setAttribute("aria-pressed", String(on));
      this.draw();
    };
    const buttons = DIMENSIONS.map((name) => make("button", { class: `small ${name}`, "aria-pressed": "true", onclick: toggle(name) }, make("span", { class: "swatch" }), name));
    this.remark = make("span", { class: "quiet" });
    return make("div", { class: "legend" }, make("div", { role: "group", "aria-label": "Curves that are shown" }, ...buttons), this.remark);
  }

  #timeAt(event) {
    const [from, to] = this.view;
    const box = this.element.getBoundingClientRect();
    const part = (event.clientX - box.left - MARGIN.l) / (box.width - MARGIN.l - MARGIN.r);
    return part >= 0 && part <= 1 ? from + part * (to - from) : null;
  }

  /** Values under the mouse. */
  #hover(event) {
    const time = event.pointerType === "mouse" && !event.buttons ? this.#timeAt(event) : null;
    const row = time === null ? -1 : this.series.at(time);
    this.tip.hidden = row < 0 || time > this.series.duration;
    if (this.tip.hidden) return;
    this.tipTime.textContent = clock(time, 2);
    this.tipValues.show(this.series, row);
    const box = this.element.getBoundingClientRect();
    const at = event.clientX - box.left;
    this.tip.classList.toggle("left", at > box.width / 2);
    this.tip.style.transform = `translateX(${at}px)${at > box.width / 2 ? " translateX(-100%)" : ""}`;
  }

  /** A press that does not move is a click; plotly.js keeps the others for zooming, and covers the page meanwhile. */
  #pointer() {
    let [pressed, last] = [null, 0];
    this.element.addEventListener("pointerdown", (event) => (pressed = event), true);
    const released = (event) => {
      const still = pressed && event.type === "pointerup" && Math.hypot(event.clientX - pressed.clientX, event.clientY - pressed.clientY) < STILL;
      const time = still ? this.#timeAt(event) : null;
      pressed = null;
      if (time === null) return;
      if (event.timeStamp - last < TWICE_MS) this.zoom(null);
      else this.seek?.(time);
      last = event.timeStamp;
    };
    for (const kind of ["pointerup", "pointercancel"]) addEventListener(kind, released, true);
    this.element.addEventListener("pointermove", (event) => this.#hover(event));
    for (const kind of ["pointerleave", "pointerdown"]) this.element.addEventListener(kind, () => (this.tip.hidden = true));
    const wheel = (event) => {
      const along = event.shiftKey ? event.deltaX || event.deltaY : Math.abs(event.deltaX) > Math.abs(event.deltaY) ? event.deltaX : 0;
      if (!event.ctrlKey && !(along && this.range)) return; // the page scrolls
      event.preventDefault();
      if (event.ctrlKey) this.scale(Math.exp(Math.min(Math.max(event.deltaY, -100), 100) / 300), this.#timeAt(event));
      else this.move(along / this.element.clientWidth);
    };
    this.element.addEventListener("wheel", wheel, { passive: false });
  }
}

/** plotly.js takes some markup in titles; names of files are to be seen as they are. */
const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
