"""The recordings of a request: files, bytes that came inside it, and recordings at addresses; a look at their beginning."""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
from collections.abc import Callable
from pathlib import Path

from emow2v import storage
from emow2v.audio import recording as audio
from emow2v.audio.recording import Source
from emow2v.discover.database.access import RequestDatabase
from emow2v.discover.descriptors import Descriptor
from emow2v.discover.options import TrackChoice
from emow2v.discover.places import Places
from emow2v.errors import AudioError, DatabaseError, PathError, RequestError, TooLong
from emow2v.framing import Framing
from emow2v.prediction.blocks import no_values
from emow2v.sources.address import SourceError
from emow2v.sources.remote import Remote

_PROBED_S = 60  # of sound at most, where a request begins late in its recording
_WAITED_S = 20.0  # for the server of an address

Found = Path | bytes | Remote


class Recordings:
    """Finds recordings, and keeps what was fetched of those at addresses until it is closed.

    Args:
        places: that requests may read
        database: of the request
    """

    def __init__(self, places: Places, database: RequestDatabase | None = None) -> None:
        self._places, self._database = places, database
        self._remotes: dict[str, Remote] = {}

    def find(self, source: Descriptor, dataset: str, session: str) -> Found:
        """The recording of a session.

        Raises:
            RequestError: it is not there, or its place or address is not allowed
        """
        if source.origin == "file":
            return self._places.input(source.path(dataset, session))
        if source.origin == "db" and self._database:
            try:
                return self._database.recording(source, session)
            except DatabaseError as error:
                raise RequestError(str(error)) from None
        if source.origin == "url":
            return self.remote(source.path(dataset, session))
        return self._sent(source.uri or source.payload)

    def remote(self, url: str) -> Remote:
        """The recording at an address; the same one for the same address.

        Raises:
            RequestError: the address has no usable form, or is not allowed
        """
        if url not in self._remotes:
            try:
                self._remotes[url] = self._places.remote(url)
            except SourceError as error:
                raise RequestError(str(error)) from None
        return self._remotes[url]

    def watch(self, check: Callable[[], None]) -> None:
        """Call a function often while recordings at addresses are fetched; it may raise."""
        for remote in self._remotes.values():
            remote.check = check

    def close(self) -> None:
        """Remove what was fetched."""
        for remote in self._remotes.values():
            remote.close()
        self._remotes.clear()

    def _sent(self, uploaded: str) -> Path | bytes:
        """An upload, or the bytes that the request holds."""
        if len(uploaded) < 100:
            path = self._places.upload(uploaded)
            with contextlib.suppress(PathError):  # a text that is too long for a file's name may be the sound itself
                if storage.is_file(path):
                    return path
        try:
            # perhaps in lines, as the command base64 writes it
            text = "".join((uploaded.partition("base64,")[2] or uploaded).split())
            return base64.b64decode(text.encode(errors="replace"), validate=True)
        except binascii.Error:
            raise RequestError(
                "The input audio is neither the name of an upload nor base64; post the file to /upload and name what it answers."
            ) from None


def probe(
    recording: Found,
    framing: Framing,
    max_duration_s: float = 0,
    track_choice: TrackChoice | None = None,
) -> float:
    """Decode the first frame of a recording as the job will, so that errors are found before the job is queued.

    A recording at an address whose server gives no ranges is not decoded, since it would be fetched whole.

    Args:
        max_duration_s: longest recording in seconds; 0 for no limit
        track_choice: track and channel; default: the default track, all channels

    Returns:
        the duration that the recording states, in seconds; 0 where it states none

    Raises:
        RequestError: the recording cannot be decoded, or holds no value
        TooLong: the recording states a longer duration, which need not be true
    """
    if isinstance(recording, Remote):
        try:
            with recording.hurried(_WAITED_S):
                return _probe(recording, framing, max_duration_s, track_choice) if recording.gives_ranges else 0.0
        except SourceError as error:
            raise RequestError(str(error)) from None
    return _probe(
        io.BytesIO(recording) if isinstance(recording, bytes) else recording, framing, max_duration_s, track_choice
    )


def seconds_read(stated: float, framing: Framing) -> float:
    """Seconds of a recording that are read, if it states its duration truly."""
    return min(stated, float(framing.end_ms) / 1000) if framing.end_ms else stated


def _probe(source: Source, framing: Framing, max_duration_s: float, track_choice: TrackChoice | None) -> float:
    end_s = float(framing.end_ms or 0) / 1000
    try:
        opened = audio.open_recording(source, **(track_choice or TrackChoice()))
        try:
            opened.max_duration_s = max_duration_s
            stated = opened.expected_duration or 0
            opened.check(min(stated, end_s) if end_s else stated)
            for _ in opened:
                if framing.count(opened.duration) > framing.first_frame or opened.duration > _PROBED_S:
                    return stated
            raise no_values(opened.name, opened.duration, framing)
        finally:
            opened.close()
    except TooLong:
        raise
    except AudioError as error:
        raise RequestError(str(error)) from None
