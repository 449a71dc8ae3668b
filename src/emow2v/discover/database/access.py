"""The database that a request names: recordings and turns found there, and the places of its results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path

from emow2v.discover.database import passwords
from emow2v.discover.database.files import file_uri
from emow2v.discover.database.writing import SessionWriting
from emow2v.discover.descriptors import Descriptor
from emow2v.discover.places import Places
from emow2v.errors import DatabaseError, RequestError
from emow2v.framing import Framing
from emow2v.nova.connection import Connection, Credentials, NoAnswer
from emow2v.nova.documents import StreamEntry
from emow2v.nova.sizes import check_continuous
from emow2v.nova.store import Dataset, Names, Place
from emow2v.speech.segments import Segmentation
from emow2v.storage import shown

Ports = Sequence[tuple[str, Descriptor]]


class RequestDatabase:
    """The database of a request, connected when it is first asked; it keeps what it read until it is closed.

    Args:
        fields: of the request, by snake_case names
        dataset: its name
        places: with the databases that are allowed
        stored: whether the request was accepted before, so that its password is kept in a file

    All methods raise DatabaseError or RequestError, with one sentence.
    """

    def __init__(self, fields: Mapping[str, str], dataset: str, places: Places, *, stored: bool = False) -> None:
        self._fields, self._name, self._places, self._stored = fields, dataset, places, stored
        self._connection: Connection | None = None
        self._turns: dict[Names, Segmentation] = {}
        self._framings: dict[str, Framing] = {}
        self._gone: NoAnswer | None = None

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset."""
        host = self._fields.get("db_host", "").strip()
        if not host:
            raise RequestError("data has the origin db:, but dbHost is missing; expected the host of NOVA's database.")
        for field, what in (("dataset", "the name of a dataset"), ("sessions", 'a JSON list of names, as ["first"]')):
            if not self._fields.get(field, "").strip():
                raise RequestError(f"data has the origin db:, but {field} is missing; expected {what}.")
        password = self._fields.get(passwords.FIELD, "")
        if password and self._stored:
            password = passwords.read(self._places.passwords, password)
        credentials = Credentials(self._fields.get("db_user", ""), password)
        self._connection = self._places.databases.connect(host, self._fields.get("db_port", ""), credentials)
        return Dataset(self._connection, self._name)

    def close(self) -> None:
        """Close the connection; a later use opens a new one."""
        if self._connection is not None:
            self._connection.close()
            self.__dict__.pop("dataset", None)

    def recording(self, source: Descriptor, session: str) -> Path:
        """The file of a session's stream, below the data folders."""
        self.dataset.check_sessions([session])
        entry = self.dataset.stream(source.name)
        return self._places.input(file_uri(self._name, session, entry.file(source.role)))

    def turns(self, source: Descriptor, session: str) -> Segmentation:
        """The segments of a session's annotation."""
        names = _names(source, session)
        if self._gone:  # a request with many sessions does not wait for each of them
            raise self._gone
        if names not in self._turns:
            name = f"{source.role}.{source.scheme}.{source.annotator}"
            try:
                self._turns[names] = replace(self.dataset.turns(names), source=Path(name))
            except NoAnswer as error:
                self._gone = error
                raise
        return self._turns[names]

    def framing(self, session: str, framing: Framing, stated_s: float = 0) -> Framing:
        """The windows of a session: they end with it where the database says that it is shorter than its recording.

        Args:
            framing: of the request
            stated_s: duration that the recording states; 0 where that is not known. What was found at first counts
        """
        if session not in self._framings:
            lasts = self.dataset.duration(session)
            if lasts and not (stated_s and lasts >= stated_s):
                if framing.count(lasts) <= framing.first_frame:
                    raise RequestError(
                        f"The session {shown(session)} lasts {float(lasts):g} s in the database, which holds no value; correct "
                        "its duration in NOVA, or set it to 0."
                    )
                framing = replace(framing, end_ms=min(lasts * 1000, framing.end_ms or lasts * 1000))
            self._framings[session] = framing
        return self._framings[session]

    def check(self, sessions: Sequence[str], ports: Ports, framing: Framing, *, overwrite: bool) -> None:
        """Refuse places of results that are missing, locked or taken, and two results at one place."""
        if not ports:
            return
        for entry in _streams(ports, framing):
            self.dataset.check_stream(entry, overwrite=overwrite)
        outputs = [output for _, output in ports if output.kind == "annotation"]
        twice, times = Counter(sessions).most_common(1)[0]
        if times > 1:
            raise RequestError(f"sessions lists {shown(twice)} twice; expected each session once.")
        self.dataset.check_sessions(list(sessions))
        for session in sessions:
            seen: set[Names] = set()
            for output in outputs:
                place = self._free_place(output, session, overwrite=overwrite)
                if place.names in seen:
                    raise RequestError(f"{place.names} is named by two outputs; expected a scheme for each.")
                seen.add(place.names)

    def check_sizes(self, session: str, ports: Ports, duration_s: float, framing: Framing) -> None:
        """Refuse annotations that a document of the database cannot hold.

        Args:
            duration_s: of the recording, as it states it; 0 where that is not known
        """
        end_s = float(framing.end_ms or 0) / 1000
        seconds = Fraction(min(duration_s, end_s) if end_s else duration_s)
        for _, output in ports:
            if output.kind == "annotation":
                rate = self._place(output, session).scheme.rate
                check_continuous(output.scheme, int(seconds * rate), rate)

    def writing(self, session: str, ports: Ports, framing: Framing, *, gaps: bool, overwrite: bool) -> SessionWriting:
        """The writing of a session's results in the database; places are checked again, since hours may have passed."""
        places = [
            (port, self._free_place(output, session, overwrite=overwrite))
            for port, output in ports
            if output.kind == "annotation"
        ]
        streams = _streams(ports, framing)
        dataset = self.dataset if places or streams else None
        return SessionWriting(dataset, places, streams, gaps=gaps)

    def _free_place(self, output: Descriptor, session: str, *, overwrite: bool) -> Place:
        place = self._place(output, session)
        place.refuse_locked()
        # a job that was interrupted and starts again finds what it wrote itself
        if place.present and not overwrite and not (self._stored and self.dataset.is_ours(place)):
            raise RequestError(
                f'{place.names} is there already; choose another annotator, or replace it with options={{"overwrite": true}}.'
            )
        return place

    def _place(self, output: Descriptor, session: str) -> Place:
        place = self.dataset.place(_names(output, session))
        if place.scheme.kind != "CONTINUOUS":
            raise DatabaseError(
                f"The scheme {output.scheme[:60]} is {place.scheme.kind}; expected a CONTINUOUS one for {output.id[:60]}."
            )
        return place


def _streams(ports: Ports, framing: Framing) -> list[StreamEntry]:
    """The streams to write; one value for a whole recording counts as one a second."""
    rate = Fraction(1) if framing.whole else 1000 / framing.step_ms
    return [StreamEntry(output.name, "stream", rate) for _, output in ports if output.kind == "stream"]


def _names(descriptor: Descriptor, session: str) -> Names:
    return Names(session, descriptor.role, descriptor.scheme, descriptor.annotator)
