// Recordings that are dropped or chosen, sent one after the other.

import { askJSON, byId, make, say } from "./common.js";
import { refresh } from "./jobs.js";

const FIELDS = ["model", "unit", "frame_step", "left_context", "right_context", "context", "track", "channel"];
let last = Promise.resolve();

/** Queue files; each gets a line with its progress until it has become a job. */
function take(files) {
  for (const file of files) {
    const bar = make("progress", { max: 1, value: 0, "aria-label": `Upload of ${file.name}` });
    const stop = make("button", { class: "small", "aria-label": `Stop the upload of ${file.name}` }, "Stop");
    const count = make("span", { class: "quiet numbers" }, "waits for its turn");
    const line = make("li", {}, make("span", { class: "name" }, file.name), bar, count, stop);
    byId("uploads").append(line);
    const controller = new AbortController();
    stop.addEventListener("click", () => controller.abort());
    last = last.then(() => send(file, told(bar, count, file.size), controller.signal)).then(
      () => line.remove(),
      (error) => {
        bar.remove();
        count.remove();
        stop.replaceWith(make("span", { class: "bad" }, error.message), make("button", { class: "small", "aria-label": `Forget ${file.name}`, onclick: () => line.remove() }, "Close"));
        say(`${file.name}: ${error.message}`, true);
      },
    );
  }
}

/** Shows how much of a file has been sent; the server looks into it before it answers. */
function told(bar, count, size) {
  return (part) => {
    bar.value = part;
    count.textContent = part < 1 ? `${Math.floor(100 * part)} % of ${(size / 1e6).toFixed(size < 1e7 ? 1 : 0)} MB` : "sent, being looked into";
  };
}

/** XMLHttpRequest, since fetch does not say how far an upload is. */
function send(file, sent, signal) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(new Error("stopped"));
    const form = new FormData();
    for (const name of FIELDS) form.append(name, byId(name).value);
    form.append("wait", "false");
    form.append("file", file);
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/predictions");
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => sent(event.loaded / (event.total || 1)));
    request.addEventListener("load", () => {
      if (request.status !== 202) return reject(new Error(request.response?.error ?? `The server answered ${request.status}.`));
      say(`${file.name} was sent.`);
      resolve(refresh());
    });
    request.addEventListener("error", () => reject(new Error("The upload broke off; is the server still running, and the file not larger than it takes?")));
    request.addEventListener("abort", () => reject(new Error("stopped")));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

async function models() {
  const known = await askJSON("/v1/models");
  const served = known.find((one) => one.served);
  byId("model").replaceChildren(...known.map((one) => make("option", { value: one.name, selected: one.served, title: one.description }, `${one.name} ${one.version}`)));
  byId("served").textContent = served ? `serves ${served.name} ${served.version} (${served.licence})` : "";
}

const drop = byId("drop");
byId("files").addEventListener("change", (event) => {
  take([...event.target.files]);
  event.target.value = "";
});
for (const kind of ["dragover", "dragenter"]) {
  addEventListener(kind, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault(); // anywhere on the page, so that nobody has to aim
    event.dataTransfer.dropEffect = "copy";
    drop.classList.add("over");
  });
}
addEventListener("dragleave", (event) => event.relatedTarget ?? drop.classList.remove("over"));
addEventListener("drop", (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  drop.classList.remove("over");
  take([...event.dataTransfer.files]);
});
models().catch((error) => say(error.message, true));
