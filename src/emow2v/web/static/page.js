// The page that computes a recording by itself: no server sees it, and once the model is here no network is needed.

import { Computer, threads } from "./computer.js";
import { csvMetadata, csvTable } from "./csv.js";
import { announce, announceError, byId, make, onFileDrag, saveFile } from "./elements.js";
import { Framing } from "./framing.js";
import { Plane } from "./plane.js";
import { Readout, spokenRow } from "./readout.js";
import { Recorder } from "./recorder.js";
import { Series, Waveform } from "./series.js";
import { addSmoothing } from "./smoothing.js";
import { soundOf } from "./sound.js";
import { showSummary } from "./summary.js";
import { PagedTable, valueRows } from "./table.js";
import { clockText, countText, durationText, fileStem } from "./texts.js";
import { addZoomButtons } from "./timeaxis.js";
import { TimePlot } from "./timeplot.js";
import { zip } from "./zip.js";

const NAMES = ["start", "end", "arousal", "dominance", "valence", "confidence"];
const series = new Series();
const plot = new TimePlot(byId("time"), series, { seek, onView: showView });
const showZoom = addZoomButtons(plot, byId);
const plane = new Plane(byId("plane"), series);
const readout = new Readout(byId("cursor-values"));
const table = new PagedTable(byId("values"), valueRows(series, seek));
const audio = byId("audio");
const computer = new Computer({ loading: showLoading, rows: showRows, wave: showWave });
let build = null; // what build.json says
let isBusy = true;
let shown = null; // the recording: its name and provenance
let recorder = null;
let started = 0;

function setBusy(busy, canCancel = false) {
  isBusy = busy;
  byId("files").disabled = byId("record").disabled = busy;
  byId("drop").classList.toggle("off", busy);
  byId("progress-line").hidden = !busy;
  byId("cancel").hidden = !canCancel;
}

function showProgress(part, text) {
  if (part === null) byId("progress").removeAttribute("value");
  else byId("progress").value = part;
  byId("progress-text").textContent = text;
}

async function load() {
  setBusy(true);
  announce("Loading the model…");
  try {
    const response = await fetch(new URL("../build.json", import.meta.url), { cache: "no-cache" });
    if (!response.ok) throw new Error(`build.json cannot be fetched (${response.status}); check that the whole folder was copied.`);
    build = await response.json();
    const files = Object.entries(build.fetched).map(([use, { path, size, sha256 }]) => {
      const url = new URL(`../${path}?v=${sha256.slice(0, 12)}`, import.meta.url).href; // a cache may keep each version for ever
      return [use, { url, size, sha256 }];
    });
    await computer.load(Object.fromEntries(files), build.model);
  } catch (error) {
    byId("progress-line").hidden = true;
    return announceError(error);
  }
  setBusy(false);
  return announce("Ready. From now on this page needs no network: you may disconnect the computer.");
}

function showLoading({ done, total }) {
  showProgress(done / total, done < total ? `${(done / 1e6).toFixed(0)} of ${(total / 1e6).toFixed(0)} MB` : "preparing the model");
}

/** Compute a recording and show it. */
async function open(file) {
  if (isBusy) return;
  const framing = new Framing(...["frame_step", "left_context", "right_context"].map((id) => byId(id).valueAsNumber));
  const fault = framing.fault(build.model.min_samples, build.provenance.model);
  if (fault) return announce(fault, true);
  const hasSpeech = byId("speech").checked;
  setBusy(true);
  reset(file);
  announce(`Reading ${file.name}…`);
  showProgress(null, "");
  let ended = null;
  try {
    const { recording, facts, notices } = await soundOf(file);
    showNotices(notices);
    announce(`Computing ${file.name}…`);
    setBusy(true, true);
    started = performance.now();
    const engine = `onnxruntime-web ${build.onnxruntime_web} (wasm, ${countText(threads(), "thread")}), ${navigator.userAgent}`;
    const speech = hasSpeech ? build.speech : {};
    shown.provenance = { ...build.provenance, engine, precision: "fp32", ...framing.facts, ...build.one_pass, ...speech, ...facts };
    const times = [framing.step, framing.left, framing.right];
    ended = await computer.compute({ name: file.name, recording, times, hasSpeech });
    announce(ended ? doneText(ended) : `Cancelled: the values of the first ${clockText(series.duration)} are shown.`);
  } catch (error) {
    announceError(error);
  }
  setBusy(false);
  if (series.length) finish(Boolean(ended));
  return undefined;
}

function doneText({ duration, seconds }) {
  const text = `${durationText(duration)} of sound, ${countText(series.length, "value")}, computed in ${durationText(seconds)}`;
  return `${text}: ${(duration / seconds).toFixed(1)} times as fast as it was spoken. Nothing left this page.`;
}

