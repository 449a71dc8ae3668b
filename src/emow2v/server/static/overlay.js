// Curves of several recordings over one time axis, each from its own beginning: a panel for each dimension.

import { colour } from "./elements.js";
import { DIMENSIONS } from "./series.js";
import { TimeAxis } from "./timeaxis.js";

export const COLOURS = 6; // of recordings in the style sheet; the next ones have other dashes
const DASHES = ["solid", "dash", "dot"];
const DOMAINS = [[0.7, 1], [0.35, 0.65], [0, 0.3]];

export class Overlay extends TimeAxis {
  /** @param recordings a list of { name, series, isVisible } that may grow */
  constructor(element, recordings, options) {
    super(element, "Arousal, dominance and valence of the recordings over time", options);
    Object.assign(this, { recordings, meanSeconds: 0 });
  }

  get duration() {
    return Math.max(0, ...this.recordings.map(({ series }) => series.duration));
  }

  traces(from, to) {
    const maxPoints = Math.max(800, 2 * this.element.clientWidth);
    this.meanSeconds = 0;
    return this.recordings.flatMap(({ name, series, isVisible }, number) => {
      const line = { color: colour(`recording${number % COLOURS}`), width: 1.6, dash: DASHES[Math.floor(number / COLOURS) % DASHES.length] };
      return DIMENSIONS.map((dimension, column) => {
        const { x, y, seconds } = series.points(column, from, to, maxPoints);
        if (isVisible) this.meanSeconds = Math.max(this.meanSeconds, seconds);
        const mode = series.length === 1 ? "markers" : "lines";
        const place = { yaxis: `y${column + 1}`, visible: isVisible, showlegend: column === 0, legendgroup: String(number) };
        return { name, ...place, x, y, mode, line, marker: { color: line.color }, meta: dimension };
      });
    });
  }

  axes(axis, title) {
    const bounds = this.recordings.map(({ series }) => series.bounds);
    const range = [Math.min(0, ...bounds.map(([low]) => low)) - 0.03, Math.max(1, ...bounds.map(([, high]) => high)) + 0.03];
    const panel = (column) => ({ ...axis, domain: DOMAINS[column], range, title: title(DIMENSIONS[column]), zeroline: false, tickvals: [0, 0.5, 1] });
    return { yaxis: panel(0), yaxis2: panel(1), yaxis3: panel(2) };
  }
}
