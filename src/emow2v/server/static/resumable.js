// Uploads of large files in parts (tus 1.0.0): what has come when a connection is cut is not sent again.

import { address, request, requestJSON, statusText } from "./requests.js";

export const LARGE = 8 * 2 ** 20; // bytes; smaller files are sent at once
const PIECE = 4 * 2 ** 20;
const WAITS_MS = [300, 1000, 2000, 4000, 8000, 15000]; // before the next tries
const MOST_TRIES = 40; // one after the other, without a byte that came: some ten minutes
const TUS = { "Tus-Resumable": "1.0.0", Accept: "application/json" };
const AGAIN = new Set([0, 408, 409, 423, 429, 500, 502, 503, 504]); // 0: the connection was cut

/** An answer that may be another one later. */
class Interruption extends Error {}

/**
 * Send a file, and give the id of its upload. A file that was sent in part before, also by another page, is continued.
 * @param showPart is called with the part that has come, and whether the connection is cut now
 */
export async function sendInPieces(file, showPart, signal) {
  const { id, offset: begin } = (await findUpload(file)) ?? (await createUpload(file));
  let offset = begin;
  let tries = 0;
  while (offset < file.size) {
    const before = offset;
    try {
      if (tries) {
        await pause(WAITS_MS[Math.min(tries, WAITS_MS.length) - 1], signal);
        offset = await requestOffset(id);
      }
      if (offset < file.size) offset = await sendPiece(id, file, offset, showPart, signal);
    } catch (error) {
      if (signal.aborted) await removeUpload(id);
      if (signal.aborted || !(error instanceof Interruption) || tries >= MOST_TRIES) throw error;
      showPart(offset / file.size, true);
    }
    tries = offset > before ? 0 : tries + 1;
  }
  showPart(1, false);
  return id;
}

/** An upload of the file that was begun before, and that nobody sends now. */
async function findUpload(file) {
  const same = (one) =>
    one.length === file.size && one.metadata.filename === file.name && one.metadata.modified === `${file.lastModified}`;
  return (await requestJSON("v1/uploads")).find((one) => same(one) && !one.receiving);
}

async function createUpload(file) {
  const metadata = { filename: file.name, modified: `${file.lastModified}` };
  const pairs = Object.entries(metadata).map(([key, value]) => `${key} ${base64(value)}`);
  const headers = { ...TUS, "Upload-Length": file.size, "Upload-Metadata": pairs.join() };
  const answer = await request("v1/uploads", { method: "POST", headers });
  return { id: answer.headers.get("Location").split("/").pop(), offset: 0 };
}

const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

/** How many bytes have come. */
async function requestOffset(id) {
  let answer;
  try {
    answer = await fetch(address(`v1/uploads/${id}`), { method: "HEAD", headers: TUS });
  } catch (error) {
    throw new Interruption("The server does not answer. Check that it is running.", { cause: error });
  }
  if (answer.ok) return Number(answer.headers.get("Upload-Offset"));
  throw AGAIN.has(answer.status) ? new Interruption(statusText(answer.status)) : new Error(goneText(answer.status));
}

const goneText = (status) =>
  status === 404 || status === 410 ? "The server has removed the upload. Send the recording again." : statusText(status);

/** Send a piece, and give the new offset. XMLHttpRequest reports the progress of an upload, fetch does not. */
function sendPiece(id, file, offset, showPart, signal) {
  return new Promise((resolve, reject) => {
    const piece = new XMLHttpRequest();
    const fail = () => {
      const said = piece.response?.error ?? (piece.status ? statusText(piece.status) : "The upload was interrupted.");
      reject(AGAIN.has(piece.status) ? new Interruption(said) : new Error(said));
    };
    const stop = () => piece.abort();
    piece.open("PATCH", address(`v1/uploads/${id}`));
    piece.responseType = "json";
    for (const [name, value] of Object.entries(TUS)) piece.setRequestHeader(name, value);
    piece.setRequestHeader("Upload-Offset", offset);
    piece.setRequestHeader("Content-Type", "application/offset+octet-stream");
    piece.upload.addEventListener("progress", ({ loaded }) => showPart((offset + loaded) / file.size, false));
    piece.addEventListener("load", () => {
      if (piece.status === 204) resolve(Number(piece.getResponseHeader("Upload-Offset")));
      else fail();
    });
    piece.addEventListener("error", fail);
    piece.addEventListener("abort", () => reject(new Error("The upload was stopped.")));
    piece.addEventListener("loadend", () => signal.removeEventListener("abort", stop));
    signal.addEventListener("abort", stop);
    if (signal.aborted) return reject(new Error("The upload was stopped."));
    piece.send(file.slice(offset, offset + PIECE));
  });
}

/** Wait, or reject at once when the upload is stopped. */
function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    const stop = () => {
      clearTimeout(timer);
      reject(new Error("The upload was stopped."));
    };
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
  });
}

/** Remove what has come; if the server does not answer now, it does so itself a day later. */
const removeUpload = (id) => fetch(address(`v1/uploads/${id}`), { method: "DELETE", headers: TUS }).catch(() => null);
