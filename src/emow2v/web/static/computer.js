// The worker as the page sees it: one recording at a time.

const SCRIPT = new URL("worker.js", import.meta.url).href;

/** How many threads a page may use: one, unless the server isolates the page from other sites' (docs/browser.md). */
export const threads = () => (crossOriginIsolated ? Math.min(4, Math.ceil((navigator.hardwareConcurrency || 1) / 2)) : 1);

export class Computer {
  /** @param on functions by the kind of a message: loading, rows, wave */
  constructor(on) {
    // A worker of this kind has the page's Content-Security-Policy on every server, so it cannot send anything elsewhere, either.
    const starter = URL.createObjectURL(new Blob([`import ${JSON.stringify(SCRIPT)};`], { type: "text/javascript" }));
    Object.assign(this, { on, id: 0, worker: new Worker(starter, { type: "module" }) });
    this.worker.addEventListener("message", ({ data }) => this.#receive(data));
    this.worker.addEventListener("error", (event) => {
      event.preventDefault();
      this.#end("reject", new Error(`The computation could not be started (${event.message || "its script cannot be loaded"}); reload the page.`));
    });
  }

  /** Load the model; done when it can be used. */
  load(files, facts) {
    return this.#ask({ kind: "load", files, facts, threads: threads() });
  }

  /**
   * Compute a recording.
   * @returns null if it was cancelled, else how many seconds it took and lasts
   */
  compute(order) {
    const transfer = order.recording.samples ? [order.recording.samples.buffer] : [];
    return this.#ask({ ...order, kind: "compute", id: ++this.id }, transfer);
  }

  cancel() {
    this.worker.postMessage({ kind: "cancel" });
  }

  #ask(message, transfer = []) {
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject };
      this.worker.postMessage(message, transfer);
    });
  }

  #end(how, result) {
    this.waiting?.[how](result);
    this.waiting = null;
  }

  #receive(data) {
    if (data.id !== undefined && data.id !== this.id) return;
    if (data.kind === "error") this.#end("reject", new Error(data.message));
    else if (data.kind === "canceled") this.#end("resolve", null);
    else if (data.kind === "ready" || data.kind === "done") this.#end("resolve", data);
    else this.on[data.kind](data);
  }
}
