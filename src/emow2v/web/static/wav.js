// WAV files, read piece by piece: a recording of any length takes little memory, and its samples are those of the file.

const [INTEGERS, FLOATS, EXTENSIBLE] = [1, 3, 0xfffe]; // kinds of samples
const UNKNOWN_SIZE = 0xffffffff; // of a file that was written to a pipe, or of RF64
const RATES = [1000, 768_000]; // Hz

const text = (view, offset) => String.fromCharCode(...new Uint8Array(view.buffer, offset, 4));

async function viewOf(blob, begin, end) {
  return new DataView(await blob.slice(begin, end).arrayBuffer());
}

/** How samples of a kind become numbers of about -1..1: the type of array, the value of silence, and full scale. */
function codecOf(kind, bits) {
  if (kind === FLOATS) return { 32: [Float32Array, 0, 1], 64: [Float64Array, 0, 1] }[bits];
  if (kind !== INTEGERS) return undefined;
  return { 8: [Uint8Array, 128, 128], 16: [Int16Array, 0, 32768], 24: [null, 0, 8388608], 32: [Int32Array, 0, 2147483648] }[bits];
}

/**
 * Open a WAV file of plain samples.
 * @returns its rate (Hz), number of channels and frames, whether it `isCut`, and `mono(begin, end)`, a promise of the means over
 *   the channels of some frames; null if the file is of another kind, or has compressed samples
 */
export async function openWav(blob) {
  const head = await viewOf(blob, 0, 12);
  if (head.byteLength < 12 || !["RIFF", "RF64"].includes(text(head, 0)) || text(head, 8) !== "WAVE") return null;
  let [format, longSize] = [null, null];
  for (let place = 12; place + 8 <= blob.size; ) {
    const chunk = await viewOf(blob, place, place + 64);
    const [name, size] = [text(chunk, 0), chunk.getUint32(4, true)];
    if (name === "ds64" && chunk.byteLength >= 24) longSize = Number(chunk.getBigUint64(16, true));
    if (name === "fmt " && chunk.byteLength >= 24) format = formatOf(chunk, size);
    if (name === "data") return format && samplesOf(blob, format, place + 8, size === UNKNOWN_SIZE ? longSize : size);
    place += 8 + size + (size % 2);
  }
  return null;
}

function formatOf(chunk, size) {
  const isExtensible = chunk.getUint16(8, true) === EXTENSIBLE && size >= 40 && chunk.byteLength >= 34;
  const kind = chunk.getUint16(isExtensible ? 32 : 8, true);
  const [channels, rate] = [chunk.getUint16(10, true), chunk.getUint32(12, true)];
  const [frameBytes, bits] = [chunk.getUint16(20, true), chunk.getUint16(22, true)];
  const codec = codecOf(kind, bits);
  const isPlain = codec && channels > 0 && frameBytes === (channels * bits) / 8 && rate >= RATES[0] && rate <= RATES[1];
  return isPlain ? { codec, channels, rate, frameBytes } : null;
}

/** @param size of the samples in bytes as the file states it; null where it does not */
function samplesOf(blob, { codec, channels, rate, frameBytes }, begin, size) {
  const there = blob.size - begin;
  const frames = Math.floor(Math.min(size ?? there, there) / frameBytes);
  const mono = async (first, last) => {
    const bytes = await blob.slice(begin + first * frameBytes, begin + last * frameBytes).arrayBuffer();
    return mixed(bytes, codec, channels);
  };
  return { rate, channels, frames, isCut: size !== null && size > there, mono };
}

function mixed(bytes, [Type, silence, fullScale], channels) {
  const values = Type ? new Type(bytes) : integers24(new Uint8Array(bytes));
  const means = new Float32Array(values.length / channels);
  for (let frame = 0, place = 0; frame < means.length; frame++) {
    let sum = 0;
    for (let channel = 0; channel < channels; channel++) sum += values[place++];
    means[frame] = (sum / channels - silence) / fullScale;
  }
  return means;
}

function integers24(bytes) {
  const values = new Int32Array(bytes.length / 3);
  for (let k = 0, place = 0; k < values.length; k++, place += 3) {
    values[k] = ((bytes[place] << 8) | (bytes[place + 1] << 16) | (bytes[place + 2] << 24)) >> 8;
  }
  return values;
}
