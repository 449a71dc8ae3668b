// Speech as it is spoken: the microphone's samples go to /v1/stream, and a row comes back for every step of time.

import { ask, byId, calm, clock, COLUMNS, counted, lasting, save, say } from "./common.js";
import { zip } from "./archive.js";
import { Plane } from "./plane.js";
import { Readout } from "./readout.js";
import { Recorder } from "./recorder.js";
import { Peaks, Series } from "./series.js";
import { TimePlot } from "./timeplot.js";

const SEEN_S = 20; // of the past, while it goes on
const PEAK_S = 0.02; // a block of the microphone
const BEHIND_S = 2; // of values, before somebody is told

const CSVW = ["http:", "www.w3.org/ns/csvw"].join("//"); // the name of a vocabulary; nothing is fetched from there

const series = new Series();
const plot = new TimePlot(byId("time"), series);
const plane = new Plane(byId("plane"), series);
const readout = new Readout(byId("big"));
let recorder = null;
let socket = null;
let phase = "idle"; // opening, recording, stopping, waiting (for the last values)
let failed = ""; // why the stream ended, where it did so by itself
let late = false;
let drawn = 0;
let stamp = "";
let provenance = {}; // as the server says it at the beginning

const seconds = () => (recorder?.rate ? recorder.samples / recorder.rate : 0);

async function record() {
  byId("start").disabled = byId("frame_step").disabled = true;
  byId("kept").hidden = true;
  say("Asking for the microphone…");
  phase = "opening";
  failed = "";
  recorder = new Recorder(heard, () => {
    failed ||= "The microphone is gone.";
    stop();
  });
  try {
    await recorder.open();
    series.clear();
    plot.peaks = new Peaks(PEAK_S);
    plot.range = null;
    say("The server is getting ready…");
    await connect();
    await recorder.start();
  } catch (error) {
    phase = "idle";
    await recorder.stop();
    socket?.close();
    say(error.message, true);
    byId("start").disabled = byId("frame_step").disabled = false;
    byId("kept").hidden = !recorder.samples;
    return;
  }
  phase = "recording";
  if (failed) return stop();
  stamp = new Date().toISOString().slice(0, 19).replace(/[T:]/g, "-");
  say("Recording…");
  document.title = "● emow2v: live";
  document.body.classList.add("recording");
  byId("stop").disabled = false;
  byId("stop").focus();
}

/** Open the socket; done when the server has said what it computes with. */
function connect() {
  const query = new URLSearchParams({ sampling_rate: recorder.rate, encoding: "s16le", frame_step: byId("frame_step").value });
  socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/v1/stream?${query}`);
  return new Promise((resolve, reject) => {
    socket.addEventListener("message", (event) => {
      const message = JSON.parse(event.data);
      if (message.provenance) resolve((provenance = message.provenance));
      else if (message.error) broken(message.error, reject);
      else if (message.done) finished();
      else series.add([["start", "end", ...COLUMNS].map((name) => message[name])]);
      if (message.index !== undefined) show();
    });
    socket.addEventListener("close", (event) => {
      if (!event.wasClean || event.code !== 1000) broken("The server closed the connection; is it still running?", reject);
    });
  });
}

function broken(sentence, reject) {
  failed ||= sentence;
  reject(new Error(failed));
  if (phase === "recording") stop();
  if (phase === "waiting") finished();
}

function heard(block) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(block);
  let [low, high] = [0, 0];
  for (const sample of block) [low, high] = [Math.min(low, sample), Math.max(high, sample)];
  plot.peaks.add(low / 32768, high / 32768);
  byId("level").value = Math.sqrt(Math.max(-low, high) / 32768);
  byId("clock").textContent = clock(seconds());
  const behind = seconds() - series.duration; // whether it waits here, on its way, or there
  if (behind > BEHIND_S) say(`The values are ${behind.toFixed(0)} s behind; with a value less often the server has less to do.`, true);
  else if (late) say("Recording…");
  late = behind > BEHIND_S;
  show();
}

/** At most ten times a second, or twice where people want less motion. */
function show(last = false) {
  const now = performance.now();
  if (!last && now - drawn < (calm.matches ? 500 : 100)) return;
  drawn = now;
  const end = Math.max(series.duration, seconds());
  plot.duration = Math.max(end, last ? 0 : SEEN_S);
  plot.range = last || end <= SEEN_S ? null : [end - SEEN_S, end];
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
  phase = "waiting";
  if (failed || socket.readyState !== WebSocket.OPEN) return finished();
  say("The last values come…");
  socket.send("end");
}

function finished() {
  if (phase !== "waiting") return;
  phase = "idle";
  show(true);
  say(failed || `${lasting(seconds())} recorded, ${counted(series.length, "value")}. Nothing of it is kept on the server unless you say so below.`, Boolean(failed));
  document.title = "emow2v: live";
  document.body.classList.remove("recording");
  byId("start").disabled = byId("frame_step").disabled = byId("keep").disabled = false;
  byId("start").textContent = "Record anew";
  byId("kept").hidden = !recorder.samples;
  byId("start").focus();
}

function csv() {
  const name = `live-${stamp}.wav`;
  const lines = [["file", "start", "end", ...COLUMNS].join(",")];
  for (let k = 0; k < series.length; k++) {
    const [start, end, ...values] = series.row(k);
    lines.push([name, Number(start.toFixed(6)), Number(end.toFixed(6)), ...values.map((one) => (Number.isNaN(one) ? "null" : one.toFixed(6)))].join(","));
  }
  const table = `live-${stamp}.csv`;
  save(`${table}.zip`, zip({ [table]: `${lines.join("\n")}\n`, [`${table}-metadata.json`]: described(table) }));
}

/** What stands beside a table, in the form of W3C's "Metadata Vocabulary for Tabular Data", as `emow2v predict` writes it. */
function described(table) {
  const seconds = "seconds from the beginning of the recording";
  const score = "about 0..1, as the model gives it";
  const columns = { file: "the recording", start: seconds, end: seconds, arousal: score, dominance: score, valence: score, confidence: "0..1; 1 where the model gives none" };
  const shown = Object.entries(columns).map(([name, text]) => ({ name, datatype: name === "file" ? "string" : "double", "dc:description": text }));
  const content = { "@context": CSVW, url: table, null: "null", tableSchema: { columns: shown }, "emow2v:provenance": provenance };
  return `${JSON.stringify(content, null, 2)}\n`;
}

async function keep() {
  byId("keep").disabled = true;
  say("Sending the recording…");
  const form = new FormData();
  form.append("frame_step", byId("frame_step").value);
  form.append("wait", "false");
  form.append("file", recorder.wav(), `live-${stamp}.wav`);
  try {
    const job = await (await ask("/v1/predictions", { method: "POST", body: form })).json();
    location.assign(`/jobs/${encodeURIComponent(job.id)}`);
  } catch (error) {
    say(error.message, true);
    byId("keep").disabled = false;
  }
}

byId("start").addEventListener("click", record);
byId("stop").addEventListener("click", stop);
byId("csv").addEventListener("click", csv);
byId("wav").addEventListener("click", () => save(`live-${stamp}.wav`, recorder.wav()));
byId("keep").addEventListener("click", keep);
addEventListener("beforeunload", (event) => {
  if (phase === "recording") event.preventDefault();
});
plot.duration = SEEN_S;
plot.draw();
