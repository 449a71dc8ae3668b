"""What is wrong with a corpus, found before the first step of a training and not in its third hour."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import combinations, groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emow2v import storage
from emow2v.audio import recording as audio
from emow2v.audio.excerpts import read_stretch, stated_duration
from emow2v.corpora.partitions import DEVELOPMENT, PARTITIONS, TEST, TRAIN
from emow2v.corpora.segments import Segment
from emow2v.errors import AudioError, FormatError, PathError
from emow2v.trajectory import DIMENSIONS

# What stops a training unless it is allowed by this name
MISSING_FILES = "missing-files"
OUTSIDE_SCALE = "outside-scale"
SHARED_SPEAKERS = "shared-speakers"
UNKNOWN_SPEAKERS = "unknown-speakers"
ALLOWED = (MISSING_FILES, OUTSIDE_SCALE, SHARED_SPEAKERS, UNKNOWN_SPEAKERS)

SHORTEST_S = 0.1
SILENT = 0.001  # a signal that stays within +-0.001 of its middle, which is -60 dB
_OVERLAP_S = 0.001  # what times of stretches may share
_LATE_S = 0.1  # an end so far behind the recording's is no rounding
_INEXACT = 0.05  # share of a duration by which headers that estimate it are wrong


@dataclass(frozen=True)
class Skipped:
    """A segment that is not used.

    Attributes:
        reason: "missing", "corrupt", "beyond its recording", "short", "silent", "without labels" or "duplicate"
        sentence: what is the matter
    """

    segment: Segment
    reason: str
    sentence: str


@dataclass(frozen=True)
class Checked:
    """A corpus that can be trained on.

    Attributes:
        segments: those that are usable
        durations: their seconds, [segments]; from headers, exact where `thorough`
        skipped: the others
        problems: sentences about what is odd, but stops nothing
        thorough: whether everything was decoded
    """

    segments: tuple[Segment, ...]
    durations: npt.NDArray[np.float64]
    skipped: tuple[Skipped, ...]
    problems: tuple[str, ...]
    thorough: bool


@dataclass(frozen=True)
class _Heard:
    """What a file holds, or the sentence why nothing can be told.

    Attributes:
        duration: seconds
        missing: of those that the header speaks of, how many did not come
        silent, digests: of its segments, in their order; empty where nothing was decoded
    """

    duration: float = math.nan
    corrupt: str = ""
    missing: float = 0.0
    silent: Sequence[bool] = ()
    digests: Sequence[bytes] = ()


def check(
    segments: Sequence[Segment],
    *,
    thorough: bool = False,
    allow: Collection[str] = (),
    threads: int = 0,
    pause: Callable[[], None] = lambda: None,
    done: Callable[[Path], None] = lambda file: None,
) -> Checked:
    """Look at every file of a corpus and at what is said of it.

    Args:
        thorough: decode everything, to find silence, damage and recordings that are there twice; else read headers
        allow: of `ALLOWED`, what is listed instead of raised: missing files are skipped, labels outside their scale
            are taken as unknown
        threads: files looked at at a time; 0 takes four a core for headers, one a core for decoding
        pause: called after every file; may raise to stop
        done: told of every file that was looked at

    Raises:
        FormatError: a training would be wrong or end early: files that are missing, labels outside 0..1, speakers or
            stretches in two partitions, a partition without speakers, nothing left to train or to develop on
    """
    for name in allow:
        if name not in ALLOWED:
            raise FormatError(f"'{name}' cannot be allowed; expected some of {', '.join(ALLOWED)}.")
    for segment in segments:
        if segment.partition not in PARTITIONS:
            raise FormatError(f"'{segment.partition}' is no partition; expected {', '.join(PARTITIONS)}.")
    _missing(segments, allow)
    problems: list[str] = []
    segments = _within_scale(segments, allow, problems)
    heard = _heard(segments, thorough, threads, pause, done)
    usable, durations, skipped = _usable(segments, heard, problems)
    _partitions(usable, allow, problems)
    _labels(usable, problems)
    return Checked(tuple(usable), np.array(durations, np.float64), tuple(skipped), tuple(problems), thorough)


def _missing(segments: Sequence[Segment], allow: Collection[str]) -> None:
    files = dict.fromkeys(segment.file for segment in segments)
    missing = [file for file in files if not is_there(file)]
    if missing and (MISSING_FILES not in allow or len(missing) == len(files)):
        remedy = " with / between folders" if "\\" in str(missing[0]) else ""
        raise FormatError(
            f"{len(missing)} of {len(files)} files do not exist, such as {missing[0]}; expected all of them{remedy}; "
            f"bring them there, or allow {MISSING_FILES} to do without."
        )


def is_there(file: Path) -> bool:
    """Whether a file is there; what the operating system refuses to say is told where it is opened."""
    try:
        return storage.is_file(file)
    except PathError:
        return True


def _within_scale(segments: Sequence[Segment], allow: Collection[str], problems: list[str]) -> list[Segment]:
    """Labels in 0..1, those outside as unknown where that is allowed."""
    targets = np.array([segment.targets for segment in segments], np.float64).reshape(-1, len(DIMENSIONS))
    outside = (targets < 0) | (targets > 1)
    if not outside.any():
        return list(segments)
    row, column = (int(places[0]) for places in np.nonzero(outside))
    told = (
        f"{outside.sum()} of {(~np.isnan(targets)).sum()} labels are outside their scale, such as {DIMENSIONS[column]} "
        f"{targets[row, column]:g} of {name_of(segments[row])} where the scale is 0 to 1"
    )
    if OUTSIDE_SCALE not in allow:
        raise FormatError(
            f"{told}; expected labels within it; give the right scale, or allow {OUTSIDE_SCALE} to take them as unknown."
        )
    problems.append(f"{told}; they are taken as unknown.")
    targets[outside] = math.nan
    rows = [(float(arousal), float(dominance), float(valence)) for arousal, dominance, valence in targets]
    return [dataclasses.replace(segment, targets=row) for segment, row in zip(segments, rows, strict=True)]


def name_of(segment: Segment) -> str:
    """How a segment is called in reports."""
    return f"{segment.file}" + (f" from {segment.start:g} s" if segment.start or segment.end is not None else "")


def _heard(
    segments: Sequence[Segment],
    thorough: bool,
    threads: int,
    pause: Callable[[], None],
    done: Callable[[Path], None],
) -> dict[Path, _Heard]:
    """What the files that exist hold."""
    stretches: dict[Path, list[Segment]] = defaultdict(list)
    for segment in segments:
        stretches[segment.file].append(segment)
    files = [file for file in stretches if is_there(file)]
    listen: Callable[[Path], _Heard] = partial(_listen, stretches) if thorough else _probe
    pool = ThreadPoolExecutor(threads or (os.cpu_count() or 1) * (1 if thorough else 4))
    found = {}
    try:
        for file, heard in zip(files, pool.map(listen, files), strict=True):
            found[file] = heard
            done(file)
            pause()
    finally:
        pool.shutdown(cancel_futures=True)
    return found


def _probe(file: Path) -> _Heard:
    """By the header; a file that does not say how long it is, is decoded."""
    try:
        stated = stated_duration(file)
        if stated is not None:
            return _Heard(stated)
        recording = audio.open_recording(file)
        for _ in recording:
            pass
        return _Heard(float(recording.duration))
    except AudioError as error:
        return _Heard(corrupt=str(error))


def _listen(stretches: Mapping[Path, Sequence[Segment]], file: Path) -> _Heard:
    """Every sample of a file, and each of its segments by the way in which a training reads it."""
    segments = stretches[file]
    sounds = [_Sound() for _ in segments]
    whole = [sound for sound, one in zip(sounds, segments, strict=True) if not one.start and one.end is None]
    try:
        recording = audio.open_recording(file)
        for block in recording:
            for sound in whole:
                sound.add(block)
        for sound, segment in zip(sounds, segments, strict=True):
            if segment.start or segment.end is not None:
                sound.add(read_stretch(file, segment.start, segment.end))
    except AudioError as error:
        return _Heard(corrupt=str(error))
    if recording.damaged:
        return _Heard(corrupt=f"{recording.damaged} packets of {file} cannot be decoded; expected a whole recording.")
    duration = float(recording.duration)
    missing = (recording.expected_duration or 0.0) - duration
    return _Heard(duration, "", missing, [one.silent for one in sounds], [one.digest.digest() for one in sounds])


class _Sound:
    """What is kept of a segment's samples: whether they are silent, and a digest."""

    def __init__(self) -> None:
        self._lowest, self._highest = math.inf, -math.inf
        self.digest = hashlib.blake2b(digest_size=16)

    def add(self, part: npt.NDArray[np.float32]) -> None:
        if part.size:
            self._lowest, self._highest = min(self._lowest, float(part.min())), max(self._highest, float(part.max()))
            self.digest.update(part.tobytes())

    @property
    def silent(self) -> bool:
        return self._highest - self._lowest < 2 * SILENT


