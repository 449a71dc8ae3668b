// A CSV table of live values or of a selection, with the description that `emow2v predict` writes beside one.
// It is made here, since the browser alone has live values and knows what is selected.

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
  speech: "probability of speech in the value's window; without speech there are no scores",
};

/** A number with its decimals; "null" where there is none. */
export const csvNumber = (value) => (Number.isFinite(value) ? value.toFixed(DECIMALS) : MISSING);

/** A text, in quotes where it needs them. */
export const csvField = (text) => (/[",\r\n\v\f\x1c-\x1e\x85\u2028\u2029]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** The table: a line for each of these rows of the series. */
export function csvTable(recording, series, rows = series.rowsIn()) {
  const lines = [["file", "start", "end", ...series.columns].join(",")];
  for (const index of rows) {
    const times = [series.start(index), series.end(index)].map((seconds) => Number(seconds.toFixed(DECIMALS)));
    const texts = series.columns.map((_, column) => csvNumber(series.value(index, column)));
    lines.push([csvField(recording), ...times, ...texts].join(","));
  }
  return `${lines.join("\n")}\n`;
}

/** The description of the table of a series, in the form of W3C's "Metadata Vocabulary for Tabular Data". */
export function csvMetadata(table, series, provenance) {
  const columns = ["file", "start", "end", ...series.columns].map((name) => {
    const text = DESCRIPTIONS[name];
    return {
      name,
      datatype: name === "file" ? "string" : "double",
      "dc:description": text === SCORE && provenance.covers ? `${text}, for ${provenance.covers}` : text,
    };
  });
  const tableSchema = { columns };
  const content = { "@context": CSVW, url: table, null: MISSING, tableSchema, "emow2v:provenance": provenance };
  return `${JSON.stringify(content, null, 2)}\n`;
}
