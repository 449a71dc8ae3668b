// Runs beside the page where the sound is: hands on what the microphone hears, a few hundredths of a second at a time.

class Tap extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(Math.round(sampleRate / 50));
    this.filled = 0;
    this.port.onmessage = () => this.flush(); // the page stops
  }

  flush() {
    this.port.postMessage(this.block.slice(0, this.filled));
    this.filled = 0;
  }

  process([channels]) {
    const count = channels[0]?.length ?? 0;
    for (let k = 0; k < count; k++) {
      let sum = 0;
      for (const channel of channels) sum += channel[k];
      this.block[this.filled++] = sum / channels.length;
      if (this.filled === this.block.length) this.flush();
    }
    return true;
  }
}

registerProcessor("tap", Tap);
