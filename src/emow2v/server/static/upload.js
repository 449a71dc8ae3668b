// Uploads: files that were dropped or chosen are sent one after the other.

import { announce, announceError, byId, make, onFileDrag } from "./elements.js";
import { refresh } from "./jobs.js";
import { predictionForm, requestJSON, statusText } from "./requests.js";

const FIELDS = ["model", "unit", "frame_step", "left_context", "right_context", "context", "track", "channel"];
let lastUpload = Promise.resolve();

/** Queue files. Each has a line with its progress until it is a job. */
function queueFiles(files) {
  for (const file of files) {
    const bar = make("progress", { max: 1, value: 0, "aria-label": `Upload of ${file.name}` });
    const stop = make("button", { class: "small", "aria-label": `Stop the upload of ${file.name}` }, "Stop");
    const progress = make("span", { class: "muted numbers" }, "waiting for the uploads before it");
    const line = make("li", {}, make("span", { class: "name" }, file.name), bar, progress, stop);
    byId("uploads").append(line);
    const controller = new AbortController();
    stop.addEventListener("click", () => controller.abort());
    const showPart = (part) => {
      bar.value = part;
      progress.textContent = part < 1 ? partText(part, file.size) : "sent; the server checks the recording";
    };
    const fail = (error) => {
      const close = { class: "small", "aria-label": `Remove the message about ${file.name}`, onclick: () => line.remove() };
      const message = make("span", { class: "error" }, error.message);
      line.replaceChildren(line.firstElementChild, message, make("button", close, "Close"));
      announce(`${file.name}: ${error.message}`, true);
    };
    lastUpload = lastUpload.then(() => send(file, showPart, controller.signal)).then(() => line.remove(), fail);
  }
}

function partText(part, bytes) {
  const megabytes = (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0);
  return `${Math.floor(100 * part)} % of ${megabytes} MB`;
}

/** Send a file. XMLHttpRequest reports the progress of an upload, fetch does not. */
function send(file, showPart, signal) {
  return new Promise((resolve, reject) => {
    const rejectStopped = () => reject(new Error("The upload was stopped."));
    if (signal.aborted) return rejectStopped();
    const upload = new XMLHttpRequest();
    upload.open("POST", "/v1/predictions");
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
    const fields = Object.fromEntries(FIELDS.map((name) => [name, byId(name).value]));
    upload.send(predictionForm(fields, file, file.name));
  });
}

async function showModels() {
  const models = await requestJSON("/v1/models");
  const options = models.map(({ name, version, served, description }) =>
    make("option", { value: name, selected: served, title: description }, `${name} ${version}`),
  );
  byId("model").replaceChildren(...options);
  const served = models.find((model) => model.served);
  byId("served").textContent = served ? `, default model ${served.name} ${served.version} (${served.licence})` : "";
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
