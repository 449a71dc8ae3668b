// The dialog that says how to cite a result: a methods paragraph and BibTeX entries, both made by the server.

import { askJSON, byId, save, say } from "./common.js";

/**
 * Connect the button "Cite this result" with its dialog.
 * @param path address of the citation
 * @param stem gives the name of the .bib file without its ending
 */
export function addCitation(path, stem) {
  byId("cite").addEventListener("click", async () => {
    try {
      const { methods, bibtex } = await askJSON(path);
      byId("methods").textContent = methods;
      byId("bibtex").textContent = bibtex;
    } catch (error) {
      return say(error.message, true);
    }
    byId("copied").textContent = "";
    byId("citation").showModal();
  });
  byId("copy-methods").addEventListener("click", () => copy(byId("methods"), "The methods paragraph was copied."));
  byId("copy-bibtex").addEventListener("click", () => copy(byId("bibtex"), "The references were copied."));
  byId("save-bibtex").addEventListener("click", () => {
    save(`${stem()}.bib`, new Blob([`${byId("bibtex").textContent.trimEnd()}\n`], { type: "application/x-bibtex" }));
  });
}

/** Copy the text of an element. Over plain http from another computer browsers refuse it; the text is then selected. */
async function copy(element, success) {
  getSelection().selectAllChildren(element);
  let copied = false;
  try {
    await navigator.clipboard.writeText(element.textContent);
    copied = true;
  } catch {
    copied = document.execCommand("copy"); // older than navigator.clipboard, and works over plain http
  }
  byId("copied").textContent = copied ? success : "The browser did not copy the text. It is selected now: press Ctrl+C (or Cmd+C).";
}
