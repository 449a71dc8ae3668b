// The values of a finished job, loaded into a series.

import { jobPath } from "./jobstate.js";
import { requestJSON } from "./requests.js";

/**
 * Load all values of a recording of a job.
 * @param session number of the recording in the job
 * @returns the last answer of the server, which says what else the job has
 */
export async function loadValues(series, job, session) {
  series.clear();
  series.isTurns = Boolean(job.provenance.turns);
  series.isWhole = job.provenance.frame_step_ms === 0 && !series.isTurns;
  for (;;) {
    const answer = await requestJSON(jobPath(job.id, `/rows?first=${series.length}&session=${session}`));
    series.add(answer.rows, answer.columns);
    if (!answer.rows.length || series.length >= answer.total) return answer;
  }
}