def _usable(
    segments: Sequence[Segment], heard: Mapping[Path, _Heard], problems: list[str]
) -> tuple[list[Segment], list[float], list[Skipped]]:
    usable, durations, skipped = [], [], []
    seen: dict[tuple[Path, float, float | None, str], Segment] = {}
    sounds: dict[bytes, Segment] = {}
    places: dict[Path, int] = defaultdict(int)
    alike: list[tuple[Segment, Segment]] = []
    late = 0
    for segment in segments:
        place, places[segment.file] = places[segment.file], places[segment.file] + 1
        found = heard.get(segment.file)
        if found is None:
            skipped.append(Skipped(segment, "missing", f"{segment.file} does not exist."))
            continue
        begin, end = segment.start, found.duration if segment.end is None else min(segment.end, found.duration)
        key = segment.file, segment.start, segment.end, segment.partition
        name = name_of(segment)
        if found.corrupt:
            skipped.append(Skipped(segment, "corrupt", found.corrupt))
        elif all(map(math.isnan, segment.targets)):
            skipped.append(Skipped(segment, "without labels", f"{name} has no label."))
        elif begin >= found.duration:
            sentence = f"{name} begins after the recording's {found.duration:.2f} s."
            skipped.append(Skipped(segment, "beyond its recording", sentence))
        elif end - begin < SHORTEST_S:
            sentence = f"{name} lasts {end - begin:.3f} s; expected {SHORTEST_S:g} s or more."
            skipped.append(Skipped(segment, "short", sentence))
        elif found.silent and found.silent[place]:
            skipped.append(Skipped(segment, "silent", f"{name} holds silence."))
        elif key in seen:
            unlike = "with other labels" if seen[key].targets != segment.targets else "with the same labels"
            skipped.append(Skipped(segment, "duplicate", f"{name} is there twice, {unlike}; the first one counts."))
        else:
            seen[key] = segment
            usable.append(segment)
            durations.append(end - begin)
            late += segment.end is not None and segment.end > found.duration + _LATE_S
            if found.digests and (other := sounds.setdefault(found.digests[place], segment)) is not segment:
                alike.append((segment, other))
    if alike:
        apart = [pair for pair in alike if pair[0].partition != pair[1].partition]
        one, other = (apart or alike)[0]
        problems.append(
            f"{len(alike)} segments sound exactly as another does, {len(apart)} of them as one of another partition, "
            f"such as {name_of(one)} ({one.partition}) and {name_of(other)} ({other.partition})."
        )
    early = [file for file, found in heard.items() if found.missing > max(_LATE_S, _INEXACT * found.duration)]
    if early:
        problems.append(
            f"{len(early)} recordings end before their headers say so, such as {early[0]}, after "
            f"{heard[early[0]].duration:.2f} s and not {heard[early[0]].duration + heard[early[0]].missing:.2f} s."
        )
    if late:
        problems.append(f"{late} segments end after their recording does; they are cut at its end.")
    if not usable and skipped:
        raise FormatError(f"None of the {len(segments)} segments can be used; the first: {skipped[0].sentence}")
    return usable, durations, skipped


