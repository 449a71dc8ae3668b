"""Writer of ELAN's .eaf files, version 2.8 (www.mpi.nl/tools/elan/EAFv2.8.xsd): new ones, and tiers in existing ones."""

from __future__ import annotations

import mimetypes
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from xml.sax.saxutils import quoteattr

from emow2v.errors import FormatError, PathError
from emow2v.speech.segmentation import xml
from emow2v.speech.segmentation.elan import ROOT
from emow2v.speech.segmentation.praat import VALUES, grouped, number_text, printable
from emow2v.speech.segments import Turn
from emow2v.storage import free_name, is_file
from emow2v.trajectory import DIMENSIONS

TURNS, LABELS, VALUE = "emow2v turns", "emow2v labels", "emow2v values"  # types of tiers
_ASSOCIATION = "Symbolic_Association"
_CONSTRAINTS = {
    "Time_Subdivision": "Time subdivision of parent annotation's time interval, no time gaps allowed within this interval",
    "Symbolic_Subdivision": "Symbolic subdivision of a parent annotation. Annotations refering to the same parent are ordered",
    _ASSOCIATION: "1-1 association with a parent annotation",
    "Included_In": "Time alignable annotations within the parent annotation's time interval, gaps are allowed",
}
_COLOURS = ("200,60,40", "120,120,120", "30,100,180")  # arousal, dominance, valence
Facts = Mapping[str, str | float]


@dataclass
class _Parts:
    """Elements of a document on their way, with numbers that no other has."""

    names: set[str]  # of tiers
    slot: int = 0
    annotation: int = 0
    slots: list[str] = field(default_factory=list)
    tiers: list[str] = field(default_factory=list)

    def add_turns(self, turns: Sequence[Turn], types: Mapping[str, str], origin: float, *, labels: bool) -> None:
        for name, group in grouped(turns):
            speaker = group[0].segment.speaker
            if labels and any(one.segment.label for one in group):
                texts = [(one, one.segment.label) for one in group]
                self._aligned(self._name(name), types[LABELS], speaker, texts, origin)
            summary = self._name(f"{name} emow2v")
            ids = self._aligned(summary, types[TURNS], speaker, [(one, _summary(one)) for one in group], origin)
            for value, text in VALUES.items():
                numbers = [(parent, text(one)) for parent, one in zip(ids, group, strict=True)]
                if any(number for _, number in numbers):
                    self._associated(self._name(f"{summary} {value}"), types[VALUE], speaker, summary, numbers)

    def _name(self, name: str) -> str:
        """A name that no other tier has."""
        name = printable(name).replace("\n", " ").replace("\t", " ")
        unique = free_name(name, self.names.__contains__, "{} ({})")
        self.names.add(unique)
        return unique

    def _aligned(
        self, name: str, kind: str, speaker: str, texts: Iterable[tuple[Turn, str]], origin: float
    ) -> list[str]:
        lines, ids = [], []
        for turn, text in texts:
            begin = max(0, round((turn.segment.start - origin) * 1000))
            end = max(begin + 1, round((turn.segment.end - origin) * 1000))
            refs = []
            for place, value in enumerate((begin, end), 1):
                self.slot += 1
                self.slots.append(f'        <TIME_SLOT TIME_SLOT_ID="ts{self.slot}" TIME_VALUE="{value}"/>\n')
                refs.append(f'TIME_SLOT_REF{place}="ts{self.slot}"')
            ids.append(self._next())
            lines.append(_annotation(f'ALIGNABLE_ANNOTATION ANNOTATION_ID="{ids[-1]}" {" ".join(refs)}', text))
        self._tier(name, kind, speaker, "", lines)
        return ids

    def _associated(self, name: str, kind: str, speaker: str, parent: str, texts: Iterable[tuple[str, str]]) -> None:
        lines = [
            _annotation(f'REF_ANNOTATION ANNOTATION_ID="{self._next()}" ANNOTATION_REF="{of}"', text)
            for of, text in texts
            if text
        ]
        self._tier(name, kind, speaker, f" PARENT_REF={_attribute(parent)}", lines)

    def _tier(self, name: str, kind: str, speaker: str, parent: str, lines: Sequence[str]) -> None:
        participant = f" PARTICIPANT={_attribute(speaker)}" if speaker else ""
        head = f"    <TIER LINGUISTIC_TYPE_REF={_attribute(kind)}{parent}{participant} TIER_ID={_attribute(name)}"
        self.tiers.append(f"{head}>\n{''.join(lines)}    </TIER>\n" if lines else f"{head}/>\n")

    def _next(self) -> str:
        self.annotation += 1
        return f"a{self.annotation}"


