"""Readers of corpora: what MSP-Podcast, IEMOCAP, audformat databases and CSV files say of their segments."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from emow2v import storage
from emow2v.corpora.csv_manifest import Scale, parse_scale, read_manifest
from emow2v.corpora.csv_rows import number, read_rows
from emow2v.corpora.partitions import DEVELOPMENT, TEST, TRAIN, partition_of
from emow2v.corpora.segments import Segment
from emow2v.errors import FormatError
from emow2v.trajectory import DIMENSIONS

Targets = tuple[float, float, float]
Scales = str | Sequence[str] | Mapping[str, str]

_MSP_SCALE = 1.0, 7.0
_MSP_COLUMNS = {"arousal": "EmoAct", "dominance": "EmoDom", "valence": "EmoVal"}
_MSP_LABELS = ("labels_consensus.csv", "labels_concensus.csv")  # later releases, earlier ones
_IEMOCAP_SCALE = 1.0, 5.0
_IEMOCAP_LINE = re.compile(r"\[\S+ - \S+\]\s+(\S+)\s+\S+\s+\[([^,\]]+),([^,\]]+),([^,\]]+)\]")


def read_csv(path: Path, *, scale: Scales = "0:1") -> list[Segment]:
    """A CSV file as `emow2v evaluate` reads it, with a column partition if it likes.

    Args:
        scale: "1:7", or by dimension ["arousal=1:5", "valence=-3:3"] or {"arousal": "1:5"}

    Raises:
        FormatError: see `read_manifest`; a partition that is none
    """
    clips = read_manifest(path, scales=parse_scales(scale), missing_files=True)
    return [
        Segment(
            clip.file,
            clip.start,
            clip.end,
            clip.speaker,
            partition_of(f"{path}, {clip.name}", clip.partition),
            clip.ratings,
        )
        for clip in clips
    ]


def read_msp_podcast(path: Path, *, tests: str | Sequence[str] = "Test1") -> list[Segment]:
    """MSP-Podcast in the folders of its releases: audio in Audios, ratings (1 to 7) in labels_consensus.csv, or in the
    labels.txt, Partitions.txt and Speaker_ids.txt of old ones.

    Args:
        tests: which of its test sets are test; segments of the others are left out

    Raises:
        FormatError: files that a release has and this folder has not, or another form
    """
    wanted = {tests.lower()} if isinstance(tests, str) else {name.lower() for name in tests}
    audios = _beneath(path, ("audios/audio", "audios", "audio"), storage.is_folder)
    if audios is None:
        raise FormatError(f"{path} has no folder Audios; expected a release of MSP-Podcast.")
    segments = []
    for where, name, values, speaker, part in _msp_rows(path):
        if re.fullmatch(r"test.+", part.lower()):
            if part.lower() not in wanted:
                continue
            part = TEST
        targets = _scaled(values, dict.fromkeys(DIMENSIONS, _MSP_SCALE))
        known = "" if speaker.lower() == "unknown" else speaker
        segments.append(Segment(audios / name, 0.0, None, known, partition_of(where, part), targets))
    return segments


def _msp_rows(path: Path) -> Iterator[tuple[str, str, Sequence[float], str, str]]:
    """Of each segment where it stands, file, ratings, speaker and partition."""
    labels = _beneath(path, [f"{folder}{name}" for folder in ("labels/", "label/", "") for name in _MSP_LABELS])
    if labels is not None:
        for line, row in read_rows(labels, "FileName", "the columns of MSP-Podcast's consensus labels").items():
            where = f"{labels}, line {line}"
            values = [number(where, row, _MSP_COLUMNS[name]) for name in DIMENSIONS]
            yield where, row["FileName"], values, row.get("SpkrID", ""), row.get("Split_Set", "")
        return
    labels = _beneath(path, ("labels/labels.txt", "label/labels.txt", "labels.txt"))
    partitions = _beneath(path, ("partitions.txt", "labels/partitions.txt"))
    if labels is None or partitions is None:
        raise FormatError(
            f"{path} has neither Labels/labels_consensus.csv nor labels.txt and Partitions.txt; "
            "expected a release of MSP-Podcast."
        )
    parts = {fields[1]: fields[0] for _, fields in _lines(partitions) if len(fields) > 1}
    listed = _beneath(path, ("speaker_ids.txt", "labels/speaker_ids.txt"))
    speakers = {fields[0]: fields[1] for _, fields in _lines(listed) if len(fields) > 1} if listed else {}
    for line, fields in _lines(labels):
        if fields[0].lower().endswith(".wav"):  # the lines between are those of single raters
            where = f"{labels}, line {line}"
            row = {key: value for key, _, value in (field.partition(":") for field in fields[2:])}
            values = [number(where, row, name[0].upper()) for name in DIMENSIONS]
            yield where, fields[0], values, speakers.get(fields[0], ""), parts.get(fields[0], "")


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Numbers and fields of lines whose fields stand between semicolons."""
    for line, text in enumerate(_text(path).splitlines(), 1):
        if text.strip():
            yield line, [field.strip() for field in text.split(";")]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise FormatError(
            f"{path} cannot be read: {error.strerror or error}; check its name and permissions."
        ) from None


