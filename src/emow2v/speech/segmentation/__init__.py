"""Readers of segmentations of other programs: one for each format, chosen by content."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from emow2v import storage
from emow2v.errors import FormatError, PathError
from emow2v.inputs import ENDINGS as RECORDINGS
from emow2v.speech.segmentation import rttm, tables, text
from emow2v.speech.segmentation.audacity import LINE as AUDACITY_LINE
from emow2v.speech.segmentation.audacity import read_audacity
from emow2v.speech.segmentation.elan import read_elan
from emow2v.speech.segmentation.praat import read_textgrid
from emow2v.speech.segmentation.ssi import read_ssi
from emow2v.speech.segmentation.subtitles import TIMES, read_srt, read_vtt
from emow2v.speech.segmentation.whisper import read_whisper
from emow2v.speech.segments import (
    BY_HAND,
    BY_PROGRAMS,
    ENDINGS,
    Segment,
    Segmentation,
    Tier,
    TierChoice,
    parse_tier,
    select_tiers,
    shift_to_recording,
)
from emow2v.storage.marks import Origin, origin_of

__all__ = ["ENDINGS", "SegmentFolder", "find_segments", "read_segments"]

_NOVA = re.compile(r"(?P<role>[^.]+)\.(?P<scheme>.+)\.[^.]+\.annotation", re.IGNORECASE | re.DOTALL)
_TEXT_READERS: dict[str, Callable[[str], Segmentation]] = {
    "textgrid": read_textgrid,
    "vtt": read_vtt,
    "srt": read_srt,
    "whisper": read_whisper,
    "audacity": read_audacity,
}
# Beginnings of WAV, AIFF, Ogg, FLAC, MP3, MPEG-4 and Matroska
_RECORDING = re.compile(
    rb"(RIFF|RF64)....WAVE|FORM....AIF[FC]|OggS\0|fLaC\0|ID3[\2-\4]\0|\xff[\xf2\xf3\xfa\xfb]|\0\0..ftyp|\x1aE\xdf\xa3",
    re.DOTALL,
)
_TABLES = {"rttm": "RTTM", "csv": "CSV", "parquet": "Parquet"}  # a table may name several recordings
_TABLE_READERS = {"rttm": rttm.read_rttm, "csv": tables.read_csv}


def read_segments(
    path: str | Path,
    tiers: Sequence[TierChoice | str] | None = None,
    *,
    recording: str | Path | None = None,
    name: str = "",
) -> Segmentation:
    """Read the segments of a file of any format.

    Args:
        path: the file; its content decides, not its ending
        tiers: names of tiers or speakers, each with a channel if one is tied to it ("VP=right"), see `select_tiers`; an empty
            sequence takes the tiers that do not depend on others; None takes everything
        recording: chooses one of several recordings in the file; times become seconds of it (TIME_ORIGIN)
        name: the file's own name, if it has another on the disk, as uploads have; for sentences, and for rules by name

    Raises:
        FormatError: the file does not exist, cannot be read or is cut off, or has no such tier or recording
    """
    path = Path(path)
    named = Path(name) if name else path
    recording = None if recording is None else Path(recording)
    with text.naming(named):
        content = text.read_bytes(path)
        kind = _kind(named, content)
        if kind != "ssi":
            segmentation = _read(kind, content, named, recording)
    if kind == "ssi":  # its errors name the file already
        segmentation = read_ssi(path, name)
    shown = storage.one_line(named.name)
    notices = tuple(f"{shown}: {notice}." for notice in segmentation.notices)
    segmentation = replace(segmentation, source=named, notices=notices)
    if recording is not None:
        segmentation = shift_to_recording(segmentation, recording)
    return segmentation if tiers is None else select_tiers(segmentation, tiers)


def _kind(path: Path, content: bytes) -> str:
    """The kind of a file, by its content and its name."""
    name = path.name.lower()
    if name.endswith((".annotation", ".annotation~")):
        return "ssi"
    head = content[:4096].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xfe\xff \t\r\n")
    if re.match(rb"(<\?xml[^>]*>\s*)?(?:<!--(?:(?!-->).)*-->\s*)*<annotation[\s>]", head, re.DOTALL):
        return "ssi"
    if head.startswith(b"<") or name.endswith(".eaf"):
        return "elan"
    if head.startswith(b"ooBinaryFile"):
        raise FormatError("it is a binary file of Praat; expected text; open it in Praat and save it as text file")
    if content.startswith(b"PAR1"):
        return "parquet"
    if _RECORDING.match(content):
        raise FormatError("it is a recording, no file with turns; expected a file with segments; choose another")
    if re.match(rb"\x80[\x02-\x0a]", content) or name.endswith((".pkl", ".pickle")):
        raise FormatError(
            "it is a pickle of Python, which may run any program when it is read; expected a table; save it with audformat's "
            "storage_format='csv' or 'parquet', or with to_csv of pandas"
        )
    if head.startswith((b"PK\3\4", b"\xd0\xcf\x11\xe0")):
        raise FormatError("it is a workbook or an archive; expected text; save a sheet as CSV (UTF-8)")
    if b"ooTextFile" in head[:100] or head.startswith(b'"Praat chronological') or name.endswith(".textgrid"):
        return "textgrid"
    if head.startswith(b"WEBVTT") or name.endswith(".vtt"):
        return "vtt"
    if head.startswith((b"{", b"[")) and not re.match(rb"\[[^\]\n]*\]\s*[:;,\t]", head):
        return "whisper"
    first = next(
        (line for line in head.decode("latin-1").splitlines() if line.strip() and not line.startswith(";;")), ""
    )
    fields = first.split()
    if name.endswith(".rttm") or (len(fields) > 3 and fields[0].upper() in rttm.TYPES):
        return "rttm"
    if AUDACITY_LINE.fullmatch(first):
        return "audacity"
    if TIMES.search(head.decode("latin-1")) or name.endswith(".srt"):
        return "srt"
    return {".json": "whisper"}.get(path.suffix.lower(), "csv")


def _read(kind: str, content: bytes, path: Path, recording: Path | None) -> Segmentation:
    if kind == "elan":
        return read_elan(content)
    words, notice = ("", "") if kind == "parquet" else text.decode(content)
    if kind in _TABLES:
        rows, notices = tables.read_parquet(content) if kind == "parquet" else _TABLE_READERS[kind](words)
        segments, alias = _of_recording(rows, path, recording)
        notices += [*tables.open_ends_notices(segments), *([alias] if alias else [])]
        names = dict.fromkeys(segment.tier for segment in segments if segment.tier)
        segmentation = Segmentation(tuple(segments), _TABLES[kind], tuple(map(Tier, names)), notices=tuple(notices))
    else:
        segmentation = _TEXT_READERS[kind](words)
    return segmentation.with_notices(notice) if notice else segmentation


def _of_recording(rows: Sequence[tuple[str, Segment]], path: Path, recording: Path | None) -> tuple[list[Segment], str]:
    """The segments of one recording of a table, and a notice if the table has another name for it.

    Raises:
        FormatError: the table names several recordings, or another one
    """
    names = list(dict.fromkeys(name for name, _ in rows if name))
    if recording is None or not names:
        if len(names) > 1:
            raise FormatError(
                f"it names {storage.counted(len(names), 'recording')} ({storage.shown(names[0])} ...); expected one, or the "
                "recording that is meant"
            )
        return [segment for _, segment in rows], ""
    match = _best(names, recording)
    if (
        match is None
        and len(names) == 1
        and _composed(path.stem) in (_composed(recording.stem), _composed(recording.name))
    ):
        # talk.rttm belongs to talk.wav also if it names "waveform", as some programs call every recording
        notice = (
            f"it names {storage.shown(names[0])} and is taken for {storage.one_line(recording.name)} by its own name"
        )
        return [segment for _, segment in rows], notice
    if match is None:
        raise FormatError(
            f"it has no turn of {storage.one_line(recording.name)}; it names {storage.shown(names[0])}"
            f"{' and others' if len(names) > 1 else ''}; expected the recording's name in it, or as the file's own"
        )
    return [segment for name, segment in rows if name == match], ""


def _best(names: Sequence[str], recording: Path) -> str | None:
    """The name of a recording in a table: its path, file name or stem; of several the one with most folders in common."""
    *folders, file = map(_composed, recording.parts or ("",))
    best: tuple[tuple[int, int], str] | None = None
    for name in names:
        *above, last = map(_composed, PurePosixPath(name.replace("\\", "/")).parts or ("",))
        if last == file:
            likeness = 2
        elif last == _composed(recording.stem) or (
            _stem(last) == _stem(file) and PurePosixPath(last).suffix.lower() in RECORDINGS
        ):
            likeness = 1
        else:
            continue
        same = _alike(above, folders)
        if best is None or (same, likeness) > best[0]:
            best = (same, likeness), name
    return best and best[1]


def _alike(folders: Sequence[str], others: Sequence[str]) -> int:
    """Number of names that two paths have in common, counted from their ends."""
    same = 0
    while same < min(len(folders), len(others)) and folders[-1 - same] == others[-1 - same]:
        same += 1
    return same


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _composed(name: str) -> str:
    """A name whose letters are composed with their accents (NFC); names from macOS have them apart."""
    return unicodedata.normalize("NFC", name)


def find_segments(folder: str | Path, recording: str | Path) -> Path | None:
    """Find the file of a folder that belongs to a recording, see `SegmentFolder`."""
    return SegmentFolder(folder).find(recording)


class SegmentFolder:
    """A folder with files of segments, also in folders below it. Each is named as its recording: talk.eaf for talk.wav.

    Annotations of NOVA, role.scheme.annotator.annotation, belong to role.wav, role.audio.mp4 and other recordings of that
    role.

    Raises:
        FormatError: the folder does not exist
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not storage.is_folder(self.folder):
            raise FormatError(f"{storage.shown(self.folder)} is no folder; expected one with files of segments.")
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        self._by_role: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(self.folder.rglob("*")):
            if path.suffix.lower() in ENDINGS and not path.name.startswith("."):
                self._by_stem[_composed(path.name[: -len(path.suffix)])].append(path)
                if name := _NOVA.fullmatch(_composed(path.name)):
                    self._by_role[name["role"]].append(path)

    def find(self, recording: str | Path, tiers: Sequence[TierChoice | str] = ()) -> Path | None:
        """Find the file for a recording; None if there is none.

        Files that people make (.eaf, .TextGrid, .annotation) come before those that programs write (`BY_PROGRAMS`, in that
        order, if they have segments). Of several folders, the one whose path is most like the recording's is chosen.

        Args:
            tiers: names that decide between annotations of several schemes

        Raises:
            FormatError: people made several files, or several folders are equally alike
        """
        recording = Path(recording)
        # talk.eaf and talk.wav.eaf belong to talk.wav
        candidates = [*self._by_stem[_composed(recording.stem)], *self._by_stem[_composed(recording.name)]]
        # a copy that emow2v wrote counts only if there is nothing else
        candidates = [one for one in candidates if origin_of(one) != Origin.OURS] or candidates
        near = self._nearest([path for path in candidates if path != recording], recording)
        by_hand = [path for path in near if path.suffix.lower() in BY_HAND]
        if len(by_hand) > 1:
            names = ", ".join(storage.one_line(path.name) for path in by_hand)
            raise FormatError(
                f"{storage.one_line(recording.name)} has several files with segments ({names}); expected one; move the others."
            )
        if by_hand:
            return by_hand[0]
        if (annotation := self._of_role(recording, tiers)) is not None:
            return annotation
        for ending in BY_PROGRAMS:
            for path in near:
                if path.suffix.lower() == ending and _holds_segments(path, recording):
                    return path
        return None

    def _of_role(self, recording: Path, tiers: Sequence[TierChoice | str]) -> Path | None:
        """The discrete or free annotation of NOVA for a recording's role."""
        near = self._nearest(self._by_role[_composed(recording.name).split(".")[0]], recording)
        found = [path for path in near if _holds_segments(path, recording)]
        named = [path for path in found if any(_is_named(path, choice) for choice in tiers)]
        if len(named or found) > 1:
            names = ", ".join(storage.one_line(path.name) for path in named or found)
            raise FormatError(
                f"{storage.one_line(recording.name)} has several annotations with labels ({names}); expected one; name its scheme "
                "with --tier, or move the others."
            )
        return next(iter(named or found), None)

    def _nearest(self, paths: list[Path], recording: Path) -> list[Path]:
        """The paths in the folder whose last names are most like the recording's.

        Raises:
            FormatError: several folders are equally alike
        """
        folders = sorted({path.parent for path in paths})
        if len(folders) < 2:
            return paths
        of_recording = [*map(_composed, recording.absolute().parent.parts)]
        likeness = {folder: _alike([*map(_composed, folder.absolute().parts)], of_recording) for folder in folders}
        best = [folder for folder in folders if likeness[folder] == max(likeness.values())]
        if len(best) > 1:
            raise FormatError(
                f"{storage.one_line(recording.name)} has files with segments in {storage.counted(len(best), 'folder')} "
                f"({storage.shown(best[0])}, {storage.shown(best[1])} ...); expected one, or folders named as those of the "
                "recordings."
            )
        return [path for path in paths if path.parent == best[0]]


def _is_named(path: Path, choice: TierChoice | str) -> bool:
    """Whether an annotation of NOVA has the scheme that a choice of a tier names."""
    name = _NOVA.fullmatch(_composed(path.name))
    names = (choice.text, choice.name) if isinstance(choice, TierChoice) else (choice, parse_tier(choice).name)
    return name is not None and name["scheme"] in map(_composed, names)


def _holds_segments(path: Path, recording: Path) -> bool:
    try:
        return bool(read_segments(path, recording=recording).segments)
    except (FormatError, PathError):
        return False