def _partitions(segments: Sequence[Segment], allow: Collection[str], problems: list[str]) -> None:
    """Who is in which."""
    parts = {name: [segment for segment in segments if segment.partition == name] for name in PARTITIONS}
    for name in (TRAIN, DEVELOPMENT):
        if not parts[name]:
            raise FormatError(
                f"No usable segment is in {name}; expected some; name partitions in the corpus, or have them drawn "
                "(development_share)."
            )
    if not parts[TEST]:
        problems.append("No segment is in test: nothing will say how good the result is on speakers it has not met.")
    speakers = {name: {segment.speaker for segment in part} - {""} for name, part in parts.items()}
    for name, part in parts.items():
        unknown = sum(not segment.speaker for segment in part)
        if part and not speakers[name] and UNKNOWN_SPEAKERS not in allow:
            raise FormatError(
                f"No speaker is known in {name}, so that nobody can tell whether they are in other partitions too; "
                f"expected names of speakers; write them down, or allow {UNKNOWN_SPEAKERS}."
            )
        if unknown:
            problems.append(f"The speakers of {unknown} of {len(part)} segments in {name} are unknown.")
    for one, other in combinations(PARTITIONS, 2):
        shared = sorted(speakers[one] & speakers[other])
        if shared:
            told = f"{len(shared)} speakers are in {one} and {other}, such as {shared[0]}"
            if SHARED_SPEAKERS not in allow:
                raise FormatError(
                    f"{told}; expected each in one partition, since figures on speakers a model has met flatter it; "
                    f"draw partitions by speakers, or allow {SHARED_SPEAKERS}."
                )
            problems.append(f"{told}; figures flatter a model that has met them.")
    _overlaps(segments, problems)


