// The summary of the visible part: statistics of its values, and means of each speaker. Silence is left out.

import { byId, make } from "./elements.js";
import { selectionText } from "./selection.js";
import { COLUMNS, DIMENSIONS } from "./series.js";
import { clockText, countText, valueText } from "./texts.js";

const STATISTICS = { low: "lowest", mean: "mean", deviation: "SD", high: "highest" };

const headCell = (name) => make("th", { scope: "col" }, name);
const numberCells = (values) => values.map((value) => make("td", {}, valueText(value ?? NaN, 3)));

/**
 * Show the statistics.
 * @param range the visible part, null for all
 */
export function showSummary(series, turns, range) {
  const [from, to] = range ?? [-Infinity, Infinity];
  const names = { ...STATISTICS, deviation: make("abbr", { title: "standard deviation" }, STATISTICS.deviation) };
  let count = 0;
  const lines = COLUMNS.map((name, column) => {
    const summary = series.summary(column, from, to);
    count = Math.max(count, summary?.count ?? 0);
    const cells = numberCells(Object.keys(names).map((key) => summary?.[key]));
    return make("tr", {}, make("th", { scope: "row" }, name), ...cells);
  });
  byId("summary").replaceChildren(
    make("caption", { class: "muted" }, captionText(series, turns, count, range)),
    make("thead", {}, make("tr", {}, make("td"), ...Object.values(names).map(headCell))),
    make("tbody", {}, ...lines),
  );
  showSpeakers(turns?.speakers(from, to) ?? []);
}

function captionText(series, turns, count, range) {
  const part = selectionText(range, turns);
  const { all, speech } = series.seconds(...(range ?? []));
  if (series.isTurns) return [`${countText(count, "turn")}, together ${clockText(all, 1)} min`, part].filter(Boolean).join(", ");
  if (!series.hasSpeech || series.isWhole) return `${countText(count, "value")} ${part || `over ${clockText(series.duration, 1)}`}`;
  const sentence = `${countText(count, "value")} over ${clockText(speech, 1)} min of speech of ${clockText(all, 1)} min`;
  return `${[sentence, part].filter(Boolean).join(", ")}. Silence is left out.`;
}

function showSpeakers(speakers) {
  byId("speakers").hidden = !speakers.length;
  const lines = speakers.map(({ name, turns, seconds, means }) => {
    const cells = [turns, clockText(seconds)].map((text) => make("td", {}, String(text)));
    return make("tr", {}, make("th", { scope: "row" }, name), ...cells, ...numberCells(means));
  });
  byId("speakers").replaceChildren(
    make("caption", { class: "muted" }, "Means of each speaker over the turns of this part"),
    make("thead", {}, make("tr", {}, ...["speaker", "turns", "min", ...DIMENSIONS].map(headCell))),
    make("tbody", {}, ...lines),
  );
}
