// The recording and the time that everything follows; where nothing can be played the time can be moved all the same.

import { ask, calm } from "./common.js";

export class Player {
  /**
   * @param audio, video the elements; recordings with a picture take the second
   * @param moved is called with the time whenever it is another, and whether somebody sent it there
   * @param mute takes a sentence where the recording cannot be heard
   */
  constructor(audio, video, moved, mute) {
    Object.assign(this, { audio, video, media: audio, moved, mute, time: 0, duration: 0, heard: false, touched: false });
    for (const media of [audio, video]) this.#listen(media);
  }

  #listen(media) {
    const on = (kind, todo) => media.addEventListener(kind, () => media === this.media && todo());
    on("play", () => {
      this.touched = true;
      this.moved(this.time, true); // what plays is seen: a cursor outside the part that is shown takes it along
      this.#run();
    });
    for (const kind of ["timeupdate", "seeking", "pause", "ended"]) on(kind, () => this.#tell());
    on("loadedmetadata", () => {
      if (media === this.video && !media.videoWidth) return this.#use(this.audio); // sound in a container for films
      this.heard = true;
      if (this.time) media.currentTime = this.time;
    });
    on("error", () => this.#fail("This browser cannot play a recording of this kind; the curves can be read all the same."));
  }

  /** Load a recording, if it is there. */
  async load(path) {
    let kind;
    try {
      const answer = await ask(path, { headers: { Range: "bytes=0-0" } });
      kind = answer.headers.get("Content-Type") ?? "";
      await answer.arrayBuffer();
    } catch (error) {
      return this.#fail(error.message);
    }
    this.path = path;
    this.#use(kind.startsWith("video/") ? this.video : this.audio);
    return this.mute("");
  }

  #use(media) {
    this.#still();
    this.media = media;
    media.hidden = false;
    media.src = this.path;
  }

  #still() {
    this.heard = false;
    for (const media of [this.audio, this.video]) {
      media.hidden = true;
      media.removeAttribute("src");
    }
  }

  #fail(sentence) {
    this.#still();
    this.mute(sentence);
  }

  seek(time) {
    this.touched = true;
    this.time = Math.min(Math.max(time, 0), this.duration || this.media.duration || 0);
    if (this.heard) this.media.currentTime = this.time;
    this.moved(this.time, true);
  }

  toggle() {
    if (!this.heard) return;
    if (this.media.paused) this.media.play().catch(() => {}); // stopped before it began
    else this.media.pause();
  }

  #tell() {
    if (!this.heard || this.time === this.media.currentTime) return;
    this.time = this.media.currentTime;
    this.touched = true;
    this.moved(this.time, false);
  }

  #run() {
    if (calm.matches) return; // then it goes on with timeupdate, four times a second
    const step = () => {
      this.#tell();
      if (!this.media.paused) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }
}
