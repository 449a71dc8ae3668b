// The sampling rate of a compressed recording, from its first bytes: a browser that decodes at this rate resamples nothing.

const SEARCHED_BYTES = 1 << 22; // at both ends of a file: MP4 has its description at either
const MPEG_RATES = [44100, 48000, 32000]; // of version 1; version 2 has half, 2.5 a quarter
const LIMITS = [8000, 96000]; // of what every browser decodes to

const latin = (bytes, begin, end) => String.fromCharCode(...bytes.subarray(begin, end));

/** The place of some letters, or -1. */
function placeOf(bytes, letters) {
  const codes = [...letters].map((letter) => letter.charCodeAt(0));
  for (let place = bytes.indexOf(codes[0]); place >= 0; place = bytes.indexOf(codes[0], place + 1)) {
    if (codes.every((code, k) => bytes[place + k] === code)) return place;
  }
  return -1;
}

function rateOfOgg(bytes, view) {
  if (placeOf(bytes.subarray(0, 256), "OpusHead") >= 0) return 48_000;
  const place = placeOf(bytes.subarray(0, 256), "\x01vorbis");
  return place < 0 ? NaN : view.getUint32(place + 12, true);
}

/** Of MP3: a field of its first header, behind a tag. */
function rateOfMpeg(bytes, view) {
  const tag = latin(bytes, 0, 3) === "ID3" ? 10 + [6, 7, 8, 9].reduce((size, k) => size * 128 + bytes[k], 0) : 0;
  if (tag + 4 > bytes.length || view.getUint16(tag) < 0xffe0) return NaN;
  const version = (bytes[tag + 1] >> 3) & 3;
  return MPEG_RATES[(bytes[tag + 2] >> 2) & 3] / { 3: 1, 2: 2, 0: 4 }[version];
}

/** Of MP4 with AAC: a field of the description of its track. */
function rateOfMp4(bytes, view) {
  const place = placeOf(bytes, "mp4a");
  return place < 0 || place + 30 > bytes.length ? NaN : view.getUint16(place + 28);
}

function rateIn(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (latin(bytes, 0, 4) === "fLaC" && bytes.length > 22) return view.getUint32(18) >>> 12;
  if (latin(bytes, 0, 4) === "OggS") return rateOfOgg(bytes, view);
  const mpeg = rateOfMpeg(bytes, view);
  return Number.isFinite(mpeg) ? mpeg : rateOfMp4(bytes, view);
}

/** The rate of a recording in Hz; `otherwise` where its kind is not known. */
export function rateOf(buffer, otherwise) {
  const size = Math.min(SEARCHED_BYTES, buffer.byteLength);
  const ends = [new Uint8Array(buffer, 0, size), new Uint8Array(buffer, buffer.byteLength - size)];
  const rate = ends.map(rateIn).find(Number.isFinite);
  return rate >= LIMITS[0] && rate <= LIMITS[1] ? rate : otherwise;
}
