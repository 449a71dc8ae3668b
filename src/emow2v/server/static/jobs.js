// The list of jobs: asked for again and again, and only what has changed is touched, so that neither the keyboard's place
// nor a screen reader is disturbed.

import { ask, askJSON, byId, counted, jobPath, lasting, make, say, showState, when } from "./common.js";

const SOON_MS = 700; // while something waits or runs
const LATER_MS = 3000;
const rows = new Map(); // by id: { job, element, cells }
const body = byId("table").tBodies[0];
let limit = 50;
let timer = 0;

/** Ask now, and from then on by itself. */
export async function refresh() {
  clearTimeout(timer);
  let busy = false;
  try {
    const jobs = await askJSON(`/v1/jobs?limit=${limit}`);
    show(jobs);
    const going = jobs.filter((job) => job.state === "waiting" || job.state === "running").length;
    busy = going > 0;
    document.title = busy ? `(${going}) emow2v: jobs` : "emow2v: jobs";
    if (byId("said").dataset.lost) {
      delete byId("said").dataset.lost;
      say("");
    }
  } catch (error) {
    byId("said").dataset.lost = "yes";
    say(error.message, true);
  }
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(refresh, busy ? SOON_MS : LATER_MS);
}

function show(jobs) {
  const ids = new Set(jobs.map((job) => job.id));
  for (const [id, row] of rows) if (!ids.has(id)) drop(id, row);
  jobs.forEach((job, place) => {
    let row = rows.get(job.id);
    if (row && row.job.posted !== job.posted) {
      drop(job.id, row); // another job of that id
      row = null;
    }
    if (!row) {
      row = { element: make("tr", { "data-id": job.id }), cells: {}, job: null };
      rows.set(job.id, row);
      fill(row, job);
    } else if (JSON.stringify(row.job) !== JSON.stringify(job)) {
      tell(row.job, job);
      fill(row, job);
    }
    if (body.rows[place] !== row.element) body.insertBefore(row.element, body.rows[place] ?? null);
  });
  byId("none").hidden = jobs.length > 0;
  byId("table").hidden = jobs.length === 0;
  byId("more").hidden = jobs.length < limit;
}

function tell(before, job) {
  if (before.state === job.state) return;
  if (job.state === "finished") say(`${job.name} has finished.`);
  if (job.state === "error") say(`${job.name}: ${job.error}`, true);
  if (job.state === "canceled") say(`${job.name} was cancelled.`);
}

function drop(id, row) {
  if (row.element.contains(document.activeElement)) {
    const next = row.element.nextElementSibling ?? row.element.previousElementSibling;
    (next?.querySelector("a, button") ?? byId("jobs")).focus();
  }
  row.element.remove();
  rows.delete(id);
}

function fill(row, job) {
  const before = row.job;
  row.job = job;
  if (!before) {
    row.cells = { name: make("td"), state: make("td"), times: make("td"), actions: make("td") };
    row.element.append(...Object.values(row.cells));
    row.cells.name.append(make("a", { href: `/jobs/${encodeURIComponent(job.id)}` }, job.name));
    row.cells.name.append(make("div", { class: "quiet" }, job.kind === "process" ? "DISCOVER" : (row.model = make("span"))));
    row.word = make("span");
    row.bar = make("progress", { max: 1, "aria-label": `Progress of ${job.name}` });
    row.count = make("span", { class: "quiet numbers" });
    row.cells.state.append(row.word, " ", row.bar, " ", row.count);
    row.cells.times.append(when(job.posted), (row.took = make("div", { class: "quiet" })));
  }
  if (row.model) row.model.textContent = job.model;
  showState(row.word, job.state);
  row.bar.hidden = job.state !== "running";
  if (job.expected_rows) row.bar.value = Math.min(1, job.rows / job.expected_rows);
  else row.bar.removeAttribute("value");
  row.count.textContent = progress(job);
  row.count.title = job.state === "finished" ? (job.notices ?? []).join("\n") : "";
  row.count.classList.toggle("sentence", job.state === "error");
  row.took.textContent = job.started && job.ended ? `took ${lasting((new Date(job.ended) - new Date(job.started)) / 1000)}` : "";
  if (before?.state !== job.state) actions(row, job);
}

function progress(job) {
  if (job.state === "waiting") return job.position ? `${job.position} before it` : "comes next";
  if (job.state === "running") return job.expected_rows ? `${Math.floor((100 * Math.min(job.rows, job.expected_rows)) / job.expected_rows)} %` : "";
  if (job.state === "error") return job.error;
  return job.state === "finished" || job.rows ? [counted(job.rows, "value"), job.notices?.length && counted(job.notices.length, "notice")].filter(Boolean).join(", ") : "";
}

function actions(row, job) {
  const ended = job.state !== "waiting" && job.state !== "running";
  const about = `: ${job.name}`; // what a screen reader adds, since every row has the same words
  const button = (word, todo, kind = "") =>
    make("button", { class: `small ${kind}`, "aria-label": word + about, "data-action": word.toLowerCase(), onclick: () => todo(job).catch((error) => say(error.message, true)) }, word);
  const link = (word, href, more) => make("a", { class: "button small", href, "aria-label": word + about, ...more }, word);
  const had = document.activeElement?.closest("tr") === row.element && document.activeElement.closest("td") === row.cells.actions;
  row.cells.actions.replaceChildren(
    link(ended && job.state === "finished" ? "View" : "Watch", `/jobs/${encodeURIComponent(job.id)}`),
    ...(ended ? [] : [button("Cancel", cancel)]),
    ...(job.state === "finished" ? [link("CSV", jobPath(job.id, "/result?format=csv"), { download: true })] : []),
    button("Log", log),
    button("Erase", erase, "danger"),
  );
  if (had) row.cells.actions.firstElementChild.focus();
}

async function cancel(job) {
  await ask(jobPath(job.id, "/cancel"), { method: "POST" });
  await refresh();
}

async function log(job) {
  byId("log-title").textContent = `Log of ${job.name} (UTC)`;
  byId("log-text").textContent = await (await ask(jobPath(job.id, "/log"))).text();
  byId("log").showModal();
}

async function erase(job) {
  const sure = byId("sure");
  const what = job.kind === "process" ? "its log, results that wait to be fetched, and an upload that no other job uses; files that it wrote into the data folders stay" : "the recording if it was sent here, its result and its log";
  byId("sure-text").textContent = `${job.name}: this erases ${what}. It cannot be undone.`;
  sure.returnValue = "no";
  sure.showModal();
  await new Promise((resolve) => sure.addEventListener("close", resolve, { once: true }));
  if (sure.returnValue !== "yes") return;
  await ask(jobPath(job.id), { method: "DELETE" });
  await refresh();
  say(`${job.name} was erased.`);
}

byId("more").addEventListener("click", () => {
  limit = Math.min(10_000, limit * 4);
  refresh();
});
document.addEventListener("visibilitychange", () => !document.hidden && refresh());
refresh();
