// The page of a job of many recordings: how far it is, what became of each recording, and what can be saved.

import { addCitation } from "./citation.js";
import { announce, announceError, byId, make, setText } from "./elements.js";
import { cancelJob, filesText, isPending, jobPath, pagePath, queueText, requestLog, showProgress, showState } from "./jobstate.js";
import { requestJSON } from "./requests.js";
import { countText, durationText, fileStem } from "./texts.js";

const id = decodeURIComponent(location.pathname.split("/").at(-1));
const PAGE = 50; // recordings that are shown at a time
const EVERY_MS = 1000; // between two requests for the list while the job runs
const EXPORTS = [
  ["result?format=csv", "One table (CSV)"],
  ["result?format=json", "JSON"],
  ["result?format=ndjson", "NDJSON"],
  ["result?format=parquet", "Parquet"],
  ["zip", "A file for each recording (zip)"],
];
let job = null;
let first = 0; // number of the first recording that is shown
let requested = 0; // when the list was requested last
let later = null; // a timer for the next request

function showJob() {
  setText(byId("name"), job.name);
  document.title = `${job.name}: emow2v`;
  showState(byId("state"), job.state);
  const details = [job.model && `model ${job.model}`, job.state === "waiting" && queueText(job)];
  setText(byId("details"), details.filter(Boolean).join(", "));
  byId("progress-line").hidden = !isPending(job);
  showProgress(byId("progress"), job);
  const sound = job.files.seconds ? `${durationText(job.files.seconds)} of sound` : "";
  const left = isPending(job) && job.files.seconds_left ? `about ${durationText(job.files.seconds_left)} left` : "";
  const values = job.rows ? countText(job.rows, "value") : "";
  setText(byId("counts"), [filesText(job.files), values, sound, left].filter(Boolean).join(", "));
  byId("notices").hidden = !job.notices.length;
  byId("notices").replaceChildren(...job.notices.map((sentence) => make("li", {}, sentence)));
  byId("failures").hidden = !job.files.failed;
  if (job.state === "error") announce(job.error, true);
  if (job.state === "canceled") announce("The job was cancelled. It has no table.");
}

/** Request the recordings that are shown. */
async function showFiles() {
  requested = Date.now();
  const query = `first=${first}&limit=${PAGE}&state=${byId("which").value}`;
  const { total, files } = await requestJSON(jobPath(id, `/files?${query}`));
  if (first && first >= total) {
    first = Math.max(0, Math.floor((total - 1) / PAGE) * PAGE);
    return showFiles();
  }
  byId("earlier").disabled = !first;
  byId("later").disabled = first + PAGE >= total;
  setText(byId("page"), total ? `${first + 1} to ${first + files.length} of ${total}` : "none");
  byId("list").tBodies[0].replaceChildren(...files.map(fileRow));
}

const WORDS = { waiting: "waiting", done: "finished", failed: "error" }; // the states of jobs that look alike

function fileRow(file) {
  const state = make("span");
  showState(state, WORDS[file.state]);
  const isShown = file.state === "done" && job.state === "finished";
  const name = isShown ? make("a", { href: `${pagePath(id)}?file=${file.number}` }, file.name) : file.name;
  const remarks = file.error || file.notices.join(" ");
  return make(
    "tr",
    {},
    make("td", {}, name),
    make("td", {}, state),
    make("td", { class: "numbers" }, file.state === "done" ? String(file.rows) : ""),
    make("td", {}, make("span", { class: file.error ? "sentence" : "sentence muted" }, remarks)),
  );
}

/** Request the list at once, or soon where it was requested a moment ago. */
function refreshFiles() {
  if (later !== null) return;
  const wait = Math.max(0, requested + EVERY_MS - Date.now());
  later = setTimeout(() => {
    later = null;
    showFiles().catch(announceError);
  }, wait);
}

function showEnd() {
  byId("about").hidden = job.state !== "finished";
  const links = EXPORTS.map(([path, name]) =>
    make("a", { class: "button", download: true, href: jobPath(id, `/${path}`) }, name),
  );
  byId("exports").replaceChildren(...links);
  const entries = Object.entries(job.provenance).flatMap(([name, text]) => [
    make("dt", {}, name.replaceAll("_", " ")),
    make("dd", {}, String(text)),
  ]);
  byId("provenance").replaceChildren(...entries);
}

/** Follow the job until it ends. */
function watch() {
  const events = new EventSource(jobPath(id, "/events"));
  events.addEventListener("message", (event) => {
    job = JSON.parse(event.data);
    showJob();
    refreshFiles();
    if (isPending(job)) return;
    events.close();
    showEnd();
  });
  events.addEventListener("error", () => {
    if (events.readyState !== EventSource.CLOSED) return;
    announce("The server no longer answers. Reload this page when it is running again.", true);
  });
}

function turn(pages) {
  first = Math.max(0, first + pages * PAGE);
  showFiles().catch(announceError);
}

byId("earlier").addEventListener("click", () => turn(-1));
byId("later").addEventListener("click", () => turn(1));
byId("which").addEventListener("change", () => {
  first = 0;
  showFiles().catch(announceError);
});
byId("cancel").addEventListener("click", () => cancelJob(id).catch(announceError));
byId("log").addEventListener("toggle", async (event) => {
  if (event.target.open) byId("log-text").textContent = await requestLog(id);
});
byId("failures").href = jobPath(id, "/failures");
addCitation(jobPath(id, "/citation"), () => fileStem(job.name));

try {
  job = await requestJSON(jobPath(id));
  showJob();
  watch();
} catch (error) {
  announceError(error);
}
