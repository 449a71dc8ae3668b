"""Reader of ELAN's .eaf files, versions 2.x and 3.0 (schemas: www.mpi.nl/tools/elan/EAFv2.8.xsd and others)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from emow2v.errors import FormatError
from emow2v.speech.segmentation import xml
from emow2v.speech.segmentation.praat import own_tiers
from emow2v.speech.segmentation.text import checked_time, quoted
from emow2v.speech.segments import Media, Segment, Segmentation, Tier
from emow2v.storage import counted

OWN = re.compile(r"emow2v (?:turns|values)\b")  # types of tiers that emow2v writes
ROOT = "ANNOTATION_DOCUMENT"
_Interval = tuple[float, float]


@dataclass(frozen=True)
class _Annotation:
    tier: str
    label: str
    parent: str = ""
    previous: str = ""


def read_elan(content: bytes) -> Segmentation:
    """The annotations of every tier, in seconds of the file's own time (see `shift_to_recording`).

    The speaker of a tier is its participant, or its parent's. Annotations without times of their own get those of their
    parent, or equal parts of it, as ELAN shows them.

    Raises:
        FormatError: no .eaf, one that is cut off, or one that contradicts itself
    """
    root = xml.parse(content, ROOT)
    foreign = [one for one in root.children if not OWN.match(one.attributes.get("LINGUISTIC_TYPE_REF", ""))]
    own_count = len(root.children) - len(foreign)
    root.children = foreign
    header = root.first("HEADER")
    units = header.attributes.get("TIME_UNITS", "milliseconds") if header else "milliseconds"
    if units != "milliseconds":
        raise FormatError(f"its times are in {quoted(units)}; expected milliseconds; save it again with a newer ELAN")
    tiers = _tiers(root)
    intervals, annotations, notices = _aligned(root)
    notices += _resolve(intervals, annotations)
    notices += [own_tiers(own_count)] if own_count else []
    speakers = {tier.name: tier.speaker for tier in tiers}
    segments = tuple(
        Segment(*intervals[name], speakers[one.tier], one.tier, one.label) for name, one in annotations.items()
    )
    return Segmentation(segments, "ELAN", tiers, _media(header), notices=tuple(notices))


def _tiers(root: xml.Element) -> tuple[Tier, ...]:
    elements = {element.required("TIER_ID"): element for element in root.all("TIER")}
    if len(elements) < len(root.all("TIER")):
        raise FormatError("two of its tiers have one name; expected a name each; rename one in ELAN")

    def speaker(name: str) -> str:
        passed = set()
        while name in elements and name not in passed:
            passed.add(name)
            if participant := elements[name].attributes.get("PARTICIPANT", "").strip():
                return participant
            name = elements[name].attributes.get("PARENT_REF", "")
        return ""

    return tuple(Tier(name, speaker(name), one.attributes.get("PARENT_REF", "")) for name, one in elements.items())


def _aligned(root: xml.Element) -> tuple[dict[str, _Interval], dict[str, _Annotation], list[str]]:
    """Times of the annotations that have some, all annotations by their ids, and notices."""
    order = root.first("TIME_ORDER")
    slots = [
        (slot.required("TIME_SLOT_ID"), _milliseconds(slot.attributes.get("TIME_VALUE")))
        for slot in (order.all("TIME_SLOT") if order else ())
    ]
    times = {name: value for name, value in slots if value is not None}
    intervals: dict[str, _Interval] = {}
    annotations: dict[str, _Annotation] = {}
    notices = []
    for tier in root.all("TIER"):
        name = tier.required("TIER_ID")
        spans: list[tuple[str, str, str]] = []
        for one in (child for annotation in tier.all("ANNOTATION") for child in annotation.children):
            number = one.required("ANNOTATION_ID")
            value = one.first("ANNOTATION_VALUE")
            label = value.text if value else ""
            if number in annotations:
                raise FormatError(f"two annotations have the id {quoted(number)}; expected one; save it again in ELAN")
            if one.name == "ALIGNABLE_ANNOTATION":
                spans.append((number, one.required("TIME_SLOT_REF1"), one.required("TIME_SLOT_REF2")))
                annotations[number] = _Annotation(name, label)
            elif one.name == "REF_ANNOTATION":
                previous = one.attributes.get("PREVIOUS_ANNOTATION", "")
                annotations[number] = _Annotation(name, label, one.required("ANNOTATION_REF"), previous)
        spans_s, gaps = _spans(spans, times, [slot for slot, _ in slots])
        intervals |= spans_s
        if gaps:
            verb = "has no time" if gaps == 1 else "have no times"
            notices.append(
                f"{counted(gaps, 'boundary', 'boundaries')} of the tier {quoted(name)} {verb} and "
                f"{'is' if gaps == 1 else 'are'} set evenly between others, as ELAN shows them"
            )
    return intervals, annotations, notices


def _milliseconds(text: str | None) -> float | None:
    """Seconds of a time slot; None where it has no time."""
    if text is None:
        return None
    try:
        return checked_time(int(text) / 1000)
    except (ValueError, OverflowError):
        raise FormatError(f"a time is {quoted(text)}; expected milliseconds; save it again in ELAN") from None


def _spans(
    spans: Sequence[tuple[str, str, str]], times: Mapping[str, float], order: Sequence[str]
) -> tuple[dict[str, _Interval], int]:
    """Times of a tier's alignable annotations, and how many boundaries had none: chains of neighbours divide evenly."""
    known = set(order)
    for _, *slots in spans:
        for slot in slots:
            if slot not in known:
                raise FormatError(
                    f"the time slot {quoted(slot)} is missing; expected its time; save the file again in ELAN"
                )
    by_first = {first: (number, last) for number, first, last in spans}
    inner = {slot for _, *slots in spans for slot in slots if slot not in times}
    if not inner:
        return {number: (times[first], times[last]) for number, first, last in spans}, 0
    all_times = dict(times)
    for _, first, _ in spans:
        if first not in times:
            continue
        chain = [first]
        while chain[-1] in by_first and len(chain) <= len(spans):
            chain.append(by_first[chain[-1]][1])
            if chain[-1] in times:
                break
        if chain[-1] in times and len(chain) > 2:
            begin, end = times[first], times[chain[-1]]
            for place, slot in enumerate(chain[1:-1], 1):
                all_times[slot] = begin + (end - begin) * place / (len(chain) - 1)
    if not inner <= all_times.keys():
        raise FormatError("some annotations lie between no times; expected times around them; save it again in ELAN")
    return {number: (all_times[first], all_times[last]) for number, first, last in spans}, len(inner)