function reset(file) {
  URL.revokeObjectURL(audio.src);
  series.clear();
  shown = { name: file.name, provenance: null };
  Object.assign(plot, { range: null, waveform: null, soundSeconds: 0 });
  byId("name").textContent = file.name;
  document.title = `${file.name}: emow2v`;
  byId("views").hidden = false;
  byId("about").hidden = true;
  byId("no-playback").hidden = true;
  audio.hidden = false;
  audio.src = URL.createObjectURL(file);
  showNotices([]);
  showTime(0, true);
  plot.draw();
}

function showNotices(sentences) {
  byId("notices").hidden = !sentences.length;
  byId("notices").replaceChildren(...sentences.map((sentence) => make("li", {}, sentence)));
}

function showRows({ rows, count }) {
  series.add(rows, rows[0].length > NAMES.length ? [...NAMES, "speech"] : NAMES);
  const seconds = (performance.now() - started) / 1000;
  const left = seconds > 2 ? `, about ${durationText((seconds * (count - series.length)) / series.length)} left` : "";
  showProgress(series.length / count, `${series.length} of ${countText(count, "value")}${left}`);
  plot.draw();
  plane.show(series.at(audio.currentTime));
}

function showWave({ step, points }) {
  plot.waveform ??= new Waveform(step);
  for (const [low, high] of points) plot.waveform.add(low, high);
}

function finish(isWhole) {
  plot.soundSeconds = series.duration;
  shown.provenance = isWhole ? shown.provenance : { ...shown.provenance, incomplete: "the computation was cancelled" };
  byId("about").hidden = false;
  table.turn(0, true);
  showTime(audio.currentTime, true);
  plot.draw();
}

function seek(time) {
  if (audio.readyState) audio.currentTime = time;
  showTime(time, true);
}

/** Show a time with all that follows it; `follow` moves the view to it. */
function showTime(time, follow) {
  const row = series.at(time);
  plot.moveCursor(time, { follow, spoken: audio.paused ? `${clockText(time, 2)}, ${spokenRow(series, row)}` : "" });
  plane.show(row);
  readout.show(series, row);
  table.show(row);
}

function showView(from, to) {
  showZoom(from, to);
  if (!byId("about").hidden) showSummary(series, null, plot.range);
}

function save() {
  const name = `${fileStem(shown.name)}.csv`;
  const metadata = csvMetadata(name, series, shown.provenance);
  saveFile(`${name}.zip`, zip({ [name]: csvTable(shown.name, series), [`${name}-metadata.json`]: metadata }));
}

/** Begin to record, or end it and compute what was recorded. */
async function toggleRecording() {
  const button = byId("record");
  button.disabled = true;
  try {
    if (recorder) {
      const ended = recorder;
      recorder = null;
      button.textContent = "Record from the microphone";
      await ended.stop();
      setBusy(false);
      const name = `microphone-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.wav`;
      await open(new File([ended.wav()], name, { type: "audio/wav" }));
    } else {
      const opening = new Recorder(showRecorded, toggleRecording);
      await opening.open();
      await opening.start();
      recorder = opening;
      setBusy(true);
      byId("progress-line").hidden = true;
      button.textContent = "Stop, and compute";
      announce("Recording. The sound stays in this page.");
    }
  } catch (error) {
    announceError(error);
  }
  button.disabled = false;
  byId("clock").hidden = !recorder;
}

function showRecorded() {
  if (recorder) byId("clock").textContent = clockText(recorder.samples / recorder.rate);
}

function drop({ files }) {
  byId("drop").classList.remove("over");
  if (isBusy) return announce("The page is busy; drop the recording again when it is ready.", true);
  if (files.length > 1) announce(`${files.length} files were dropped; this page computes one recording at a time.`, true);
  else if (files.length) open(files[0]);
  return undefined;
}

byId("files").addEventListener("change", ({ target }) => {
  if (target.files.length) open(target.files[0]);
  target.value = ""; // so that the same file can be chosen again
});
byId("cancel").addEventListener("click", () => computer.cancel());
byId("record").addEventListener("click", toggleRecording);
byId("save").addEventListener("click", save);
for (const kind of ["timeupdate", "seeking", "pause"]) audio.addEventListener(kind, () => series.length && showTime(audio.currentTime, false));
audio.addEventListener("error", () => {
  audio.hidden = true;
  byId("no-playback").hidden = false;
});
onFileDrag("dragenter", () => byId("drop").classList.add("over"));
onFileDrag("drop", drop);
addEventListener("dragleave", (event) => event.relatedTarget || byId("drop").classList.remove("over"));
addSmoothing((smoothing, every) => {
  Object.assign(series, { smoothing, every });
  plot.draw();
});
load();
