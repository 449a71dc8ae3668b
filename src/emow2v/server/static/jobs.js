// The list of jobs. It is requested repeatedly, and only what has changed is drawn again, so that neither the keyboard
// focus nor a screen reader is disturbed.

import { announce, announceError, byId, make } from "./elements.js";
import * as jobstate from "./jobstate.js";
import { address, request, requestJSON } from "./requests.js";
import { countText, durationText, localTimeText, utcText } from "./texts.js";

const BUSY_INTERVAL_MS = 700; // while a job waits or runs
const IDLE_INTERVAL_MS = 3000;
const FIRST_LIMIT = 50;
const MAX_LIMIT = 10_000;
const rows = new Map(); // by the job's id: { job, element, cells }
const body = byId("table").tBodies[0];
let limit = FIRST_LIMIT;
let timer = 0;
let isOffline = false;

/** Request the list, now and then repeatedly. */
export async function refresh() {
  clearTimeout(timer);
  let pending = 0;
  try {
    const jobs = await requestJSON(`v1/jobs?limit=${limit}`);
    showJobs(jobs);
    pending = jobs.filter(jobstate.isPending).length;
    document.title = pending ? `(${pending}) emow2v: jobs` : "emow2v: jobs";
    if (isOffline) announce("");
    isOffline = false;
  } catch (error) {
    isOffline = true;
    announceError(error);
  }
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(refresh, pending ? BUSY_INTERVAL_MS : IDLE_INTERVAL_MS);
}

function showJobs(jobs) {
  const ids = new Set(jobs.map((job) => job.id));
  for (const [id, row] of rows) if (!ids.has(id)) removeRow(id, row);
  jobs.forEach((job, place) => {
    let row = rows.get(job.id);
    if (row && row.job.posted !== job.posted) {
      removeRow(job.id, row); // another job with the same id
      row = null;
    }
    if (!row) {
      row = makeRow(job);
      rows.set(job.id, row);
      updateRow(row, job);
    } else if (JSON.stringify(row.job) !== JSON.stringify(job)) {
      announceChange(row.job, job);
      updateRow(row, job);
    }
    if (body.rows[place] !== row.element) body.insertBefore(row.element, body.rows[place] ?? null);
  });
  byId("no-jobs").hidden = jobs.length > 0;
  byId("table").hidden = jobs.length === 0;
  byId("more").hidden = jobs.length < limit;
}

function announceChange(before, job) {
  if (before.state === job.state) return;
  if (job.state === "finished") announce(`${job.name} has finished.`);
  if (job.state === "error") announce(`${job.name}: ${job.error}`, true);
  if (job.state === "canceled") announce(`${job.name} was cancelled.`);
}

function removeRow(id, row) {
  if (row.element.contains(document.activeElement)) {
    const neighbour = row.element.nextElementSibling ?? row.element.previousElementSibling;
    (neighbour?.querySelector("a, button") ?? byId("jobs")).focus();
  }
  row.element.remove();
  rows.delete(id);
  showChosen();
}

function makeRow(job) {
  const row = { job: null, cells: { name: make("td"), state: make("td"), times: make("td"), actions: make("td") } };
  row.element = make("tr", { "data-id": job.id }, ...Object.values(row.cells));
  row.model = make("div", { class: "muted" });
  row.choose = make("input", { type: "checkbox", "aria-label": `Choose ${job.name}`, hidden: true, onchange: showChosen });
  row.cells.name.append(row.choose, make("a", { href: jobstate.pagePath(job.id) }, job.name), row.model);
  row.state = make("span");
  row.bar = make("progress", { max: 1, "aria-label": `Progress of ${job.name}` });
  row.progress = make("span", { class: "muted numbers" });
  row.cells.state.append(row.state, " ", row.bar, " ", row.progress);
  row.duration = make("div", { class: "muted" });
  const posted = make("time", { datetime: job.posted, title: utcText(job.posted) }, localTimeText(job.posted));
  row.cells.times.append(posted, row.duration);
  return row;
}

function updateRow(row, job) {
  const before = row.job;
  row.job = job;
  const whose = job.id.includes(":") ? `${job.owner || "without a name"}, ` : ""; // of another name, for an administrator
  row.model.textContent = whose + (job.kind === "process" ? "DISCOVER" : job.model);
  jobstate.showState(row.state, job.state);
  row.bar.hidden = job.state !== "running";
  row.choose.hidden = job.state !== "finished" || Boolean(job.files); // a job of many recordings has a page of its own
  jobstate.showProgress(row.bar, job);
  row.progress.textContent = progressText(job);
  row.progress.title = job.state === "finished" ? (job.notices ?? []).join("\n") : "";
  row.progress.classList.toggle("sentence", job.state === "error");
  const seconds = (new Date(job.ended) - new Date(job.started)) / 1000;
  row.duration.textContent = job.started && job.ended ? `took ${durationText(seconds)}` : "";
  if (before?.state !== job.state) showActions(row, job);
}