def eaf(
    turns: Sequence[Turn],
    place: Path,
    recordings: Sequence[Path] = (),
    *,
    series: Sequence[Path] = (),
    provenance: Facts | None = None,
    date: datetime | None = None,
) -> str:
    """An .eaf of turns with their values.

    For each speaker (or tier, where no speaker is named) there is a tier of labels, a tier `VP emow2v` with the values of each
    turn in words, and below it a tier for each of arousal, dominance, valence, the number of values and the share of speech,
    whose annotations are bare numbers.

    Args:
        place: where the file will lie; links are also relative to it
        recordings: linked as media
        series: linked files of curves, see `time_series`
        provenance: of the values; becomes properties of the document
        date: of the document, now where it is None
    """
    parts = _Parts(set())
    parts.add_turns(turns, {TURNS: TURNS, LABELS: LABELS, VALUE: VALUE}, 0.0, labels=True)
    stamp = (date or datetime.now()).astimezone().isoformat(timespec="seconds")
    media = "".join(
        f"        <MEDIA_DESCRIPTOR {_link('MEDIA', one, place)} MIME_TYPE={_attribute(_mime_type(one))}/>\n"
        for one in recordings
    )
    linked = _linked_files(series, place)
    properties = [*_properties(provenance or {}), ("lastUsedAnnotationId", str(parts.annotation))]
    types = "".join(_type(name, _ASSOCIATION if name == VALUE else "") for name in (TURNS, LABELS, VALUE))
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<{ROOT} AUTHOR="emow2v" DATE="{stamp}" FORMAT="2.8" VERSION="2.8" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv2.8.xsd">\n'
        f'    <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">\n{media}{linked}'
        f"{''.join(_property(*one) for one in properties)}    </HEADER>\n"
        f"    <TIME_ORDER>\n{''.join(parts.slots)}    </TIME_ORDER>\n{''.join(parts.tiers)}{types}"
        f"{''.join(map(_constraint, _CONSTRAINTS))}</{ROOT}>\n"
    )


