// Which segmentation belongs to which recording: by their names, as in emow2v.speech.segmentation.

// Endings of segmentations in their order: what people make, then what programs write
const BY_HAND = ["eaf", "textgrid", "annotation"];
const BY_PROGRAMS = ["rttm", "json", "vtt", "srt", "tsv", "csv", "parquet", "txt"];
const NOVA = /^([^.]+)\..+\.[^.]+\.annotation$/i; // role.scheme.annotator.annotation

const ending = (name) => /\.([^.]*)$/.exec(name)?.[1].toLowerCase() ?? "";
const plain = (name) => name.normalize("NFC");
const stem = (name) => plain(name).replace(/\.[^.]*$/, "");
const isByHand = ({ name }) => BY_HAND.includes(ending(name));

/**
 * Sort files into recordings and segmentations, by their endings.
 * @returns recordings: files; segmentations: [{ name, files }], since NOVA keeps an annotation in two files
 */
export function sorted(files) {
  const isData = (file) => /\.annotation~$/i.test(file.name);
  const isSegmentation = (file) => [...BY_HAND, ...BY_PROGRAMS].includes(ending(file.name));
  const data = files.filter(isData);
  const segmentations = files.filter(isSegmentation).map((file) => {
    return { name: file.name, files: [file, ...data.filter((one) => one.name === `${file.name}~`)] };
  });
  for (const file of data) {
    const isKnown = segmentations.some((one) => one.files.includes(file));
    if (!isKnown) segmentations.push({ name: file.name.slice(0, -1), files: [file] });
  }
  return { recordings: files.filter((file) => !isSegmentation(file) && !isData(file)), segmentations };
}

/** Whether a segmentation is named as a recording: talk.eaf and talk.wav.eaf belong to talk.wav. */
function isNamedAs({ name }, recording) {
  const role = NOVA.exec(plain(name))?.[1];
  const isOfRole = role !== undefined && plain(recording.name).split(".")[0] === role;
  return isOfRole || [stem(recording.name), plain(recording.name)].includes(stem(name));
}

/**
 * Pair recordings with segmentations. Of several for one recording, those that people made count before those of programs.
 * @param isPair whether a single recording and a single segmentation belong together whatever their names are
 * @returns pairs: [{ recording, segmentation }], null where there is none, with the names of `others` where several that
 *   people made leave the choice open; rest: segmentations without a recording
 */
export function paired(recordings, segmentations, isPair) {
  const used = new Set();
  const pairs = recordings.map((recording) => {
    const named = isPair ? segmentations : segmentations.filter((one) => isNamedAs(one, recording));
    for (const one of named) used.add(one);
    const order = ({ name }) => BY_PROGRAMS.indexOf(ending(name)); // -1 for those that people made
    const [segmentation = null] = named.toSorted((one, other) => order(one) - order(other));
    const byHand = named.filter(isByHand);
    return { recording, segmentation, others: byHand.length > 1 ? byHand.map(({ name }) => name) : [] };
  });
  return { pairs, rest: segmentations.filter((one) => !used.has(one)) };
}
