"""Resumable uploads on the disk.

What has come of an upload lies in a file of the folder `incoming` of its owner, and its size is the offset. A file beside
it has the length and the client's metadata. The whole upload moves among the owner's other uploads, under its id, which
then is also its name there. So nothing else has to be written for an offset to survive the death of the server.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from emow2v.discover.places import Places
from emow2v.errors import Emow2vError
from emow2v.server.jobs import uploads
from emow2v.server.jobs.store import Busy, Store
from emow2v.server.uploads import protocol
from emow2v.storage import counted
from emow2v.storage.atomic import atomic_file, sync_folder

logger = logging.getLogger("emow2v.server")

UNFINISHED_S = 86400.0  # after the last byte an unfinished upload is removed
SWEEP_S = 300.0  # between two looks for such uploads
ORPHAN_S = 3600.0  # likewise files that a killed server has left of one
MOST_UNFINISHED = 1000  # of a name
_ID = re.compile(rf"{uploads.NAME}(\.[0-9A-Za-z]{{1,10}})?")
_VERIFIED = ".verified"  # ending of the file with the offset before a body whose checksum is not known yet


class UnknownUpload(Emow2vError):
    """The caller has no upload of an id."""


class GoneUpload(UnknownUpload):
    """The caller had an upload of an id; its bytes were removed."""


class UploadConflict(Emow2vError):
    """The state of an upload does not allow what is asked."""


@dataclass(frozen=True)
class Upload:
    """A resumable upload.

    Attributes:
        id: also its name among the owner's uploads, when it is finished
        length: bytes of the whole file
        offset: bytes that have come
        metadata: as the client sent it
        created: UTC, ISO 8601 to the second
        expires: seconds since 1970, when what has come is removed; None for a finished upload
    """

    id: str
    length: int
    offset: int
    metadata: str
    created: str
    expires: float | None

    @property
    def is_finished(self) -> bool:
        """Whether all bytes have come."""
        return self.expires is None

    @property
    def name(self) -> str:
        """The client's name of the file."""
        return protocol.file_name(protocol.metadata(self.metadata))


