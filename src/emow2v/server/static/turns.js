// Who speaks when: the turns of a job in tiers, and means of each speaker.

import { COLUMNS, DIMENSIONS } from "./series.js";
import { clockText, countText, valueText } from "./texts.js";

export const COLOURS = 4; // colours of speakers in the style sheet
const SEEK_ROUNDING_S = 0.001; // players round times
const UNNAMED = { detector: "Speech, found by the detector" }; // titles of tiers without a name
const MAX_LANES = 3; // in which turns of one tier that overlap are drawn, one above the other

export class Turns {
  /** @param answer what the server knows of the turns: { source, name, unit, tiers: [{ name, speaker, turns }] } */
  constructor({ source, name, unit, tiers }) {
    Object.assign(this, { source, name, unit });
    const speakers = [...new Set(tiers.map((tier) => tier.speaker || tier.name))];
    this.tiers = tiers.map((tier) => {
      const shown = tier.speaker || tier.name;
      const title = tier.speaker && tier.name && tier.name !== tier.speaker ? `${tier.speaker} (${tier.name})` : shown;
      const turns = tier.turns.map((turn) => ({ ...turn, speaker: tier.speaker, tier: tier.name }));
      turns.sort((one, other) => one.start - other.start);
      const look = { title: title || UNNAMED[source] || "Turns", colour: speakers.indexOf(shown) % COLOURS, lanes: setLanes(turns) };
      return { ...look, turns, isChosen: true };
    });
    for (const tier of this.tiers) for (const turn of tier.turns) Object.assign(turn, { colour: tier.colour, of: tier });
    this.all = this.tiers.flatMap((tier) => tier.turns).sort((one, other) => one.start - other.start);
  }

  /** The turns at a time. */
  at(time) {
    return this.all.filter((turn) => turn.start <= time + SEEK_ROUNDING_S && time < turn.end);
  }

  /** The tiers that somebody chose; null if all are chosen. */
  get chosen() {
    return this.tiers.every((tier) => tier.isChosen) ? null : this.tiers.filter((tier) => tier.isChosen);
  }

  /** The turns of chosen tiers whose middle is between two times. */
  between(from = -Infinity, to = Infinity) {
    const isInside = (middle) => middle >= from && middle <= to;
    return this.all.filter((turn) => turn.of.isChosen && isInside((turn.start + turn.end) / 2));
  }

  /** 1 for each row of a series whose middle lies in a turn of a chosen tier; null if all tiers are chosen. */
  rowsOf(series) {
    if (!this.chosen) return null;
    const rows = new Uint8Array(series.length);
    const turns = this.chosen.flatMap((tier) => tier.turns);
    const key = (start, end) => `${start.toFixed(5)} ${end.toFixed(5)}`;
    const keys = new Set(turns.map((turn) => key(turn.start, turn.end)));
    if (series.isTurns) return rows.map((_, index) => keys.has(key(series.start(index), series.end(index))));
    for (const turn of turns) {
      for (let index = Math.max(0, series.begun(turn.start) - 1); series.start(index) < turn.end && index < rows.length; index++) {
        const middle = series.middle(index);
        if (middle >= turn.start && middle < turn.end) rows[index] = 1;
      }
    }
    return rows;
  }

  /** The parts between two times in which somebody of the chosen tiers speaks, [start, end] each; the whole if all are chosen. */
  parts(from, to) {
    if (!this.chosen) return [[from, to]];
    const parts = [];
    for (const turn of this.all) {
      const [start, end] = [Math.max(turn.start, from), Math.min(turn.end, to)];
      if (!turn.of.isChosen || start >= end) continue;
      if (parts.length && start <= parts.at(-1)[1]) parts.at(-1)[1] = Math.max(parts.at(-1)[1], end);
      else parts.push([start, end]);
    }
    return parts;
  }

  /**
   * Means of each speaker over the turns of chosen tiers whose middle is between two times, in order of their first turn.
   * A turn counts as often as it has values. Where a file names no speaker, tiers take its place.
   */
  speakers(from = -Infinity, to = Infinity) {
    const found = new Map();
    for (const turn of this.between(from, to)) {
      const name = turn.speaker || turn.tier;
      if (!name) continue;
      if (!found.has(name)) found.set(name, { name, turns: 0, seconds: 0, parts: [] });
      const speaker = found.get(name);
      speaker.turns++;
      speaker.seconds += turn.end - turn.start;
      if (turn.n && turn.arousal != null) speaker.parts.push(turn);
    }
    return [...found.values()].map(({ parts, ...speaker }) => {
      const total = parts.reduce((sum, turn) => sum + turn.n, 0);
      const mean = (name) => parts.reduce((sum, turn) => sum + turn.n * turn[name], 0) / total;
      return { ...speaker, values: total, means: DIMENSIONS.map((name) => (total ? mean(name) : NaN)) };
    });
  }
}

/** Give each turn a lane, so that turns which overlap lie above each other; returns the number of lanes. */
function setLanes(turns) {
  const ends = [];
  for (const turn of turns) {
    const free = ends.findIndex((end) => end <= turn.start);
    turn.lane = (free < 0 ? ends.length : free) % MAX_LANES;
    ends[free < 0 ? ends.length : free] = turn.end;
  }
  return Math.max(1, Math.min(MAX_LANES, ends.length));
}

/** The name, the times and the label of a turn. */
export const headText = (turn) =>
  [turn.speaker || turn.tier, `${clockText(turn.start, 2)} to ${clockText(turn.end, 2)}`, turn.label && `“${turn.label}”`]
    .filter(Boolean)
    .join(", ");

/** The values of a turn: "arousal 0.51, dominance 0.39, ..."; a sentence where it has none. */
export function valuesText(turn) {
  const speech = turn.speech == null ? "" : `, speech ${valueText(turn.speech, 2)}`;
  if (turn.arousal == null) return `no values${speech}`;
  const scores = COLUMNS.map((name) => `${name} ${valueText(turn[name] ?? NaN, 2)}`).join(", ");
  return `${scores}${speech}, ${countText(turn.n, "value")}`;
}
