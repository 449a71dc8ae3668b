"""Reader of MSP-Podcast in the folders of its releases."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from emow2v import storage
from emow2v.corpora.clip import Clip
from emow2v.corpora.csv_rows import number, read_lines, read_rows
from emow2v.corpora.partitions import TEST, partition_of
from emow2v.corpora.scales import rescaled
from emow2v.errors import FormatError
from emow2v.trajectory import DIMENSIONS

_SCALE = 1.0, 7.0
_COLUMNS = {"arousal": "EmoAct", "dominance": "EmoDom", "valence": "EmoVal"}
_LABELS = ("labels_consensus.csv", "labels_concensus.csv")  # later releases, earlier ones


@dataclass(frozen=True)
class _Row:
    """What a release says of a clip; `where` is the line that says it."""

    where: str
    name: str
    ratings: Sequence[float]
    speaker: str
    partition: str


def read_msp_podcast(path: Path, *, tests: str | Sequence[str] = "Test1") -> list[Clip]:
    """A release: audio in Audios, ratings (1 to 7) in labels_consensus.csv, or in the labels.txt, Partitions.txt and
    Speaker_ids.txt of the first releases.

    Args:
        tests: the test sets that become the partition test; clips of the others are left out

    Raises:
        FormatError: a file that every release has is not there, or has another form
    """
    names = {tests.lower()} if isinstance(tests, str) else {name.lower() for name in tests}
    audios = _beneath(path, ("audios/audio", "audios", "audio"), storage.is_folder)
    if audios is None:
        raise FormatError(f"{path} has no folder Audios; expected a release of MSP-Podcast.")
    clips = []
    for row in _rows(path):
        partition = row.partition
        if re.fullmatch(r"test.+", partition.lower()):
            if partition.lower() not in names:
                continue
            partition = TEST
        clips.append(
            Clip(
                file=audios / row.name,
                name=row.name,
                speaker="" if row.speaker.lower() == "unknown" else row.speaker,
                ratings=rescaled(row.ratings, _SCALE),
                partition=partition_of(row.where, partition),
            )
        )
    return clips


def _rows(path: Path) -> Iterator[_Row]:
    labels = _beneath(path, [f"{folder}{name}" for folder in ("labels/", "label/", "") for name in _LABELS])
    if labels is not None:
        for line, row in read_rows(labels, "FileName", "the columns of MSP-Podcast's consensus labels").items():
            where = f"{labels}, line {line}"
            ratings = [number(where, row, _COLUMNS[name]) for name in DIMENSIONS]
            yield _Row(where, row["FileName"], ratings, row.get("SpkrID", ""), row.get("Split_Set", ""))
        return
    labels = _beneath(path, ("labels/labels.txt", "label/labels.txt", "labels.txt"))
    partitions = _beneath(path, ("partitions.txt", "labels/partitions.txt"))
    if labels is None or partitions is None:
        raise FormatError(
            f"{path} has neither Labels/labels_consensus.csv nor labels.txt and Partitions.txt; "
            "expected a release of MSP-Podcast."
        )
    partition_by_name = {fields[1]: fields[0] for _, fields in _fields(partitions) if len(fields) > 1}
    listed = _beneath(path, ("speaker_ids.txt", "labels/speaker_ids.txt"))
    speaker_by_name = {fields[0]: fields[1] for _, fields in _fields(listed) if len(fields) > 1} if listed else {}
    for line, fields in _fields(labels):
        name = fields[0]
        if name.lower().endswith(".wav"):  # the lines between are those of single raters
            where = f"{labels}, line {line}"
            row = {key: value for key, _, value in (field.partition(":") for field in fields[2:])}
            ratings = [number(where, row, dimension[0].upper()) for dimension in DIMENSIONS]
            yield _Row(where, name, ratings, speaker_by_name.get(name, ""), partition_by_name.get(name, ""))


def _fields(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Numbers of lines, and their fields, which stand between semicolons."""
    for line, text in enumerate(read_lines(path), 1):
        if text.strip():
            yield line, [field.strip() for field in text.split(";")]


def _beneath(path: Path, names: Iterable[str], is_kind: Callable[[Path], bool] = storage.is_file) -> Path | None:
    """The first of `names` below `path` that exists, whatever the case of its letters."""
    for name in names:
        places = [path]
        for part in name.split("/"):
            places = [entry for place in places for entry in _entries(place) if entry.name.lower() == part]
        matches = sorted(filter(is_kind, places))
        if matches:
            return matches[0]
    return None


def _entries(folder: Path) -> list[Path]:
    """The entries of a folder; none where it is no folder."""
    try:
        return list(folder.iterdir()) if storage.is_folder(folder) else []
    except OSError as error:
        raise storage.unreadable(folder, error) from None
