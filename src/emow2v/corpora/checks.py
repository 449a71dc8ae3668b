"""Checks of a corpus before a training: missing and damaged files, silence, copies, labels, speakers in two partitions."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emow2v.corpora.clip import Clip, is_missing
from emow2v.corpora.contents import Content, read_contents
from emow2v.corpora.partitions import DEVELOPMENT, PARTITIONS, TEST, TRAIN
from emow2v.errors import FormatError
from emow2v.trajectory import DIMENSIONS

# Faults that stop a training unless they are allowed by these names
MISSING_FILES = "missing-files"
OUTSIDE_SCALE = "outside-scale"
SHARED_SPEAKERS = "shared-speakers"
UNKNOWN_SPEAKERS = "unknown-speakers"
ALLOWED = (MISSING_FILES, OUTSIDE_SCALE, SHARED_SPEAKERS, UNKNOWN_SPEAKERS)

SHORTEST_S = 0.1
_OVERLAP_S = 0.001  # an overlap of stretches up to this is rounding
_LATE_S = 0.1  # an end up to this behind the end of the recording is rounding
_INEXACT = 0.05  # share of a duration by which headers that estimate it are wrong


@dataclass(frozen=True)
class SkippedClip:
    """A clip that is not used.

    Attributes:
        reason: "missing", "corrupt", "beyond its recording", "short", "silent", "without labels" or "duplicate"
        sentence: the reason as a sentence about this clip
    """

    clip: Clip
    reason: str
    sentence: str


@dataclass(frozen=True)
class CheckedCorpus:
    """A corpus that can be trained on.

    Attributes:
        clips: those that can be used
        durations: of these clips in seconds [clips]; from headers, exact where `thorough`
        skipped: the other clips
        problems: sentences about oddities that do not stop a training
        thorough: whether everything was decoded
    """

    clips: tuple[Clip, ...]
    durations: npt.NDArray[np.float64]
    skipped: tuple[SkippedClip, ...]
    problems: tuple[str, ...]
    thorough: bool


def check(
    clips: Sequence[Clip],
    *,
    thorough: bool = False,
    allow: Collection[str] = (),
    threads: int = 0,
    on_file: Callable[[Path], None] = lambda file: None,
) -> CheckedCorpus:
    """Check every file of a corpus, and what the corpus says of it.

    Args:
        thorough: decode everything, to find silence, damage and copies; otherwise read the headers only
        allow: names of `ALLOWED` that are reported instead of raised: clips of missing files are skipped, labels outside
            their scale become unknown
        threads: files that are read at a time; 0 takes four a core for headers, one a core for decoding
        on_file: called after each file; may raise to stop

    Raises:
        FormatError: a training would be wrong or end early: files that are missing, labels outside 0..1, speakers or
            stretches in two partitions, a partition without speakers, no clip to train or to develop on
    """
    for name in allow:
        if name not in ALLOWED:
            raise FormatError(f"'{name}' cannot be allowed; expected some of {', '.join(ALLOWED)}.")
    for clip in clips:
        if clip.partition not in PARTITIONS:
            raise FormatError(f"'{clip.partition}' is no partition; expected {', '.join(PARTITIONS)}.")
    _check_missing(clips, allow)
    problems: list[str] = []
    clips = _within_scale(clips, allow, problems)
    contents = read_contents(clips, thorough=thorough, threads=threads, on_file=on_file)
    sorting = _Sorting()
    for clip in clips:
        sorting.add(clip, contents.get(clip.file))
    problems += sorting.problems(contents)
    if not sorting.usable and sorting.skipped:
        raise FormatError(f"None of the {len(clips)} clips can be used; the first: {sorting.skipped[0].sentence}")
    _check_partitions(sorting.usable, allow, problems)
    _check_labels(sorting.usable, problems)
    durations = np.array(sorting.durations, np.float64)
    return CheckedCorpus(tuple(sorting.usable), durations, tuple(sorting.skipped), tuple(problems), thorough)


def _check_missing(clips: Sequence[Clip], allow: Collection[str]) -> None:
    files = dict.fromkeys(clip.file for clip in clips)
    missing = [file for file in files if is_missing(file)]
    if missing and (MISSING_FILES not in allow or len(missing) == len(files)):
        remedy = " with / between folders" if "\\" in str(missing[0]) else ""
        raise FormatError(
            f"{len(missing)} of {len(files)} files do not exist, such as {missing[0]}; expected all of them{remedy}; "
            f"bring them there, or allow {MISSING_FILES} to do without."
        )


def _within_scale(clips: Sequence[Clip], allow: Collection[str], problems: list[str]) -> list[Clip]:
    """Clips with labels on 0..1; labels outside become unknown where that is allowed."""
    ratings = np.array([clip.ratings for clip in clips], np.float64).reshape(-1, len(DIMENSIONS))
    outside = (ratings < 0) | (ratings > 1)
    if not outside.any():
        return list(clips)
    row, column = (int(places[0]) for places in np.nonzero(outside))
    fault = (
        f"{outside.sum()} of {(~np.isnan(ratings)).sum()} labels are outside their scale, such as {DIMENSIONS[column]} "
        f"{ratings[row, column]:g} of {clips[row].label} where the scale is 0 to 1"
    )
    if OUTSIDE_SCALE not in allow:
        raise FormatError(
            f"{fault}; expected labels within it; give the right scale, or allow {OUTSIDE_SCALE} to take them as "
            "unknown."
        )
    problems.append(f"{fault}; they are taken as unknown.")
    ratings[outside] = math.nan
    rows = [(float(arousal), float(dominance), float(valence)) for arousal, dominance, valence in ratings]
    return [dataclasses.replace(clip, ratings=row) for clip, row in zip(clips, rows, strict=True)]


@dataclass
class _Sorting:
    """Clips sorted into those that can be used and those that are skipped, one after the other."""

    usable: list[Clip] = field(default_factory=list)
    durations: list[float] = field(default_factory=list)
    skipped: list[SkippedClip] = field(default_factory=list)
    _first: dict[tuple[Path, float, float | None, str], Clip] = field(default_factory=dict)  # of each stretch
    _sounds: dict[bytes, Clip] = field(default_factory=dict)  # the first clip of each digest
    _places: dict[Path, int] = field(default_factory=lambda: defaultdict(int))  # number of the next clip of a file
    _copies: list[tuple[Clip, Clip]] = field(default_factory=list)
    _late: int = 0

    def add(self, clip: Clip, content: Content | None) -> None:
        """Take a clip; `content` is None where its file does not exist."""
        place = self._places[clip.file]
        self._places[clip.file] += 1
        if content is None:
            self.skipped.append(SkippedClip(clip, "missing", f"{clip.file} does not exist."))
            return
        end = content.duration if clip.end is None else min(clip.end, content.duration)
        if fault := self._fault(clip, content, end, place):
            self.skipped.append(SkippedClip(clip, *fault))
            return
        self._first[_stretch(clip)] = clip
        self.usable.append(clip)
        self.durations.append(end - clip.start)
        self._late += clip.end is not None and clip.end > content.duration + _LATE_S
        if content.digests and (other := self._sounds.setdefault(content.digests[place], clip)) is not clip:
            self._copies.append((clip, other))

    def _fault(self, clip: Clip, content: Content, end: float, place: int) -> tuple[str, str] | None:
        """The reason why a clip cannot be used, and its sentence."""
        if content.corrupt:
            return "corrupt", content.corrupt
        if all(map(math.isnan, clip.ratings)):
            return "without labels", f"{clip.label} has no label."
        if clip.start >= content.duration:
            return "beyond its recording", f"{clip.label} begins after the recording's {content.duration:.2f} s."
        if end - clip.start < SHORTEST_S:
            return "short", f"{clip.label} lasts {end - clip.start:.3f} s; expected {SHORTEST_S:g} s or more."
        if content.silent and content.silent[place]:
            return "silent", f"{clip.label} holds silence."
        first = self._first.get(_stretch(clip))
        if first is not None:
            labels = "with other labels" if first.ratings != clip.ratings else "with the same labels"
            return "duplicate", f"{clip.label} is there twice, {labels}; the first one counts."
        return None

    def problems(self, contents: Mapping[Path, Content]) -> list[str]:
        """Sentences about copies, recordings that end early and clips that end late."""
        sentences = []
        if self._copies:
            across = [pair for pair in self._copies if pair[0].partition != pair[1].partition]
            one, other = (across or self._copies)[0]
            sentences.append(
                f"{len(self._copies)} clips sound exactly as another does, {len(across)} of them as one of another "
                f"partition, such as {one.label} ({one.partition}) and {other.label} ({other.partition})."
            )
        early = {
            file: content
            for file, content in contents.items()
            if content.missing > max(_LATE_S, _INEXACT * content.duration)
        }
        if early:
            file, content = next(iter(early.items()))
            sentences.append(
                f"{len(early)} recordings end before their headers say so, such as {file}, after "
                f"{content.duration:.2f} s and not {content.duration + content.missing:.2f} s."
            )
        if self._late:
            sentences.append(f"{self._late} clips end after their recording does; they are cut at its end.")
        return sentences


def _stretch(clip: Clip) -> tuple[Path, float, float | None, str]:
    """What two clips share that are the same stretch of a recording, in the same partition."""
    return clip.file, clip.start, clip.end, clip.partition


def _check_partitions(clips: Sequence[Clip], allow: Collection[str], problems: list[str]) -> None:
    """Partitions without clips, speakers that are unknown or in two partitions, stretches that overlap."""
    parts = {name: [clip for clip in clips if clip.partition == name] for name in PARTITIONS}
    for name in (TRAIN, DEVELOPMENT):
        if not parts[name]:
            raise FormatError(
                f"No usable clip is in {name}; expected some; name partitions in the corpus, or have them drawn "
                "(development_share)."
            )
    if not parts[TEST]:
        problems.append("No clip is in test, so that nothing shows how good the result is on new speakers.")
    speakers = {name: {clip.speaker for clip in part} - {""} for name, part in parts.items()}
    for name, part in parts.items():
        unknown = sum(not clip.speaker for clip in part)
        if part and not speakers[name] and UNKNOWN_SPEAKERS not in allow:
            raise FormatError(
                f"No speaker is known in {name}, so that the same speakers may be in other partitions; expected names "
                f"of speakers; write them down, or allow {UNKNOWN_SPEAKERS}."
            )
        if unknown:
            problems.append(f"The speakers of {unknown} of {len(part)} clips in {name} are unknown.")
    for one, other in combinations(PARTITIONS, 2):
        shared = sorted(speakers[one] & speakers[other])
        if shared:
            fault = f"{len(shared)} speakers are in {one} and {other}, such as {shared[0]}"
            if SHARED_SPEAKERS not in allow:
                raise FormatError(
                    f"{fault}; expected each in one partition, since a model looks better on speakers it was trained on; "
                    f"draw partitions by speakers, or allow {SHARED_SPEAKERS}."
                )
            problems.append(f"{fault}; figures look better than they would on new speakers.")
    _check_overlaps(clips, problems)


def _check_overlaps(clips: Sequence[Clip], problems: list[str]) -> None:
    """Stretches in two partitions are an error; stretches that are twice in one partition are reported."""
    twice = 0
    for _, group in groupby(sorted(clips, key=lambda clip: (str(clip.file), clip.start)), lambda clip: clip.file):
        end_in: dict[str, float] = {}  # by partition, the latest end of a clip so far
        for clip in group:
            over = [name for name, end in end_in.items() if clip.start < end - _OVERLAP_S]
            other = next((name for name in over if name != clip.partition), "")
            if other:
                raise FormatError(
                    f"{clip.label} is in {clip.partition} and overlaps with what is in {other}; "
                    "expected every stretch of a recording in one partition."
                )
            twice += bool(over)
            end = math.inf if clip.end is None else clip.end
            end_in[clip.partition] = max(end, end_in.get(clip.partition, 0.0))
    if twice:
        problems.append(f"{twice} clips overlap with others of the same recording and partition.")


def _check_labels(clips: Sequence[Clip], problems: list[str]) -> None:
    """Dimensions with missing labels, or with labels that are all the same."""
    for name in PARTITIONS:
        rows = [clip.ratings for clip in clips if clip.partition == name]
        if not rows:
            continue
        for column, dimension in enumerate(DIMENSIONS):
            values = np.array([row[column] for row in rows])
            values = values[np.isfinite(values)]
            if values.size < len(rows):
                count = "None" if not values.size else f"{values.size} of {len(rows)}"
                problems.append(f"{count} of the clips in {name} have a label of {dimension}.")
            if values.size and np.ptp(values) == 0:
                problems.append(
                    f"All labels of {dimension} in {name} are {values[0]:g}: there is no difference to learn or to measure."
                )
