// One job: its curves while they grow, and when it has finished all there is to see, hear and save.

import { ask, askJSON, byId, clock, COLUMNS, counted, jobPath, lasting, make, save, say, showState } from "./common.js";
import { addCitation } from "./citation.js";
import { Plane } from "./plane.js";
import { Player } from "./player.js";
import { Readout, spoken } from "./readout.js";
import { Peaks, Series } from "./series.js";
import { Table } from "./table.js";
import { TimePlot } from "./timeplot.js";

const id = decodeURIComponent(location.pathname.slice("/jobs/".length));
const EXPORTS = { csv: "CSV", csvw: "CSV with provenance (zip)", json: "JSON", ndjson: "NDJSON", annotation: "NOVA annotations (zip)" };
const POINTS = 40_000; // of a waveform at most
const SOON_S = 2; // of running, before a guess at the end is of use

const series = new Series();
const plot = new TimePlot(byId("time"), series, { seek: (time) => player.seek(time), seen });
const plane = new Plane(byId("plane"), series);
const readout = new Readout(byId("now"));
const player = new Player(byId("audio"), byId("video"), moved, (sentence) => {
  byId("mute").textContent = sentence;
  byId("mute").hidden = !sentence;
});
const table = new Table(series, (time) => player.seek(time));
let job = null;
let session = 0;
let run = "";
let growing = null;

function moved(time, sent) {
  const row = series.at(time);
  const plays = !player.media.paused; // then a screen reader should hear the recording, not every value of it
  plot.cursor(time, { sent, says: plays ? "" : `${clock(time, 2)}, ${spoken(series, row)}` });
  plane.show(row);
  readout.show(series, row);
  table.show(row);
}

/** Another part of the time is shown. */
function seen(from, to) {
  const width = to - from;
  byId("whole").disabled = byId("pan").disabled = !plot.range;
  byId("out").disabled = !plot.range;
  if (document.activeElement !== byId("pan") || !plot.range) byId("pan").value = plot.range ? from / (plot.whole - width) : 0.5;
  byId("pan").setAttribute("aria-valuetext", `${clock(from, 1)} to ${clock(to, 1)}`);
  if (!byId("about").hidden) summary();
}

function describe() {
  byId("name").textContent = job.name;
  document.title = `${job.name}: emow2v`;
  showState(byId("state"), job.state);
  byId("with").textContent = [job.kind === "process" && "DISCOVER", job.model && `model ${job.model}`, job.state === "waiting" && (job.position ? `${job.position} before it` : "comes next")].filter(Boolean).join(", ");
  const goes = job.state === "waiting" || job.state === "running";
  byId("wait").hidden = !goes;
  if (job.expected_rows) byId("progress").value = Math.min(1, job.rows / job.expected_rows);
  else byId("progress").removeAttribute("value");
  const whole = job.expected_rows ? `${job.rows} of ${counted(job.expected_rows, "value")}` : counted(job.rows, "value");
  byId("done").textContent = job.rows ? `${whole}${left()}` : "";
  byId("notices").hidden = !job.notices?.length;
  if (!byId("notices").hidden) byId("notices").replaceChildren(...job.notices.map((sentence) => make("li", {}, sentence)));
  if (job.state === "error") say(job.error, true);
  if (job.state === "canceled") say("The job was cancelled; nothing was kept of it but its log.");
}

/** A guess at how long it still takes. */
function left() {
  const taken = (Date.now() - new Date(job.started)) / 1000;
  if (!job.started || !job.expected_rows || !(taken > SOON_S)) return "";
  return `, about ${lasting((taken * Math.max(0, job.expected_rows - job.rows)) / job.rows)} left`;
}

/** Rows that came since the last look; another run means that it began anew. */
function grow() {
  growing ??= (async () => {
    const found = await askJSON(jobPath(id, `/rows?first=${series.length}&run=${encodeURIComponent(run)}&session=${session}`));
    if (found.run && found.run !== run) {
      run = found.run;
      if (found.first !== series.length || found.first) series.clear();
    }
    if (!found.complete && found.first === series.length && found.rows.length) {
      series.add(found.rows);
      refreshed();
    }
  })()
    .catch((error) => say(error.message, true))
    .finally(() => (growing = null));
}

function refreshed() {
  plot.draw();
  moved(job.state === "running" && !player.touched ? series.duration : player.time, false); // until somebody looks elsewhere
}

async function sound() {
  const path = jobPath(id, `/waveform?points=${POINTS}&session=${session}`);
  const playing = player.load(jobPath(id, `/audio?session=${session}`));
  plot.peaks = null;
  plot.note = "The sound is being read…";
  try {
    const seen = await askJSON(path);
    plot.peaks = new Peaks(seen.step, seen.lowest, seen.highest);
    plot.duration = player.duration = seen.duration;
  } catch {
    // it cannot be read any more; the player says why
  }
  plot.note = "";
  plot.draw();
  await playing;
}

async function results() {
  await growing;
  say("The values come…");
  series.clear();
  let total = 1;
  while (series.length < total) {
    const found = await askJSON(jobPath(id, `/rows?first=${series.length}&session=${session}`));
    total = found.rows.length ? found.total : 0;
    series.add(found.rows);
  }
  say("");
  player.duration ||= series.duration;
  byId("about").hidden = false;
  summary();
  byId("exports").replaceChildren(
    ...Object.entries(EXPORTS).map(([format, word]) => make("a", { class: "button", download: true, href: jobPath(id, `/result?format=${format}&session=${session}`) }, word)),
    make("button", { onclick: () => picture().catch((error) => say(error.message, true)) }, "Picture (SVG)"),
  );
  table.turn(0, true);
  refreshed();
  plot.describe(`Sound, curves and confidence over ${clock(series.duration, 1)}: ${counted(series.length, "value")}; the table below has them all`);
}

