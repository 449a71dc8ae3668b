// Requests to the server. Errors have the server's own sentence.

const BASE = new URL("../", import.meta.url); // a proxy may show the server below any path

/** The address of a route, from its path below the server's own, as v1/jobs. */
export const address = (path) => new URL(path, BASE).href;

/** Ask for a route and return the response. */
export async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(address(path), { headers: { Accept: "application/json" }, ...options });
  } catch (error) {
    throw new Error("The server does not answer. Check that it is running.", { cause: error });
  }
  if (!response.ok) throw new Error(await errorText(response));
  return response;
}

export const requestJSON = async (path, options) => (await request(path, options)).json();

async function errorText(response) {
  if (response.status === 401) return "The access token is missing or has expired. Reload this page and enter it.";
  const content = await response.json().catch(() => null);
  return content?.error ?? statusText(response.status);
}

/** A sentence for an answer that has none of its own. */
export const statusText = (status) => `The server answered with the HTTP status ${status}; expected 200. Its log says more.`;

/**
 * The form of a prediction that is answered with its job at once, and leaves silence out.
 * @param fields by their names; one that is a list comes as often as it has elements
 * @param file, name of a recording to send; without them a field names a recording of the server
 */
export function predictionForm(fields, file = null, name = "") {
  const form = batchForm({ ...fields, wait: "false" });
  if (file) form.append("file", file, name);
  return form;
}

/** The form of a job of many recordings, which leaves silence out, too. */
export function batchForm(fields) {
  const form = new FormData();
  for (const [field, value] of Object.entries({ ...fields, speech: "true" })) {
    for (const one of [value].flat()) form.append(field, one);
  }
  return form;
}