def _resolve(intervals: dict[str, _Interval], annotations: Mapping[str, _Annotation]) -> list[str]:
    """Give annotations that refer to others their times; notices where these are equal parts."""
    children: dict[tuple[str, str], list[str]] = defaultdict(list)  # of (tier, parent)
    below: dict[str, list[tuple[str, str]]] = defaultdict(list)  # of a parent
    for number, one in annotations.items():
        if one.parent:
            if one.parent not in annotations:
                raise FormatError(
                    f"the annotation {quoted(one.parent)} is missing; expected it; save the file again in ELAN"
                )
            if not children[one.tier, one.parent]:
                below[one.parent].append((one.tier, one.parent))
            children[one.tier, one.parent].append(number)
    parts_of_tier: dict[str, int] = defaultdict(int)
    waiting = list(intervals)
    while waiting:
        parent = waiting.pop()
        begin, end = intervals[parent]
        for key in below[parent]:
            parts = _in_order(children[key], annotations)
            length = (end - begin) / len(parts)
            for place, number in enumerate(parts):
                intervals[number] = (
                    begin + place * length,
                    end if place == len(parts) - 1 else begin + (place + 1) * length,
                )
            if len(parts) > 1:
                parts_of_tier[key[0]] += len(parts)
            waiting += parts
    if len(intervals) < len(annotations):
        raise FormatError("annotations refer to each other in a circle; expected times; save the file again in ELAN")
    return [
        f"{counted(count, 'annotation')} of the tier {quoted(tier)} have no times of their own and divide those of their "
        "parents equally, as ELAN shows them"
        for tier, count in parts_of_tier.items()
    ]


def _in_order(numbers: list[str], annotations: Mapping[str, _Annotation]) -> list[str]:
    """Parts of one annotation in the order that PREVIOUS_ANNOTATION says."""
    after = {annotations[number].previous: number for number in numbers}
    ordered: list[str] = []
    last = after.get("", "")
    while last and len(ordered) < len(numbers):
        ordered.append(last)
        last = after.get(last, "")
    return ordered if len(ordered) == len(numbers) else numbers


def _media(header: xml.Element | None) -> tuple[Media, ...]:
    return tuple(
        Media(
            one.required("MEDIA_URL"),
            one.attributes.get("RELATIVE_MEDIA_URL", ""),
            _milliseconds(one.attributes.get("TIME_ORIGIN", "0").strip() or "0") or 0.0,
        )
        for one in (header.all("MEDIA_DESCRIPTOR") if header else ())
    )
