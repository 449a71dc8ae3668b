// The values of one row as names and numbers. The elements are made once; later only their texts change.

import { make, setText } from "./elements.js";
import { COLUMNS, SPEECH } from "./series.js";
import { valueText } from "./texts.js";

export class Readout {
  /** @param columns names of values that are shown before the first row; speech is added when a series has it */
  constructor(element, columns = COLUMNS) {
    this.element = element;
    this.cells = columns.map((name) => this.#cell(name));
  }

  #cell(name) {
    const number = make("b", {}, "–");
    const title = make("span", {}, make("span", { class: "swatch" }), name);
    this.element.append(make("div", { class: name }, title, number));
    return number;
  }

  /** Show a row; -1 shows dashes. */
  show(series, index) {
    if (series.hasSpeech && this.cells.length === COLUMNS.length) this.cells.push(this.#cell("speech"));
    this.cells.forEach((cell, column) => setText(cell, cellText(series, index, column)));
  }
}

function cellText(series, index, column) {
  if (column === SPEECH && index >= 0 && series.isSilent(index)) return "no speech";
  return valueText(index < 0 ? NaN : series.value(index, column), 2);
}

/** A row as screen readers read it: "arousal 0.51, dominance 0.39, ...". */
export function spokenRow(series, index) {
  if (index < 0) return "no values";
  if (series.isSilent(index)) return "no speech";
  return series.columns
    .map((name, column) => `${name} ${cellText(series, index, column).replace("–", "unknown")}`)
    .join(", ");
}
