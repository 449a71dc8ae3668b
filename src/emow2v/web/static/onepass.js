// One pass of a model of frames over a recording: samples in, the values of its windows out.
// The same computation as `emow2v.prediction.one_pass`, which has the reasons.

import { boundary } from "./framing.js";

const FEWEST = 2; // frames of a step
const DIMENSIONS = 3;

/** Running sums of frames and of their squares, from which mean and variance of any span follow. */
class SpanSums {
  constructor(width) {
    Object.assign(this, { width, known: 0, first: 0, rows: [new Float64Array(2 * width)] });
  }

  /** Add the frames `begin` to `end` of a tensor [frames, width]. */
  add(data, begin, end) {
    const { width } = this;
    for (let frame = begin; frame < end; frame++) {
      const row = this.rows.at(-1).slice();
      for (let k = 0; k < width; k++) {
        const value = data[frame * width + k];
        row[k] += value;
        row[width + k] += value * value;
      }
      this.rows.push(row);
      this.known++;
    }
  }

  /** Write mean and variance of the frames `begin` to `end` into the row `place` of both. */
  moments(begin, end, mean, variance, place) {
    const { width } = this;
    const [low, high] = [this.rows[begin - this.first], this.rows[end - this.first]];
    const frames = end - begin;
    for (let k = 0; k < width; k++) {
      const average = (high[k] - low[k]) / frames;
      mean[place * width + k] = average;
      variance[place * width + k] = Math.max(0, (high[width + k] - low[width + k]) / frames - average * average);
    }
  }

  /** Forget the frames before `begin`. */
  drop(begin) {
    this.rows.splice(0, begin - this.first);
    this.first = Math.max(this.first, begin);
  }
}

export class OnePass {
  /**
   * @param model has `hop` (samples), `delay` (frames), `width`, `step(signal, length, state)` and `read(mean, variance, rows)`
   * @param framing the windows
   * @param count number of values of the recording
   * @param hasSpeech whether rows have the probability of speech
   * @param chunk frames that are computed at a time
   */
  constructor(model, framing, count, hasSpeech, chunk) {
    Object.assign(this, { model, framing, count, hasSpeech, chunk, state: null, sums: new SpanSums(model.width) });
    Object.assign(this, { next: 0, received: 0, given: 0, late: model.delay, left: 0, heard: [0] });
    this.pending = new Float32Array(0);
  }

  /** Add samples at 16 kHz; gives rows [start, end, scores, confidence, speech] of the values that became complete. */
  async *add(samples) {
    const joined = new Float32Array(this.pending.length + samples.length);
    joined.set(this.pending);
    joined.set(samples, this.pending.length);
    this.pending = joined;
    this.received += samples.length;
    const size = this.chunk * this.model.hop;
    while (this.pending.length >= size && this.next < this.count) yield* this.#run(size);
  }

  /** The last rows, behind which nothing follows. */
  async *finish() {
    const { hop, delay } = this.model;
    let missing = (Math.ceil(this.received / hop) + delay) * hop - this.given;
    while (this.received && this.next < this.count && missing > 0) {
      const samples = Math.max(FEWEST * hop, Math.min(this.chunk * hop, missing));
      missing -= samples;
      yield* this.#run(samples, missing <= 0);
    }
  }

  async *#run(samples, isLast = false) {
    const { model, sums } = this;
    const signal = new Float32Array(samples);
    const part = this.pending.subarray(0, samples);
    signal.set(part);
    this.pending = this.pending.slice(samples);
    const before = this.given;
    this.given += samples;
    const { frames, speech, state } = await model.step(signal, part.length, this.state);
    this.state = state;
    const frameCount = (length) => Math.ceil(Math.min(length, this.received) / model.hop);
    this.left += frameCount(before + part.length) - frameCount(before);
    const begin = Math.min(this.late, speech.length);
    this.late -= begin;
    const end = Math.min(begin + this.left, speech.length);
    this.left -= end - begin;
    sums.add(frames, begin, end);
    for (let k = begin; k < end; k++) this.heard.push(this.heard.at(-1) + speech[k]);
    const spans = this.#spans(isLast);
    if (spans.length) yield this.#rows(spans);
  }

  /** First frames of the windows that are complete, and those after their last ones. */
  #spans(isLast) {
    const { framing, sums, model } = this;
    const spans = [];
    for (; this.next < this.count; this.next++) {
      const end = Math.max(1, boundary(framing.end(this.next), model.hop));
      if (end > sums.known && !isLast) break;
      const last = Math.min(end, sums.known);
      spans.push([Math.min(Math.max(boundary(framing.begin(this.next), model.hop), 0), last - 1), last, this.next]);
    }
    return spans;
  }

  async #rows(spans) {
    const { model, sums, framing } = this;
    const [mean, variance] = [0, 1].map(() => new Float32Array(spans.length * model.width));
    spans.forEach(([begin, end], place) => sums.moments(begin, end, mean, variance, place));
    const { scores, confidence } = await model.read(mean, variance, spans.length);
    sums.drop(spans.at(-1)[0]);
    return spans.map(([, , index], place) => {
      const of = (values) => Array.from(values.subarray(place * DIMENSIONS, (place + 1) * DIMENSIONS));
      const times = [(index * framing.step) / 1000, ((index + 1) * framing.step) / 1000];
      const row = [...times, ...of(scores), confidence ? Math.min(...of(confidence)) : 1];
      return this.hasSpeech ? [...row, this.#speech(index)] : row;
    });
  }

  /** The mean probability of speech of the frames that end within a window. */
  #speech(index) {
    const { framing, model, heard } = this;
    const known = (sample) => Math.min(Math.floor(sample / model.hop), heard.length - 1);
    const end = known(framing.end(index));
    const begin = Math.max(0, Math.min(known(framing.begin(index)), end - 1));
    return Math.fround((heard[end] - heard[begin]) / Math.max(1, end - begin));
  }
}

