"""Praat's text files: TextGrids, read in every form and written, and Tables, written."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from emow2v.errors import FormatError
from emow2v.speech.segmentation.text import checked_time, quoted
from emow2v.speech.segments import Segment, Segmentation, Tier, Turn
from emow2v.storage import counted
from emow2v.trajectory import DIMENSIONS

# Values are numbers, quoted texts and flags that stand free; all else (names of fields, comments, "=") is for readers
_VALUE = re.compile(r'"(?P<text>(?:[^"]|"")*)"|(?P<number>[^\s"!<>]+)|<(?P<flag>[^<>\s]*)>|![^\n]*|(?P<cut>["<])|[!>]')
_FREE_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?%?", re.IGNORECASE | re.ASCII)
PAUSES = frozenset({"sil", "<sil>", "silent", "silence", "<p:>"})  # labels of programs that find pauses, and of MAUS
OWN = re.compile(r" emow2v(?: \(\d+\))? (?:arousal|dominance|valence|n|speech)$")  # names of tiers that emow2v writes
_MOST = 10**7  # tiers or intervals that a header may announce


class _Values:
    """The free-standing values of a Praat text file, one after the other."""

    def __init__(self, text: str) -> None:
        self._values = _free_values(text)

    def text(self, of: str) -> str:
        kind, value = self._next(of)
        if kind != "text":
            raise FormatError(f"{of} is {quoted(value)}; expected a text in quotation marks; save it again in Praat")
        return value

    def flag(self, of: str) -> str:
        kind, value = self._next(of)
        if kind != "flag":
            raise FormatError(f"{of} is {quoted(value)}; expected <exists>; save it again in Praat")
        return value

    def number(self, of: str) -> float:
        kind, value = self._next(of)
        if kind != "number":
            raise FormatError(f"{of} is {quoted(value)}; expected a number; save it again in Praat")
        return checked_time(float(value.rstrip("%")))

    def count(self, of: str) -> int:
        value = self.number(of)
        if not value.is_integer() or not 0 <= value <= _MOST:
            raise FormatError(f"{of} is {value:g}; expected a whole number; save it again in Praat")
        return int(value)

    def _next(self, of: str) -> tuple[str, str]:
        for kind, value in self._values:
            return kind, value
        raise FormatError(f"it is cut off before {of}; expected a whole TextGrid; save it again in Praat")


def _free_values(text: str) -> Iterator[tuple[str, str]]:
    for match in _VALUE.finditer(text):
        if match["text"] is not None:
            yield "text", match["text"].replace('""', '"')
        elif match["flag"] is not None:
            yield "flag", match["flag"]
        elif match["number"] is not None:
            if _FREE_NUMBER.fullmatch(match["number"]):
                yield "number", match["number"]
        elif match["cut"] is not None:
            raise FormatError("it is cut off within a text; expected a whole TextGrid; save it again in Praat")


def read_textgrid(text: str) -> Segmentation:
    """The intervals and points of a TextGrid, long or short, as Praat and others write it.

    Intervals without a label are no segments; neither are those that are labelled as pauses (`PAUSES`), with a notice.

    Raises:
        FormatError: no TextGrid, or one that is cut off
    """
    values = _Values(text)
    kind = values.text("its file type")
    if kind.startswith("Praat chronological"):
        raise FormatError(
            "it is a chronological TextGrid; expected a TextGrid text file; open it in Praat and save it as one"
        )
    content = values.text("its object class")
    if not kind.startswith("ooTextFile") or content.split(" ")[0] != "TextGrid":
        raise FormatError(f"it holds {quoted(content)}; expected a TextGrid; save the TextGrid in Praat")
    start, end = values.number("xmin"), values.number("xmax")
    tiers: list[Tier] = []
    segments: list[Segment] = []
    pauses = 0
    if values.flag("its list of tiers") == "exists":
        for place in range(values.count("the number of tiers")):
            tier, parts = _tier(values, f"tier {place + 1}")
            tiers.append(tier)
            spoken = [one for one in parts if one.label.strip().lower() not in PAUSES]
            pauses += len(parts) - len(spoken)
            segments += spoken
    own = [tier for tier in tiers if OWN.search(tier.name)]
    notices = [own_tiers(len(own))] if own else []
    if pauses:
        notices.append(f"{counted(pauses, 'interval')} labelled as pauses {'is' if pauses == 1 else 'are'} left out")
    return Segmentation(
        tuple(one for one in segments if not OWN.search(one.tier)),
        "TextGrid",
        tuple(tier for tier in tiers if tier not in own),
        duration=end if start == 0 else None,
        notices=tuple(notices),
    )


def own_tiers(count: int) -> str:
    """The notice for tiers of values."""
    return f"{counted(count, 'tier')} that emow2v wrote {'is' if count == 1 else 'are'} left out"


def _tier(values: _Values, place: str) -> tuple[Tier, list[Segment]]:
    kind, name = values.text(f"the kind of {place}"), values.text(f"the name of {place}")
    if kind not in ("IntervalTier", "TextTier"):
        raise FormatError(
            f"{place} is a {quoted(kind)}; expected an IntervalTier or a TextTier; save it again in Praat"
        )
    values.number(f"xmin of {place}")
    values.number(f"xmax of {place}")
    segments = []
    for number in range(1, values.count(f"the size of {place}") + 1):
        begin = values.number(f"the time of {place}, part {number}")
        end = begin if kind == "TextTier" else values.number(f"xmax of {place}, part {number}")
        label = values.text(f"the label of {place}, part {number}")
        if label.strip(" \t\n"):
            segments.append(Segment(begin, end, "", name, label))
    return Tier(name, points=kind == "TextTier"), segments


def textgrid(turns: Sequence[Turn], duration: float) -> str:
    """A TextGrid of turns with their values.

    A tier for each speaker (or tier, where no speaker is named) holds the labels; below it stand arousal, dominance,
    valence, the number of values and the share of speech. Turns that overlap within one go to a further tier, since
    intervals cannot overlap.

    Args:
        duration: of the recording, in seconds
    """
    end = float(max([duration, *(one.segment.end for one in turns)]))
    tiers: list[tuple[str, list[tuple[Segment, str]]]] = []
    for name, group in grouped(turns):
        tiers.append((name, [(one.segment, one.segment.label or "-") for one in group]))
        for field, value in VALUES.items():
            if field != "speech" or any(value(one) for one in group):
                tiers.append((f"{name} emow2v {field}", [(one.segment, value(one)) for one in group]))
    tiers = tiers or [("turns", [])]  # Praat opens no TextGrid without a tier
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 ", f"xmax = {end!r} ",
             "tiers? <exists> ", f"size = {len(tiers)} ", "item []: "]  # fmt: skip
    for place, (name, parts) in enumerate(tiers, 1):
        intervals = list(_gapless(parts, end))
        lines += [f"    item [{place}]:", '        class = "IntervalTier" ', f"        name = {_quoted(name)} ",
                  "        xmin = 0 ", f"        xmax = {end!r} ", f"        intervals: size = {len(intervals)} "]  # fmt: skip
        for number, (begin, stop, label) in enumerate(intervals, 1):
            lines += [f"        intervals [{number}]:", f"            xmin = {begin!r} ", f"            xmax = {stop!r} ",
                      f"            text = {_quoted(label)} "]  # fmt: skip
    return "\n".join(lines) + "\n"


def _gapless(parts: Sequence[tuple[Segment, str]], end: float) -> Iterator[tuple[float, float, str]]:
    """Intervals with empty ones between them, from 0 to the end."""
    last = 0.0
    for segment, label in parts:
        if segment.start > last:
            yield last, float(segment.start), ""
        last = float(segment.end)
        yield float(segment.start), last, label
    if last < end or not parts:
        yield last, float(end), ""


def praat_table(columns: Mapping[str, Sequence[float]]) -> str:
    """A Table of Praat (short text file), such as the curves of a recording: a row a value.

    Args:
        columns: numbers by the column's name, all of one length; NaN becomes --undefined--
    """
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1:
        raise ValueError(f"columns have {sorted(lengths)} rows; expected one number of rows")
    (length,) = lengths
    lines = [
        'File type = "ooTextFile"',
        'Object class = "Table"',
        "",
        str(len(columns)),
        *map(_quoted, columns),
        str(length),
    ]
    for values in zip(*columns.values(), strict=True):
        lines += [str(len(columns)), *(f'"{number_text(value) or "--undefined--"}"' for value in values)]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return '"' + printable(text).replace('"', '""') + '"'


def printable(text: str) -> str:
    r"""A text without signs that XML or Praat cannot hold: they become \x01 or \udce4; tabs and line ends stay."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(sign if sign in "\t\n" or _is_allowed(sign) else ascii(sign)[1:-1] for sign in text)


