"""Segments of a recording with speaker, tier and label: the turns in a file of people or programs."""

from __future__ import annotations

import math
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from emow2v.audio.channels import Channel, parse_channel
from emow2v.errors import AudioError, FormatError
from emow2v.storage import counted, one_line

# Endings of files with segments: first those that people make by hand, then those that programs write
BY_HAND = (".eaf", ".textgrid", ".annotation")
BY_PROGRAMS = (".rttm", ".json", ".vtt", ".srt", ".tsv", ".csv", ".parquet", ".txt")
ENDINGS = (*BY_HAND, *BY_PROGRAMS)
TOLERANCE_S = 0.1  # a turn may end so much behind the recording without a notice: players and encoders pad recordings
_LISTED = 12  # names in a sentence


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording.

    Attributes:
        start, end: seconds; end is infinite if the file means the recording's end (see `fit_to_recording`)
        speaker: "" if the file names none
        tier: "" if the format has no tiers
        label: the words of the turn, or another text
    """

    start: float
    end: float
    speaker: str = ""
    tier: str = ""
    label: str = ""


@dataclass(frozen=True)
class Tier:
    """A row of segments, as annotation programs show it.

    Attributes:
        name: as in the file
        speaker: "" if the file names none
        parent: name of the tier that this one depends on (words below turns, a translation); "" for none
        points: whether it marks points in time, which have no length
    """

    name: str
    speaker: str = ""
    parent: str = ""
    points: bool = False


@dataclass(frozen=True)
class Media:
    """A recording that a segmentation belongs to.

    Attributes:
        location: its path or URL, as in the file
        relative: its path relative to the file; "" if the file has none
        time_origin: second of the recording at which the file's time begins (ELAN's TIME_ORIGIN)
    """

    location: str
    relative: str = ""
    time_origin: float = 0.0


@dataclass(frozen=True)
class Segmentation:
    """The segments of a file, with its tiers and recordings.

    Attributes:
        segments: in the file's order; sorted by time after `fit_to_recording`
        format: name of the file's format
        tiers: in the file's order, with those that have no segments; none if the format has no tiers
        media: recordings that the file names
        duration: seconds that the recording lasts according to the file; None if the file states none
        source: the file
        channels: channel of a tier or a speaker, by its name, if `select_tiers` tied one to it
        notices: a sentence for each segment or tier that is unusual or left out
    """

    segments: tuple[Segment, ...]
    format: str
    tiers: tuple[Tier, ...] = ()
    media: tuple[Media, ...] = ()
    duration: float | None = None
    source: Path | None = None
    channels: Mapping[str, Channel] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file's name, as sentences give it."""
        return one_line(self.source.name) if self.source else "the segmentation"

    @property
    def speakers(self) -> tuple[str, ...]:
        """Speakers with a segment, in order of appearance."""
        return tuple(dict.fromkeys(segment.speaker for segment in self.segments if segment.speaker))

    @property
    def names(self) -> tuple[str, ...]:
        """Names that `select_tiers` accepts: those of tiers, then those of speakers."""
        return tuple(dict.fromkeys([tier.name for tier in self.tiers] + list(self.speakers)))

    def channel_of(self, segment: Segment) -> Channel | None:
        """The channel that the segment's tier or speaker is tied to; None for no channel."""
        return self.channels.get(segment.tier, self.channels.get(segment.speaker) if segment.speaker else None)

    def with_notices(self, *notices: str) -> Segmentation:
        """A copy with more notices."""
        return replace(self, notices=tuple(dict.fromkeys((*self.notices, *notices)))) if notices else self


@dataclass(frozen=True)
class Turn:
    """A segment with its values.

    Attributes:
        segment: in seconds of the recording
        scores: arousal, dominance, valence; NaN for none
        count: number of values that the scores are the mean of
        speech: share of the segment in which somebody speaks, 0 to 1; NaN if it was not computed
    """

    segment: Segment
    scores: tuple[float, float, float]
    count: int
    speech: float = math.nan


@dataclass(frozen=True)
class TierChoice:
    """A choice of a tier or a speaker.

    Attributes:
        text: the choice as written, such as "VP=right"
        name: "VP"
        channel: "right"; None without a channel
    """

    text: str
    name: str
    channel: Channel | None = None


