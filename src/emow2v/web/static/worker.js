// The worker: loads the model and computes recordings, so that the page can be used meanwhile. It sends nothing anywhere.

import { RATE, Framing } from "./framing.js";
import { OnePass } from "./onepass.js";
import { Resampler } from "./resampler.js";
import { openWav } from "./wav.js";
import * as ort from "../runtime/onnxruntime-web.js";

const CHUNK = 64; // frames that are computed at a time, 2.6 s
const PIECE_S = 10; // of a recording that are read at a time
const WAVE_S = 0.02; // of a point of the waveform
const WAVE_SAMPLES = WAVE_S * RATE;
const STATE = "next.";

let model = null;
let number = 0; // of the recording that is computed; another one cancels it

class Canceled extends Error {}

/** Give the page a chance to cancel. */
async function breath(id) {
  await new Promise((resolve) => setTimeout(resolve));
  if (number !== id) throw new Canceled();
}

class Model {
  /** @param facts of build.json: `hop`, `delay` and `states`, the sizes of the tensors of its state */
  constructor(facts, step, readout) {
    Object.assign(this, facts, { graph: step, readout });
  }

  async step(signal, length, state) {
    const inputs = {
      signal: new ort.Tensor("float32", signal, [1, signal.length]),
      length: new ort.Tensor("int64", BigInt64Array.of(BigInt(length)), [1]),
      ...(state ?? this.#start()),
    };
    const outputs = await this.graph.run(inputs);
    const next = Object.fromEntries(Object.keys(this.states).map((name) => [name, outputs[STATE + name]]));
    return { frames: outputs.frames.data, speech: outputs.speech.data, state: next };
  }

  #start() {
    const zeros = (size) => new ort.Tensor("float32", new Float32Array(size.reduce((one, other) => one * other, 1)), [1, ...size]);
    return Object.fromEntries(Object.entries(this.states).map(([name, size]) => [name, zeros(size)]));
  }

  async read(mean, variance, rows) {
    const tensor = (data) => new ort.Tensor("float32", data, [rows, this.width]);
    const { logits, confidence } = await this.readout.run({ mean: tensor(mean), variance: tensor(variance) });
    return { scores: logits.data, confidence: confidence?.data };
  }
}

/** The bytes of a file of the page. */
async function fetched({ url, size, sha256 }, onBytes) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} cannot be fetched (${response.status}); check that the whole folder was copied.`);
  const bytes = new Uint8Array(size);
  let place = 0;
  for await (const part of parts(response.body)) {
    if (place + part.length <= size) bytes.set(part, place);
    place += part.length;
    onBytes(part.length);
  }
  const digest = crypto.subtle && new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)); // on pages with https alone
  const found = digest && Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (place !== size || (found && found !== sha256)) {
    throw new Error(`${url} is damaged or of another version: expected ${size} bytes, got ${place}; reload the page, or build it again.`);
  }
  return bytes;
}

async function* parts(body) {
  for (const reader = body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

async function load({ files, facts, threads }) {
  ort.env.wasm.numThreads = threads;
  let done = 0;
  const total = Object.values(files).reduce((sum, { size }) => sum + size, 0);
  const onBytes = (bytes) => postMessage({ kind: "loading", done: (done += bytes), total });
  const names = ["wasm", "step", "readout"];
  const [wasm, step, readout] = await Promise.all(names.map((name) => fetched(files[name], onBytes)));
  ort.env.wasm.wasmBinary = wasm.buffer;
  const options = { executionProviders: ["wasm"], graphOptimizationLevel: "all" };
  const sessions = [];
  for (const bytes of [step, readout]) sessions.push(await ort.InferenceSession.create(bytes, options));
  model = new Model(facts, ...sessions);
  postMessage({ kind: "ready" });
}

/** The pieces of a recording, mono, at its own rate. */
async function* pieces(source) {
  const size = PIECE_S * source.rate;
  for (let begin = 0; begin < source.frames; begin += size) yield source.mono(begin, Math.min(begin + size, source.frames));
}

/** A recording as the worker got it: a WAV file, or samples that the browser decoded. */
async function opened({ file, samples, rate }) {
  if (file) return openWav(file);
  return { rate, frames: samples.length, mono: (begin, end) => samples.subarray(begin, end) };
}

async function compute({ id, name, recording, times, hasSpeech }) {
  number = id;
  const framing = new Framing(...times);
  const source = await opened(recording);
  const count = framing.count(source.frames, source.rate);
  if (!count) throw new Error(tooShort(name, source, framing));
  const resampler = new Resampler(source.rate, RATE, source.frames);
  const pass = new OnePass(model, framing, count, hasSpeech, CHUNK);
  const begun = performance.now();
  const wave = new Wave(id);
  const use = async (samples) => {
    if (samples.some((value) => !Number.isFinite(value))) {
      throw new Error(`${name} has samples that are no numbers; expected finite samples. Save it again with another program.`);
    }
    wave.add(samples);
    for await (const rows of pass.add(samples)) await tell(rows);
  };
  const tell = async (rows) => {
    postMessage({ kind: "rows", id, rows, count });
    await breath(id);
  };
  for await (const piece of pieces(source)) {
    await use(resampler.add(piece));
    await breath(id);
  }
  await use(resampler.finish());
  for await (const rows of pass.finish()) await tell(rows);
  wave.finish();
  postMessage({ kind: "done", id, seconds: (performance.now() - begun) / 1000, duration: source.frames / source.rate });
}

function tooShort(name, { frames, rate }, framing) {
  if (!frames) return `${name} has no sound: it holds no samples.`;
  return `${name} is too short: it lasts ${Number(((frames / rate) * 1000).toPrecision(4))} ms, expected at least ${framing.step} ms.`;
}

/** The lowest and highest samples of stretches, for the picture of the sound. */
class Wave {
  constructor(id) {
    Object.assign(this, { id, low: 0, high: 0, filled: 0, points: [] });
  }

  add(samples) {
    for (const value of samples) {
      this.low = Math.min(this.low, value);
      this.high = Math.max(this.high, value);
      if (++this.filled === WAVE_SAMPLES) this.#end();
    }
    this.#send();
  }

  finish() {
    if (this.filled) this.#end();
    this.#send();
  }

  #end() {
    this.points.push([this.low, this.high]);
    [this.low, this.high, this.filled] = [0, 0, 0];
  }

  #send() {
    postMessage({ kind: "wave", id: this.id, step: WAVE_S, points: this.points });
    this.points = [];
  }
}

const ACTIONS = { load, compute, cancel: () => (number = 0) };

addEventListener("message", async ({ data }) => {
  try {
    await ACTIONS[data.kind](data);
  } catch (error) {
    if (error instanceof Canceled) postMessage({ kind: "canceled", id: data.id });
    else postMessage({ kind: "error", id: data.id, during: data.kind, message: sentence(error) });
  }
});

/** Numbers are what the module of wasm throws. */
function sentence(error) {
  const isMemory = error instanceof RangeError || typeof error === "number" || /memory/i.test(error.message);
  if (isMemory) return "This browser has too little memory for the model; close other pages, or use another computer.";
  if (error.name === "NotReadableError") return "The file cannot be read any more; choose it again.";
  return error.message ?? String(error);
}
