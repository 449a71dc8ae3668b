// Values over time, and what of them is drawn: an hour has 90,000 rows, a screen shows 2,000 points.

import { Line, outline } from "./lines.js";
import { MovingMeans } from "./smoothing.js";

export const DIMENSIONS = ["arousal", "dominance", "valence"];
export const COLUMNS = [...DIMENSIONS, "confidence"];
export const SPEECH = COLUMNS.length; // place of the probability of speech behind them; not all recordings have it
const NAMES = ["start", "end", ...COLUMNS, "speech"]; // of a row
const WIDTH = NAMES.length;
const SPEECH_THRESHOLD = 0.5; // from here on a row counts as speech (docs/speech.md)
const TURN_POINTS = 6; // turns are drawn at least so wide, in points of a line: three pixels
const ROUNDING_S = 1e-9;

/**
 * Rows over time without gaps. Where `isTurns` is set, rows are turns, which may have gaps between them and overlap; where
 * `isWhole` is set, one row is the whole recording.
 */
export class Series {
  constructor() {
    this.isTurns = this.isWhole = false;
    this.choices = 0; // how often `choose` was called
    this.smoothing = this.every = 0; // seconds that curves average around each value, seconds between drawn values
    this.clear();
  }

  clear() {
    this.data = new Float64Array(1024 * WIDTH);
    this.length = this.boundedRows = 0;
    this.duration = this.longest = 0; // seconds: to the end of all rows, of the longest one
    [this.lowest, this.highest] = [Infinity, -Infinity];
    this.hasSpeech = false;
    this.chosen = null;
    this.choices++;
  }

  /** Leave the scores of some rows out of curves and summaries; `chosen` is 1 for each row that stays, null for all. */
  choose(chosen) {
    this.chosen = chosen;
    this.choices++;
  }

  /** Names of the values that rows have. */
  get columns() {
    return this.hasSpeech ? [...COLUMNS, "speech"] : COLUMNS;
  }

  /**
   * Append rows, in order of time.
   * @param names of the numbers in each row; by default those of a row without speech
   */
  add(rows, names = []) {
    const places = NAMES.map((name, place) => (names.length ? names.indexOf(name) : place));
    if ((this.length + rows.length) * WIDTH > this.data.length) {
      const larger = new Float64Array(Math.max(2 * this.data.length, (this.length + rows.length) * WIDTH));
      larger.set(this.data);
      this.data = larger;
    }
    for (const row of rows) {
      const begin = this.length * WIDTH;
      for (let k = 0; k < WIDTH; k++) this.data[begin + k] = row[places[k]] ?? NaN;
      this.hasSpeech ||= !Number.isNaN(this.data[begin + WIDTH - 1]);
      this.duration = Math.max(this.duration, this.end(this.length));
      this.longest = Math.max(this.longest, this.end(this.length) - this.start(this.length));
      this.length++;
    }
  }

  row(index) {
    return this.data.subarray(index * WIDTH, (index + 1) * WIDTH);
  }

  start(index) {
    return this.data[index * WIDTH];
  }

  end(index) {
    return this.data[index * WIDTH + 1];
  }

  middle(index) {
    return (this.start(index) + this.end(index)) / 2;
  }

  /** Whether nobody speaks in the row's window. Turns were chosen by people or by the detector: they all count. */
  isSilent(index) {
    return !this.isTurns && this.data[index * WIDTH + 2 + SPEECH] < SPEECH_THRESHOLD;
  }

  /** Whether the row is left out of curves and summaries: it is silent, or was not chosen. */
  isLeftOut(index) {
    return this.isSilent(index) || !this.#isChosen(index);
  }