def add_tiers(
    content: bytes,
    turns: Sequence[Turn],
    *,
    origin: float = 0.0,
    provenance: Facts | None = None,
    moved: tuple[Path, Path] | None = None,
    recording: Path | None = None,
    series: tuple[Path, Sequence[Path]] | None = None,
) -> bytes:
    """The same .eaf with more tiers, as `eaf` makes them, but for the labels, which it has. Every other byte stays as it is,
    but for ELAN's counter of annotations and for relative links of a copy in another folder.

    Args:
        content: of an .eaf
        turns: in seconds of the recording
        origin: second of the recording at which the file's time begins, see `speech.segments.time_origin`
        provenance: of the values; becomes properties of the document
        moved: the file that the content is from and the place of the copy, so that relative links lead to the same files
        recording: to which a link of its name leads, if there is nothing where it leads now
        series: place of the copy, and linked files of curves, see `time_series`

    Raises:
        FormatError: no .eaf, or one without header or times
    """
    root = xml.parse(content, ROOT)
    header, order = root.first("HEADER"), root.first("TIME_ORDER")
    if header is None or order is None:
        raise FormatError("the .eaf has no HEADER or no TIME_ORDER; expected both; save it again in ELAN")
    names = [one.attributes.get("TIER_ID", "") for one in root.all("TIER")]
    ids = [
        one.attributes.get("ANNOTATION_ID", "")
        for tier in root.all("TIER")
        for part in tier.children
        for one in part.children
    ]
    counter = next(
        (one for one in header.all("PROPERTY") if one.attributes.get("NAME") == "lastUsedAnnotationId"), None
    )
    parts = _Parts(
        set(names),
        _highest("ts", (one.attributes.get("TIME_SLOT_ID", "") for one in order.children)),
        max(
            _highest("a", ids),
            int(counter.text) if counter and re.fullmatch(r"\s*\d{1,15}\s*", counter.text, re.ASCII) else 0,
        ),
    )
    kinds = {
        one.attributes.get("LINGUISTIC_TYPE_ID", ""): one.attributes.get("CONSTRAINTS", "")
        for one in root.all("LINGUISTIC_TYPE")
    }
    types = {name: _type_name(name, _ASSOCIATION if name == VALUE else "", kinds) for name in (TURNS, VALUE)}
    parts.add_turns(turns, types, origin, labels=False)
    edit = xml.Edit(content)
    if counter and counter.text.strip():
        edit.replace_text(counter, str(parts.annotation))
    for element, name, link in _moved_links(header, moved, recording) if moved else ():
        edit.replace_attribute(element, name, link)
    media = [one for one in header.children if one.name in ("MEDIA_DESCRIPTOR", "LINKED_FILE_DESCRIPTOR")]
    linked = _linked_files(series[1], series[0]) if series else ""
    if media:
        edit.insert_behind(media[-1], linked)
    edit.append(header, ("" if media else linked) + "".join(_property(*one) for one in _properties(provenance or {})))
    edit.append(order, "".join(parts.slots))
    edit.insert_behind((root.all("TIER") or [order])[-1], "".join(parts.tiers))
    new = "".join(
        _type(types[name], _ASSOCIATION if name == VALUE else "") for name in (TURNS, VALUE) if types[name] not in kinds
    )
    before: tuple[str, ...] = ("TIME_ORDER", "TIER", "LINGUISTIC_TYPE")
    edit.insert_behind([one for one in root.children if one.name in before][-1], new)
    if _ASSOCIATION not in {one.attributes.get("STEREOTYPE") for one in root.all("CONSTRAINT")}:
        before = (*before, "LOCALE", "LANGUAGE", "CONSTRAINT")
        edit.insert_behind([one for one in root.children if one.name in before][-1], _constraint(_ASSOCIATION))
    return edit.result()


def time_series(
    columns: Mapping[str, Sequence[float]], times: Sequence[float], place: Path, date: datetime | None = None
) -> tuple[str, str]:
    """Curves for ELAN's time series viewer: a CSV, and the configuration that ELAN reads with it.

    Args:
        columns: numbers by the curve's name; rows in which all are NaN are left out
        times: of the values, in seconds of the .eaf; rows before its beginning are left out
        place: where the CSV will lie; the configuration is called as the .eaf, with `_tsconf.xml` in place of `.eaf`

    Returns:
        text of the CSV, text of the configuration
    """
    rows = [",".join(("time", *(name.replace(",", " ") for name in columns)))]
    for time, values in zip(times, zip(*columns.values(), strict=True), strict=True):
        texts = [number_text(value) for value in values]
        if any(texts) and time >= 0:
            rows.append(",".join((f"{time:.3f}", *texts)))
    stamp = (date or datetime.now()).astimezone().isoformat(timespec="seconds")
    colours = dict(zip(DIMENSIONS, _COLOURS, strict=True))
    tracks = "".join(
        f'        <track derivative="0" name={_attribute(name)}>\n'
        '            <property key="detect-range" value="false"/>\n'
        f'            <sample-position>\n                <pos col="{column}" row="0"/>\n            </sample-position>\n'
        "            <description/>\n            <units/>\n"
        '            <range max="1.0" min="0.0"/>\n'
        f"            <color>{colours.get(name, '0,130,90')}</color>\n        </track>\n"
        for column, name in enumerate(columns, 1)
    )
    return "\n".join(rows) + "\n", (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<timeseries date="{stamp}" version="1.0">\n'
        f'    <tracksource sample-type="Continuous Rate" source-url={_attribute(_url(place))} time-column="0">\n'
        '        <property key="provider" value="mpi.eudico.client.annotator.timeseries.csv.CSVServiceProvider"/>\n'
        f"{tracks}    </tracksource>\n</timeseries>\n"
    )


def _summary(turn: Turn) -> str:
    values = {name: text(turn) for name, text in VALUES.items()}
    return "; ".join(f"{name} {value[:6].rstrip('.')}" for name, value in values.items() if value)


