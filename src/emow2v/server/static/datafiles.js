// Recordings of the server's data folders: folders to open, recordings to choose and compute. Nothing is changed there.

import { announce, announceError, byId, make } from "./elements.js";
import { refresh } from "./jobs.js";
import { paired } from "./pairing.js";
import { batchForm, predictionForm, request, requestJSON } from "./requests.js";
import { settings } from "./settings.js";
import { countText } from "./texts.js";

const chosen = new Map(); // recordings that are chosen, of any folder: by their paths, the path of their turns or ""

let here = ""; // the folder that is shown
let shown = ""; // the server's answer that is shown
let asked = 0; // number of the newest request: answers to older ones come too late

/**
 * Show a folder; "" are the data folders themselves.
 * @returns whether it is shown, which it is not if another one was opened meanwhile
 */
async function open(folder) {
  const number = ++asked;
  const answer = await requestJSON(`v1/files?folder=${encodeURIComponent(folder)}`);
  if (number !== asked) return false;
  byId("data").hidden = !answer.listed;
  if (!answer.listed) return false;
  const text = JSON.stringify(answer);
  if (folder === here && text === shown) return true; // a button that somebody is about to press stays
  [here, shown] = [folder, text];
  const parts = folder.split("/").filter(Boolean);
  const steps = [["Data folder", ""], ...parts.map((name, place) => [name, parts.slice(0, place + 1).join("/")])];
  byId("data-path").replaceChildren(...steps.map(([name, path], place) => {
    const isHere = place === steps.length - 1;
    return make("li", {}, make("button", { class: "link", "aria-current": isHere && "true", onclick: () => go(path) }, name));
  }));
  const folders = answer.folders.map((name) => {
    const path = folder ? `${folder}/${name}` : name;
    return make("li", {}, make("button", { class: "link", "aria-label": `Open the folder ${name}`, onclick: () => go(path) }, `${name}/`));
  });
  const { pairs } = paired(answer.files.filter((file) => !file.turns), answer.files.filter((file) => file.turns), false);
  byId("data-files").replaceChildren(...folders, ...pairs.map(fileLine));
  byId("data-folder").textContent = folder ? `Compute all of ${parts.at(-1)} as one job` : "Compute all as one job";
  byId("data-folder").disabled = !folders.length && !pairs.length;
  const isEmpty = !folders.length && !pairs.length;
  byId("data-more").textContent = isEmpty
    ? "This folder has no recordings."
    : answer.more ? "The folder has more entries than are shown here. Other programs can name them to /v1." : "";
  return true;
}

/** Open a folder, and tell people who use a keyboard or a screen reader where they are. */
const go = (folder) =>
  open(folder).then((isShown) => isShown && byId("data-path").lastElementChild.firstElementChild.focus(), announceError);

function fileLine({ recording, segmentation, others }) {
  const turns = others.length ? "" : segmentation?.path ?? "";
  const onchange = (event) => {
    if (event.target.checked) chosen.set(recording.path, turns);
    else chosen.delete(recording.path);
    showChosen();
  };
  const box = make("input", { type: "checkbox", checked: chosen.has(recording.path), onchange });
  const remark = others.length ? `, without turns: several files have them (${others.join(", ")})` : turns && `, with ${segmentation.name}`;
  const size = ` ${(recording.size / 1e6).toFixed(recording.size < 1e7 ? 1 : 0)} MB${remark}`;
  return make("li", {}, make("label", { class: "inline" }, box, " ", recording.name), make("span", { class: "muted" }, size));
}

function showChosen() {
  byId("data-compute").disabled = !chosen.size;
  byId("data-compute").textContent = chosen.size ? `Compute ${countText(chosen.size, "recording")}` : "Compute";
}

async function compute() {
  byId("data-compute").disabled = true;
  let count = 0;
  for (const [path, turns] of [...chosen]) {
    const fields = { ...settings(turns !== ""), path, ...(turns && { segments_path: turns }) };
    await request("v1/predictions", { method: "POST", body: predictionForm(fields) });
    chosen.delete(path);
    count++;
  }
  announce(`${countText(count, "recording")} ${count === 1 ? "waits" : "wait"} to be computed.`);
}

/** One job for all recordings of the folder that is shown, and of those below it. */
async function computeFolder() {
  const { tier, ...fields } = settings(false);
  const answer = await request("v1/batches", { method: "POST", body: batchForm({ ...fields, folder: here || "." }) });
  const job = await answer.json();
  announce(`${countText(job.files.all, "recording")} ${job.files.all === 1 ? "waits" : "wait"} to be computed as one job.`);
}

byId("data-folder").addEventListener("click", async () => {
  byId("data-folder").disabled = true;
  await computeFolder().catch(announceError);
  byId("data-folder").disabled = false;
  refresh();
});
byId("data-compute").addEventListener("click", async () => {
  await compute().catch(announceError);
  showChosen();
  shown = ""; // no recording is chosen any more
  open(here).catch(announceError);
  refresh();
});
byId("data").addEventListener("toggle", () => byId("data").open && open("").catch(announceError));
showChosen();
open("").catch(announceError);
