// The page of one job: its values while they are computed; afterwards the sound, the summary, the table, and all files.

import { addCitation } from "./citation.js";
import { coverageText } from "./coverage.js";
import { announce, announceError, byId, make, saveFile } from "./elements.js";
import { cancelJob, isPending, jobPath, queueText, requestLog, showProgress, showState } from "./jobstate.js";
import { Plane } from "./plane.js";
import { Player } from "./player.js";
import { Readout, spokenRow } from "./readout.js";
import { requestJSON } from "./requests.js";
import { loadValues, requestFirstRows } from "./rows.js";
import { addSelection, showSelection } from "./selection.js";
import { Series, Waveform } from "./series.js";
import { addSmoothing } from "./smoothing.js";
import { showSummary } from "./summary.js";
import { PagedTable, valueRows } from "./table.js";
import { clockText, countText, durationText, fileStem } from "./texts.js";
import { Tiers } from "./tiers.js";
import { addZoomButtons } from "./timeaxis.js";
import { TimePlot } from "./timeplot.js";
import { Turns } from "./turns.js";
import { turnRows, turnsCSV } from "./turntable.js";

const id = decodeURIComponent(location.pathname.split("/").at(-1));
const EXPORTS = {
  csv: "CSV",
  csvw: "CSV with provenance (zip)",
  json: "JSON",
  ndjson: "NDJSON",
  annotation: "NOVA annotations (zip)",
  npz: "Embeddings (NumPy)",
  stream: "Embeddings (SSI stream, zip)",
};
const OF_STEPS = ["annotation", "stream"]; // formats that turns have not
const OF_EMBEDDINGS = ["npz", "stream"];
const MAX_WAVEFORM_POINTS = 40_000;
const MIN_GAP_S = 0.001; // values over time follow each other, turns do not
const MIN_ESTIMATE_S = 2; // a job that has run for less gets no estimate of the time left

const series = new Series();
const plot = new TimePlot(byId("time"), series, { seek: (time) => player.seek(time), onView: showView });
const showZoom = addZoomButtons(plot, byId);
const plane = new Plane(byId("plane"), series);
const readout = new Readout(byId("cursor-values"));
const player = new Player(byId("audio"), byId("video"), showTime, (reason) => {
  byId("no-playback").textContent = reason;
  byId("no-playback").hidden = !reason;
  byId("play-part").disabled = Boolean(reason);
});
const seek = (time) => player.seek(time);
const tiers = new Tiers(byId("tiers"), byId("turn"), plot, seek, chooseTiers);
const table = new PagedTable(byId("values"), valueRows(series, seek));
let turns = null; // who speaks when, if the job knows it
let turnTable = null;
let job = null;
const file = new URLSearchParams(location.search).get("file"); // of a job of many recordings, the one that is shown
let session = Number(file ?? 0); // number of the recording in the job
let name = ""; // of that one; "" where the job's name is its own
let run = ""; // the server's name for the rows so far; another one means that the job began again
let early = requestFirstRows(id, session); // before the job's state is known: the server answers while plotly.js is compiled
let newRows = null; // a request in progress
let loads = 0; // of the values of recordings so far
let showValues; // keeps the promise
const valuesShown = new Promise((resolve) => (showValues = resolve)); // for the first time, or that they cannot be shown

/** Show a time with all that follows it; `follow` moves the view to it. */
function showTime(time, follow) {
  const row = series.at(time);
  const spoken = player.isPlaying ? "" : `${clockText(time, 2)}, ${spokenRow(series, row)}`; // not over the recording
  plot.moveCursor(time, { follow, spoken });
  plane.show(row);
  readout.show(series, row);
  table.show(row);
  tiers.moveCursor(time);
  turnTable?.show(turns.all.indexOf(turns.at(time)[0]));
}

/** Another part of the time is visible. */
function showView(from, to) {
  showZoom(from, to);
  tiers.draw();
  if (byId("about").hidden) return;
  showSummary(series, turns, plot.range);
  showSelection({ turns, range: plot.range });
}

/** Other tiers are chosen: curves and summary have the values in their turns. */
function chooseTiers() {
  series.choose(turns.rowsOf(series));
  table.turn(table.page, true);
  redraw();
}

/** Play the visible part, of the chosen tiers. */
function playPart() {
  player.playParts(turns?.parts(...plot.view) ?? [plot.view]);
}

function showJob() {
  byId("name").textContent = name || job.name;
  document.title = `${name || job.name}: emow2v`;
  showState(byId("state"), job.state);
  const details = [
    job.kind === "process" && "DISCOVER",
    job.model && `model ${job.model}`,
    job.state === "waiting" && queueText(job),
  ];
  byId("details").textContent = details.filter(Boolean).join(", ");
  byId("progress-line").hidden = !isPending(job);
  showProgress(byId("progress"), job);
  const count = job.expected_rows
    ? `${job.rows} of ${countText(job.expected_rows, "value")}`
    : countText(job.rows, "value");
  byId("progress-text").textContent = job.rows ? `${count}${timeLeftText()}` : "";
  const notices = job.notices ?? [];
  byId("notices").hidden = !notices.length;
  if (notices.length) byId("notices").replaceChildren(...notices.map((sentence) => make("li", {}, sentence)));
  if (job.state === "error") announce(job.error, true);
  if (job.state === "canceled") announce("The job was cancelled. Only its log was kept.");
}

