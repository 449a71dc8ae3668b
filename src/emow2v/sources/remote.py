"""Recordings at addresses: fetched piece by piece as they are read, and kept in a temporary file for further passes."""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from emow2v.audio.recording import OpenedPath
from emow2v.errors import DiskFull
from emow2v.sources.address import Address, SourceError
from emow2v.sources.web import PIECE, Answer, Client, Unreachable

FIRST_SPAN, LAST_SPAN = 4, 256  # pieces that one request asks for: more and more where a recording is read in order
PAUSES_S = (0.5, 1.0, 2.0, 4.0)  # before each further try of a span
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


class Remote(OpenedPath):
    """A recording at an address, as a source of `Model.predict`. It may be opened more than once.

    The server is asked for ranges. Where it knows none, the whole recording is fetched before its first byte is given.

    Args:
        address: that was checked
        client: of the job; closed with the recording
        folder: for the temporary file, which has no name and ends with the process
        pauses_s: before each further try after a connection broke
    """

    def __init__(
        self, address: Address, client: Client, folder: Path | None = None, *, pauses_s: tuple[float, ...] = PAUSES_S
    ) -> None:
        super().__init__(address.shown, self.open)
        self.check: Callable[[], None] = lambda: None  # called before each piece; may raise
        self._asked, self._address, self._client, self._folder = address, address, client, folder
        self._expected = client.web.expected
        self._pauses_s = pauses_s
        self._lock = threading.RLock()  # passes over the sound may read in several threads
        self._file: IO[bytes] | None = None
        self._size = 0
        self._validated_by, self._validator = "last-modified", ""
        self._whole = False  # the server gives no ranges
        self._have = bytearray()  # for each piece, 1 where it is in the file
        self._answer: Answer | None = None
        self._next = self._end = 0  # pieces that the open answer gives
        self._span = FIRST_SPAN

    @property
    def gives_ranges(self) -> bool:
        """Whether the server gives parts; asks it at the first time. Raises as `open` does."""
        with self._lock:
            self._begin()
            return not self._whole

    def open(self) -> io.BufferedReader:
        """The recording from its beginning.

        Raises:
            SourceError: it is not there, too large, or changes while it is read
            Unreachable: the server does not answer
        """
        with self._lock:
            self._begin()
            if self._whole and not all(self._have):
                self._fetch_whole()
        return io.BufferedReader(_Pieces(self), PIECE)

    @contextlib.contextmanager
    def hurried(self, seconds: float) -> Iterator[None]:
        """Wait for the server no longer than so many seconds in all, and try again once only, during a with block; then close
        the connections.
        """
        deadline, pauses = self._client.deadline, self._pauses_s
        self._pauses_s = pauses[:1]
        later = max(0.0, deadline.total_s - seconds)
        deadline.total_s -= later
        try:
            yield
        finally:
            deadline.total_s += later
            self._pauses_s = pauses
            self.rest()

    def rest(self) -> None:
        """Close the connections; what was fetched stays."""
        with self._lock:
            self._drop()
            self._client.close()

    def close(self) -> None:
        """Close the connections, and remove what was fetched; a later `open` fetches it again."""
        with self._lock:
            self.rest()
            if self._file is not None:
                self._file.close()
                self._file = None
                self._have = bytearray()

    # --- for readers ---

    @property
    def size(self) -> int:
        """Bytes of the recording; known once it was opened."""
        return self._size

    def read_at(self, at: int, most: int) -> bytes:
        """Up to `most` bytes from a place on; empty at the end. Raises as `open` does."""
        with self._lock:
            if at >= self._size or most <= 0:
                return b""
            if self._file is None:
                raise SourceError(f"{self.name} is closed; expected an open recording.")
            number = at // PIECE
            if not self._have[number]:
                self._fetch(number)
            self._file.seek(at)
            return self._file.read(min(most, (number + 1) * PIECE - at, self._size - at))

    # --- fetching ---

    def _begin(self) -> None:
        """Ask for the first span, which tells the size, and whether there are ranges; again where there is no answer."""
        for pause in (*self._pauses_s, None):
            try:
                if self._file is None:
                    self._begin_once()
                return
            except Unreachable:
                if pause is None or self._client.deadline.total_s <= 0:
                    raise
                time.sleep(pause)

    def _begin_once(self) -> None:
        answer = self._client.get(self._asked, self._headers(0, FIRST_SPAN))
        try:
            self._check_answer(answer)
            self._address = answer.address
            if answer.headers.get("etag", "").startswith('"'):  # W/ marks tags that say nothing on bytes
                self._validated_by = "etag"
            self._validator = answer.headers.get(self._validated_by, "")
            length = answer.headers.get("content-length", "")
            self._whole = answer.status != 206
            if not self._whole:
                first, _, self._size = self._range(answer)
                if first:
                    raise SourceError(f"{self.name} answers with another part than was asked for; expected a file.")
            else:
                self._size = int(length) if re.fullmatch("[0-9]{1,18}", length) else 0
            self._check_size(self._size)
            if (not self._whole or length) and not self._size:
                raise SourceError(f"{self.name} is empty (0 bytes); expected {self._expected}.")
            with self._keeping():
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 (closed with the recording)
            self._have = bytearray(-(-self._size // PIECE) or 1)
        except BaseException:
            answer.close()
            raise
        self._answer, self._next = answer, 0
        self._end = len(self._have) if self._whole else min(FIRST_SPAN, len(self._have))

    def _fetch_whole(self) -> None:
        """Fetch a recording of a server that gives no ranges; once more where the connection breaks."""
        for pause in (*self._pauses_s[:1], None):
            try:
                if self._answer is None:
                    self._answer = self._client.get(self._asked, self._headers(0, 0))
                    self._check_answer(self._answer)
                size = 0
                assert self._file is not None
                self._file.seek(0)
                self._file.truncate()
                while piece := self._read(self._answer, PIECE):
                    size += len(piece)
                    self._check_size(size)
                    self._write(piece)
                if size < self._size:
                    raise Unreachable(f"{self.name} breaks off after {size} of {self._size} bytes; try again later.")
                self._size, self._have = size, bytearray(b"\1") * (-(-size // PIECE))
                self._drop()
                if not size:
                    raise SourceError(f"{self.name} is empty (0 bytes); expected {self._expected}.")
                return
            except Unreachable:
                self._drop()
                if pause is None:
                    raise
                time.sleep(pause)
            except BaseException:
                self._drop()
                raise

    def _fetch(self, number: int) -> None:
        """Fetch a piece, and the pieces before it that the open answer gives."""
        for pause in (*self._pauses_s, None):
            try:
                if self._answer is None or not self._next <= number < self._end:
                    self._ask(number)
                while self._next <= number:
                    self._keep_next()
                return
            except Unreachable:
                self._drop()
                if pause is None or self._client.deadline.total_s <= 0:
                    raise
                time.sleep(pause)
            except BaseException:
                self._drop()
                raise

    def _ask(self, number: int) -> None:
        """Ask for a span from a piece on: longer ones where the recording is read in order."""
        in_order = number == self._end
        self._span = min(LAST_SPAN, 2 * self._span) if in_order else FIRST_SPAN
        self._drop()
        end = min(number + self._span, len(self._have))
        with contextlib.suppress(ValueError):
            end = self._have.index(1, number, end)  # what is here already is not fetched again
        headers = self._headers(number, end - number) | ({"If-Range": self._validator} if self._validator else {})
        answer = self._client.get(self._address, headers)
        if answer.status in (401, 403) and self._address != self._asked:  # a signed address that has expired
            answer.close()
            answer = self._client.get(self._asked, headers)
        try:
            self._check_answer(answer)
            self._address = answer.address
            same = answer.headers.get(self._validated_by, self._validator) == self._validator
            if answer.status != 206 or not same or self._range(answer)[::2] != (number * PIECE, self._size):
                raise SourceError(f"{self.name} has changed while it was read; try again.")
        except BaseException:
            answer.close()
            raise
        self._answer, self._next, self._end = answer, number, end

    def _keep_next(self) -> None:
        """Store the next piece of the open answer."""
        assert self._answer is not None and self._file is not None
        size = min(PIECE, self._size - self._next * PIECE)
        data = self._read(self._answer, size)
        if len(data) < size:
            raise Unreachable(f"{self.name} breaks off; try again later.")
        self._file.seek(self._next * PIECE)
        self._write(data)
        self._have[self._next] = 1
        self._next += 1
        if self._next == self._end:  # read the end, so that the connection can be used again
            if self._answer.read(1):
                raise SourceError(f"{self.name} sends more than was asked for; expected a file.")
            self._drop()

    def _read(self, answer: Answer, size: int) -> bytes:
        self.check()
        return answer.read(size)

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        with self._keeping():
            self._file.write(data)
            self._file.flush()

    @contextlib.contextmanager
    def _keeping(self) -> Iterator[None]:
        """Errors of the temporary file as a sentence."""
        try:
            yield
        except OSError as error:
            raise DiskFull(f"{self.name} cannot be kept ({error.strerror}); free some space, then try again.") from None

    def _headers(self, number: int, count: int) -> dict[str, str]:
        wanted = f"bytes={number * PIECE}-{(number + count) * PIECE - 1}"
        return {"Accept": "*/*", "Accept-Encoding": "identity"} | ({"Range": wanted} if count else {})

    def _range(self, answer: Answer) -> tuple[int, int, int]:
        """First and last byte of an answer, and the size of the recording."""
        found = _RANGE.fullmatch(answer.headers.get("content-range", ""))
        if found is None:
            raise SourceError(f"{self.name} answers with a part without saying which; expected a file.")
        return int(found[1]), int(found[2]), int(found[3])

    def _check_answer(self, answer: Answer) -> None:
        """Refuse an answer that is no file."""
        status = answer.status
        if status in (429, 500, 502, 503, 504):
            raise Unreachable(f"{self.name} is not available now (status {status}); try again later.")
        if status == 416:
            raise SourceError(f"{self.name} is empty (0 bytes); expected {self._expected}.")
        if status not in (200, 206):
            known = {401: "asks for access", 403: "asks for access", 404: "is not there", 410: "is not there"}
            raise SourceError(
                f"{self.name} {known.get(status, 'gives no file')} (status {status}); expected {self._expected}."
            )
        encoding = answer.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise SourceError(
                f"{self.name} comes compressed ({encoding[:20]}), which was not asked for; expected the file itself."
            )

    def _check_size(self, size: int) -> None:
        most = self._client.web.max_bytes
        if most and size > most:
            raise SourceError(
                f"{self.name} has more than {most / 1e6:g} MB; expected {self._expected.replace('a ', 'a smaller ', 1)}."
            )

    def _drop(self) -> None:
        """Close the open answer."""
        if self._answer is not None:
            self._answer.close()
            self._answer = None


class _Pieces(io.RawIOBase):
    """A place in a remote recording."""

    def __init__(self, remote: Remote) -> None:
        self._remote, self._at = remote, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._remote.read_at(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._remote.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at
