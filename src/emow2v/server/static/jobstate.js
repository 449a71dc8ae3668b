// A job: its addresses, its state in words, its progress.

import { setText } from "./elements.js";
import { address, request } from "./requests.js";
import { countText } from "./texts.js";

const STATES = { waiting: "waiting", running: "running", finished: "finished", error: "failed", canceled: "cancelled" };

export const jobPath = (id, rest = "") => address(`v1/jobs/${encodeURIComponent(id)}${rest}`);
export const pagePath = (id) => address(`jobs/${encodeURIComponent(id)}`);

/** Whether a job waits or runs. */
export const isPending = (job) => job.state === "waiting" || job.state === "running";

/** Show the state as a word with a mark; the class sets the mark's shape and colour. */
export function showState(element, state) {
  setText(element, STATES[state]);
  element.className = `state ${state}`;
}

/** Fill a progress bar; one without a value moves to and fro where the total is unknown. */
export function showProgress(bar, job) {
  if (job.files) bar.value = (job.files.done + job.files.failed) / job.files.all;
  else if (job.expected_rows) bar.value = Math.min(1, job.rows / job.expected_rows);
  else bar.removeAttribute("value");
}

/** What has become of the recordings of a job that has many. */
export function filesText({ all, done, failed }) {
  const parts = [`${done} of ${countText(all, "recording")} done`];
  if (failed) parts.push(`${failed} failed`);
  return parts.join(", ");
}

/** How many jobs a waiting job has before it. */
export const queueText = (job) =>
  job.position ? `${countText(job.position, "job")} before it` : "next in the queue";

export const cancelJob = (id) => request(jobPath(id, "/cancel"), { method: "POST" });

export const requestLog = async (id) => (await request(jobPath(id, "/log"))).text();