/** An estimate of the time left. */
function timeLeftText() {
  const seconds = (Date.now() - new Date(job.started)) / 1000;
  if (!job.started || !job.expected_rows || !(seconds > MIN_ESTIMATE_S)) return "";
  return `, about ${durationText((seconds * Math.max(0, job.expected_rows - job.rows)) / job.rows)} left`;
}

/** Add the rows that were computed since the last request. */
function addNewRows() {
  newRows ??= requestNewRows()
    .catch(announceError)
    .finally(() => (newRows = null));
}

/** Promise of the answer that was asked for when the page was loaded; null if it is used or missing. */
function takeEarlyRows() {
  const answer = early;
  early = null; // at once: another recording may be chosen before it comes
  return answer;
}

async function requestNewRows() {
  const query = `first=${series.length}&run=${encodeURIComponent(run)}&session=${session}`;
  const answer = (await takeEarlyRows()) ?? (await requestJSON(jobPath(id, `/rows?${query}`)));
  if (answer.run && answer.run !== run) {
    run = answer.run;
    if (answer.first !== series.length || answer.first) series.clear();
  }
  if (!answer.complete && answer.first === series.length && answer.rows.length) {
    const hasGap = answer.rows.some(([start], k, rows) => k && Math.abs(start - rows[k - 1][1]) > MIN_GAP_S);
    series.isTurns ||= hasGap; // the server says it when the job has ended
    series.add(answer.rows, answer.columns);
    redraw();
  }
}

function redraw() {
  plot.draw();
  const isFollowing = job.state === "running" && !player.wasUsed; // the newest value, until somebody moves the cursor
  showTime(isFollowing ? series.duration : player.time, false);
}

async function loadSound() {
  const shown = session;
  const playing = player.load(jobPath(id, `/audio?session=${session}`));
  plot.waveform = null;
  plot.note = "Reading the sound…";
  if (job.state === "finished") await valuesShown; // the sound of hours is read long; values come first
  try {
    const peaks = await requestWaveform("");
    if (shown !== session) return; // another recording was chosen meanwhile
    plot.waveform = new Waveform(peaks.step, peaks.lowest, peaks.highest);
    plot.soundSeconds = player.duration = peaks.duration;
    if (peaks.channels === 2 && peaks.channel === "mix") loadStereo().catch(announceError);
  } catch {
    // the recording cannot be read; the player says why
  }
  plot.note = "";
  plot.draw();
  await playing;
}

const requestWaveform = (channel) =>
  requestJSON(jobPath(id, `/waveform?points=${MAX_WAVEFORM_POINTS}&session=${session}&channel=${channel}`));

/** Show the left and the right wave in place of their mean. */
async function loadStereo() {
  const shown = session;
  const sides = await Promise.all(["left", "right"].map(requestWaveform));
  if (shown !== session) return; // another recording was chosen meanwhile
  plot.waveform = sides.map(({ step, lowest, highest }) => new Waveform(step, lowest, highest));
  plot.draw();
}

async function loadRows() {
  const number = ++loads;
  const isWanted = () => number === loads; // no other recording was chosen meanwhile
  const promise = takeEarlyRows();
  await newRows;
  announce("Loading the values…");
  const first = await promise;
  if (!isWanted()) return;
  const answer = await loadValues(series, job, session, { early: first, isWanted });
  if (!answer) return;
  announce("");
  await loadTurns(answer.turns, isWanted);
  if (!isWanted()) return;
  player.duration ||= series.duration;
  byId("about").hidden = false;
  byId("coverage").textContent = coverageText(job.provenance, series);
  showExports(answer.embeddings);
  table.turn(0, true);
  redraw();
  const [duration, count] = [clockText(series.duration, 1), countText(series.length, "value")];
  plot.describe(`Waveform, curves and confidence over ${duration}: ${count}; the table below has all values`);
}

/** Load who speaks when: turns of a segmentation or of the detector of speech. Not all jobs have them. */
async function loadTurns(hasTurns, isWanted) {
  const path = jobPath(id, `/turns?session=${session}`);
  const answer = hasTurns ? await requestJSON(path).catch(announceError) : null;
  if (!isWanted()) return;
  turns = answer?.tiers.length ? new Turns(answer) : null; // nobody may speak in a recording
  tiers.show(turns);
  byId("values").hidden = byId("smoothness").hidden = series.isTurns;
  byId("turn-values").hidden = !turns;
  if (!turns) return;
  for (const format of ["eaf", "textgrid", "vtt", "rttm"]) byId(`turns-${format}`).href = `${path}&format=${format}`;
  const rows = turnRows(turns, seek);
  if (turnTable) turnTable.content = rows;
  turnTable ??= new PagedTable(byId("turn-values"), rows);
  turnTable.turn(0, true);
}

