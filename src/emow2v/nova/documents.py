"""The documents of NOVA's database, read and built without a connection.

A database is a dataset. Annotations name their session, role, annotator and scheme by `_id`, and the document with their
labels by `data_id`. Fields that NOVA does not know are not written, since its reader may refuse them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from emow2v.errors import DatabaseError
from emow2v.nova.rates import Values
from emow2v.speech.segmentation.ssi import labelled
from emow2v.speech.segments import Segmentation
from emow2v.storage import shown

# Names of the collections
SESSIONS, ROLES, ANNOTATORS, SCHEMES = "Sessions", "Roles", "Annotators", "Schemes"
STREAMS, ANNOTATIONS, ANNOTATION_DATA = "Streams", "Annotations", "AnnotationData"

Document = Mapping[str, Any]
Kind = Literal["CONTINUOUS", "DISCRETE", "FREE"]
_KINDS: dict[str, Kind] = {"CONTINUOUS": "CONTINUOUS", "DISCRETE": "DISCRETE", "FREE": "FREE"}
_RATES = (1e-6, 1e6)  # Hz
_MAX_TIME_S = 1e7  # of a label: four months


@dataclass(frozen=True)
class Scheme:
    """A scheme of annotations.

    Attributes:
        name: as in the database
        kind: CONTINUOUS, DISCRETE or FREE
        rate: values a second of a continuous scheme; 0 of others
        low, high: range of a continuous scheme
        classes: names of a discrete scheme by id
    """

    name: str
    kind: Kind
    rate: Fraction = Fraction(0)
    low: float = 0.0
    high: float = 1.0
    classes: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StreamEntry:
    """A stream of a dataset: each session has a file for each role, `ROLE.NAME.ENDING`.

    Attributes:
        name: as in the database
        ending: of its files, without the dot
        rate: samples a second; 0 where the database does not say it
    """

    name: str
    ending: str
    rate: Fraction = Fraction(0)

    def file(self, role: str) -> str:
        """Name of the file of a role."""
        return f"{role}.{self.name}.{self.ending}"


def read_scheme(document: Document) -> Scheme:
    """A document of `Schemes`.

    Raises:
        DatabaseError: a kind that NOVA does not have, or a rate, range or class that cannot be used
    """
    name = _text(document, "name", "A scheme")
    where = f"The scheme {shown(name)}"
    kind = _KINDS.get(_text(document, "type", where).upper())
    if kind is None:
        raise DatabaseError(
            f"{where} is of the type {shown(str(document['type']))}; expected CONTINUOUS, DISCRETE or FREE."
        )
    if kind == "CONTINUOUS":
        rate, low, high = (_number(document, key, where) for key in ("sr", "min", "max"))
        if not _RATES[0] <= rate <= _RATES[1]:
            raise DatabaseError(f"{where} has the sr {rate:g}; expected a rate in Hz, such as 25.")
        if not low < high:
            raise DatabaseError(f"{where} has the range {low:g} to {high:g}; expected min below max.")
        return Scheme(name, kind, Fraction(rate).limit_denominator(10**6), low, high)
    if kind == "DISCRETE":
        labels = _list(document, "labels", where)
        return Scheme(name, kind, classes={_integer(one, "id", where): _text(one, "name", where) for one in labels})
    return Scheme(name, kind)


def read_stream(document: Document) -> StreamEntry:
    """A document of `Streams`.

    Raises:
        DatabaseError: it names no ending of its files
    """
    name = _text(document, "name", "A stream")
    ending = _text(document, "fileExt", f"The stream {shown(name)}").lstrip(".")
    if not ending:
        raise DatabaseError(f"The stream {shown(name)} has no fileExt; expected the ending of its files, such as wav.")
    return StreamEntry(name, ending, _positive(document, "sr", _RATES[1]))


def read_duration(document: Document) -> Fraction:
    """Seconds that a document of `Sessions` states; 0 where it states none."""
    return _positive(document, "duration", _MAX_TIME_S)


def read_turns(document: Document, scheme: Scheme, role: str) -> Segmentation:
    """The labels of a discrete or free annotation as segments: the role is the speaker, the scheme's name the tier.

    Args:
        document: of `AnnotationData`

    Raises:
        DatabaseError: the scheme is continuous, or a label has no time, no class or no text
    """
    where = f"The annotation {shown(scheme.name)} of {shown(role)}"
    if scheme.kind == "CONTINUOUS":
        raise DatabaseError(
            f"{where} is continuous; expected a discrete or a free one, whose labels have a start and an end."
        )
    rows: list[tuple[float, float, int | str]] = []
    for one in _list(document, "labels", where):
        start, end = _number(one, "from", where), _number(one, "to", where)
        if not 0 <= start <= end <= _MAX_TIME_S:
            raise DatabaseError(f"{where} has a label from {start:g} to {end:g} s; expected its start before its end.")
        rows.append(
            (start, end, _integer(one, "id", where) if scheme.kind == "DISCRETE" else _text(one, "name", where))
        )
    return labelled(rows, scheme.classes if scheme.kind == "DISCRETE" else None, role, scheme.name, "NOVA database")


def continuous_labels(scores: Values, confidence: Values) -> list[dict[str, float]]:
    """The labels of a continuous annotation.

    Args:
        scores: float64 [values], in the range of the scheme
        confidence: float64 [values], 0..1
    """
    return [{"score": a, "conf": b} for a, b in zip(scores.tolist(), confidence.tolist(), strict=True)]


def in_range(scores: Values, scheme: Scheme) -> Values:
    """Scores of 0..1, clipped to it, as values of a scheme; NaN stays NaN."""
    return np.asarray(scheme.low + np.clip(scores, 0, 1) * (scheme.high - scheme.low))


def annotation(names: Mapping[str, Any], data_id: Any, date: datetime) -> dict[str, Any]:
    """A document of `Annotations`, neither finished nor locked.

    Args:
        names: session_id, annotator_id, scheme_id and role_id
        data_id: `_id` of the document with its labels
        date: of the writing, with its time zone
    """
    keys = ("session_id", "annotator_id", "scheme_id", "role_id")
    ids = {key: names[key] for key in keys}
    return {**ids, "date": date, "isFinished": False, "isLocked": False, "data_id": data_id}


def stream(entry: StreamEntry) -> dict[str, Any]:
    """A document of `Streams` for a stream of features."""
    facts = {"name": entry.name, "fileExt": entry.ending, "sr": float(entry.rate), "type": "feature"}
    return {**facts, "dimlabels": [], "isValid": True}


def _list(document: Document, key: str, where: str) -> Iterable[Document]:
    values = document.get(key)
    if not isinstance(values, list) or not all(isinstance(one, Mapping) for one in values):
        raise DatabaseError(f"{where} has no list of {key}; expected one, as NOVA stores it.")
    return values


def _text(document: Document, key: str, where: str) -> str:
    value = document.get(key)
    if not isinstance(value, str):
        raise DatabaseError(f"{where} has {_said(value)} as its {key}; expected a text, as NOVA stores it.")
    return value


def _number(document: Document, key: str, where: str) -> float:
    value = document.get(key)
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:  # an integer that no float holds
        pass
    raise DatabaseError(f"{where} has {_said(value)} as its {key}; expected a number, as NOVA stores it.")


def _positive(document: Document, key: str, most: float) -> Fraction:
    """A number that need not be there; 0 where it is not, or cannot be meant."""
    value = document.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= most:
        return Fraction(value).limit_denominator(10**6)
    return Fraction(0)


def _said(value: object) -> str:
    return "nothing" if value is None else shown(str(value))


def _integer(document: Document, key: str, where: str) -> int:
    value = _number(document, key, where)
    if value != int(value):
        raise DatabaseError(f"{where} has {value:g} as its {key}; expected a whole number.")
    return int(value)
