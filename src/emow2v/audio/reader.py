"""The file object that FFmpeg reads from. It keeps exceptions, which FFmpeg loses, and corrects sizes in headers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from types import BuiltinMethodType
from typing import IO

from emow2v.audio import headers

_BEGIN = 4096  # bytes at the beginning of the file that are kept
_CHUNK = 64  # bytes behind the stated end; enough to tell a chunk from sound
_PIECE = 1 << 15


def is_seekable(file: IO[bytes]) -> bool:
    """Whether an open file can seek; a pipe cannot."""
    return bool(getattr(file, "seekable", lambda: False)())


class Reader:
    """A file as FFmpeg gets it: its bytes, and the ending of its name, from which FFmpeg guesses the format.

    FFmpeg does not get the name itself, because it could be read as a protocol ("http:", "concat:").

    FFmpeg loses exceptions of the Python functions that it calls, also Ctrl+C, and mistakes them for the end of the
    file. This class keeps them, and `check` raises them later. Python handles signals when a Python function begins.
    Therefore `read` is the `send` of a generator, which is already inside its `try`. `seek` and `tell` are those of the
    file if they are built-in functions.

    Args:
        file: opened for reading in binary mode
        name: path or name of the file; only its ending is used
        patches: bytes that replace those of the file, by their offset
    """

    def __init__(self, file: IO[bytes], name: str, patches: Mapping[int, bytes]) -> None:
        ending = Path(name).suffix
        self.name = "recording" + (ending if ending[1:].isalnum() and ending.isascii() else "")
        self.failures: list[BaseException] = []
        self.first_bytes: list[bytes] = []
        self._monitor = None if is_seekable(file) else _PipeMonitor()
        reads = _reads(file, patches, self.failures, self.first_bytes, self._monitor)
        next(reads)
        self.read = reads.send
        if is_seekable(file):
            self.seek, self.tell = (_keeping_errors(call, self.failures) for call in (file.seek, file.tell))

    @property
    def is_piped_mp4(self) -> bool:
        """Whether the file is an MP4 file in a pipe, of which an index at the end cannot be used."""
        return not hasattr(self, "seek") and bool(self.first_bytes) and self.first_bytes[0][4:8] == b"ftyp"

    def has_unread_sound(self) -> bool:
        """Whether a wav file in a pipe has more sound than its header states. Reads a little of it."""
        monitor = self._monitor
        if monitor is None or monitor.end is None:
            return False
        while not self.failures and monitor.undecided and self.read(_PIECE):
            pass
        return monitor.has_more_sound

    def check(self) -> None:
        """Raise the first exception that occurred while FFmpeg read."""
        if self.failures:
            raise self.failures[0]


class _PipeMonitor:
    """Counts the bytes of a wav file in a pipe, and keeps the first bytes behind the stated end of its samples.

    Attributes:
        end: offset of the stated end; None if the header states none
    """

    def __init__(self) -> None:
        self.end: int | None = None
        self._received = 0
        self._tolerance = 0
        self._excess = b""

    def add(self, data: bytes) -> None:
        """Count bytes that were read."""
        if not self._received and (samples_end := headers.samples_end(data[:_BEGIN])):
            self.end, self._tolerance = samples_end
        if self.end is not None and self._received + len(data) > self.end and len(self._excess) < _CHUNK:
            self._excess += data[max(0, self.end - self._received) :][: _CHUNK - len(self._excess)]
        self._received += len(data)

    @property
    def undecided(self) -> bool:
        """Whether too little was read behind the stated end to decide."""
        return self.end is not None and self._received - self.end <= self._tolerance

    @property
    def has_more_sound(self) -> bool:
        """Whether more than 20 ms follow the stated end, and they are neither a chunk nor zeros."""
        name = self._excess[:4]
        is_chunk = len(name) == 4 and all(32 <= sign < 127 for sign in name)
        return not self.undecided and not is_chunk and any(self._excess)


def _reads(
    file: IO[bytes],
    patches: Mapping[int, bytes],
    failures: list[BaseException],
    first_bytes: list[bytes],
    monitor: _PipeMonitor | None,
) -> Generator[bytes, int, None]:
    """Gives as many bytes as each `send` asks for, or fewer. After an exception, which is kept, it gives none."""
    data = b""
    try:
        while True:
            size = yield data
            at = file.tell() if patches else 0
            content = file.read(size)
            if not isinstance(content, bytes | bytearray | memoryview) or len(content) > size:
                raise OSError(f"expected at most {size} bytes, got {type(content).__name__}")
            data = _patch(bytes(content), at, patches) if patches else bytes(content)
            if not first_bytes:
                first_bytes.append(data[:_BEGIN])
            if monitor:
                monitor.add(data)
    except GeneratorExit:
        raise
    except BaseException as error:
        failures.append(OSError("it is closed") if isinstance(error, ValueError) and file.closed else error)
    while True:
        yield b""


def _patch(data: bytes, at: int, patches: Mapping[int, bytes]) -> bytes:
    for offset, patch in patches.items():
        if at < offset + len(patch) and offset < at + len(data):
            begin, end = max(0, offset - at), min(len(data), offset + len(patch) - at)
            data = data[:begin] + patch[begin + at - offset : end + at - offset] + data[end:]
    return data


def _keeping_errors(call: Callable[..., int], failures: list[BaseException]) -> Callable[..., int]:
    """A function that appends its exceptions to `failures`; built-in functions are returned as they are."""
    if isinstance(call, BuiltinMethodType):
        return call

    def guarded(*arguments: int) -> int:
        try:
            return call(*arguments)
        except BaseException as error:
            failures.append(error)
            return -1

    return guarded