function showExports(hasEmbeddings) {
  const formats = Object.entries(EXPORTS).filter(([format]) => {
    return (hasEmbeddings || !OF_EMBEDDINGS.includes(format)) && !(series.isTurns && OF_STEPS.includes(format));
  });
  const links = formats.map(([format, name]) => {
    const href = jobPath(id, `/result?format=${format}&session=${session}`);
    return make("a", { class: "button", download: true, href }, name);
  });
  const picture = make("button", { onclick: () => savePicture().catch(announceError) }, "Picture (SVG)");
  byId("exports").replaceChildren(...links, picture);
}

async function savePicture() {
  saveFile(`${fileStem(job.name)}.svg`, await plot.pictureFile(job.name));
}

function showProvenance() {
  const entries = Object.entries(job.provenance).flatMap(([name, text]) => [
    make("dt", {}, name.replaceAll("_", " ")),
    make("dd", {}, String(text)),
  ]);
  byId("provenance").replaceChildren(...entries);
}

/** The job has ended: load its results. */
async function showResult() {
  showJob();
  byId("log").hidden = false;
  if (job.state !== "finished") {
    byId("views").hidden = series.length === 0 && !plot.waveform;
    return;
  }
  showProvenance();
  await Promise.all([showSessions(), loadRows()]);
}

/** Of a job of several recordings: the name of the one that is shown, or a choice. */
async function showSessions() {
  const names = await requestJSON(jobPath(id, "/sessions"));
  if (file !== null) {
    name = names[session] ?? "";
    showJob();
  } else if (names.length > 1 && byId("sessions").hidden) {
    byId("sessions").hidden = false;
    byId("session").replaceChildren(...names.map((name, number) => make("option", { value: number }, name)));
    byId("session").addEventListener("change", (event) => {
      session = Number(event.target.value);
      Object.assign(plot, { soundSeconds: 0, range: null });
      player.duration = player.time = 0;
      Promise.all([loadSound(), loadRows()]).catch(announceError);
    });
  }
}

/** Follow the job until it ends. */
function watch() {
  if (!isPending(job)) {
    showResult().catch(announceError).finally(showValues);
    return;
  }
  const events = new EventSource(jobPath(id, "/events"));
  events.addEventListener("message", (event) => {
    job = JSON.parse(event.data);
    if (isPending(job)) {
      showJob();
      if (job.rows) addNewRows();
      return;
    }
    events.close();
    showResult().catch(announceError).finally(showValues);
  });
  events.addEventListener("error", () => {
    if (events.readyState !== EventSource.CLOSED) return;
    announce("The server no longer answers. Reload this page when it is running again.", true);
  });
}

/** Keys of the whole page, except where a control has them for itself. */
function handleKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("select, audio, video, pre, dialog")) return;
  if (event.target.closest("input[type=range]") && /^(Arrow|Home|End)/.test(event.key)) return;
  if (event.key === " " && event.target.closest("a, button, summary, input")) return;
  const seconds = event.shiftKey ? 10 : 1;
  const row = series.isTurns ? series.begun(player.time) - 1 : series.at(player.time); // also between turns
  const action = {
    " ": () => player.toggle(),
    ArrowLeft: () => player.seek(player.time - seconds),
    ArrowRight: () => player.seek(player.time + seconds),
    ",": () => row > 0 && player.seek(series.start(row - 1)),
    ".": () => series.length && row < series.length - 1 && player.seek(series.start(row + 1)),
    Home: () => player.seek(0),
    End: () => player.seek(Infinity),
    p: playPart,
    "+": () => plot.scale(0.5),
    "-": () => plot.scale(2),
    0: () => plot.zoom(null),
  }[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

byId("play-part").addEventListener("click", playPart);
byId("turns-csv").addEventListener("click", () => {
  const [text, name] = [turnsCSV(job.name, turns.all), `${fileStem(job.name)}.turns.csv`];
  saveFile(name, new Blob([text], { type: "text/csv" }));
});
byId("cancel").addEventListener("click", () => cancelJob(id).catch(announceError));
byId("log").addEventListener("toggle", async (event) => {
  if (event.target.open) byId("log-text").textContent = await requestLog(id);
});
addSmoothing((smoothing, every) => {
  Object.assign(series, { smoothing, every });
  plot.draw();
});
addSelection(() => ({ job, series, turns, view: plot.view, range: plot.range }));
addEventListener("keydown", handleKey);
addCitation(jobPath(id, "/citation"), () => fileStem(job.name));

try {
  job = await requestJSON(jobPath(id));
  showJob();
  watch();
  await loadSound();
} catch (error) {
  byId("progress-line").hidden = byId("views").hidden = true;
  announceError(error);
}
