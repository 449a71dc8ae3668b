// Numbers, durations and times as people write them.

const DATE_AND_TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const TIME = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

/** 75.3 seconds as 1:15, or with decimals 1:15.30. */
export function clockText(seconds, decimals = 0) {
  const rounded = Math.max(0, Number(seconds.toFixed(decimals)));
  const [hours, minutes] = [Math.floor(rounded / 3600), Math.floor(rounded / 60) % 60];
  const rest = (rounded % 60).toFixed(decimals).padStart(decimals ? decimals + 3 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** A duration: 5.52 seconds as 5.5 s, 75.3 seconds as 1:15. */
export const durationText = (seconds) =>
  seconds < 60 ? `${seconds.toFixed(seconds < 10 ? 1 : 0)} s` : clockText(seconds);

/** A number with its noun: "1 value", "2 values". */
export const countText = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

/** A value with so many decimals; a dash where there is none. */
export const valueText = (value, decimals) => (Number.isFinite(value) ? value.toFixed(decimals) : "–");

/** A time stamp (ISO 8601, UTC) in the reader's time zone, with the date unless it is today. */
export function localTimeText(stamp) {
  const date = new Date(stamp);
  const isToday = date.toDateString() === new Date().toDateString();
  return (isToday ? TIME : DATE_AND_TIME).format(date);
}

/** A time stamp (ISO 8601, UTC) as 2026-11-26 13:45:00 UTC. */
export const utcText = (stamp) => `${stamp.slice(0, 19).replace("T", " ")} UTC`;

/** The name of a file without its ending. */
export const fileStem = (name) => name.replace(/\.[^.]*$/, "");
