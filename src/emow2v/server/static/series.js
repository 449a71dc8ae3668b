// Values over time as they come, and what of them can be seen at once: an hour has 90,000 rows, a screen 2,000 points.

const WIDTH = 6; // start, end, arousal, dominance, valence, confidence

export class Series {
  constructor() {
    this.clear();
  }

  clear() {
    this.data = new Float64Array(1024 * WIDTH);
    this.length = 0;
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

  /** Points of a column between two times, at most so many: of every stretch the lowest and the highest. */
  points(column, from, to, most) {
    const first = Math.max(0, this.at(from) - 1);
    const last = Math.min(this.length, this.at(to) + 2);
    const stretch = Math.max(1, Math.ceil((2 * (last - first)) / most));
    const [x, y] = [[], []];
    for (let begin = first; begin < last; begin += stretch) {
      let [low, high] = [begin, begin];
      for (let k = begin + 1; k < Math.min(last, begin + stretch); k++) {
        if (this.value(k, column) < this.value(low, column)) low = k;
        if (this.value(k, column) > this.value(high, column)) high = k;
      }
      for (const k of low === high ? [low] : [Math.min(low, high), Math.max(low, high)]) {
        x.push(this.middle(k));
        y.push(this.value(k, column));
      }
    }
    return { x, y };
  }

  /** Lowest, mean and highest of a column. */
  summary(column) {
    let [low, high, sum, count] = [Infinity, -Infinity, 0, 0];
    for (let k = 0; k < this.length; k++) {
      const value = this.value(k, column);
      if (Number.isNaN(value)) continue;
      [low, high, sum, count] = [Math.min(low, value), Math.max(high, value), sum + value, count + 1];
    }
    return count ? { low, mean: sum / count, high } : null;
  }
}

/** The sound as it is seen: the lowest and highest sample of every `step` seconds. */
export class Peaks {
  constructor(step, lowest = [], highest = []) {
    Object.assign(this, { step, lowest, highest });
  }

  /** A line that goes down and up in every stretch between two times. */
  points(from, to, most) {
    const first = Math.max(0, Math.floor(from / this.step));
    const last = Math.min(this.lowest.length, Math.ceil(to / this.step) + 1);
    const stretch = Math.max(1, Math.ceil((2 * (last - first)) / most));
    const [x, y] = [[], []];
    for (let begin = first; begin < last; begin += stretch) {
      const end = Math.min(last, begin + stretch);
      let [low, high] = [Infinity, -Infinity];
      for (let k = begin; k < end; k++) {
        low = Math.min(low, this.lowest[k]);
        high = Math.max(high, this.highest[k]);
      }
      const middle = ((begin + end) / 2) * this.step;
      x.push(middle, middle);
      y.push(low, high);
    }
    return { x, y };
  }
}
