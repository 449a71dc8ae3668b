// Values of a row as names and numbers, made once and then only filled.

import { COLUMNS, make } from "./common.js";

export class Readout {
  constructor(element) {
    this.cells = COLUMNS.map((name) => {
      const number = make("b", {}, "–");
      element.append(make("div", { class: name }, make("span", {}, make("span", { class: "swatch" }), name), number));
      return number;
    });
  }

  show(series, index) {
    this.cells.forEach((cell, column) => {
      const text = shown(series, index, column);
      if (cell.textContent !== text) cell.textContent = text;
    });
  }
}

function shown(series, index, column) {
  const value = index < 0 ? NaN : series.value(index, column);
  return Number.isNaN(value) ? "–" : value.toFixed(2);
}

/** "arousal 0.51, dominance 0.39, ...": what a screen reader says of a row. */
export const spoken = (series, index) =>
  index < 0 ? "no values" : COLUMNS.map((name, column) => `${name} ${shown(series, index, column).replace("–", "unknown")}`).join(", ");
