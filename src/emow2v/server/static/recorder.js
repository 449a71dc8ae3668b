// The microphone: blocks of 16 bit samples while it records, and afterwards all samples as a WAV file.

const BLOCKS_PER_PART = 500; // a part is a Blob, which a browser may keep on the disk
const FULL_SCALE = 32768;
const NO_PERMISSION_WITHOUT_HTTPS =
  "The browser allows the microphone only on pages with https, or on the server's own computer (http://localhost). " +
  "Open this page there, or ask the administrator to start the server with --tls-self-signed.";

export class Recorder {
  /**
   * @param onBlock is called with every block of samples, Int16Array
   * @param onEnd is called when the microphone is unplugged or its permission is withdrawn
   */
  constructor(onBlock, onEnd) {
    Object.assign(this, { onBlock, onEnd, parts: [], blocks: [], samples: 0, rate: 0 });
  }

  /** Open the microphone; throws an error with a sentence for people. */
  async open() {
    if (!isSecureContext || !navigator.mediaDevices?.getUserMedia) {
      throw new Error(NO_PERMISSION_WITHOUT_HTTPS);
    }
    try {
      // these filters are made for telephone calls; they change how aroused a voice sounds
      const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      this.stream = await navigator.mediaDevices.getUserMedia({ audio });
    } catch (error) {
      throw new Error(refusalText(error), { cause: error });
    }
    for (const track of this.stream.getTracks()) track.addEventListener("ended", () => this.onEnd());
    this.context = new AudioContext();
    this.rate = this.context.sampleRate;
    await this.context.audioWorklet.addModule(new URL("worklet.js", import.meta.url));
  }

  start() {
    this.node = new AudioWorkletNode(this.context, "blocks");
    this.node.port.onmessage = (event) => this.#add(event.data);
    this.context.createMediaStreamSource(this.stream).connect(this.node);
    this.node.connect(this.context.destination); // the node makes no sound, but runs only if it is connected
    return this.context.resume();
  }

  #add(block) {
    const toInteger = (value) => Math.max(-FULL_SCALE, Math.min(FULL_SCALE - 1, Math.round(value * FULL_SCALE)));
    const samples = Int16Array.from(block, toInteger);
    this.samples += samples.length;
    this.blocks.push(samples);
    if (this.blocks.length === BLOCKS_PER_PART) {
      this.parts.push(new Blob(this.blocks));
      this.blocks = [];
    }
    this.onBlock(samples);
  }

  /** Release the microphone. All samples before that have been passed to `onBlock` when this is done. */
  async stop() {
    this.stream?.getTracks().forEach((track) => track.stop());
    if (this.node) {
      const lastBlock = new Promise((resolve) => {
        this.node.port.onmessage = (event) => {
          if (event.data) return this.#add(event.data);
          this.node.port.onmessage = null; // blocks that come while the context closes are after the end
          return resolve();
        };
      });
      this.node.port.postMessage("flush");
      await lastBlock;
    }
    await this.context?.close();
    this.node = this.context = this.stream = null;
  }

  /** All samples as a WAV file (a blob). */
  wav() {
    const size = this.samples * 2;
    const head = new DataView(new ArrayBuffer(44));
    const text = (offset, letters) => [...letters].forEach((letter, k) => head.setUint8(offset + k, letter.charCodeAt(0)));
    text(0, "RIFF");
    head.setUint32(4, 36 + size, true);
    text(8, "WAVEfmt ");
    head.setUint32(16, 16, true);
    head.setUint16(20, 1, true); // integers
    head.setUint16(22, 1, true); // one channel
    head.setUint32(24, this.rate, true);
    head.setUint32(28, this.rate * 2, true);
    head.setUint16(32, 2, true);
    head.setUint16(34, 16, true);
    text(36, "data");
    head.setUint32(40, size, true);
    return new Blob([head, ...this.parts, ...this.blocks], { type: "audio/wav" });
  }
}

function refusalText(error) {
  return (
    {
      NotAllowedError:
        "The browser does not allow this page to use the microphone. " +
        "Allow it in the browser's address bar, then press Record again.",
      NotFoundError: "No microphone was found. Connect one, then press Record again.",
      NotReadableError: "Another program uses the microphone. Close it, then press Record again.",
    }[error.name] ??
    `The microphone could not be opened (${error.message}). Check it in another program, then press Record again.`
  );
}
