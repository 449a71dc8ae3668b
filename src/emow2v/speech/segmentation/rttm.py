"""Reader and writer of RTTM, the rich transcription time marks of NIST's evaluations, as diarisation programs write them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from emow2v.errors import FormatError
from emow2v.rows import DIMENSIONS
from emow2v.speech.segmentation.text import lines_of, parse_time, quoted
from emow2v.speech.segments import Segment, Turn

TYPES = frozenset(
    "SPEAKER SPKR-INFO LEXEME NON-LEX NON-SPEECH SEGMENT NOSCORE NO_RT_METADATA FILLER EDIT IP SU CB A/P".split()
)
_MISSING = "<NA>"


def read_rttm(text: str) -> tuple[list[tuple[str, Segment]], list[str]]:
    """The lines of type SPEAKER, each with the name of its recording, and notices.

    Raises:
        FormatError: a line that is none of RTTM
    """
    rows: list[tuple[str, Segment]] = []
    others: Counter[str] = Counter()
    for number, line in enumerate(lines_of(text), 1):
        fields = line.split()
        if not fields or fields[0].startswith(";;"):
            continue
        kind = fields[0].upper()
        if kind not in TYPES:
            raise FormatError(
                f"line {number} begins with {quoted(fields[0])}; expected SPEAKER; correct or remove the line"
            )
        if kind != "SPEAKER":
            others[kind] += kind != "SPKR-INFO"
            continue
        if len(fields) < 8:
            raise FormatError(
                f"line {number} has {len(fields)} fields; expected type, file, channel, start, duration, two empty ones "
                "and the speaker; the file may be cut off: save it again"
            )
        start, duration = parse_time(fields[3]), parse_time(fields[4])
        label = "" if fields[5] == _MISSING else fields[5]
        speaker = "" if fields[7] == _MISSING else fields[7]
        rows.append((fields[1], Segment(start, start + duration, speaker, "", label)))
    named = ", ".join(f"{count} of type {kind}" for kind, count in others.items() if count)
    return rows, [f"lines of other types than SPEAKER are left out: {named}"] if named else []


def rttm(turns: Sequence[Turn], recording: str, channel: int = 1) -> str:
    """Turns as RTTM: a line SPEAKER for each, after a remark (;;) with its values, for which the format has no field.

    A remark is one word: readers such as pyannote's know none, and take its words for the fields of a line.

    Args:
        recording: its name without the ending; fields hold no spaces, which become _
        channel: number of the channel
    """
    name = _field(recording)
    lines = []
    for turn in sorted(turns, key=lambda one: (one.segment.start, one.segment.end)):
        one = turn.segment
        scores = ",".join(f"{name}={score:.4f}" for name, score in zip(DIMENSIONS, turn.scores, strict=True))
        length = round(one.end, 3) - round(one.start, 3)
        lines.append(f";;{scores if math.isfinite(turn.scores[0]) else 'no_values'},n={turn.count}")
        lines.append(
            f"SPEAKER {name} {channel} {one.start:.3f} {length:.3f} {_MISSING} {_MISSING} {_field(one.speaker)} {_MISSING} {_MISSING}"
        )
    return "".join(f"{line}\n" for line in lines)


def _field(text: str) -> str:
    return "_".join(text.split()) or _MISSING
