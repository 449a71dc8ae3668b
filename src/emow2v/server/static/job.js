// One job: its curves while they grow, and when it has finished all there is to see, hear and save.

import { ask, askJSON, byId, clock, COLUMNS, jobPath, make, say } from "./common.js";
import { Plane } from "./plane.js";
import { Player } from "./player.js";
import { Peaks, Series } from "./series.js";
import { Table } from "./table.js";
import { Readout, timePlot } from "./timeplot.js";

const id = decodeURIComponent(location.pathname.slice("/jobs/".length));
const WORDS = { waiting: "waiting", running: "running", finished: "finished", error: "failed", canceled: "cancelled" };
const EXPORTS = { csv: "CSV", json: "JSON", ndjson: "NDJSON", annotation: "SSI annotations (zip)" };
const POINTS = 40_000; // of a waveform at most

const series = new Series();
const plot = timePlot(series, { seek: (time) => player.seek(time) });
const plane = new Plane(byId("plane"), series);
const readout = new Readout(byId("now"));
const player = new Player(byId("audio"), moved, (sentence) => {
  byId("mute").textContent = sentence;
  byId("mute").hidden = !sentence;
});
const table = new Table(series, (time) => player.seek(time));
let job = null;
let session = 0;
let run = "";
let growing = null;

function moved(time, plays) {
  const row = series.at(time);
  plot.cursor(time, { follow: plays });
  plane.show(row);
  readout.show(series, row);
  table.show(row);
}

function describe() {
  byId("name").textContent = job.name;
  document.title = `${job.name}: emow2v`;
  byId("state").textContent = [WORDS[job.state], job.model && `model ${job.model}`, job.state === "waiting" && job.position && `${job.position} before it`].filter(Boolean).join(", ");
  const goes = job.state === "waiting" || job.state === "running";
  byId("wait").hidden = !goes;
  if (job.expected_rows) byId("progress").value = Math.min(1, job.rows / job.expected_rows);
  else byId("progress").removeAttribute("value");
  byId("done").textContent = job.rows ? `${job.rows}${job.expected_rows ? ` of ${job.expected_rows}` : ""} values` : "";
  if (job.state === "error") say(job.error, true);
  if (job.state === "canceled") say("The job was cancelled; nothing was kept of it but its log.");
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
  const following = job.state === "running" && !player.heard;
  moved(following ? series.duration : player.time, false);
}

async function sound() {
  const path = jobPath(id, `/waveform?points=${POINTS}&session=${session}`);
  const playing = player.load(jobPath(id, `/audio?session=${session}`));
  try {
    const seen = await askJSON(path);
    plot.peaks = new Peaks(seen.step, seen.lowest, seen.highest);
    plot.duration = player.duration = seen.duration;
    plot.draw();
  } catch {
    plot.peaks = null; // the player says why
  }
  await playing;
}

async function results() {
  await growing;
  series.clear();
  let total = 1;
  while (series.length < total) {
    const found = await askJSON(jobPath(id, `/rows?first=${series.length}&session=${session}`));
    total = found.rows.length ? found.total : 0;
    series.add(found.rows);
  }
  player.duration ||= series.duration;
  byId("about").hidden = false;
  summary();
  byId("exports").replaceChildren(
    ...Object.entries(EXPORTS).map(([format, word]) => make("a", { class: "button", download: true, href: jobPath(id, `/result?format=${format}&session=${session}`) }, word)),
  );
  table.turn(0, true);
  refreshed();
  byId("time").setAttribute("aria-label", `Waveform, curves and confidence over ${clock(series.duration, 1)}: ${series.length} values; the table below has them all`);
}

function summary() {
  const head = make("tr", {}, make("td"), ...["lowest", "mean", "highest"].map((word) => make("th", { scope: "col" }, word)));
  const lines = COLUMNS.map((name, column) => {
    const found = series.summary(column);
    const cells = found ? [found.low, found.mean, found.high].map((one) => one.toFixed(3)) : ["–", "–", "–"];
    return make("tr", {}, make("th", { scope: "row" }, name), ...cells.map((text) => make("td", {}, text)));
  });
  byId("summary").replaceChildren(make("caption", { class: "quiet" }, `${series.length} values over ${clock(series.duration, 1)}`), make("thead", {}, head), make("tbody", {}, ...lines));
}

function provenance() {
  byId("provenance").replaceChildren(...Object.entries(job.provenance).flatMap(([key, text]) => [make("dt", {}, key.replaceAll("_", " ")), make("dd", {}, String(text))]));
}

/** The job has ended: everything once more, from what it wrote. */
async function ended() {
  describe();
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
      Object.assign(plot, { peaks: null, duration: 0, range: null });
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

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.target.closest("input, select, textarea, audio, summary, dialog, [role=toolbar] button, a, button")) {
    if (event.key !== "Escape") return;
  }
  const seconds = event.shiftKey ? 10 : event.altKey ? Math.max(0.01, series.length ? series.end(0) - series.start(0) : 0.04) : 1;
  const todo = {
    " ": () => player.toggle(),
    ArrowLeft: () => player.seek(player.time - seconds),
    ArrowRight: () => player.seek(player.time + seconds),
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

byId("in").addEventListener("click", () => plot.scale(0.5));
byId("out").addEventListener("click", () => plot.scale(2));
byId("whole").addEventListener("click", () => plot.zoom(null));
byId("cancel").addEventListener("click", () => ask(jobPath(id, "/cancel"), { method: "POST" }).catch((error) => say(error.message, true)));
byId("log").addEventListener("toggle", async (event) => {
  if (event.target.open) byId("log-text").textContent = await (await ask(jobPath(id, "/log"))).text();
});
addEventListener("keydown", keys);

try {
  job = await askJSON(jobPath(id));
  describe();
  watch();
  await sound();
} catch (error) {
  byId("wait").hidden = byId("views").hidden = true;
  say(error.message, true);
}