def _overlaps(segments: Sequence[Segment], problems: list[str]) -> None:
    """Stretches that are in two partitions end a training, those that are twice in one are told."""
    twice = 0
    for _, group in groupby(sorted(segments, key=lambda one: (str(one.file), one.start)), lambda one: one.file):
        reached: dict[str, float] = {}  # by partition, how far its segments come
        for segment in group:
            over = [name for name, end in reached.items() if segment.start < end - _OVERLAP_S]
            other = next((name for name in over if name != segment.partition), "")
            if other:
                raise FormatError(
                    f"{name_of(segment)} is in {segment.partition} and overlaps with what is in {other}; "
                    "expected every stretch of a recording in one partition."
                )
            twice += bool(over)
            end = math.inf if segment.end is None else segment.end
            reached[segment.partition] = max(end, reached.get(segment.partition, 0.0))
    if twice:
        problems.append(f"{twice} segments overlap with others of the same recording and partition.")


def _labels(segments: Sequence[Segment], problems: list[str]) -> None:
    """Dimensions that nothing can be learnt or told about."""
    for name in PARTITIONS:
        rows = [segment.targets for segment in segments if segment.partition == name]
        if not rows:
            continue
        for column, dimension in enumerate(DIMENSIONS):
            values = np.array([row[column] for row in rows])
            values = values[np.isfinite(values)]
            if values.size < len(rows):
                told = "None" if not values.size else f"{values.size} of {len(rows)}"
                problems.append(f"{told} of the segments in {name} have a label of {dimension}.")
            if values.size and np.ptp(values) == 0:
                problems.append(
                    f"All labels of {dimension} in {name} are {values[0]:g}: there is nothing to tell apart."
                )
