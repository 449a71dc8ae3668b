"""The bytes of a file as FFmpeg asks for them, and what it must not lose on the way: exceptions, sizes, ends."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from types import BuiltinMethodType
from typing import IO

from emow2v.audio import headers

_BEGIN = 4096  # bytes that are kept of what comes through a pipe
_CHUNK = 64  # bytes behind the stated end that tell a chunk from sound
_PIECE = 1 << 15


def is_seekable(file: IO[bytes]) -> bool:
    """Whether an open file leads anywhere but onwards; a pipe does not."""
    return bool(getattr(file, "seekable", lambda: False)())


class Reader:
    """A file as FFmpeg gets it: its bytes and the ending of its name, which helps to tell formats apart.

    Never the name itself: it could be read as a protocol ("http:", "concat:"). FFmpeg loses exceptions of the Python that
    it calls, Ctrl+C among them, and takes them for the end of the file; so they are kept, and `check` raises them later.
    Signals are answered where a Python function begins. Hence `read` is a generator's `send`, which begins inside its own
    `try`, and `seek` and `tell` are the file's own where those are no Python functions.
    """

    def __init__(self, file: IO[bytes], name: str, patches: Mapping[int, bytes]) -> None:
        ending = Path(name).suffix
        self.name = "recording" + (ending if ending[1:].isalnum() and ending.isascii() else "")
        self.failures: list[BaseException] = []
        self.begins: list[bytes] = []
        self._piped = None if is_seekable(file) else _Piped()
        answers = _answers(file, patches, self.failures, self.begins, self._piped)
        next(answers)
        self.read = answers.send
        if is_seekable(file):
            self.seek, self.tell = (_guarded(call, self.failures) for call in (file.seek, file.tell))

    @property
    def piped_index(self) -> bool:
        """Whether it is an MP4 file that cannot seek, so that an index at its end is of no use."""
        return not hasattr(self, "seek") and bool(self.begins) and self.begins[0][4:8] == b"ftyp"

    def unread(self) -> bool:
        """Whether more sound follows in a pipe behind the samples that the header of a wav file states; a little of it is
        taken to find out.
        """
        piped = self._piped
        if piped is None or piped.end is None:
            return False
        while not self.failures and piped.wanted and self.read(_PIECE):
            pass
        return piped.more

    def check(self) -> None:
        """Raise what came up while FFmpeg read."""
        if self.failures:
            raise self.failures[0]


class _Piped:
    """What comes through a pipe, as far as it lies behind the stated end of a wav file's samples.

    Attributes:
        end: offset of that end; None where none is stated
    """

    def __init__(self) -> None:
        self.end: int | None = None
        self._given = 0
        self._least = 0
        self._behind = b""

    def take(self, data: bytes) -> None:
        """Go on by what was read."""
        if not self._given and (found := headers.samples_end(data[:_BEGIN])):
            self.end, self._least = found
        if self.end is not None and self._given + len(data) > self.end and len(self._behind) < _CHUNK:
            self._behind += data[max(0, self.end - self._given) :][: _CHUNK - len(self._behind)]
        self._given += len(data)

    @property
    def wanted(self) -> bool:
        """Whether so little was read that nothing can be said."""
        return self.end is not None and self._given - self.end <= self._least

    @property
    def more(self) -> bool:
        """Whether there is more than a moment of it, and it is neither a chunk nor zeros."""
        name = self._behind[:4]
        is_chunk = len(name) == 4 and all(32 <= sign < 127 for sign in name)
        return not self.wanted and not is_chunk and any(self._behind)


def _answers(
    file: IO[bytes],
    patches: Mapping[int, bytes],
    failures: list[BaseException],
    begins: list[bytes],
    piped: _Piped | None,
) -> Generator[bytes, int, None]:
    """At most so many bytes as each `send` says; none any more after an exception, which is kept."""
    data = b""
    try:
        while True:
            size = yield data
            at = file.tell() if patches else 0
            found = file.read(size)
            if not isinstance(found, bytes | bytearray | memoryview) or len(found) > size:
                raise OSError(f"expected at most {size} bytes, got {type(found).__name__}")
            data = _patched(bytes(found), at, patches) if patches else bytes(found)
            if not begins:
                begins.append(data[:_BEGIN])
            if piped:
                piped.take(data)
    except GeneratorExit:
        raise
    except BaseException as error:
        failures.append(OSError("it is closed") if isinstance(error, ValueError) and file.closed else error)
    while True:
        yield b""


def _patched(data: bytes, at: int, patches: Mapping[int, bytes]) -> bytes:
    for offset, patch in patches.items():
        if at < offset + len(patch) and offset < at + len(data):
            begin, end = max(0, offset - at), min(len(data), offset + len(patch) - at)
            data = data[:begin] + patch[begin + at - offset : end + at - offset] + data[end:]
    return data


def _guarded(call: Callable[..., int], failures: list[BaseException]) -> Callable[..., int]:
    if isinstance(call, BuiltinMethodType):
        return call

    def guarded(*arguments: int) -> int:
        try:
            return call(*arguments)
        except BaseException as error:
            failures.append(error)
            return -1

    return guarded