def parse_tier(text: str) -> TierChoice:
    """Parse a tier, or a tier and its channel: `VP`, `VP=left`, `VP=right`, `VP=2`, `VP=mix`.

    Raises:
        FormatError: there is no name before the channel
    """
    name, _, ending = text.rpartition("=")
    channel = _channel(ending) if name else None
    if channel is None:  # names of tiers may hold any sign
        name = text
    if not name.strip() or (text.lstrip().startswith("=") and _channel(ending) is not None):
        raise FormatError(f"The tier is '{one_line(text)[:40]}'; expected a name, such as VP or VP=right.")
    return TierChoice(text, name, channel)


def _channel(text: str) -> Channel | None:
    """Parse a channel; None if the text names none, or each."""
    try:
        channel = parse_channel(text)
    except AudioError:
        return None
    return None if channel == "each" else channel


def select_tiers(segmentation: Segmentation, choices: Sequence[TierChoice | str] = ()) -> Segmentation:
    """Select the segments of tiers or speakers, and tie channels to them.

    Args:
        choices: see `parse_tier`; a tier comes before a speaker of the same name. No choice means all tiers that have
            segments with a length and do not depend on another tier

    Raises:
        FormatError: the file has no such name (the sentence lists its names), or the tier has points
    """
    if not choices:
        return _independent(segmentation)
    tiers = {_composed(tier.name): tier for tier in segmentation.tiers}
    speakers = {_composed(name): name for name in segmentation.speakers}
    chosen_tiers: set[str] = set()
    chosen_speakers: set[str] = set()
    channels: dict[str, Channel] = {}
    for choice in (parse_tier(one) if isinstance(one, str) else one for one in choices):
        whole = _composed(choice.text) in {*tiers, *speakers}  # a name with "=left" in it
        key = _composed(choice.text if whole else choice.name)
        if key in tiers:
            name = tiers[key].name
            if tiers[key].points:
                raise FormatError(
                    f"{segmentation.name}: the tier {_shown(name)} holds points; expected turns; name another."
                )
            chosen_tiers.add(name)
        elif key in speakers:
            name = speakers[key]
            chosen_speakers.add(name)
        else:
            named = _composed(choice.name.rpartition("=")[0]) in {*tiers, *speakers}
            hint = "; the channel of a tier is left, right, mix or a number" if named else ""
            raise FormatError(f"{segmentation.name} has no tier {_shown(choice.name)}; {_known(segmentation)}{hint}.")
        if choice.channel is not None and not whole:
            channels[name] = choice.channel
    segments = tuple(
        segment
        for segment in segmentation.segments
        if segment.tier in chosen_tiers or (segment.speaker and segment.speaker in chosen_speakers)
    )
    return replace(segmentation, segments=segments, channels={**segmentation.channels, **channels})


def _independent(segmentation: Segmentation) -> Segmentation:
    omitted = {tier.name for tier in segmentation.tiers if tier.points or tier.parent}
    segments = tuple(segment for segment in segmentation.segments if segment.tier not in omitted)
    names = [tier.name for tier in segmentation.tiers if tier.name in omitted]
    if not names or len(segments) == len(segmentation.segments):
        return segmentation
    notice = (
        f"{segmentation.name}: {_listed(names)} {'is' if len(names) == 1 else 'are'} left out, as points or as parts of "
        "another tier; name what you need with --tier."
    )
    return replace(segmentation, segments=segments).with_notices(notice)


def _known(segmentation: Segmentation) -> str:
    if not segmentation.names:
        return f"{segmentation.format} files without speakers have none; leave --tier out"
    return f"expected one of {_listed(segmentation.names)}"