function progressText(job) {
  if (job.files && job.state !== "error") {
    const left = job.state === "running" && job.files.seconds_left;
    const queue = job.state === "waiting" ? `, ${jobstate.queueText(job)}` : "";
    return `${jobstate.filesText(job.files)}${left ? `, about ${durationText(left)} left` : ""}${queue}`;
  }
  if (job.state === "waiting") return jobstate.queueText(job);
  if (job.state === "running") return job.expected_rows ? percentText(job.rows / job.expected_rows) : "";
  if (job.state === "error") return job.error;
  if (job.state === "canceled" && !job.rows) return "";
  const notices = job.notices?.length ? `, ${countText(job.notices.length, "notice")}` : "";
  return `${countText(job.rows, "value")}${notices}`;
}

const percentText = (part) => `${Math.floor(100 * Math.min(part, 1))} %`;

function showActions(row, job) {
  const isFinished = job.state === "finished";
  const attributes = (word, kind) => ({ class: `small ${kind}`, "aria-label": `${word}: ${job.name}` });
  const button = (word, action, kind = "") =>
    make("button", { ...attributes(word, kind), onclick: () => action(job).catch(announceError) }, word);
  const link = (word, href, more) => make("a", { ...attributes(word, "button"), href, ...more }, word);
  const hadFocus = row.cells.actions.contains(document.activeElement);
  row.cells.actions.replaceChildren(
    link(isFinished ? "View" : "Watch", jobstate.pagePath(job.id)),
    ...(jobstate.isPending(job) ? [button("Cancel", cancel)] : []),
    ...(isFinished ? [link("CSV", jobstate.jobPath(job.id, "/result?format=csv"), { download: true })] : []),
    button("Log", showLog),
    button("Erase", erase, "danger"),
  );
  if (hadFocus) row.cells.actions.firstElementChild.focus();
}

async function cancel(job) {
  await jobstate.cancelJob(job.id);
  await refresh();
}

async function showLog(job) {
  byId("log-title").textContent = `Log of ${job.name} (UTC)`;
  byId("log-text").textContent = await jobstate.requestLog(job.id);
  byId("log").showModal();
}

const ERASED = {
  batch: "the results of all its recordings, the log, and recordings that were uploaded. Files in the data folders stay",
  prediction: "the result, the log, and the recording if it was uploaded",
  process: "the log, results that were not fetched yet, and an upload that no other job uses. Files in the data folders stay",
};

async function erase(job) {
  const dialog = byId("erase");
  byId("erase-text").textContent = `${job.name}: this erases ${ERASED[job.kind]}. You cannot undo this.`;
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue !== "yes") return;
  await request(jobstate.jobPath(job.id), { method: "DELETE" });
  await refresh();
  announce(`${job.name} was erased.`);
}

/** Finished jobs that are chosen, in the order of the list. */
const chosen = () => [...body.rows].map(({ dataset }) => rows.get(dataset.id)).filter((row) => row?.choose.checked);

const MOST_CHOSEN = 200; // results that /v1/results gives at a time

/** Show what can be done with the chosen jobs. */
function showChosen() {
  const count = chosen().length;
  const ids = encodeURIComponent(chosen().map((row) => row.job.id).join());
  byId("chosen").hidden = !ids;
  const tooMany = count > MOST_CHOSEN ? `; choose at most ${MOST_CHOSEN} to save them together` : "";
  byId("chosen-count").textContent = `${countText(count, "result")} chosen${tooMany}`;
  byId("chosen-csv").hidden = count > MOST_CHOSEN;
  byId("together").href = address(`together?jobs=${ids}`);
  byId("chosen-csv").href = address(`v1/results?format=csvw&jobs=${ids}`);
}

byId("chosen-none").addEventListener("click", () => {
  for (const row of rows.values()) row.choose.checked = false;
  showChosen();
  byId("jobs").focus();
});
byId("more").addEventListener("click", () => {
  limit = Math.min(MAX_LIMIT, limit * 4);
  refresh();
});
document.addEventListener("visibilitychange", () => !document.hidden && refresh());
refresh();
