// Smoother and sparser curves, for viewing alone: tables, summaries and files keep the values as they are.

import { byId } from "./elements.js";

/** Moving means of values; gaps stay gaps, and means leave them out. */
export class MovingMeans {
  /** @param values a list of numbers, NaN for gaps; `half` values before and after each one are averaged with it */
  constructor(values, half) {
    Object.assign(this, { values, half, sums: new Float64Array(values.length + 1), counts: new Uint32Array(values.length + 1) });
    values.forEach((value, index) => {
      const isGap = Number.isNaN(value);
      this.sums[index + 1] = this.sums[index] + (isGap ? 0 : value);
      this.counts[index + 1] = this.counts[index] + (isGap ? 0 : 1);
    });
  }

  at(index) {
    if (Number.isNaN(this.values[index])) return NaN;
    const [low, high] = [Math.max(0, index - this.half), Math.min(this.values.length, index + this.half + 1)];
    return (this.sums[high] - this.sums[low]) / (this.counts[high] - this.counts[low]);
  }
}

/**
 * Connect the lists "Smoothing" and "Curves show".
 * @param redraw is called with the seconds of both; 0 for none
 */
export function addSmoothing(redraw) {
  const lists = ["smoothing", "every"].map(byId);
  for (const list of lists) list.addEventListener("change", () => redraw(...lists.map(({ value }) => Number(value))));
}
