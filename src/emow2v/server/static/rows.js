// The values of a finished job, loaded into a series.

import { jobPath } from "./jobstate.js";
import { requestJSON } from "./requests.js";

const requestRows = (id, session, first) => requestJSON(jobPath(id, `/rows?first=${first}&session=${session}`));

/** The first values of a job, as loadValues takes them; null if they cannot be had. */
export const requestFirstRows = (id, session) => requestRows(id, session, 0).catch(() => null);

/**
 * Load all values of a recording of a job.
 * @param session number of the recording in the job
 * @param early answer for the first values, if it is there; that of a job that had not finished is not used
 * @param isWanted says whether the series still belongs to this recording
 * @returns the last answer of the server, which says what else the job has; null if it is not wanted any more
 */
export async function loadValues(series, job, session, { early = null, isWanted = () => true } = {}) {
  series.clear();
  series.isTurns = Boolean(job.provenance.turns);
  series.isWhole = job.provenance.frame_step_ms === 0 && !series.isTurns;
  for (;;) {
    const answer = !series.length && early?.complete ? early : await requestRows(job.id, session, series.length);
    if (!isWanted()) return null;
    series.add(answer.rows, answer.columns);
    if (!answer.rows.length || series.length >= answer.total) return answer;
  }
}
