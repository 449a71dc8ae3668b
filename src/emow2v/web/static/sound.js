// The sound of a file: of WAV files the worker reads the samples itself; other kinds are decoded by the browser.

import { rateOf } from "./rates.js";
import { openWav } from "./wav.js";

export const MAX_DECODED_MIN = 30; // a browser holds the whole recording in memory while it decodes it: 0.7 GB for this
const MAX_DECODED_BYTES = 1e9;
const DECODED_RATE = 48_000; // Hz, of kinds whose own rate is not known
const MIX_SAMPLES = 1 << 20; // between two chances for the page to react
const METADATA_MS = 10_000;

/**
 * @returns `recording` for the worker, `facts` for a provenance, and `notices` for people
 * @throws an error with a sentence for people
 */
export async function soundOf(file) {
  if (!file.size) throw new Error(`${file.name} is empty; expected a recording.`);
  const wav = await openWav(file);
  if (wav) {
    const { rate, channels, isCut } = wav;
    const notices = isCut ? [`${file.name} ends early: its last part is missing. The values are those of the sound that is there.`] : [];
    const facts = { channels, channel: "mix", source_sampling_rate: rate, decoder: "samples of a WAV file" };
    return { recording: { file, rate }, facts, notices };
  }
  return decoded(file);
}

async function decoded(file) {
  const media = await metadata(file);
  if (file.size > MAX_DECODED_BYTES || media.minutes > MAX_DECODED_MIN) throw new Error(tooLong(file, media));
  let [buffer, rate] = [null, DECODED_RATE];
  try {
    const bytes = await file.arrayBuffer();
    rate = rateOf(bytes, DECODED_RATE); // the worker's resampler is sharper than those of browsers
    buffer = await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes);
  } catch (error) {
    throw new Error(undecodable(file, media, error), { cause: error });
  }
  const minutes = buffer.length / rate / 60;
  if (minutes > MAX_DECODED_MIN) throw new Error(tooLong(file, { minutes }));
  const facts = { channels: buffer.numberOfChannels, channel: "mix", decoder: `the browser, at ${rate} Hz` };
  const notices = ["The browser decoded this recording. Of compressed files, emow2v predict may give slightly other values."];
  return { recording: { samples: await mixed(buffer), rate }, facts, notices };
}

/** What the browser finds at the beginning of a file: whether it knows the kind, a picture, and minutes (NaN: unknown). */
function metadata(file) {
  const media = document.createElement("video");
  const url = URL.createObjectURL(file);
  return new Promise((resolve) => {
    const end = (isKnown) => {
      resolve({ isKnown, hasPicture: media.videoWidth > 0, minutes: media.duration / 60 });
      media.removeAttribute("src");
      URL.revokeObjectURL(url);
    };
    media.addEventListener("loadedmetadata", () => end(true));
    media.addEventListener("error", () => end(false));
    setTimeout(() => end(false), METADATA_MS);
    media.preload = "metadata";
    media.src = url;
  });
}

const REMEDY = "convert it to WAV, which may be of any length here, or use emow2v predict";

function tooLong(file, { minutes }) {
  const found = Number.isFinite(minutes) ? `lasts ${minutes.toFixed(0)} min` : `has ${(file.size / 1e6).toFixed(0)} MB`;
  return `${file.name} ${found}, too much for this browser to decode at once; expected at most ${MAX_DECODED_MIN} min: ${REMEDY}.`;
}

function undecodable(file, { isKnown, hasPicture }, error) {
  if (error instanceof RangeError || error.name === "NotReadableError") {
    return `${file.name} does not fit into the browser's memory, or cannot be read any more: ${REMEDY}.`;
  }
  if (hasPicture) return `${file.name} has a picture, but no sound that this browser can decode; expected sound: ${REMEDY}.`;
  if (isKnown) return `${file.name} has no sound that this browser can decode, or is damaged: ${REMEDY}.`;
  return `${file.name} is no recording, or of a kind that this browser cannot decode: ${REMEDY}.`;
}

/** The mean of the channels. */
async function mixed(buffer) {
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, channel) => buffer.getChannelData(channel));
  const means = new Float32Array(buffer.length);
  for (let begin = 0; begin < means.length; begin += MIX_SAMPLES) {
    const end = Math.min(means.length, begin + MIX_SAMPLES);
    for (let k = begin; k < end; k++) {
      let sum = 0;
      for (const channel of channels) sum += channel[k];
      means[k] = sum / channels.length;
    }
    await new Promise((resolve) => setTimeout(resolve));
  }
  return means;
}
