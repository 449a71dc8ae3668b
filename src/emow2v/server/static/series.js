// Values over time as they come, and what of them can be seen at once: an hour has 90,000 rows, a screen 2,000 points.

const WIDTH = 6; // start, end, arousal, dominance, valence, confidence

export class Series {
  constructor() {
    this.clear();
  }

  clear() {
    this.data = new Float64Array(1024 * WIDTH);
    this.length = this.bounded = 0;
    [this.low, this.high] = [Infinity, -Infinity];
  }

  /** Take rows [start, end, arousal, dominance, valence, confidence] that follow those before. */
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

  /** A value: column 0 is arousal, 3 the confidence. */
  value(index, column) {
    return this.data[index * WIDTH + 2 + column];
  }

  get duration() {
    return this.length ? this.end(this.length - 1) : 0;
  }

  /** The row that stands at a time; the first or last where none does, -1 where there are none. */
  at(time) {
    let [low, high] = [0, this.length - 1];
    while (low < high) {
      const half = (low + high) >> 1;
      if (this.end(half) > time + 1e-9) high = half;
      else low = half + 1;
    }
    return this.length ? low : -1;
  }

  /**
   * A column between two times: every value where there are at most so many, else means of stretches, a quarter as many,
   * and the corners of the band from their lowest to their highest values. `seconds` is the length of a stretch, or 0.
   */
  points(column, from, to, most) {
    let first = Math.max(0, this.at(from) - 1);
    const last = Math.min(this.length, this.at(to) + 2);
    const [x, y] = [[], []];
    if (last - first <= most) {
      for (let k = first; k < last; k++) {
        x.push(this.middle(k));
        y.push(this.value(k, column));
      }
      return { x, y, band: null, seconds: 0 };
    }
    const stretch = Math.ceil((4 * (last - first)) / most);
    first -= first % stretch; // the same stretches wherever the view begins
    const [lows, highs] = [[], []];
    for (let begin = first; begin < last; begin += stretch) {
      const end = Math.min(this.length, begin + stretch);
      let [low, high, sum, count] = [Infinity, -Infinity, 0, 0];
      for (let k = begin; k < end; k++) {
        const value = this.value(k, column);
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
    const band = { x: [...x, ...x.toReversed()], y: [...highs, ...lows.toReversed()] };
    return { x, y, band, seconds: stretch * (this.start(1) - this.start(0)) };
  }

  /** Lowest and highest score of all. */
  get bounds() {
    for (; this.bounded < this.length; this.bounded++) {
      for (let column = 0; column < 3; column++) {
        const value = this.value(this.bounded, column);
        if (value < this.low) this.low = value;
        if (value > this.high) this.high = value;
      }
    }
    return [this.low, this.high];
  }

  /** Lowest, mean, standard deviation and highest of a column, of the rows with their middle between two times. */
  summary(column, from = -Infinity, to = Infinity) {
    let [low, high, sum, count] = [Infinity, -Infinity, 0, 0];
    const within = (k) => this.middle(k) >= from && this.middle(k) <= to && !Number.isNaN(this.value(k, column));
    for (let k = 0; k < this.length; k++) {
      if (!within(k)) continue;
      const value = this.value(k, column);
      [low, high, sum, count] = [Math.min(low, value), Math.max(high, value), sum + value, count + 1];
    }
    if (!count) return null;
    const mean = sum / count;
    let squares = 0;
    for (let k = 0; k < this.length; k++) if (within(k)) squares += (this.value(k, column) - mean) ** 2;
    return { count, low, mean, deviation: count > 1 ? Math.sqrt(squares / (count - 1)) : NaN, high };
  }
}

/** The sound as it is seen: the lowest and highest sample of every `step` seconds. */
export class Peaks {
  constructor(step, lowest = [], highest = []) {
    Object.assign(this, { step, lowest, highest, loudest: 0, looked: 0 });
    this.#look();
  }

  add(low, high) {
    this.lowest.push(low);
    this.highest.push(high);
    this.#look();
  }

  #look() {
    for (; this.looked < this.lowest.length; this.looked++) {
      this.loudest = Math.max(this.loudest, -this.lowest[this.looked], this.highest[this.looked]);
    }
  }

  /** Corners of the surface between highest and lowest, from left to right and back, at most so many. */
  outline(from, to, most) {
    const first = Math.max(0, Math.floor(from / this.step));
    const last = Math.min(this.lowest.length, Math.ceil(to / this.step) + 1);
    const stretch = Math.max(1, Math.ceil((2 * (last - first)) / most));
    const [middles, lows, highs] = [[], [], []];
    for (let begin = first; begin < last; begin += stretch) {
      const end = Math.min(last, begin + stretch);
      let [low, high] = [Infinity, -Infinity];
      for (let k = begin; k < end; k++) {
        low = Math.min(low, this.lowest[k]);
        high = Math.max(high, this.highest[k]);
      }
      middles.push(((begin + end) / 2) * this.step);
      lows.push(low);
      highs.push(high);
    }
    return { x: [...middles, ...middles.toReversed()], y: [...highs, ...lows.toReversed()] };
  }
}