def _beneath(path: Path, names: Iterable[str], kind: Callable[[Path], bool] = storage.is_file) -> Path | None:
    """The first of `names` below `path` that is there, whatever the case of its letters."""
    for name in names:
        places = [path]
        for part in name.split("/"):
            places = [one for place in places for one in _within(place) if one.name.lower() == part]
        found = sorted(filter(kind, places))
        if found:
            return found[0]
    return None


def _within(folder: Path) -> list[Path]:
    """What lies in a folder; nothing where it is none."""
    try:
        return list(folder.iterdir()) if storage.is_folder(folder) else []
    except OSError as error:
        raise storage.unreadable(folder, error) from None


def read_iemocap(path: Path, *, test_session: int = 5, development_session: int = 4) -> list[Segment]:
    """IEMOCAP in the folders of its release: means of ratings (1 to 5) in dialog/EmoEvaluation, utterances in
    sentences/wav. Folds are sessions, each with two speakers of its own.

    Raises:
        FormatError: sessions that are none, or another form
    """
    path = path / "IEMOCAP_full_release" if storage.is_folder(path / "IEMOCAP_full_release") else path
    sessions = {int(folder.name[-1]): folder for folder in sorted(path.glob("Session[1-9]"))}
    parts = {development_session: DEVELOPMENT, test_session: TEST}
    if len(parts) < 2 or not set(parts) < set(sessions):
        raise FormatError(
            f"{path} has the sessions {', '.join(map(str, sessions)) or 'of no kind'}; expected another one "
            f"to train on than test_session {test_session} and development_session {development_session}."
        )
    return [
        segment
        for session, folder in sessions.items()
        for file in sorted((folder / "dialog" / "EmoEvaluation").glob("Ses*.txt"))
        for segment in _iemocap_dialog(file, folder / "sentences" / "wav", parts.get(session, TRAIN))
    ]


def _iemocap_dialog(file: Path, wavs: Path, partition: str) -> Iterator[Segment]:
    for line, text in enumerate(_text(file).splitlines(), 1):
        found = _IEMOCAP_LINE.match(text)
        if text.startswith("[") and not found:
            raise FormatError(
                f"{file}, line {line}: '{text[:60]}'; expected [start - end] utterance emotion [valence, arousal, "
                "dominance]."
            )
        if found:
            name = found[1]
            row = dict(
                zip(("valence", "arousal", "dominance"), (value.strip() for value in found.groups()[1:]), strict=True)
            )
            values = [number(f"{file}, line {line}", row, dimension) for dimension in DIMENSIONS]
            dialog, _, turn = name.rpartition("_")
            speaker = name[:5] + turn[:1] if turn[:1] in ("F", "M") else ""
            targets = _scaled(values, dict.fromkeys(DIMENSIONS, _IEMOCAP_SCALE))
            yield Segment(wavs / dialog / f"{name}.wav", 0.0, None, speaker, partition, targets)


def parse_scales(scale: Scales) -> dict[str, Scale]:
    """Lowest and highest rating of dimensions, from the ways to write them in a configuration.

    Raises:
        FormatError: another form
    """
    if isinstance(scale, str):
        texts: list[object] = [scale]
    elif isinstance(scale, Mapping):
        texts = [f"{name}={span}" for name, span in scale.items()]
    else:
        texts = list(scale) if isinstance(scale, Sequence) else [scale]
    if not all(isinstance(text, str) for text in texts):  # YAML reads 1:7 without quotes as minutes and seconds
        raise FormatError(f'{scale!r} is no scale; expected LOW:HIGH in quotes, such as "1:7".')
    return {name: span for text in texts for name, span in parse_scale(str(text)).items()}


def _scaled(values: Sequence[float], scales: Mapping[str, Scale]) -> Targets:
    arousal, dominance, valence = (
        (value - scales[name][0]) / (scales[name][1] - scales[name][0])
        for name, value in zip(DIMENSIONS, values, strict=True)
    )
    return arousal, dominance, valence
