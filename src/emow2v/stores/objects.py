"""Recordings in stores: short ones are fetched whole, longer ones in blocks as they are read."""

from __future__ import annotations

import io
import tempfile
import threading
import weakref
from typing import IO, Any

from emow2v.errors import AudioError
from emow2v.storage import shown
from emow2v.stores import public, schemes
from emow2v.stores.connection import Changed, Facts, again, connect, fresh_facts, known_facts, reading

SHORT = 4 << 20  # bytes of an object that is fetched in one request
BLOCK = 2 << 20  # bytes of one request for a longer one; the next block is fetched meanwhile
_BLOCKS = 8  # that are kept
_BUFFER = 1 << 16


class StoredObject:
    """An object in a store. It may be opened more than once, by one thread after the other.

    Args:
        address: of the object

    Attributes:
        name: the address without what may be a secret
    """

    def __init__(self, address: str) -> None:
        self.name = public(address)
        self._address = address
        self._lock = threading.Lock()
        self._facts: Facts | None = None
        self._data: bytes | None = None  # of a short one
        self._spool: IO[bytes] | None = None  # of one that cannot be read in parts

    def fetch(self) -> None:
        """Fetch a short object, unless that is done; of a longer one, ask only for its facts.

        Raises:
            AudioError: it is not there, cannot be read, or has changed meanwhile
        """
        with self._lock, reading(self._address):
            if self._facts is None:
                self._facts = self._begin()

    def open(self) -> io.BufferedReader:
        """The object from its beginning. Raises as `fetch`; reads raise, too."""
        self.fetch()
        if self._data is not None:
            return io.BufferedReader(_Part(io.BytesIO(self._data), self))
        with self._lock, reading(self._address):
            if self._spool is None:
                file = self._in_blocks()
                if file is not None:
                    return io.BufferedReader(_Part(file, self), _BUFFER)
                self._spool = self._fetched_whole()
        return io.BufferedReader(_Part(_Shared(self._spool, self._lock), self), _BUFFER)

    def _begin(self) -> Facts:
        known = known_facts(self._address)
        is_short = known is not None and known.size is not None and known.size <= SHORT
        for facts in (known, None) if is_short else (None,):  # of a longer one only its end would show a change
            try:
                return self._begin_as(facts or fresh_facts(self._address))
            except Changed:  # since it was listed
                if facts is None:
                    raise
        raise Changed

    def _begin_as(self, facts: Facts) -> Facts:
        if facts.size == 0:
            raise AudioError(f"{self.name} is empty (0 bytes); expected a recording.")
        if facts.size is not None and facts.size <= SHORT:
            file_system, path = connect(self._address)
            size = facts.size
            data = again(lambda: file_system.cat_file(path, start=0, end=size + 1))  # one more shows that it has grown
            if len(data) != size:
                raise Changed
            self._data = data
        return facts

    def _in_blocks(self) -> Any:
        """A file whose blocks are fetched as they are read; None where its store gives no parts."""
        from fsspec.spec import AbstractBufferedFile

        file_system, path = connect(self._address)
        if self._facts is None or self._facts.size is None:
            return None
        options = {"cache_type": "background", "cache_options": {"maxblocks": _BLOCKS}}
        file = again(lambda: file_system.open(path, "rb", block_size=BLOCK, **options))
        try:
            if isinstance(file, AbstractBufferedFile) and file.size is not None:
                if file.size != self._facts.size:
                    raise Changed
                file.seek(BLOCK)  # a server that gives no parts refuses this
                again(lambda: file.read(1))
                file.seek(0)
                return file
        except ValueError:
            pass
        except BaseException:
            file.close()
            raise
        file.close()
        return None

    def _fetched_whole(self) -> IO[bytes]:
        """A temporary file with all of it, which has no name and is removed with this object."""
        file_system, path = connect(self._address)
        stream = {"block_size": 0} if schemes(self._address)[0] in ("http", "https") else {}  # without parts
        spool = tempfile.TemporaryFile()  # noqa: SIM115 (closed with this object)
        weakref.finalize(self, spool.close)

        def fetch() -> None:
            spool.seek(0)
            spool.truncate()
            with file_system.open(path, "rb", **stream) as file:
                while data := file.read(BLOCK):
                    self._keep(spool, data)

        again(fetch)
        size = spool.seek(0, io.SEEK_END)
        if self._facts and self._facts.size is not None and self._facts.size != size:
            raise Changed
        if not size:
            raise AudioError(f"{self.name} is empty (0 bytes); expected a recording.")
        spool.seek(0)
        return spool

    def _keep(self, spool: IO[bytes], data: bytes) -> None:
        try:
            spool.write(data)
            spool.flush()
        except OSError as error:
            raise AudioError(
                f"{self.name} cannot be kept in {shown(tempfile.gettempdir())} while it is read ({error.strerror}); free some space, "
                "or let TMPDIR name another folder."
            ) from None

    def check(self) -> None:
        """Refuse an object that has changed while it was read in blocks.

        Raises:
            Changed: it has
        """
        if self._data is None and self._spool is None and fresh_facts(self._address) != self._facts:
            raise Changed

    @property
    def address(self) -> str:
        """Where it is."""
        return self._address

    @property
    def size(self) -> int | None:
        """Bytes, as the store says."""
        return self._facts.size if self._facts else None


class _Part(io.RawIOBase):
    """A place in an object. What its store raises becomes one sentence."""

    def __init__(self, file: Any, of: StoredObject) -> None:
        self._file, self._object, self._ended = file, of, False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with reading(self._object.address):
            at = self._file.tell()
            data = again(lambda: self._read(at, len(buffer)))
            size = self._object.size
            if not data and size is not None and at < size:
                raise Changed  # it is shorter now
            if size is not None and at + len(data) == size and not self._ended:
                self._ended = True
                self._object.check()
        buffer[: len(data)] = data
        return len(data)

    def _read(self, at: int, size: int) -> bytes:
        if self._file.tell() != at:
            self._file.seek(at)
        data: bytes = self._file.read(size)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with reading(self._object.address):
            place: int = self._file.seek(offset, whence)
            return place

    def tell(self) -> int:
        place: int = self._file.tell()
        return place

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class _Shared:
    """A place of its own in a file that several readers have."""

    def __init__(self, file: IO[bytes], lock: threading.Lock) -> None:
        self._file, self._lock, self._at = file, lock, 0

    def read(self, size: int) -> bytes:
        with self._lock:
            self._file.seek(self._at)
            data = self._file.read(size)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            with self._lock:
                start = self._file.seek(0, io.SEEK_END)
        else:
            start = self._at if whence == io.SEEK_CUR else 0
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        """The file stays open for other passes."""
