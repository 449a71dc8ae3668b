// Values over time, and what of them is drawn: an hour has 90,000 rows, a screen shows 2,000 points.

export const DIMENSIONS = ["arousal", "dominance", "valence"];
export const COLUMNS = [...DIMENSIONS, "confidence"];
const WIDTH = 2 + COLUMNS.length; // a row: start, end, arousal, dominance, valence, confidence
const ROUNDING_S = 1e-9;

export class Series {
  constructor() {
    this.clear();
  }

  clear() {
    this.data = new Float64Array(1024 * WIDTH);
    this.length = this.boundedRows = 0;
    [this.lowest, this.highest] = [Infinity, -Infinity];
  }

  /** Append rows [start, end, arousal, dominance, valence, confidence], in order of time. */
  add(rows) {
    if ((this.length + rows.length) * WIDTH > this.data.length) {
      const larger = new Float64Array(Math.max(2 * this.data.length, (this.length + rows.length) * WIDTH));
      larger.set(this.data);
      this.data = larger;
    }
    for (const row of rows) {
      for (let k = 0; k < WIDTH; k++) this.data[this.length * WIDTH + k] = row[k] ?? NaN;
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

  /** A value; `column` is a place in COLUMNS. */
  value(index, column) {
    return this.data[index * WIDTH + 2 + column];
  }

  get duration() {
    return this.length ? this.end(this.length - 1) : 0;
  }

  /** The row at a time; the first or last row for times outside, -1 if there are no rows. */
  at(time) {
    let [low, high] = [0, this.length - 1];
    while (low < high) {
      const half = (low + high) >> 1;
      if (this.end(half) > time + ROUNDING_S) high = half;
      else low = half + 1;
    }
    return this.length ? low : -1;
  }

  /**
   * The points of a column between two times.
   * @param maxPoints up to so many rows, each row is a point. Of more rows, each point is the mean of a stretch of rows,
   *   and there are a quarter as many points.
   * @returns x, y; band: the corners of the area between the lowest and highest values of the stretches, or null;
   *   seconds: the length of a stretch, 0 for single rows
   */
  points(column, from, to, maxPoints) {
    let first = Math.max(0, this.at(from) - 1);
    const last = Math.min(this.length, this.at(to) + 2);
    const [x, y] = [[], []];
    if (last - first <= maxPoints) {
      for (let index = first; index < last; index++) {
        x.push(this.middle(index));
        y.push(this.value(index, column));
      }
      return { x, y, band: null, seconds: 0 };
    }
    const stretch = Math.ceil((4 * (last - first)) / maxPoints);
    first -= first % stretch; // the stretches are the same wherever the view begins
    const [lows, highs] = [[], []];
    for (let begin = first; begin < last; begin += stretch) {
      const end = Math.min(this.length, begin + stretch);
      let [low, high, sum, count] = [Infinity, -Infinity, 0, 0];
      for (let index = begin; index < end; index++) {
        const value = this.value(index, column);
        if (Number.isNaN(value)) continue;
        if (value < low) low = value;
        if (value > high) high = value;
        sum += value;
        count++;
      }
      if (!count) continue;
      x.push((this.start(begin) + this.end(end - 1)) / 2);
      y.push(sum / count);
      lows.push(low);
      highs.push(high);
    }
    return { x, y, band: outline(x, lows, highs), seconds: stretch * (this.start(1) - this.start(0)) };
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

  /** Lowest value, mean, standard deviation and highest value of a column, of rows whose middle is between two times. */
  summary(column, from = -Infinity, to = Infinity) {
    let [low, high, sum, count] = [Infinity, -Infinity, 0, 0];
    const counts = (index) =>
      this.middle(index) >= from && this.middle(index) <= to && !Number.isNaN(this.value(index, column));
    for (let index = 0; index < this.length; index++) {
      if (!counts(index)) continue;
      const value = this.value(index, column);
      [low, high, sum, count] = [Math.min(low, value), Math.max(high, value), sum + value, count + 1];
    }
    if (!count) return null;
    const mean = sum / count;
    let squares = 0;
    for (let index = 0; index < this.length; index++) if (counts(index)) squares += (this.value(index, column) - mean) ** 2;
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

/** Corners of an area: along the highest values to the right, and back along the lowest. */
const outline = (x, lows, highs) => ({ x: [...x, ...x.toReversed()], y: [...highs, ...lows.toReversed()] });
