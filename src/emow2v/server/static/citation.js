// The dialog that says how to cite a result: a methods paragraph and BibTeX entries, both made by the server.

import { announceError, byId, saveFile } from "./elements.js";
import { requestJSON } from "./requests.js";

/**
 * Connect the button "Cite this result" with its dialog.
 * @param path address of the citation
 * @param stem gives the name of the .bib file without its ending
 */
export function addCitation(path, stem) {
  byId("cite").addEventListener("click", async () => {
    try {
      const { methods, bibtex } = await requestJSON(path);
      byId("methods").textContent = methods;
      byId("bibtex").textContent = bibtex;
    } catch (error) {
      return announceError(error);
    }
    byId("copied").textContent = "";
    byId("citation").showModal();
  });
  byId("copy-methods").addEventListener("click", () => copy(byId("methods"), "The methods paragraph was copied."));
  byId("copy-bibtex").addEventListener("click", () => copy(byId("bibtex"), "The references were copied."));
  byId("save-bibtex").addEventListener("click", () => {
    const text = `${byId("bibtex").textContent.trimEnd()}\n`;
    saveFile(`${stem()}.bib`, new Blob([text], { type: "application/x-bibtex" }));
  });
}

/** Copy the text of an element. Browsers may refuse that to pages without https; the text is selected then. */
async function copy(element, success) {
  getSelection().selectAllChildren(element);
  let isCopied = false;
  try {
    await navigator.clipboard.writeText(element.textContent);
    isCopied = true;
  } catch {
    isCopied = document.execCommand("copy"); // older than navigator.clipboard, works without https
  }
  byId("copied").textContent = isCopied
    ? success
    : "The browser did not copy the text. It is selected now: press Ctrl+C (on a Mac: Cmd+C).";
}
