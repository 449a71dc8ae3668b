// Sound, curves and confidence over one time axis, drawn by plotly.js; the cursor is a line of our own above it,
// since drawing everything anew for every picture of a film would be too slow.

import { byId, colour, COLUMNS, DIMENSIONS, make, onTheme } from "./common.js";

const MOST = 4000; // points of a curve
const MARGIN = { l: 46, r: 8, t: 6, b: 30 };
const STEPS = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400];
const SHORTEST_S = 0.2; // that can be zoomed to

export class TimePlot {
  /**
   * @param element takes the plot
   * @param series, peaks what is shown; peaks may be null
   * @param seek is called with the time that somebody clicked on
   */
  constructor(element, series, { seek = null } = {}) {
    Object.assign(this, { element, series, seek, peaks: null, duration: 0, range: null, shown: new Set(DIMENSIONS), at: 0 });
    this.plot = make("div");
    this.line = make("div", { class: "cursor", hidden: true });
    element.append(this.plot, this.line);
    element.before(this.#legend());
    new ResizeObserver(() => this.draw()).observe(element);
    onTheme(() => this.draw());
    if (seek) this.#clicks();
  }

  /** Seconds of the whole axis. */
  get whole() {
    return Math.max(this.duration, this.series.duration, 0.001);
  }

  get view() {
    return this.range ?? [0, this.whole];
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

  /** Zoom by a factor around the cursor where it is seen, else around the middle. */
  scale(factor) {
    const [from, to] = this.view;
    const centre = this.at >= from && this.at <= to ? this.at : (from + to) / 2;
    this.zoom([centre - (centre - from) * factor, centre + (to - centre) * factor]);
  }

  /** Put the cursor to a time; a cursor that leaves the picture takes it along. */
  cursor(time, { follow = false } = {}) {
    this.at = time;
    const [from, to] = this.view;
    if (follow && this.range && (time < from || time > to)) {
      this.zoom([time - 0.1 * (to - from), time + 0.9 * (to - from)]);
      return;
    }
    const width = this.element.clientWidth - MARGIN.l - MARGIN.r;
    this.line.hidden = !(time >= from && time <= to) || !this.seek;
    this.line.style.transform = `translateX(${MARGIN.l + ((time - from) / (to - from)) * width}px)`;
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
    const traces = DIMENSIONS.map((name, column) => ({
      ...this.series.points(column, from, to, MOST),
      name,
      yaxis: "y2",
      mode: this.series.length === 1 ? "markers" : "lines",
      line: { color: colour(name), width: 1.8 },
      marker: { color: colour(name), size: 9 },
      visible: this.shown.has(name),
      hovertemplate: "%{y:.3f}",
    }));
    traces.push({
      ...this.series.points(3, from, to, MOST),
      name: "confidence",
      yaxis: "y3",
      mode: this.series.length === 1 ? "markers" : "lines",
      line: { color: colour("quiet"), width: 1.2 },
      marker: { color: colour("quiet"), size: 6 },
      hovertemplate: "%{y:.2f}",
    });
    if (this.peaks) {
      const line = { color: colour("sound"), width: 1 };
      traces.push({ ...this.peaks.points(from, to, MOST), name: "sound", yaxis: "y", mode: "lines", line, hoverinfo: "skip" });
    }
    const height = this.element.clientHeight;
    this.line.style.top = `${MARGIN.t}px`;
    this.line.style.height = `${height - MARGIN.t - MARGIN.b}px`;
    const config = { displayModeBar: false, doubleClick: false, showTips: false, responsive: false };
    Plotly.react(this.plot, traces, this.#layout(from, to, height), config);
    if (!this.listening) {
      this.listening = true;
      this.plot.on("plotly_relayout", (change) => {
        const range = change["xaxis.range"] ?? [change["xaxis.range[0]"], change["xaxis.range[1]"]];
        if (Number.isFinite(range[0])) this.zoom(range.map(Number));
      });
    }
    this.cursor(this.at);
  }

  #layout(from, to, height) {
    const [text, line] = [colour("text"), colour("line")];
    const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, fixedrange: true, tickfont: { size: 11 }, automargin: false };
    const title = (name) => ({ text: name, font: { size: 11, color: colour("quiet") }, standoff: 4 });
    return {
      width: this.element.clientWidth,
      height,
      margin: MARGIN,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: text, family: getComputedStyle(document.body).fontFamily },
      showlegend: false,
      hovermode: "x unified",
      hoverlabel: { bgcolor: colour("raised"), bordercolor: colour("edge"), font: { color: text } },
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      xaxis: { ...axis, ...this.#ticks(from, to), fixedrange: false, range: [from, to], anchor: "y3", hoverformat: ".2f", zeroline: false },
      yaxis: { ...axis, domain: [0.83, 1], range: this.#loudest(), title: title("sound"), showticklabels: false, showgrid: false },
      yaxis2: { ...axis, domain: [0.22, 0.79], range: this.#scores(), title: title("score"), zeroline: false },
      yaxis3: { ...axis, domain: [0, 0.16], range: [-0.05, 1.1], title: title("sure"), tickvals: [0, 1], zeroline: false },
    };
  }

  #ticks(from, to) {
    const wanted = (to - from) / Math.max(2, this.element.clientWidth / 90);
    const step = STEPS.find((one) => one >= wanted) ?? STEPS.at(-1);
    const decimals = step < 0.1 ? 2 : step < 1 ? 1 : 0;
    const tickvals = [];
    for (let k = Math.ceil(from / step - 1e-6); k * step <= to + 1e-9; k++) tickvals.push(k * step);
    const ticktext = tickvals.map((time) => {
      const [hours, minutes] = [Math.floor(time / 3600), String(Math.floor(time / 60) % 60)];
      const rest = (time % 60).toFixed(decimals).padStart(decimals ? decimals + 3 : 2, "0");
      return hours ? `${hours}:${minutes.padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
    });
    return { tickvals, ticktext };
  }

  #loudest() {
    let most = 0.01;
    for (const [low, high] of this.peaks ? [[this.peaks.lowest, this.peaks.highest]] : []) {
      for (let k = 0; k < low.length; k++) most = Math.max(most, -low[k], high[k]);
    }
    return [-1.05 * most, 1.05 * most];
  }

  #scores() {
    let [low, high] = [0, 1];
    for (let k = 0; k < this.series.length; k++) {
      for (let column = 0; column < 3; column++) {
        const value = this.series.value(k, column);
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
    return [low - 0.03, high + 0.03];
  }

  #legend() {
    const buttons = DIMENSIONS.map((name) =>
      make(
        "button",
        {
          class: name,
          "aria-pressed": "true",
          onclick: (event) => {
            const on = !this.shown.has(name);
            on ? this.shown.add(name) : this.shown.delete(name);
            event.currentTarget.setAttribute("aria-pressed", String(on));
            this.draw();
          },
        },
        make("span", { class: "swatch" }),
        name,
      ),
    );
    return make("div", { class: "legend", role: "toolbar", "aria-label": "Curves that are shown" }, ...buttons);
  }

  /** A press that does not move is a click; plotly.js keeps the others for zooming. */
  #clicks() {
    let pressed = null;
    this.element.addEventListener("pointerdown", (event) => (pressed = event), true);
    addEventListener(
      "pointerup",
      (event) => {
        const [from, to] = this.view;
        const box = this.element.getBoundingClientRect();
        const part = (event.clientX - box.left - MARGIN.l) / (box.width - MARGIN.l - MARGIN.r);
        const still = pressed && Math.hypot(event.clientX - pressed.clientX, event.clientY - pressed.clientY) < 5;
        if (still && part >= 0 && part <= 1) this.seek(from + part * (to - from));
        pressed = null;
      },
      true,
    );
    this.element.addEventListener("dblclick", () => this.zoom(null));
  }
}

/** Values of a row as a list of names and numbers, made once and then only filled. */
export class Readout {
  constructor(element, { tag = "span" } = {}) {
    this.cells = COLUMNS.map((name) => {
      const number = make("b", {}, "–");
      const label = make("span", { class: name }, make("span", { class: "swatch" }), name);
      tag === "div" ? element.append(make("div", { class: name }, make("span", {}, name), number)) : element.append(label, number);
      return number;
    });
  }

  show(series, index) {
    this.cells.forEach((cell, column) => {
      const value = index < 0 ? NaN : series.value(index, column);
      const text = Number.isNaN(value) ? "–" : value.toFixed(2);
      if (cell.textContent !== text) cell.textContent = text;
    });
  }
}

export const timePlot = (series, options) => new TimePlot(byId("time"), series, options);
