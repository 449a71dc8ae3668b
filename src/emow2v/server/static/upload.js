// Uploads: recordings that were dropped or chosen are sent one after the other, with their segmentations.

import { announce, announceError, byId, make, onFileDrag } from "./elements.js";
import { refresh } from "./jobs.js";
import { paired, sorted } from "./pairing.js";
import { address, predictionForm, request, requestJSON, statusText } from "./requests.js";
import { LARGE, sendInPieces } from "./resumable.js";
import { settings } from "./settings.js";

const waiting = new Map(); // segmentations whose recordings have not come yet, with their lines
let lastUpload = Promise.resolve();

/** Queue recordings that were dropped or chosen, each with its segmentation. */
function queueFiles(files) {
  const { recordings, segmentations } = sorted(files);
  const isPair = recordings.length === 1 && segmentations.length === 1;
  const { pairs, rest } = paired(recordings, isPair ? segmentations : [...waiting.keys(), ...segmentations], isPair);
  for (const pair of pairs) {
    waiting.get(pair.segmentation)?.remove();
    waiting.delete(pair.segmentation);
    queueUpload(pair);
  }
  for (const segmentation of rest) if (!waiting.has(segmentation)) waiting.set(segmentation, waitingLine(segmentation));
}

/** A line of a segmentation that waits for its recording. */
function waitingLine(segmentation) {
  const { name } = segmentation;
  const text = "says who speaks when. Drop its recording too: of the same name, or both together.";
  const remove = () => {
    line.remove();
    waiting.delete(segmentation);
  };
  const button = make("button", { class: "small", "aria-label": `Remove ${name}`, onclick: remove }, "Remove");
  const line = make("li", {}, make("span", { class: "name" }, name), make("span", { class: "muted" }, text), button);
  byId("uploads").append(line);
  announce(`${name} ${text}`);
  return line;
}

/** Queue a recording. It has a line with its progress until it is a job. */
function queueUpload({ recording, segmentation, others }) {
  const { name } = recording;
  const bar = make("progress", { max: 1, value: 0, "aria-label": `Upload of ${name}` });
  const stop = make("button", { class: "small", "aria-label": `Stop the upload of ${name}` }, "Stop");
  const progress = make("span", { class: "muted numbers" }, "waiting for the uploads before it");
  const title = make("span", { class: "name" }, segmentation ? `${name} with ${segmentation.name}` : name);
  const line = make("li", {}, title, bar, progress, stop);
  byId("uploads").append(line);
  const controller = new AbortController();
  stop.addEventListener("click", () => controller.abort());
  const showPart = (part, isCut = false) => {
    bar.value = part;
    const cut = isCut ? "; the connection was cut, the upload goes on as soon as it is back" : "";
    progress.textContent = part < 1 ? partText(part, recording.size) + cut : "sent; the server checks the recording";
  };
  const fail = (error) => {
    const close = { class: "small", "aria-label": `Remove the message about ${name}`, onclick: () => line.remove() };
    const message = make("span", { class: "error" }, error.message);
    line.replaceChildren(title, message, make("button", close, "Close"));
    announce(`${name}: ${error.message}`, true);
  };
  if (others.length) return fail(new Error(`It has several files with turns (${others.join(", ")}); expected one.`));
  const files = segmentation?.files ?? [];
  const sendIt = recording.size < LARGE ? send : sendLarge;
  lastUpload = lastUpload.then(() => sendIt(recording, files, showPart, controller.signal)).then(() => line.remove(), fail);
}

function partText(part, bytes) {
  const megabytes = (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0);
  return `${Math.floor(100 * part)} % of ${megabytes} MB`;
}

/** Send a large recording in pieces, then post its job with the files of its segmentation. */
async function sendLarge(file, segments, showPart, signal) {
  const upload = await sendInPieces(file, showPart, signal);
  const body = predictionForm({ ...settings(segments.length > 0), segments, upload });
  await request("v1/predictions", { method: "POST", body });
  announce(`${file.name} was uploaded.`);
  await refresh();
}

/** Send a recording, and the files of its segmentation. XMLHttpRequest reports the progress of an upload, fetch does not. */
function send(file, segments, showPart, signal) {
  return new Promise((resolve, reject) => {
    const rejectStopped = () => reject(new Error("The upload was stopped."));
    if (signal.aborted) return rejectStopped();
    const upload = new XMLHttpRequest();
    upload.open("POST", address("v1/predictions"));
    upload.responseType = "json";
    upload.upload.addEventListener("progress", (event) => showPart(event.loaded / (event.total || 1)));
    upload.addEventListener("load", () => {
      if (upload.status !== 202) return reject(new Error(upload.response?.error ?? statusText(upload.status)));
      announce(`${file.name} was uploaded.`);
      resolve(refresh());
    });
    upload.addEventListener("error", () => {
      const cause = "The server may have stopped, or the file may be larger than it accepts";
      reject(new Error(`The upload was interrupted. ${cause} (serve --max-upload).`));
    });
    upload.addEventListener("abort", rejectStopped);
    signal.addEventListener("abort", () => upload.abort());
    upload.send(predictionForm({ ...settings(segments.length > 0), segments }, file, file.name));
  });
}

async function showModels() {
  const models = await requestJSON("v1/models");
  const options = models.map(({ name, version, served, description }) =>
    make("option", { value: name, selected: served, title: description }, `${name} ${version}`),
  );
  byId("model").replaceChildren(...options);
  const served = models.find((model) => model.served);
  byId("served").textContent = served ? `, default model ${served.name} ${served.version} (${served.licence})` : "";
}

const AFTERWARDS = {
  yes: "",
  flac: "When its job has ended, a recording is kept as a smaller copy at 16 kHz.",
  no: "When its job has ended, a recording is removed; it cannot be heard again then.",
};

/** Say what becomes of recordings, and how full the server is where it has a limit. */
async function showDisk() {
  const disk = await requestJSON("v1/disk");
  const sentences = [AFTERWARDS[disk.keep_uploads]];
  if (disk.limit) {
    sentences.push(
      `The server keeps ${(disk.used / 1e9).toFixed(1)} of ${disk.limit / 1e9} GB.`,
      "When it is full, the oldest recordings are removed first, then the oldest jobs.",
    );
  }
  byId("disk").textContent = sentences.filter(Boolean).join(" ");
  byId("disk").hidden = !byId("disk").textContent;
}

const area = byId("drop");
byId("files").addEventListener("change", (event) => {
  queueFiles([...event.target.files]);
  event.target.value = "";
});
for (const kind of ["dragenter", "dragover"]) {
  onFileDrag(kind, (transfer) => {
    transfer.dropEffect = "copy"; // files can be dropped anywhere on this page
    area.classList.add("over");
  });
}
addEventListener("dragleave", (event) => event.relatedTarget ?? area.classList.remove("over"));
onFileDrag("drop", (transfer) => {
  area.classList.remove("over");
  queueFiles([...transfer.files]);
});
showModels().catch(announceError);
showDisk().catch(announceError);
