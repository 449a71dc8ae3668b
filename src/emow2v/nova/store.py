"""A dataset of NOVA's database: what requests read from it, and what stands at the places of results."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from emow2v.errors import DatabaseError
from emow2v.nova import documents
from emow2v.nova.connection import Connection
from emow2v.nova.documents import (
    ANNOTATION_DATA,
    ANNOTATIONS,
    ANNOTATORS,
    ROLES,
    SCHEMES,
    SESSIONS,
    STREAMS,
    Document,
    Scheme,
    StreamEntry,
)
from emow2v.speech.segments import Segmentation
from emow2v.storage import shown

_MAKE = "make it in NOVA first"


@dataclass(frozen=True)
class Names:
    """What an annotation of a session belongs to, by name."""

    session: str
    role: str
    scheme: str
    annotator: str

    def __str__(self) -> str:
        of = f"of {shown(self.role)} in the session {shown(self.session)} by {shown(self.annotator)}"
        return f"The annotation {shown(self.scheme)} {of}"


@dataclass(frozen=True)
class Place:
    """The place of an annotation in a dataset, and what stands there.

    Attributes:
        names: as in the request
        scheme: its scheme
        ids: session_id, annotator_id, role_id and scheme_id
        present: the document of `Annotations`; None where no annotation is
    """

    names: Names
    scheme: Scheme
    ids: Mapping[str, Any]
    present: Document | None

    @property
    def data_id(self) -> Any:
        """`_id` of the labels that stand there; None for none."""
        return self.present.get("data_id") if self.present else None

    def refuse_locked(self) -> None:
        """Refuse an annotation that people have locked.

        Raises:
            DatabaseError: it is locked
        """
        if self.present and self.present.get("isLocked"):
            raise DatabaseError(f"{self.names} is locked; unlock it in NOVA, or choose another annotator.")


class Dataset:
    """A dataset. Sessions, roles, annotators, schemes and streams are looked up once; annotations each time.

    Args:
        connection: to the database
        name: of the dataset

    Raises:
        DatabaseError: no dataset has such a name

    All methods raise DatabaseError, with one sentence, where the database does not answer or holds something else.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection, self.name = connection, name
        self.data = connection.dataset(name)
        self._known: dict[tuple[str, str], Document] = {}

    def check_sessions(self, names: list[str]) -> None:
        """Refuse names of sessions that the dataset does not have."""
        for name in dict.fromkeys(names):
            self._id(SESSIONS, "session", name)

    def duration(self, session: str) -> Fraction:
        """Seconds that a session lasts, as the dataset states it; 0 where it does not."""
        return documents.read_duration(self._named(SESSIONS, "session", session, _MAKE))

    def stream(self, name: str) -> StreamEntry:
        """A stream by its name."""
        return documents.read_stream(self._named(STREAMS, "stream", name, "register it in NOVA first"))

    def registered(self, name: str) -> Document | None:
        """The document of a stream; None for a stream that is not registered."""
        return self._find(STREAMS, {"name": name})

    def check_stream(self, entry: StreamEntry, *, overwrite: bool = False) -> None:
        """Refuse a stream whose name is that of files with another ending or, unless `overwrite`, of another rate."""
        if (found := self.registered(entry.name)) is None:
            return
        where, present = (
            f"The dataset {shown(self.name)} has a stream {shown(entry.name)}",
            documents.read_stream(found),
        )
        if present.ending.lower() != entry.ending:
            raise DatabaseError(
                f"{where} of .{shown(present.ending)} files; choose another name for the stream of embeddings."
            )
        if not overwrite and present.rate and not same_rate(present, entry):
            raise DatabaseError(
                f"{where} of {float(present.rate):g} Hz, and this request has {float(entry.rate):g} Hz; choose another name, "
                'or change it with options={"overwrite": true}.'
            )

    def place(self, names: Names) -> Place:
        """The place of an annotation."""
        scheme = self._named(SCHEMES, "scheme", names.scheme, _MAKE)
        ids = {
            "session_id": self._id(SESSIONS, "session", names.session),
            "annotator_id": self._id(ANNOTATORS, "annotator", names.annotator),
            "role_id": self._id(ROLES, "role", names.role),
            "scheme_id": scheme["_id"],
        }
        return Place(names, documents.read_scheme(scheme), ids, self._find(ANNOTATIONS, ids))

    def turns(self, names: Names) -> Segmentation:
        """The segments of a discrete or free annotation."""
        place = self.place(names)
        labels = self._find(ANNOTATION_DATA, {"_id": place.data_id}) if place.data_id is not None else None
        if labels is None:
            raise DatabaseError(
                f"{names} does not exist; expected one with labels; choose another, or make it in NOVA."
            )
        return documents.read_turns(labels, place.scheme, names.role)

    def is_ours(self, place: Place) -> bool:
        """Whether emow2v wrote the annotation at a place, and nobody has changed it since."""
        labels = self._find(ANNOTATION_DATA, {"_id": place.data_id}) if place.data_id is not None else None
        if labels is None or place.present is None:
            return False
        return bool(place.data_id == digest_id(place.present["_id"], {"labels": labels.get("labels")}))

    def _id(self, collection: str, what: str, name: str) -> Any:
        return self._named(collection, what, name, _MAKE)["_id"]

    def _named(self, collection: str, what: str, name: str, remedy: str) -> Document:
        if not name:
            raise DatabaseError(f"A data descriptor with the origin db: names no {what}; expected one of the dataset.")
        if (collection, name) not in self._known:
            found = self._find(collection, {"name": name})
            if found is None:
                raise DatabaseError(
                    f"The dataset {shown(self.name)} has no {what} {shown(name)}; check its spelling, or {remedy}."
                )
            self._known[collection, name] = found
        return self._known[collection, name]

    def _find(
        self, collection: str, query: Mapping[str, Any], fields: Mapping[str, int] | None = None
    ) -> Document | None:
        with self.connection.sentences():
            return self.data[collection].find_one(query, fields)


def same_rate(one: StreamEntry, other: StreamEntry) -> bool:
    """Whether two streams have the same rate, as far as texts with a few decimals tell."""
    return abs(one.rate - other.rate) <= other.rate / 10_000


def digest_id(*parts: object) -> Any:
    """An ObjectId that is a digest of ids and documents: the same parts have the same one.

    The labels that emow2v writes are stored under the digest of their content, so that a change can be detected, and
    writing them again after a lost answer finds them.
    """
    import bson

    encoded = bson.encode({"emow2v": list(parts)})
    return bson.ObjectId(hashlib.sha256(encoded).digest()[:12])
