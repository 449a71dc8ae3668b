// The selection: the visible part of a recording, in the turns of the chosen tiers. How it is described and saved.

import { csvField, csvMetadata, csvNumber, csvTable } from "./csv.js";
import { byId, saveFile } from "./elements.js";
import { DIMENSIONS } from "./series.js";
import { clockText, fileStem } from "./texts.js";
import { turnsCSV } from "./turntable.js";
import { zip } from "./zip.js";

/** Which part is selected, and the turns of which tiers; "" for everything. */
export function selectionText(range, turns) {
  const part = range && `from ${clockText(range[0], 2)} to ${clockText(range[1], 2)}, the visible part`;
  const titles = turns?.chosen?.map((tier) => tier.title);
  const tiers = titles && (titles.length ? `in the turns of ${titles.join(" and ")}` : "in no tier");
  return [part, tiers].filter(Boolean).join(", ");
}

/** Means and standard deviations of the selected values, a line of `meansCSV`. */
export function meansOf(file, series, [start, end]) {
  const found = DIMENSIONS.map((_, column) => series.summary(column, start, end));
  const values = Math.max(...found.map((one) => one?.count ?? 0));
  const seconds = series.seconds(start, end).speech;
  const [means, deviations] = ["mean", "deviation"].map((name) => found.map((one) => one?.[name] ?? NaN));
  return { file, start, end, speaker: "", turns: "", seconds, values, means, deviations };
}

/** Means as CSV: a line for each recording, or for each of its speakers. */
export function meansCSV(lines) {
  const names = ["file", "start", "end", "speaker", "turns", "seconds", "values", ...DIMENSIONS];
  const table = lines.map(({ file, start, end, speaker, turns, seconds, values, means, deviations }) => {
    const times = [start, end].map((time) => Number(time.toFixed(6)));
    const numbers = [turns, Number(seconds.toFixed(3)), values, ...[...means, ...deviations].map(csvNumber)];
    return [csvField(file), ...times, csvField(speaker), ...numbers].join(",");
  });
  return `${[[...names, ...DIMENSIONS.map((name) => `${name}_sd`)].join(","), ...table].join("\n")}\n`;
}

/**
 * Connect the buttons that save the selection.
 * @param now gives what is shown: { job, series, turns, view, range }
 */
export function addSelection(now) {
  const save = (id, ending, type, content) => {
    byId(id).addEventListener("click", () => {
      const shown = now();
      const name = `${fileStem(shown.job.name)}.${ending}`;
      saveFile(name, new Blob([content(shown, name)], { type }));
    });
  };
  save("selection-values", "selection.csv.zip", "application/zip", ({ job, series, turns, view, range }, zipName) => {
    const name = fileStem(zipName);
    const selection = selectionText(range, turns) || "the whole recording";
    const table = csvTable(job.name, series, series.rowsIn(...view));
    return zip({ [name]: table, [`${name}-metadata.json`]: csvMetadata(name, series, { ...job.provenance, selection }) });
  });
  save("selection-turns", "selection.turns.csv", "text/csv", ({ job, turns, view }) => turnsCSV(job.name, turns.between(...view)));
  save("selection-means", "selection.means.csv", "text/csv", ({ job, series, turns, view }) => {
    const [start, end] = view;
    const none = DIMENSIONS.map(() => NaN);
    const speakers = (turns?.speakers(...view) ?? []).map(({ name, ...speaker }) => {
      return { file: job.name, start, end, speaker: name, ...speaker, deviations: none };
    });
    return meansCSV([meansOf(job.name, series, view), ...speakers]);
  });
}

/** Say what is selected. */
export function showSelection({ turns, range }) {
  const text = selectionText(range, turns);
  byId("selection").textContent = text
    ? `Selection: ${text}.`
    : `Selection: the whole recording. Zoom to a part${turns?.tiers.length > 1 ? ", or choose tiers," : ""} to select less.`;
  byId("selection-turns").hidden = !turns;
}
