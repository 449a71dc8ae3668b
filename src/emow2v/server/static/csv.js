// A CSV table of live values, with the description that `emow2v predict` writes beside one.
// It is made here, since the values are in the browser only and can be saved when the server is gone.

import { COLUMNS } from "./series.js";

const DECIMALS = 6;
const MISSING = "null";
const CSVW = ["http:", "www.w3.org/ns/csvw"].join("//"); // the name of a vocabulary; no browser loads it
const SECONDS = "seconds from the beginning of the recording";
const SCORE = "about 0..1, as the model gives it";
const DESCRIPTIONS = {
  file: "the recording",
  start: SECONDS,
  end: SECONDS,
  arousal: SCORE,
  dominance: SCORE,
  valence: SCORE,
  confidence: "0..1; 1 where the model gives none",
};

/** The table: a line for each row of the series. */
export function csvTable(recording, series) {
  const lines = [["file", "start", "end", ...COLUMNS].join(",")];
  for (let index = 0; index < series.length; index++) {
    const [start, end, ...values] = series.row(index);
    const times = [start, end].map((seconds) => Number(seconds.toFixed(DECIMALS)));
    const texts = values.map((value) => (Number.isNaN(value) ? MISSING : value.toFixed(DECIMALS)));
    lines.push([recording, ...times, ...texts].join(","));
  }
  return `${lines.join("\n")}\n`;
}

/** The description of the table, in the form of W3C's "Metadata Vocabulary for Tabular Data". */
export function csvMetadata(table, provenance) {
  const columns = Object.entries(DESCRIPTIONS).map(([name, text]) => ({
    name,
    datatype: name === "file" ? "string" : "double",
    "dc:description": text === SCORE && provenance.covers ? `${text}, for ${provenance.covers}` : text,
  }));
  const tableSchema = { columns };
  const content = { "@context": CSVW, url: table, null: MISSING, tableSchema, "emow2v:provenance": provenance };
  return `${JSON.stringify(content, null, 2)}\n`;
}