def _is_allowed(sign: str) -> bool:
    number = ord(sign)
    return not (number < 0x20 or 0x7F <= number < 0xA0 or 0xD800 <= number < 0xE000 or number & 0xFFFE == 0xFFFE)


def number_text(value: float) -> str:
    """Five decimals at most; "" for what is no number."""
    if not math.isfinite(value):
        return ""
    text = f"{value:.5f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


VALUES: dict[str, Callable[[Turn], str]] = {
    DIMENSIONS[0]: lambda turn: number_text(turn.scores[0]),
    DIMENSIONS[1]: lambda turn: number_text(turn.scores[1]),
    DIMENSIONS[2]: lambda turn: number_text(turn.scores[2]),
    "n": lambda turn: str(turn.count),
    "speech": lambda turn: number_text(turn.speech),
}


def grouped(turns: Sequence[Turn]) -> list[tuple[str, list[Turn]]]:
    """Turns by speaker, or by tier where none is named, in order of time; those that overlap within one in groups of their
    own, named `VP (2)`.
    """
    lanes: dict[str, list[list[Turn]]] = {}
    for turn in sorted(turns, key=lambda one: (one.segment.start, one.segment.end)):
        lanes_of_name = lanes.setdefault(turn.segment.speaker or turn.segment.tier or "turns", [])
        lane = next((lane for lane in lanes_of_name if lane[-1].segment.end <= turn.segment.start), None)
        if lane is None:
            lanes_of_name.append(lane := [])
        lane.append(turn)
    groups: list[tuple[str, list[Turn]]] = []
    names = set(lanes)
    for name, group in lanes.items():
        for place, lane in enumerate(group, 1):
            label = name
            while place > 1 and label in names:  # a speaker may be called "VP (2)"
                label = f"{name} ({place})" if label == name else f"{label}'"
            names.add(label)
            groups.append((label, lane))
    return groups
