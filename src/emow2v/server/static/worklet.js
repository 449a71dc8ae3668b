// Runs in the browser's audio thread: passes the microphone's samples to the page in blocks of 20 ms.

class Blocks extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(Math.round(sampleRate / 50));
    this.count = 0;
    this.port.onmessage = () => {
      this.flush(); // the page stops recording
      this.port.postMessage(null); // nothing of before comes after this
    };
  }

  flush() {
    this.port.postMessage(this.block.slice(0, this.count));
    this.count = 0;
  }

  process([channels]) {
    const length = channels[0]?.length ?? 0;
    for (let k = 0; k < length; k++) {
      let sum = 0;
      for (const channel of channels) sum += channel[k];
      this.block[this.count++] = sum / channels.length;
      if (this.count === this.block.length) this.flush();
    }
    return true;
  }
}

registerProcessor("blocks", Blocks);