class UploadFiles:
    """The resumable uploads of all owners; safe to use from several threads.

    Args:
        store: of the jobs
        keep_days: of the server; unfinished uploads are kept for that, if it is less than `UNFINISHED_S`, but for an hour
        is_written: whether a request writes an upload now, by its owner and id
        clock: seconds since 1970
    """

    def __init__(
        self,
        store: Store,
        keep_days: float,
        is_written: Callable[[str, str], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._is_written, self._clock = store, is_written, clock
        self._kept_s = min(UNFINISHED_S, max(keep_days * 86400, ORPHAN_S))
        self._lock = threading.Lock()
        self._used: Counter[tuple[str, str]] = Counter()  # in requests that post a job

    # --- for clients ---

    def create(self, places: Places, length: int, metadata: str) -> Upload:
        """A new upload, of which nothing has come.

        Args:
            places: of the owner
            length: bytes of the whole file
            metadata: as the client sends it

        Raises:
            BadHeader: the metadata has no usable form
            Busy: the owner has too many unfinished uploads
            OSError: it cannot be written
        """
        upload_id = uploads.new_name(protocol.file_name(protocol.metadata(metadata)))
        folder = places.incoming
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = sum(not path.name.endswith((".json", ".used", ".part", _VERIFIED)) for path in folder.iterdir())
        if unfinished >= MOST_UNFINISHED:
            raise Busy(
                f"{counted(unfinished, 'upload')} of yours are unfinished, as many as are kept; finish or remove some (DELETE)."
            )
        created = datetime.now(UTC).isoformat(timespec="seconds")
        (folder / upload_id).open("xb").close()
        with atomic_file(folder / f"{upload_id}.json", mode=0o600) as file:
            file.write(json.dumps({"length": length, "metadata": metadata, "created": created}).encode())
        return self.find(places, upload_id)

    def find(self, places: Places, upload_id: str) -> Upload:
        """An upload. Its offset has reached the disk.

        Args:
            places: of the owner

        Raises:
            UnknownUpload: the owner has none of that id
            GoneUpload: it has expired, or was erased with its job
        """
        unknown = UnknownUpload(f"There is no upload '{upload_id[:60]}'; expected the address of one that was created.")
        if not _ID.fullmatch(upload_id):
            raise unknown
        facts = _facts(places, upload_id)
        if facts is None:
            raise unknown
        whole = Upload(upload_id, facts["length"], facts["length"], facts["metadata"], facts["created"], None)
        path = places.incoming / upload_id
        for _ in range(2):  # it may be finished meanwhile
            if places.upload(upload_id).exists():
                return whole
            with contextlib.suppress(FileNotFoundError):
                offset = _settled(path)
                expires = path.stat().st_mtime + self._kept_s
                if self._is_written(places.owner, upload_id):
                    return Upload(upload_id, whole.length, offset, whole.metadata, whole.created, expires)
                if expires < self._clock():
                    break
                if offset == whole.length:  # also where the server was killed before it could say so
                    self.finish(places, upload_id)
                    return whole
                return Upload(upload_id, whole.length, offset, whole.metadata, whole.created, expires)
        raise GoneUpload(f"The upload '{upload_id}' is gone: it has expired, or was erased; create a new one.")

    def all(self, places: Places) -> list[Upload]:
        """The uploads of an owner that no job has taken by their id, the newest first."""
        found = []
        for path in places.incoming.glob("*.json"):
            with contextlib.suppress(UnknownUpload):
                found.append(self.find(places, path.name.removesuffix(".json")))
        return sorted(found, key=lambda upload: (upload.created, upload.id), reverse=True)

    def finish(self, places: Places, upload_id: str) -> None:
        """All bytes have come and reached the disk: move the upload among the others of its owner."""
        places.uploads.mkdir(parents=True, exist_ok=True)
        with self._lock:
            if (places.incoming / upload_id).exists():
                (places.incoming / upload_id).replace(places.uploads / upload_id)
        sync_folder(places.uploads)
        sync_folder(places.incoming)

    def remove(self, places: Places, upload_id: str) -> list[int]:
        """Remove an upload; gives the bytes of each of its files.

        Raises:
            UnknownUpload: the owner has none of that id
            UploadConflict: a job uses it
        """
        found = self.find(places, upload_id)
        with self._lock:
            taken = (places.owner, upload_id) in self._used
        if found.is_finished and (taken or self._store.mentions(upload_id, places.owner)):
            raise UploadConflict("A job uses this upload; erase the job, and its uploads go with it.")
        sizes = _discard(places, upload_id)
        logger.info("upload removed by its owner: %d bytes", sum(sizes))
        return sizes

    @contextlib.contextmanager
    def used(self, places: Places, upload_id: str) -> Iterator[Upload]:
        """A finished upload for a job that is posted in the with block: it is not removed meanwhile.

        Several jobs may use one upload. It is removed with the last of them.

        Raises:
            UnknownUpload: the owner has none of that id
            UploadConflict: it is not finished
        """
        key = places.owner, upload_id
        with self._lock:
            self._used[key] += 1
        try:
            found = self.find(places, upload_id)
            if not found.is_finished:
                raise UploadConflict(
                    f"The upload has {found.offset} of {found.length} bytes; send the rest (PATCH {protocol.ROUTE}/{upload_id}), "
                    "then post it again."
                )
            with contextlib.suppress(OSError):
                os.utime(places.upload(upload_id))  # no upload that lies unused for long
            yield found
            with contextlib.suppress(FileNotFoundError):  # used before
                details = uploads.details(places.uploads / upload_id)
                details[0].replace(details[1])
        finally:
            with self._lock:
                self._used[key] -= 1
                self._used += Counter()  # drops zeros

    # --- for the server ---

    def sweep(self, places: Places) -> None:
        """Remove what has expired, and what a killed server has left, of all owners."""
        for own in map(places.of, places.owners):
            for path in list(own.incoming.glob("*")):
                upload_id = _ID.match(path.name)
                with contextlib.suppress(OSError):
                    if path.suffix in (".json", ".used") and upload_id:
                        try:
                            self.find(own, path.name.removesuffix(path.suffix))
                        except UnknownUpload:
                            _discard(own, path.name.removesuffix(path.suffix))
                            logger.info("what was left of a resumable upload that expired or was erased is removed")
                    elif path.stat().st_mtime + ORPHAN_S < self._clock() and not _has_details(own, path):
                        path.unlink()


def prepare(places: Places, upload_id: str) -> tuple[IO[bytes], int]:
    """Open what has come of an upload for more, at its end, and give its offset: what was never verified goes.

    Raises:
        UploadConflict: another request has finished or removed it since it was found
    """
    path = places.incoming / upload_id
    try:
        offset = _settled(path)
        file = path.open("rb+", buffering=0)  # makes no new file, as "ab" does
    except FileNotFoundError:
        raise UploadConflict(
            "Another request has finished or removed this upload meanwhile; ask for its offset (HEAD)."
        ) from None
    try:
        if file.seek(0, os.SEEK_END) != offset:
            file.truncate(offset)
            file.seek(offset)
        (places.incoming / f"{upload_id}{_VERIFIED}").unlink(missing_ok=True)
    except OSError:
        file.close()
        raise
    return file, offset


def expect_checksum(places: Places, upload_id: str, offset: int) -> None:
    """Bytes behind the offset do not count until `verified`, also if the server is killed."""
    with atomic_file(places.incoming / f"{upload_id}{_VERIFIED}", mode=0o600) as file:
        file.write(str(offset).encode())


def verified(places: Places, upload_id: str) -> None:
    """The bytes behind the offset of `expect_checksum` count."""
    (places.incoming / f"{upload_id}{_VERIFIED}").unlink(missing_ok=True)
    sync_folder(places.incoming)


def _settled(path: Path) -> int:
    """The offset of an unfinished upload, whose bytes have reached the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
    try:
        return min(size, int(path.with_name(path.name + _VERIFIED).read_bytes()))
    except FileNotFoundError:
        return size


def _facts(places: Places, upload_id: str) -> dict[str, Any] | None:
    for path in uploads.details(places.uploads / upload_id):
        with contextlib.suppress(FileNotFoundError):
            found: dict[str, Any] = json.loads(path.read_bytes())
            return found
    return None


def _has_details(places: Places, path: Path) -> bool:
    """Whether a file of the folder belongs to an upload whose details are there."""
    return any(one.exists() for one in uploads.details(places.uploads / path.name.removesuffix(_VERIFIED)))


def _discard(places: Places, upload_id: str) -> list[int]:
    """Remove all files of an upload, the details last: they name what is left where something cannot be removed."""
    sizes = []
    for path in (places.incoming / f"{upload_id}{_VERIFIED}", places.incoming / upload_id):
        with contextlib.suppress(FileNotFoundError):
            size = path.stat().st_size
            path.unlink()
            sizes.append(size)
    return sizes + uploads.remove(places.uploads / upload_id)
