// What every page needs: elements, questions to the server, times as people write them.

export const DIMENSIONS = ["arousal", "dominance", "valence"];
export const COLUMNS = [...DIMENSIONS, "confidence"];
export const calm = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");

export const byId = (id) => document.getElementById(id);

/** An element; texts are put in as texts, whatever they hold. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** States of a job, in words. */
export const WORDS = { waiting: "waiting", running: "running", finished: "finished", error: "failed", canceled: "cancelled" };

/** A state as a word with a mark; the class chooses its form and colour. */
export function showState(element, state) {
  element.textContent = WORDS[state];
  element.className = `state ${state}`;
}

/** Say something where screen readers hear it. */
export function say(text, wrong = false) {
  const said = byId("said");
  said.classList.toggle("error", wrong);
  if (said.textContent !== text) said.textContent = text;
}

/** The answer of a route; throws an error with the server's own sentence. */
export async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { headers: { Accept: "application/json" }, ...options });
  } catch (error) {
    throw new Error("The server does not answer; is it still running?", { cause: error });
  }
  if (!answer.ok) throw Object.assign(new Error(await sentence(answer)), { status: answer.status });
  return answer;
}

async function sentence(answer) {
  if (answer.status === 401) return "The token is missing; load this page again to give it.";
  try {
    return (await answer.json()).error || `The server answered ${answer.status}.`;
  } catch {
    return `The server answered ${answer.status}.`;
  }
}

export const askJSON = async (path, options) => (await ask(path, options)).json();

export const jobPath = (id, rest = "") => `/v1/jobs/${encodeURIComponent(id)}${rest}`;

/** 75.3 as 1:15, or with decimals 1:15.30. */
export function clock(seconds, decimals = 0) {
  const whole = Math.max(0, Number(seconds.toFixed(decimals)));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const rest = (whole % 60).toFixed(decimals).padStart(decimals ? decimals + 3 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** 5.52 as 5.5 s, 75.3 as 1:15: how long something took or will take. */
export const lasting = (seconds) => (seconds < 60 ? `${seconds.toFixed(seconds < 10 ? 1 : 0)} s` : clock(seconds));

const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const TODAY = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

/** 1 as "1 value", 2 as "2 values", of what a word says one of. */
export const counted = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;

/** A <time> in the reader's own zone; its title has UTC. */
export function when(stamp) {
  if (!stamp) return make("span", {}, "–");
  const date = new Date(stamp);
  const today = date.toDateString() === new Date().toDateString();
  return make("time", { datetime: stamp, title: `${stamp.slice(0, 19).replace("T", " ")} UTC` }, (today ? TODAY : DAY).format(date));
}

/** Give somebody a file that was made here. */
export function save(name, blob) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** A colour of the style sheet, as it is now. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** A file dropped beside the place for it must not take the page's place. */
for (const kind of ["dragover", "drop"]) {
  addEventListener(kind, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "none";
  });
}

export const onTheme = (redraw) => dark.addEventListener("change", redraw);
