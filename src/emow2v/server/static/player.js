// The recording and its time, which the cursor, the plane and the table follow. Without sound the time can still be moved.

import { reducedMotion } from "./elements.js";
import { request } from "./requests.js";

export class Player {
  /**
   * @param audio, video the elements; the second is for recordings with a picture
   * @param onTime is called when the time changes: with the time, and whether it was set rather than played
   * @param onPlayable is called with "" if the recording can be played, else with the reason why it cannot
   */
  constructor(audio, video, onTime, onPlayable) {
    Object.assign(this, { audio, video, media: audio, onTime, onPlayable });
    Object.assign(this, { time: 0, duration: 0, isReady: false, wasUsed: false, parts: [] });
    for (const media of [audio, video]) this.#listen(media);
  }

  #listen(media) {
    const on = (kind, action) => media.addEventListener(kind, () => media === this.media && action());
    on("play", () => {
      this.wasUsed = true;
      this.onTime(this.time, true); // the view moves to the cursor
      this.#followFrames();
    });
    for (const kind of ["timeupdate", "seeking", "pause", "ended"]) on(kind, () => this.#update());
    on("loadedmetadata", () => {
      if (media === this.video && !media.videoWidth) return this.#use(this.audio); // a video file without a picture
      this.isReady = true;
      if (this.time) media.currentTime = this.time;
    });
    on("error", () => this.#fail("This browser cannot play this kind of recording. The curves and values are complete."));
  }

  /** Load a recording, if the server has it. */
  async load(path) {
    let kind;
    try {
      const response = await request(path, { headers: { Range: "bytes=0-0" } });
      kind = response.headers.get("Content-Type") ?? "";
      await response.arrayBuffer();
    } catch (error) {
      return this.#fail(error.message);
    }
    this.path = path;
    this.#use(kind.startsWith("video/") ? this.video : this.audio);
    return this.onPlayable("");
  }

  #use(media) {
    this.#unload();
    this.media = media;
    media.hidden = false;
    media.src = this.path;
  }

  #unload() {
    this.isReady = false;
    for (const media of [this.audio, this.video]) {
      media.hidden = true;
      media.removeAttribute("src");
    }
  }

  #fail(reason) {
    this.#unload();
    this.onPlayable(reason);
  }

  get isPlaying() {
    return !this.media.paused;
  }

  /** Set the time, in seconds; times outside the recording become its beginning or end. */
  seek(time) {
    this.parts = [];
    this.#seek(time);
  }

  #seek(time) {
    this.wasUsed = true;
    this.time = Math.min(Math.max(time, 0), this.duration || this.media.duration || 0);
    if (this.isReady) this.media.currentTime = this.time;
    this.onTime(this.time, true);
  }

  /** Play or pause. */
  toggle() {
    if (!this.isReady) return;
    this.parts = [];
    if (this.isPlaying) this.media.pause();
    else this.#play();
  }

  /** Play parts of the recording, [start, end] each in seconds, one after the other, and stop. */
  playParts(parts) {
    if (!this.isReady || !parts.length) return;
    this.#seek(parts[0][0]);
    this.parts = parts;
    this.#play();
  }

  #play() {
    this.media.play().catch(() => {}); // it was paused before it began
  }

  /** At the end of a part, go to the next one; stop after the last one. */
  #endPart() {
    const [, ...next] = this.parts;
    if (next.length) {
      this.#seek(next[0][0]);
    } else {
      this.media.pause();
      this.#seek(this.parts[0][1]);
    }
    this.parts = next;
  }

  #update() {
    if (!this.isReady || this.time === this.media.currentTime) return;
    if (this.parts.length && this.media.currentTime >= this.parts[0][1]) return this.#endPart();
    this.time = this.media.currentTime;
    this.wasUsed = true;
    this.onTime(this.time, false);
  }

  #followFrames() {
    if (reducedMotion.matches) return; // "timeupdate" events come four times a second
    const step = () => {
      this.#update();
      if (this.isPlaying) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }
}
