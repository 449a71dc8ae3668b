// The windows of a recording, and the spans of frames in them: `emow2v.framing` for times in whole milliseconds.

export const RATE = 16000; // Hz
const PER_MS = RATE / 1000; // samples
const LONGEST_MS = 3600_000;

export class Framing {
  /** @param step, left, right milliseconds: from a value to the next one; context before and after it */
  constructor(step, left, right) {
    Object.assign(this, { step, left, right, length: (left + step + right) * PER_MS });
  }

  /** A sentence on times that cannot be used; "" for none. */
  fault(minSamples, model) {
    const { step, left, right } = this;
    if (![step, left, right].every(Number.isInteger) || step < 1 || left < 0 || right < 0) {
      return "A time is missing or no whole number; expected whole milliseconds, such as 40.";
    }
    const [window, least] = [left + step + right, minSamples / PER_MS];
    if (window < least) return `A window of ${window} ms is too short for ${model}; expected at least ${least} ms with its contexts.`;
    return window > LONGEST_MS ? `A window of ${window / 60_000} min is too long; expected at most an hour.` : "";
  }

  /** Number of values of a recording of so many samples at a rate in Hz. */
  count(samples, rate) {
    return Math.floor((samples * 1000) / (rate * this.step));
  }

  /** The sample after the last one of a window. */
  end(index) {
    return ((index + 1) * this.step + this.right) * PER_MS;
  }

  begin(index) {
    return this.end(index) - this.length;
  }

  /** The sound that a value describes, in words. */
  get covers() {
    const begins = this.left ? `${this.left / 1000} s before a row's start` : "a row's start";
    return `the sound from ${begins} to ${this.right ? `${this.right / 1000} s after its end` : "its end"}`;
  }

  /** What a provenance says of the windows. */
  get facts() {
    const { step, left, right, covers } = this;
    const times = { frame_step_ms: step, frame_size_ms: step, left_context_ms: left, right_context_ms: right };
    return { ...times, padding: "edge", context: "window", covers };
  }
}

/** The boundary of frames that lies nearest to a sample. */
export const boundary = (sample, hop) => Math.floor((2 * sample + hop) / (2 * hop));