async function picture() {
  const address = await plot.picture(job.name);
  const text = decodeURIComponent(address.slice(address.indexOf(",") + 1));
  save(`${fileStem(job.name)}.svg`, new Blob([text], { type: "image/svg+xml" }));
}

/** The name of a file without its ending. */
const fileStem = (name) => name.replace(/\.[^.]*$/, "");

/** Figures of what is shown. */
function summary() {
  const [from, to] = plot.range ?? [-Infinity, Infinity];
  const words = { low: "lowest", mean: "mean", deviation: make("abbr", { title: "standard deviation" }, "SD"), high: "highest" };
  const head = make("tr", {}, make("td"), ...Object.values(words).map((word) => make("th", { scope: "col" }, word)));
  let count = 0;
  const lines = COLUMNS.map((name, column) => {
    const found = series.summary(column, from, to);
    count = Math.max(count, found?.count ?? 0);
    const cells = Object.keys(words).map((key) => (found && !Number.isNaN(found[key]) ? found[key].toFixed(3) : "–"));
    return make("tr", {}, make("th", { scope: "row" }, name), ...cells.map((text) => make("td", {}, text)));
  });
  const part = plot.range ? `from ${clock(from, 2)} to ${clock(to, 2)}, the part that is shown` : `over ${clock(series.duration, 1)}`;
  byId("summary").replaceChildren(make("caption", { class: "quiet" }, `${counted(count, "value")} ${part}`), make("thead", {}, head), make("tbody", {}, ...lines));
}

function provenance() {
  byId("provenance").replaceChildren(...Object.entries(job.provenance).flatMap(([key, text]) => [make("dt", {}, key.replaceAll("_", " ")), make("dd", {}, String(text))]));
}

/** The job has ended: everything once more, from what it wrote. */
async function ended() {
  describe();
  byId("log").hidden = false;
  if (job.state !== "finished") {
    byId("views").hidden = series.length === 0 && !plot.peaks;
    return;
  }
  provenance();
  const names = await askJSON(jobPath(id, "/sessions"));
  if (names.length > 1 && byId("sessions").hidden) {
    byId("sessions").hidden = false;
    byId("session").replaceChildren(...names.map((name, number) => make("option", { value: number }, name)));
    byId("session").addEventListener("change", (event) => {
      session = Number(event.target.value);
      Object.assign(plot, { duration: 0, range: null });
      player.duration = player.time = 0;
      Promise.all([sound(), results()]).catch((error) => say(error.message, true));
    });
  }
  await results();
}

function watch() {
  const events = new EventSource(jobPath(id, "/events"));
  events.addEventListener("message", (event) => {
    job = JSON.parse(event.data);
    if (job.state === "waiting" || job.state === "running") {
      describe();
      if (job.rows) grow();
      return;
    }
    events.close();
    ended().catch((error) => say(error.message, true));
  });
  events.addEventListener("error", () => {
    if (events.readyState === EventSource.CLOSED) say("The server does not answer any more; load this page again.", true);
  });
}

/** Keys of the whole page, but where somebody writes or a control has that key itself. */
function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, audio, video, pre, dialog")) return;
  if (event.target.closest("input[type=range]") && /^(Arrow|Home|End)/.test(event.key)) return;
  if (event.key === " " && event.target.closest("a, button, summary, input")) return;
  const seconds = event.shiftKey ? 10 : 1;
  const row = series.at(player.time);
  const todo = {
    " ": () => player.toggle(),
    ArrowLeft: () => player.seek(player.time - seconds),
    ArrowRight: () => player.seek(player.time + seconds),
    ",": () => row > 0 && player.seek(series.start(row - 1)),
    ".": () => row >= 0 && row < series.length - 1 && player.seek(series.start(row + 1)),
    Home: () => player.seek(0),
    End: () => player.seek(Infinity),
    "+": () => plot.scale(0.5),
    "-": () => plot.scale(2),
    0: () => plot.zoom(null),
  }[event.key];
  if (!todo) return;
  event.preventDefault();
  todo();
}

byId("pan").addEventListener("input", (event) => {
  const [from, to] = plot.view;
  const start = event.target.value * (plot.whole - (to - from));
  plot.zoom([start, start + to - from]);
});
byId("in").addEventListener("click", () => plot.scale(0.5));
byId("out").addEventListener("click", () => plot.scale(2));
byId("whole").addEventListener("click", () => plot.zoom(null));
byId("cancel").addEventListener("click", () => ask(jobPath(id, "/cancel"), { method: "POST" }).catch((error) => say(error.message, true)));
byId("log").addEventListener("toggle", async (event) => {
  if (event.target.open) byId("log-text").textContent = await (await ask(jobPath(id, "/log"))).text();
});
addEventListener("keydown", keys);
addCitation(jobPath(id, "/citation"), () => fileStem(job.name));

try {
  job = await askJSON(jobPath(id));
  describe();
  watch();
  await sound();
} catch (error) {
  byId("wait").hidden = byId("views").hidden = true;
  say(error.message, true);
}