  #isChosen(index) {
    return this.chosen === null || this.chosen[index] === 1;
  }

  /** A value; `column` is a place in COLUMNS, or SPEECH. Scores of rows that are left out are NaN. */
  value(index, column) {
    return column < DIMENSIONS.length && this.isLeftOut(index) ? NaN : this.data[index * WIDTH + 2 + column];
  }

  /**
   * The row at a time; the first or last row for times outside, -1 if there are no rows.
   * Of turns it is the one that begins last, and -1 between turns.
   */
  at(time) {
    if (this.isTurns) return this.#turnAt(time);
    let [low, high] = [0, this.length - 1];
    while (low < high) {
      const half = (low + high) >> 1;
      if (this.end(half) > time + ROUNDING_S) high = half;
      else low = half + 1;
    }
    return this.length ? low : -1;
  }

  /** How many rows begin at a time or before it. */
  begun(time) {
    let [low, high] = [0, this.length];
    while (low < high) {
      const half = (low + high) >> 1;
      if (this.start(half) > time + ROUNDING_S) high = half;
      else low = half + 1;
    }
    return low;
  }

  #turnAt(time) {
    for (let index = this.begun(time) - 1; index >= 0 && this.start(index) >= time - this.longest; index--) {
      if (this.end(index) > time + ROUNDING_S) return index;
    }
    return -1;
  }

  /** Turns as level lines from their starts to their ends, `least` seconds long so that they can be seen. */
  #steps(column, from, to, least) {
    const [x, y] = [[], []];
    const side = column === SPEECH ? 0 : NaN; // an area has upright sides, lines have gaps
    for (let index = this.begun(from - this.longest); index < this.begun(to); index++) {
      if (this.end(index) < from) continue;
      const [start, value] = [this.start(index), this.value(index, column)];
      const end = Math.max(this.end(index), start + least);
      x.push(start, start, end, end);
      y.push(side, value, value, side);
    }
    return { x, y, band: null, seconds: 0 };
  }

  /**
   * The points of a column between two times; NaN makes a gap.
   * @param maxPoints up to so many rows, each row is a point. Of more rows, each point is the mean of a stretch of rows,
   *   and there are a quarter as many points.
   * @returns x, y; band: the corners of the area between the lowest and highest values of the stretches, or null;
   *   seconds: the length of a stretch, 0 for single rows
   */
  points(column, from, to, maxPoints) {
    if (this.isTurns) return this.#steps(column, from, to, (TURN_POINTS * (to - from)) / maxPoints);
    let first = Math.max(0, this.at(from) - 1);
    const last = Math.min(this.length, this.at(to) + 2);
    const line = new Line();
    const step = this.length > 1 ? this.start(1) - this.start(0) : Infinity;
    const least = Math.max(1, Math.round(this.every / step)); // rows of a point
    const valueAt = this.#viewed(column, step);
    if (least === 1 && last - first <= maxPoints) {
      for (let index = first; index < last; index++) line.add(this.start(index), this.end(index), valueAt(index));
      return { ...line.points(), band: null, seconds: 0 };
    }
    const stretch = Math.max(least, last - first <= maxPoints ? 1 : Math.ceil((4 * (last - first)) / maxPoints));
    first -= first % stretch; // the stretches are the same wherever the view begins
    for (let begin = first; begin < last; begin += stretch) {
      const end = Math.min(this.length, begin + stretch);
      let [low, high, sum, count] = [Infinity, -Infinity, 0, 0];
      for (let index = begin; index < end; index++) {
        const value = valueAt(index);
        if (Number.isNaN(value)) continue;
        if (value < low) low = value;
        if (value > high) high = value;
        sum += value;
        count++;
      }
      line.add(this.start(begin), this.end(end - 1), count ? sum / count : NaN, low, high);
    }
    return { ...line.points(), band: line.band(), seconds: stretch * step };
  }

  /** A function that gives the value of a row as curves show it: smoothed, if it is a score. */
  #viewed(column, step) {
    const half = Math.round(this.smoothing / step / 2);
    if (!half || column >= DIMENSIONS.length) return (index) => this.value(index, column);
    const key = [this.length, this.choices, half].join();
    if (this.movingKey !== key) [this.movingKey, this.moving] = [key, []];
    this.moving[column] ??= new MovingMeans(Float64Array.from({ length: this.length }, (_, index) => this.value(index, column)), half);
    return (index) => this.moving[column].at(index);
  }

  /** The lowest and highest score of all rows. */
  get bounds() {
    for (; this.boundedRows < this.length; this.boundedRows++) {
      for (let column = 0; column < DIMENSIONS.length; column++) {
        const value = this.value(this.boundedRows, column);
        if (value < this.lowest) this.lowest = value;
        if (value > this.highest) this.highest = value;
      }
    }
    return [this.lowest, this.highest];
  }

  /** Whether a row belongs to a part of the time: its middle does. */
  #isInside(index, from, to) {
    return this.middle(index) >= from && this.middle(index) <= to;
  }

  /** The numbers of the chosen rows between two times. */
  rowsIn(from = -Infinity, to = Infinity) {
    const key = [from, to, this.length, this.choices].join();
    if (this.rowsKey === key) return this.rows; // a summary asks for the same rows several times
    [this.rowsKey, this.rows] = [key, []];
    for (let index = 0; index < this.length; index++) {
      if (this.#isChosen(index) && this.#isInside(index, from, to)) this.rows.push(index);
    }
    return this.rows;
  }

  /** Seconds of the chosen rows between two times: of all, and of those with speech. */
  seconds(from = -Infinity, to = Infinity) {
    let [all, speech] = [0, 0];
    for (const index of this.rowsIn(from, to)) {
      all += this.end(index) - this.start(index);
      if (!this.isSilent(index)) speech += this.end(index) - this.start(index);
    }
    return { all, speech };
  }

  /**
   * Lowest value, mean, standard deviation and highest value of a column, of chosen rows with speech whose middle is
   * between two times; of all chosen rows where speech is not known.
   */
  summary(column, from = -Infinity, to = Infinity) {
    let [low, high, sum, count] = [Infinity, -Infinity, 0, 0];
    const rows = this.rowsIn(from, to).filter((index) => !this.isSilent(index) && !Number.isNaN(this.value(index, column)));
    for (const index of rows) {
      const value = this.value(index, column);
      [low, high, sum, count] = [Math.min(low, value), Math.max(high, value), sum + value, count + 1];
    }
    if (!count) return null;
    const mean = sum / count;
    let squares = 0;
    for (const index of rows) squares += (this.value(index, column) - mean) ** 2;
    return { count, low, mean, deviation: count > 1 ? Math.sqrt(squares / (count - 1)) : NaN, high };
  }
}

