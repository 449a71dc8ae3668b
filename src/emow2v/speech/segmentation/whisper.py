"""Reader of transcripts in JSON: whisper, faster-whisper, whisperX, whisper.cpp and pipelines of Transformers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from emow2v.errors import FormatError
from emow2v.speech.segmentation.text import checked_time, quoted
from emow2v.speech.segments import Segment, Segmentation, Tier
from emow2v.storage import counted

SEGMENTS, WORDS = "segments", "words"
_EXPECTED = "expected segments as whisper writes them, with start, end and text"


def read_whisper(text: str) -> Segmentation:
    """The segments of a transcript on the tier "segments", its words, where they have times, on the tier "words" below it.

    Raises:
        FormatError: no transcript, or one that is cut off
    """
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
            raise FormatError(f"it is cut off; {_EXPECTED}; save it again") from None
        raise FormatError(
            f"it is no JSON ({error.msg}, line {error.lineno}); {_EXPECTED}; choose another file"
        ) from None
    except (ValueError, RecursionError):  # a number of thousands of digits, lists in lists
        raise FormatError(f"it is no JSON that can be read; {_EXPECTED}; choose another file") from None
    segments: list[Segment] = []
    words: list[Segment] = []
    untimed = 0
    for entry in _entries(document):
        one = _segment(entry, SEGMENTS)
        if one is None:
            untimed += 1
            continue
        segments.append(one)
        inner = entry.get("words")
        for word in inner if isinstance(inner, list) else ():
            timed = _segment(word, WORDS, one.speaker) if isinstance(word, dict) else None
            untimed += timed is None
            if timed is not None:
                words.append(timed)
    tiers = (Tier(SEGMENTS), Tier(WORDS, parent=SEGMENTS)) if words else (Tier(SEGMENTS),)
    verb = "is" if untimed == 1 else "are"
    notice = f"{counted(untimed, 'segment or word', 'segments or words')} without times {verb} left out"
    return Segmentation((*segments, *words), "whisper", tiers, notices=(notice,) if untimed else ())


def _entries(document: Any) -> Iterator[Mapping[str, Any]]:
    """The segments of a transcript of any of these programs."""
    entries = document
    if isinstance(document, dict):
        lists = [
            document[key]
            for key in (SEGMENTS, "speakers", "chunks", "transcription")
            if isinstance(document.get(key), list)
        ]
        entries = next((one for one in lists if one), lists[0] if lists else None)
    if not isinstance(entries, list):
        keys = ", ".join(map(str, list(document)[:5])) if isinstance(document, dict) else type(document).__name__
        raise FormatError(f"it holds {quoted(keys)}; {_EXPECTED}; choose another file")
    for entry in entries:
        if not isinstance(entry, dict):
            raise FormatError(f"a segment is {_shown(entry)}; {_EXPECTED}; choose another file")
        yield entry


def _segment(entry: Mapping[str, Any], tier: str, speaker: str = "") -> Segment | None:
    """A segment or a word; None where it has no times."""
    start, end = entry.get("start"), entry.get("end")
    if isinstance(entry.get("timestamp"), list) and len(entry["timestamp"]) == 2:  # Transformers; an open end is None
        start, end = entry["timestamp"]
        end = math.inf if end is None and start is not None else end
    elif isinstance(entry.get("offsets"), dict):  # whisper.cpp, milliseconds
        start, end = (_time(entry["offsets"].get(key)) for key in ("from", "to"))
        start, end = (None if time is None else time / 1000 for time in (start, end))
    start, end = _time(start), math.inf if end == math.inf else _time(end)
    if start is None or end is None:
        return None
    label = next((entry[key] for key in ("text", "word") if isinstance(entry.get(key), str)), "")
    name = entry.get("speaker")
    return Segment(start, end, name if isinstance(name, str) and name else speaker, tier, label.strip())


def _time(value: Any) -> float | None:
    """Seconds; None where there are none.

    Raises:
        FormatError: something else than a number
    """
    if value is None or value != value:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FormatError(f"a time is {_shown(value)}; expected seconds as a number; choose another file")
    if isinstance(value, int) and value.bit_length() > 64:
        raise FormatError("a time has more than 19 digits; expected seconds as a number; choose another file")
    return checked_time(float(value))


def _shown(value: Any) -> str:
    """A value of a document; lists may lie too deep in each other to be written out."""
    return type(value).__name__ if isinstance(value, list | dict) else quoted(str(value))
