// The microphone: 16 bit samples as they come, and afterwards all of them as a WAV file.

const PIECE = 500; // blocks that become one Blob, which a browser may put on the disk

export class Recorder {
  /**
   * @param heard is called with every block, Int16Array
   * @param lost is called when the microphone goes away
   */
  constructor(heard, lost) {
    Object.assign(this, { heard, lost, parts: [], blocks: [], samples: 0, rate: 0 });
  }

  /** Open the microphone; throws an error with a sentence for people. */
  async open() {
    if (!isSecureContext || !navigator.mediaDevices?.getUserMedia) {
      throw new Error("Browsers give the microphone only to pages of this computer (http://localhost) or with https; start the server with --tls-self-signed, or open the page on the computer it runs on.");
    }
    try {
      // what makes a telephone call pleasant changes how aroused a voice sounds
      const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      this.stream = await navigator.mediaDevices.getUserMedia({ audio });
    } catch (error) {
      throw new Error(refused(error), { cause: error });
    }
    for (const track of this.stream.getTracks()) track.addEventListener("ended", () => this.lost());
    this.context = new AudioContext();
    this.rate = this.context.sampleRate;
    await this.context.audioWorklet.addModule("/static/worklet.js");
  }

  start() {
    this.tap = new AudioWorkletNode(this.context, "tap");
    this.tap.port.onmessage = (event) => this.#take(event.data);
    this.context.createMediaStreamSource(this.stream).connect(this.tap);
    this.tap.connect(this.context.destination); // it gives no sound; without a listener it would not run
    return this.context.resume();
  }

  #take(block) {
    const rounded = new Int16Array(block.length);
    for (let k = 0; k < block.length; k++) rounded[k] = Math.max(-32768, Math.min(32767, Math.round(block[k] * 32768)));
    this.samples += rounded.length;
    this.blocks.push(rounded);
    if (this.blocks.length === PIECE) {
      this.parts.push(new Blob(this.blocks));
      this.blocks = [];
    }
    this.heard(rounded);
  }

  /** Let go of the microphone; what was heard until then has been handed on when this is done. */
  async stop() {
    if (this.tap) {
      const last = new Promise((resolve) => {
        const take = this.tap.port.onmessage;
        this.tap.port.onmessage = (event) => {
          take(event);
          this.tap.port.onmessage = null; // what comes while the context closes is of no stream any more
          resolve();
        };
      });
      this.stream.getTracks().forEach((track) => track.stop());
      this.tap.port.postMessage("flush");
      await last;
    }
    this.stream?.getTracks().forEach((track) => track.stop());
    await this.context?.close();
    this.tap = this.context = this.stream = null;
  }

  wav() {
    const size = this.samples * 2;
    const head = new DataView(new ArrayBuffer(44));
    const text = (at, letters) => [...letters].forEach((letter, k) => head.setUint8(at + k, letter.charCodeAt(0)));
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

function refused(error) {
  return (
    {
      NotAllowedError: "The browser was told not to give the microphone to this page; allow it beside the address, and press Record again.",
      NotFoundError: "There is no microphone; plug one in, and press Record again.",
      NotReadableError: "The microphone is in use by another program; close that, and press Record again.",
    }[error.name] ?? `The microphone cannot be used (${error.message}).`
  );
}