/** The waveform: the lowest and highest sample of every `step` seconds. */
export class Waveform {
  constructor(step, lowest = [], highest = []) {
    Object.assign(this, { step, lowest, highest, loudest: 0, measured: 0 });
    this.#measure();
  }

  add(low, high) {
    this.lowest.push(low);
    this.highest.push(high);
    this.#measure();
  }

  #measure() {
    for (; this.measured < this.lowest.length; this.measured++) {
      this.loudest = Math.max(this.loudest, -this.lowest[this.measured], this.highest[this.measured]);
    }
  }

  /** Corners of the area between the lowest and highest samples between two times, at most `maxPoints`. */
  outline(from, to, maxPoints) {
    const first = Math.max(0, Math.floor(from / this.step));
    const last = Math.min(this.lowest.length, Math.ceil(to / this.step) + 1);
    const stretch = Math.max(1, Math.ceil((2 * (last - first)) / maxPoints));
    const [middles, lows, highs] = [[], [], []];
    for (let begin = first; begin < last; begin += stretch) {
      const end = Math.min(last, begin + stretch);
      let [low, high] = [Infinity, -Infinity];
      for (let index = begin; index < end; index++) {
        low = Math.min(low, this.lowest[index]);
        high = Math.max(high, this.highest[index]);
      }
      middles.push(((begin + end) / 2) * this.step);
      lows.push(low);
      highs.push(high);
    }
    return outline(middles, lows, highs);
  }
}
