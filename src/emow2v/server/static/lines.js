// Lines with gaps, and areas, as lists of points that plotly.js draws.

export class Line {
  constructor() {
    Object.assign(this, { runs: [], isOpen: false, hasGap: false });
  }

  /** Append the value of a stretch of time, and the lowest and highest values in it; NaN makes a gap. */
  add(start, end, value, low = value, high = value) {
    if (Number.isNaN(value)) {
      this.hasGap = true;
      this.isOpen = false;
      return;
    }
    if (!this.isOpen) this.runs.push([]);
    this.isOpen = true;
    this.runs.at(-1).push({ start, end, time: (start + end) / 2, value, low, high });
  }

  /** The points: x is the middle of each stretch. */
  points() {
    return joined(this.#runs().map((run) => ({ x: of(run, "time"), y: of(run, "value") })));
  }

  /** Corners of the areas between the lowest and highest values. */
  band() {
    return joined(this.#runs().map((run) => outline(of(run, "time"), of(run, "low"), of(run, "high"))));
  }

  /** The parts between gaps. A point alone becomes a short level line, since a line of one point cannot be seen. */
  #runs() {
    const level = (point) => [point.start, point.end].map((time) => ({ ...point, time }));
    return this.runs.map((run) => (this.hasGap && run.length === 1 ? level(run[0]) : run));
  }
}

const of = (points, name) => points.map((point) => point[name]);

/** One list of points with a gap between the parts. */
function joined(parts) {
  const [x, y] = [[], []];
  for (const part of parts) {
    if (x.length) {
      x.push(part.x[0]);
      y.push(NaN);
    }
    x.push(...part.x);
    y.push(...part.y);
  }
  return { x, y };
}

/** Corners of an area: along the highest values to the right, and back along the lowest. */
export const outline = (x, lows, highs) => ({ x: [...x, ...x.toReversed()], y: [...highs, ...lows.toReversed()] });