def _listed(names: Iterable[str]) -> str:
    shown = [_shown(name) for name in names]
    more = len(shown) - _LISTED
    return ", ".join(shown[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _shown(name: str) -> str:
    return f"'{one_line(name)[:60]}'"


def _composed(name: str) -> str:
    """A name for comparisons. macOS writes some letters as two signs."""
    return unicodedata.normalize("NFC", name).strip()


def shift_to_recording(segmentation: Segmentation, recording: Path) -> Segmentation:
    """Shift segments to seconds of a recording, if the file states another origin for it (ELAN).

    If the file names other recordings only, their origin is used if all have the same.
    """
    origin = time_origin(segmentation, recording)
    if origin is None:
        return segmentation.with_notices(
            f"{segmentation.name} names recordings with different time origins, but not {one_line(recording.name)}; "
            "its times are taken as they are."
        )
    if not origin:
        return segmentation
    moved = tuple(replace(one, start=one.start + origin, end=one.end + origin) for one in segmentation.segments)
    return replace(segmentation, segments=moved, duration=None)


def time_origin(segmentation: Segmentation, recording: Path) -> float | None:
    """Second of a recording at which the file's time begins; None if the file contradicts itself."""
    name, stem = _composed(recording.name), _composed(recording.stem)
    names = [(_last(one.relative or one.location), one.time_origin) for one in segmentation.media]
    origins = (
        {origin for media, origin in names if media == name}
        or {origin for media, origin in names if PurePosixPath(media).stem == stem}
        or {origin for _, origin in names}
        or {0.0}
    )
    return origins.pop() if len(origins) == 1 else None


def _last(location: str) -> str:
    return _composed(location.replace("\\", "/").rsplit("/", 1)[-1])


def fit_to_recording(
    segmentation: Segmentation, duration: float | None, recording: str = "the recording"
) -> Segmentation:
    """Sort the turns by time, and fit them to a recording, with a notice for each kind of unusual turn.

    Turns without length and turns outside of the recording are left out. Turns that cross an end of the recording are
    cut there. Overlapping turns of one speaker on one tier stay.

    Args:
        duration: of the recording, in seconds; None if it is unknown
        recording: its name, for sentences

    Raises:
        FormatError: no turn is left
    """
    file = segmentation.name
    if not segmentation.segments:
        raise FormatError(f"{file} holds no turns; expected at least one; choose another file or other tiers.")
    end = math.inf if duration is None else duration
    notices = []
    inside: list[Segment] = []
    flat, behind, before, cut = [], [], [], 0
    for one in sorted(segmentation.segments, key=lambda one: (one.start, one.end)):
        if not one.end > one.start:
            flat.append(one)
        elif one.start >= end:
            behind.append(one)
        elif one.end <= 0:
            before.append(one)
        else:
            cut += (math.isfinite(one.end) and one.end > end + TOLERANCE_S) or one.start < 0
            inside.append(replace(one, start=max(0.0, one.start), end=min(one.end, end)))
    if flat:
        verb = "has" if len(flat) == 1 else "have"
        notices.append(
            f"{file}: {counted(len(flat), 'turn')} {verb} no length and {_out(flat)} (first at {flat[0].start:g} s)."
        )
    if behind or before or cut:
        last = max((one.end for one in segmentation.segments if math.isfinite(one.end)), default=0.0)
        first = min(one.start for one in segmentation.segments)
        reach = f"lasts until {last:g} s, {recording} {end:g} s" if last > end else f"begins at {first:g} s"
        out = [*behind, *before]
        parts = [f"{counted(len(out), 'turn')} outside {_out(out)}"] if out else []
        parts += [f"{counted(cut, 'turn')} {'is' if cut == 1 else 'are'} cut"] if cut else []
        notices.append(f"{file} {reach}; {' and '.join(parts)}; check that both belong together.")
    if not inside:
        reason = notices[-1].removeprefix(file).lstrip(": ") if notices else ""
        raise FormatError(f"{file} has no turn within {recording}: it {reason}" if behind or before else notices[-1])
    notices += _overlaps(file, inside)
    return replace(segmentation, segments=tuple(inside), duration=duration).with_notices(*notices)


def _out(segments: Sequence[Segment]) -> str:
    return f"{'is' if len(segments) == 1 else 'are'} left out"


def _overlaps(file: str, segments: Iterable[Segment]) -> list[str]:
    """A sentence if turns of one known speaker or tier overlap."""
    latest: dict[tuple[str, str], Segment] = {}
    overlaps: dict[tuple[str, str], list[float]] = defaultdict(list)
    for one in segments:
        key = one.speaker, one.tier
        before = latest.get(key)
        if any(key) and before is not None and one.start < before.end - 1e-6:
            overlaps[key].append(one.start)
        if before is None or one.end > before.end:
            latest[key] = one
    if not overlaps:
        return []
    (speaker, tier), starts = next(iter(overlaps.items()))
    count = sum(map(len, overlaps.values()))
    who = f"of {_shown(speaker or tier)} "
    return [
        f"{file}: {counted(count, 'turn')} {who if len(overlaps) == 1 else ''}"
        f"{'begins' if count == 1 else 'begin'} before an earlier one of the same speaker has ended "
        f"(first at {starts[0]:g} s); each is valued by itself."
    ]