def _annotation(head: str, text: str) -> str:
    name = head.split(" ", 1)[0]
    return (
        f"        <ANNOTATION>\n            <{head}>\n                <ANNOTATION_VALUE>{_text(text)}</ANNOTATION_VALUE>\n"
        f"            </{name}>\n        </ANNOTATION>\n"
    )


def _type(name: str, constraint: str) -> str:
    attribute = f' CONSTRAINTS="{constraint}"' if constraint else ""
    alignable = "false" if constraint else "true"
    return (
        f'    <LINGUISTIC_TYPE{attribute} GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID={_attribute(name)} '
        f'TIME_ALIGNABLE="{alignable}"/>\n'
    )


def _type_name(name: str, constraint: str, kinds: Mapping[str, str]) -> str:
    """The type's name, or a new one where the document has another type of that name."""
    return free_name(name, lambda unique: kinds.get(unique, constraint) != constraint, "{} ({})")


def _constraint(name: str) -> str:
    return f'    <CONSTRAINT DESCRIPTION={_attribute(_CONSTRAINTS[name])} STEREOTYPE="{name}"/>\n'


def _properties(provenance: Facts) -> Iterator[tuple[str, str]]:
    return ((f"emow2v:{name}", str(value)) for name, value in provenance.items())


def _property(name: str, value: str) -> str:
    return f"        <PROPERTY NAME={_attribute(name)}>{_text(value)}</PROPERTY>\n"


def _highest(letters: str, names: Iterable[str]) -> int:
    numbers = (re.fullmatch(rf"{letters}(\d{{1,15}})", name, re.ASCII) for name in names)
    return max((int(number[1]) for number in numbers if number), default=0)


def _text(text: str) -> str:
    return printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _attribute(text: str) -> str:
    return quoteattr(printable(text))


def has_time_series(content: bytes) -> bool:
    """Whether an .eaf has curves of its own: their configuration would be replaced by another."""
    header = xml.parse(content, ROOT).first("HEADER")
    linked = [] if header is None else header.all("LINKED_FILE_DESCRIPTOR")
    return any(one.attributes.get("LINK_URL", "").endswith("_tsconf.xml") for one in linked)


def _linked_files(series: Iterable[Path], place: Path) -> str:
    return "".join(
        f"        <LINKED_FILE_DESCRIPTOR {_link('LINK', one, place)} "
        f"MIME_TYPE={_attribute('text/xml' if one.suffix == '.xml' else 'text/plain')}/>\n"
        for one in series
    )


def _moved_links(
    header: xml.Element, moved: tuple[Path, Path], recording: Path | None
) -> Iterator[tuple[xml.Element, str, str]]:
    """Elements with a relative link, its attribute, and the link from the place of a copy."""
    source, place = moved
    for element in header.children:
        for name in ("RELATIVE_MEDIA_URL", "RELATIVE_LINK_URL"):
            link = element.attributes.get(name, "").removeprefix("file:/").replace("\\", "/")
            target = source.parent / link
            if recording is not None and target.name == recording.name and not _is_file(target):
                target = recording
            if link and _is_file(target) and (near := _relative(target, place)):
                yield element, name, near


def _is_file(path: Path) -> bool:
    try:
        return is_file(path)
    except PathError:
        return False


def _relative(file: Path, place: Path) -> str:
    """A relative URL; "" where Windows has them on two drives."""
    try:
        relative = Path(os.path.relpath(file, place.parent)).as_posix()
    except ValueError:
        return ""
    return relative if relative.startswith("..") else f"./{relative}"


def _link(kind: str, file: Path, place: Path) -> str:
    """Absolute and relative URL, if there is one."""
    near = _relative(file, place)
    return f"{kind}_URL={_attribute(_url(file))}" + (f" RELATIVE_{kind}_URL={_attribute(near)}" if near else "")


def _url(file: Path) -> str:
    """As ELAN writes it: signs stand as they are, without %20."""
    return "file:///" + file.absolute().as_posix().lstrip("/")


def _mime_type(file: Path) -> str:
    kind = mimetypes.guess_type(file.name)[0] or "unknown"
    return "audio/x-wav" if "wav" in kind else kind
