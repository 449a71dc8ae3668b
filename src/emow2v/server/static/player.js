// The recording and the time that everything follows; where nothing can be played the time can be moved all the same.

import { ask, calm } from "./common.js";

export class Player {
  /**
   * @param audio the element
   * @param moved is called with the time whenever it is another, and whether it plays
   * @param mute takes a sentence where the recording cannot be heard
   */
  constructor(audio, moved, mute) {
    Object.assign(this, { audio, moved, mute, time: 0, duration: 0, heard: false });
    audio.addEventListener("play", () => this.#run());
    for (const kind of ["timeupdate", "seeking", "pause", "ended"]) {
      audio.addEventListener(kind, () => this.#tell());
    }
    audio.addEventListener("loadedmetadata", () => {
      this.heard = true;
      if (this.time) audio.currentTime = this.time;
    });
    audio.addEventListener("error", () => this.#fail("This browser cannot play a recording of this kind; the curves can be read all the same."));
  }

  /** Load a recording, if it is there. */
  async load(path) {
    this.heard = false;
    try {
      await (await ask(path, { headers: { Range: "bytes=0-0" } })).arrayBuffer();
    } catch (error) {
      return this.#fail(error.message);
    }
    this.audio.hidden = false;
    this.audio.src = path;
    return this.mute("");
  }

  #fail(sentence) {
    this.heard = false;
    this.audio.hidden = true;
    this.mute(sentence);
  }

  seek(time) {
    this.time = Math.min(Math.max(time, 0), this.duration || this.audio.duration || 0);
    if (this.heard) this.audio.currentTime = this.time;
    this.moved(this.time, false);
  }

  toggle() {
    if (!this.heard) return;
    if (this.audio.paused) this.audio.play();
    else this.audio.pause();
  }

  #tell() {
    if (!this.heard) return;
    this.time = this.audio.currentTime;
    this.moved(this.time, !this.audio.paused);
  }

  #run() {
    if (calm.matches) return; // then it goes on with timeupdate, four times a second
    const step = () => {
      this.#tell();
      if (!this.audio.paused) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }
}
