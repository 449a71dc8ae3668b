// Several results together: their curves over one time axis, the means of each recording, and all files in one zip.

import { announce, announceError, byId, make, saveFile, setText } from "./elements.js";
import { jobPath, pagePath } from "./jobstate.js";
import { COLOURS, Overlay } from "./overlay.js";
import { address, requestJSON } from "./requests.js";
import { loadValues } from "./rows.js";
import { meansCSV, meansOf, selectionText } from "./selection.js";
import { DIMENSIONS, Series } from "./series.js";
import { addSmoothing } from "./smoothing.js";
import { clockText, valueText } from "./texts.js";
import { addZoomButtons } from "./timeaxis.js";
import { curvesText } from "./timeplot.js";

const MAX_RECORDINGS = 30;
const ids = (new URLSearchParams(location.search).get("jobs") ?? "").split(",").map((id) => id.trim()).filter(Boolean);
const recordings = []; // { id, name, series, isVisible }
const viewing = { smoothing: 0, every: 0 }; // seconds
const plot = new Overlay(byId("time"), recordings, { onView: showView });
const showZoom = addZoomButtons(plot, byId);

/** Another part of the time is visible. */
function showView(from, to) {
  showZoom(from, to);
  setText(byId("remark"), curvesText(viewing, plot.meanSeconds));
  if (!byId("about").hidden) showMeans();
}

const means = () => recordings.map(({ name, series }) => meansOf(name, series, plot.range ?? [0, series.duration]));

function showMeans() {
  const lines = means();
  const rows = lines.map(({ values, seconds, means, deviations }, number) => {
    const { id, name } = recordings[number];
    const head = make("th", { scope: "row" }, swatch(number), make("a", { href: pagePath(id) }, name));
    const cells = means.map((mean, column) => meanCell(mean, deviations[column]));
    return make("tr", {}, head, make("td", { class: "count" }, String(values)), make("td", { class: "count" }, clockText(seconds)), ...cells);
  });
  const visible = lines.filter(({ values }, number) => recordings[number].isVisible && values);
  if (visible.length > 1) rows.push(betweenRow(visible));
  const names = ["values", "min"].map((name) => make("th", { scope: "col", class: "count" }, name));
  const part = selectionText(plot.range, null) || "whole recordings";
  byId("means").replaceChildren(
    make("caption", { class: "muted" }, `Means ± standard deviations, ${part}. Silence is left out.`),
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "recording"), ...names, ...DIMENSIONS.map((name) => make("th", { scope: "col" }, name)))),
    make("tbody", {}, ...rows),
  );
}

const meanCell = (mean, deviation) =>
  make("td", {}, valueText(mean, 3), " ", make("span", { class: "muted" }, `± ${valueText(deviation, 3)}`));

/** The mean of the means of the visible recordings, and their standard deviation: how far recordings lie apart. */
function betweenRow(lines) {
  const cells = DIMENSIONS.map((_, column) => {
    const values = lines.map(({ means }) => means[column]);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    return meanCell(mean, Math.sqrt(squares / (values.length - 1)));
  });
  const seconds = lines.reduce((sum, line) => sum + line.seconds, 0);
  const values = lines.reduce((sum, line) => sum + line.values, 0);
  const counts = [String(values), clockText(seconds)].map((text) => make("td", { class: "count" }, text));
  return make("tr", { class: "between" }, make("th", { scope: "row" }, `mean of ${lines.length} recordings`), ...counts, ...cells);
}

const swatch = (number) => make("span", { class: `swatch recording${number % COLOURS} dash${Math.floor(number / COLOURS) % 3}` });

/** A button that shows or hides a recording. */
function addButton(recording, number) {
  const onclick = (event) => {
    recording.isVisible = !recording.isVisible;
    event.currentTarget.setAttribute("aria-pressed", String(recording.isVisible));
    plot.draw();
  };
  byId("recordings").append(make("button", { class: "small", "aria-pressed": "true", onclick }, swatch(number), recording.name));
}

async function load(id) {
  const job = await requestJSON(jobPath(id));
  if (job.state !== "finished") throw new Error(`${job.name} has not finished, so it has no values yet.`);
  const names = await requestJSON(jobPath(id, "/sessions"));
  for (const [session, name] of names.entries()) {
    if (recordings.length === MAX_RECORDINGS) throw new Error(`The page shows ${MAX_RECORDINGS} recordings; the others are left out.`);
    const recording = { id, name: names.length > 1 ? `${job.name}: ${name}` : job.name, series: new Series(), isVisible: true };
    await loadValues(recording.series, job, session);
    Object.assign(recording.series, viewing);
    addButton(recording, recordings.length);
    recordings.push(recording);
    plot.draw();
  }
}

async function loadAll() {
  if (!ids.length) throw new Error("No results were chosen. Choose finished jobs in the list of jobs, then press Show together.");
  const failures = [];
  for (const [number, id] of ids.entries()) {
    announce(`Loading result ${number + 1} of ${ids.length}…`);
    await load(id).catch((error) => failures.push(error.message));
  }
  announce(failures.join(" "), failures.length > 0);
  byId("about").hidden = !recordings.length;
  plot.draw();
}

addSmoothing((smoothing, every) => {
  Object.assign(viewing, { smoothing, every });
  for (const { series } of recordings) Object.assign(series, viewing);
  plot.draw();
});
for (const format of ["csvw", "json", "annotation"]) {
  byId(`all-${format}`).href = address(`v1/results?format=${format}&jobs=${encodeURIComponent(ids.join())}`);
}
byId("save-means").addEventListener("click", () => saveFile("means.csv", new Blob([meansCSV(means())], { type: "text/csv" })));
byId("save-picture").addEventListener("click", async () => {
  try {
    saveFile("together.svg", await plot.pictureFile("Results together"));
  } catch (error) {
    announceError(error);
  }
});
loadAll().catch(announceError);
