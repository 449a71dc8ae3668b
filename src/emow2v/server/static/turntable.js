// The table of turns, on the page and as CSV with the columns of `emow2v predict --unit turns`.

import { csvField, csvNumber } from "./csv.js";
import { make } from "./elements.js";
import { COLUMNS } from "./series.js";
import { timeButton } from "./table.js";
import { clockText, valueText } from "./texts.js";

const TEXTS = ["speaker", "tier", "label"];

/** The rows of turns for a table; columns of texts that are empty everywhere are left out. */
export function turnRows(turns, seek) {
  const texts = TEXTS.filter((name) => turns.all.some((turn) => turn[name]));
  return {
    names: ["start", "end", ...texts, ...COLUMNS, "n", "speech"],
    count: turns.all.length,
    line(index) {
      const turn = turns.all[index];
      const cell = (name, content) => make("td", { class: name }, content);
      const numbers = [...COLUMNS, "speech"].map((name) => cell(name, valueText(turn[name] ?? NaN, 3)));
      numbers.splice(COLUMNS.length, 0, cell("n", String(turn.n)));
      const times = [cell("start", timeButton(turn.start, seek)), cell("end", clockText(turn.end, 2))];
      return make("tr", {}, ...times, ...texts.map((name) => cell(name, turn[name] || "–")), ...numbers);
    },
  };
}

/** Turns of a recording as CSV. */
export function turnsCSV(recording, turns) {
  const lines = [["file", "start", "end", ...TEXTS, ...COLUMNS, "n", "speech"].join(",")];
  for (const turn of turns) {
    const times = [turn.start, turn.end].map((seconds) => Number(seconds.toFixed(6)));
    const scores = COLUMNS.map((name) => csvNumber(turn[name]));
    const words = TEXTS.map((name) => csvField(turn[name] ?? ""));
    lines.push([csvField(recording), ...times, ...words, ...scores, turn.n, csvNumber(turn.speech)].join(","));
  }
  return `${lines.join("\n")}\n`;
}
