// The values of one row as names and numbers. The elements are made once; later only their texts change.

import { make, setText } from "./elements.js";
import { COLUMNS } from "./series.js";
import { valueText } from "./texts.js";

export class Readout {
  constructor(element) {
    this.cells = COLUMNS.map((name) => {
      const number = make("b", {}, "–");
      element.append(make("div", { class: name }, make("span", {}, make("span", { class: "swatch" }), name), number));
      return number;
    });
  }

  /** Show a row; -1 shows dashes. */
  show(series, index) {
    this.cells.forEach((cell, column) => setText(cell, cellText(series, index, column)));
  }
}

const cellText = (series, index, column) => valueText(index < 0 ? NaN : series.value(index, column), 2);

/** A row as screen readers read it: "arousal 0.51, dominance 0.39, ...". */
export function spokenRow(series, index) {
  if (index < 0) return "no values";
  return COLUMNS.map((name, column) => `${name} ${cellText(series, index, column).replace("–", "unknown")}`).join(", ");
}
