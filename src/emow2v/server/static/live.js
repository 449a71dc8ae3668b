// The live page: the microphone's samples are sent to /v1/stream, which answers with a row for each step of time.

import { csvMetadata, csvTable } from "./csv.js";
import { announce, announceError, byId, reducedMotion, saveFile } from "./elements.js";
import { pagePath } from "./jobstate.js";
import { Plane } from "./plane.js";
import { Readout } from "./readout.js";
import { Recorder } from "./recorder.js";
import { address, predictionForm, requestJSON } from "./requests.js";
import { COLUMNS, Series, Waveform } from "./series.js";
import { clockText, countText, durationText } from "./texts.js";
import { TimePlot } from "./timeplot.js";
import { zip } from "./zip.js";

const VIEW_S = 20; // the last seconds, while it records
const BLOCK_S = 0.02; // of the microphone
const MAX_DELAY_S = 2; // values that are later get a message
const FULL_SCALE = 32768;
const DRAW_MS = 100;
const DRAW_REDUCED_MS = 500; // where the system asks for less motion

const series = new Series();
const plot = new TimePlot(byId("time"), series);
const plane = new Plane(byId("plane"), series);
const readout = new Readout(byId("live-values"), [...COLUMNS, "speech"]);
let recorder = null;
let socket = null;
let phase = "idle"; // opening, recording, stopping, finishing (the last values are on their way)
let failure = ""; // why the stream ended before somebody stopped it
let isDelayed = false;
let drawnAt = 0;
let stem = ""; // of files to save
let provenance = {}; // as the server sends it first

const recordedSeconds = () => (recorder?.rate ? recorder.samples / recorder.rate : 0);

function enableRecording(enabled) {
  byId("start").disabled = byId("frame_step").disabled = !enabled;
}

async function record() {
  enableRecording(false);
  byId("recording-actions").hidden = true;
  announce("Opening the microphone…");
  phase = "opening";
  failure = "";
  recorder = new Recorder(sendBlock, () => {
    failure ||= "The microphone was disconnected.";
    stop();
  });
  try {
    await recorder.open();
    series.clear();
    plot.waveform = new Waveform(BLOCK_S);
    plot.range = null;
    announce("Waiting for the server…");
    await connect();
    await recorder.start();
  } catch (error) {
    phase = "idle";
    await recorder.stop();
    socket?.close();
    announceError(error);
    enableRecording(true);
    byId("recording-actions").hidden = !recorder.samples;
    return;
  }
  phase = "recording";
  if (failure) return stop();
  stem = `live-${new Date().toISOString().slice(0, 19).replace(/[T:]/g, "-")}`;
  announce("Recording…");
  document.title = "● emow2v: live";
  document.body.classList.add("recording");
  byId("stop").disabled = false;
  byId("stop").focus();
}

/** Open the socket; done when the server has sent the provenance. */
function connect() {
  const query = new URLSearchParams({
    sampling_rate: recorder.rate,
    encoding: "s16le",
    frame_step: byId("frame_step").value,
  });
  socket = new WebSocket(address(`v1/stream?${query}`).replace(/^http/, "ws"));
  return new Promise((resolve, reject) => {
    socket.addEventListener("message", (event) => {
      const message = JSON.parse(event.data);
      if (message.provenance) resolve((provenance = message.provenance));
      else if (message.error) fail(message.error, reject);
      else if (message.done) finish();
      else series.add([Object.values(message)], Object.keys(message));
      if (message.index !== undefined) draw();
    });
    socket.addEventListener("close", (event) => {
      if (event.wasClean && event.code === 1000) return;
      fail("The server closed the connection. Check that it is running, then record again.", reject);
    });
  });
}

function fail(sentence, reject) {
  failure ||= sentence;
  reject(new Error(failure));
  if (phase === "recording") stop();
  if (phase === "finishing") finish();
}

function sendBlock(samples) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(samples);
  let [low, high] = [0, 0];
  for (const sample of samples) [low, high] = [Math.min(low, sample), Math.max(high, sample)];
  plot.waveform.add(low / FULL_SCALE, high / FULL_SCALE);
  byId("level").value = Math.sqrt(Math.max(-low, high) / FULL_SCALE);
  byId("clock").textContent = clockText(recordedSeconds());
  announceDelay(recordedSeconds() - series.duration);
  draw();
}

/** Tell when the values fall behind the sound, and when they have caught up. */
function announceDelay(seconds) {
  const wasDelayed = isDelayed;
  isDelayed = seconds > MAX_DELAY_S;
  const remedy = 'Choose a longer time for "One value every" at the next recording, so that the server has less to compute';
  if (isDelayed) announce(`The values are ${seconds.toFixed(0)} s late. ${remedy}.`, true);
  else if (wasDelayed) announce("Recording…");
}

function draw(isLast = false) {
  const now = performance.now();
  if (!isLast && now - drawnAt < (reducedMotion.matches ? DRAW_REDUCED_MS : DRAW_MS)) return;
  drawnAt = now;
  const end = Math.max(series.duration, recordedSeconds());
  plot.soundSeconds = Math.max(end, isLast ? 0 : VIEW_S);
  plot.range = isLast || end <= VIEW_S ? null : [end - VIEW_S, end];
  plot.draw();
  plane.show(series.length - 1);
  readout.show(series, series.length - 1);
}

async function stop() {
  if (phase !== "recording") return;
  phase = "stopping";
  byId("stop").disabled = true;
  await recorder.stop();
  byId("level").value = 0;
  phase = "finishing";
  if (failure || socket.readyState !== WebSocket.OPEN) return finish();
  announce("Waiting for the last values…");
  socket.send("end");
}

function finish() {
  if (phase !== "finishing") return;
  phase = "idle";
  draw(true);
  const recorded = `${durationText(recordedSeconds())} were recorded, with ${countText(series.length, "value")}.`;
  announce(failure || `${recorded} The server keeps nothing unless you store the recording below.`, Boolean(failure));
  document.title = "emow2v: live";
  document.body.classList.remove("recording");
  enableRecording(true);
  byId("store").disabled = false;
  byId("start").textContent = "Record again";
  byId("recording-actions").hidden = !recorder.samples;
  byId("start").focus();
}

function saveValues() {
  const name = `${stem}.csv`;
  const files = { [name]: csvTable(`${stem}.wav`, series), [`${name}-metadata.json`]: csvMetadata(name, series, provenance) };
  saveFile(`${name}.zip`, zip(files));
}

async function store() {
  byId("store").disabled = true;
  announce("Uploading the recording…");
  try {
    const form = predictionForm({ frame_step: byId("frame_step").value }, recorder.wav(), `${stem}.wav`);
    const job = await requestJSON("v1/predictions", { method: "POST", body: form });
    location.assign(pagePath(job.id));
  } catch (error) {
    announceError(error);
    byId("store").disabled = false;
  }
}

byId("start").addEventListener("click", record);
byId("stop").addEventListener("click", stop);
byId("save-values").addEventListener("click", saveValues);
byId("save-sound").addEventListener("click", () => saveFile(`${stem}.wav`, recorder.wav()));
byId("store").addEventListener("click", store);
addEventListener("beforeunload", (event) => {
  if (phase === "recording") event.preventDefault();
});
plot.soundSeconds = VIEW_S;
plot.draw();
