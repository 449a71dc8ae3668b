// A sentence that says what sound a value covers, from the framing in the provenance.

import { clockText } from "./texts.js";

const EXAMPLE_S = 2; // the time of the value that is explained, where there is one
const GAPS = "Curves have gaps where nobody speaks (probability of speech below 0.5 in the sound of the value).";

const milliseconds = (value) => Number(value) || 0;
const secondsText = (seconds) => (seconds < 60 ? `${seconds.toFixed(2)} s` : clockText(seconds, 2));

/** What values cover; "" where the provenance does not say it. */
export function coverageText(provenance, series) {
  if (provenance.frame_step_ms === undefined || !series.length) return "";
  const step = milliseconds(provenance.frame_step_ms) / 1000;
  if (series.isTurns) {
    return step
      ? "Each value is the mean of the values over time whose sound lies inside the turn."
      : "Each value covers the sound of a whole turn, from its start to its end.";
  }
  if (!step) return `The value covers the whole recording, ${secondsText(series.start(0))} to ${secondsText(series.duration)}.`;
  const row = series.at(EXAMPLE_S);
  const start = series.start(row);
  const from = Math.max(0, start - milliseconds(provenance.left_context_ms) / 1000);
  const to = start + (milliseconds(provenance.frame_size_ms) + milliseconds(provenance.right_context_ms)) / 1000;
  const example = `The value at ${start.toFixed(2)} s covers the sound from ${from.toFixed(2)} to ${to.toFixed(2)} s.`;
  const every = `There is a value every ${provenance.frame_step_ms} ms.`;
  return [example, every, series.hasSpeech ? GAPS : ""].filter(Boolean).join(" ");
}
