"""Files as FFmpeg opens them: told apart by their content, entered at a time, and shut off from the rest of the disk."""

from __future__ import annotations

import contextlib
import io
import stat
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import IO, Any

from emow2v.errors import AudioError

# Demuxers that open further files or network addresses named inside the file: a playlist somebody
# uploads must not read the server's disk. Everything else reads the one stream it is given.
_REFERRING_DEMUXERS = {
    "applehttp", "concat", "concatf", "dash", "hls", "image2", "imf", "rtp", "rtsp", "sap", "sdp",
}  # fmt: skip

# Containers that lead to a time and say to the sample which one they have come to (Matroska says it to the
# millisecond). A little before it is decoded too, for the sake of codecs that build on it and the resampler's edge.
_ENTERED = {"flac", "mov,mp4,m4a,3gp,3g2,mj2", "mp3", "ogg", "w64", "wav"}
_RUN_UP_S = 1.0
_SHORT_S = 10.0

_GLANCE = {"probesize": "4096"}  # bytes


def open_file(path: Path) -> io.BufferedReader:
    """A recording's file.

    Raises:
        AudioError: nothing there, a folder, nothing in it, or not to be read
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise AudioError(f"{path} is a folder; expected a recording.")
        if stat.S_ISREG(status.st_mode) and status.st_size == 0:
            raise AudioError(f"{path} is empty (0 bytes); expected a recording.")
        return path.open("rb")
    except FileNotFoundError:
        raise AudioError(f"{path} does not exist; expected a recording.") from None
    except (OSError, ValueError) as error:
        raise AudioError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error}).") from None


def is_plain(file: io.BufferedReader) -> bool:
    """Whether a glance tells all: FFmpeg searches the samples of a wav file for encodings hidden there, which takes twice
    as long as decoding a short clip. They would fill two channels, so plain samples of one channel hide none.
    """
    with contextlib.suppress(OSError):  # told where it is read
        head = file.peek(24)
        return head[:4] == b"RIFF" and head[8:16] == b"WAVEfmt " and head[20:24] in (b"\1\0\1\0", b"\3\0\1\0")
    return False


def is_seekable(file: IO[bytes]) -> bool:
    """Whether an open file leads anywhere but onwards; a pipe does not."""
    return bool(getattr(file, "seekable", lambda: False)())


def open_container(file: IO[bytes], name: str, *, glance: bool = False) -> Any:
    """PyAV's container of an open file; it has a first track of sound that can be decoded.

    Args:
        file: from where it stands; one that cannot seek is read as it comes
        name: what to call it in messages
        glance: look at its first 4096 bytes only, to find out what it is

    Raises:
        AudioError: no sound in it, or not decodable
    """
    import av  # 70 ms; only where something is decoded
    from av.error import FFmpegError

    options = {"format_whitelist": _allowed_demuxers(), "protocol_whitelist": "none", **(_GLANCE if glance else {})}
    container: Any
    try:
        container = av.open(_reader(file, name), options=options, **_tags(av.__version__))
    except OSError as error:
        if not isinstance(error, FFmpegError):
            raise AudioError(f"{name} cannot be read ({error}).") from None
        raise AudioError(f"{name} is not a recording that can be decoded; expected audio or video, e.g. wav.") from None
    except FFmpegError:
        raise AudioError(f"{name} is not a recording that can be decoded; expected audio or video, e.g. wav.") from None
    if not container.streams.audio:
        container.close()
        raise AudioError(f"{name} holds no sound; expected a file with an audio track.")
    if container.streams.audio[0].codec_context is None:
        container.close()
        raise AudioError(f"{name} holds sound in an unknown encoding; expected a common one, e.g. wav, flac or mp3.")
    return container


def stated_duration(container: Any) -> float | None:
    """Seconds as its header states them, None where it does not."""
    return container.duration / 1e6 if container.duration and container.duration > 0 else None


def enter(container: Any, start: float) -> bool:
    """Go to a little before `start` seconds where that saves something; whether the next packet says where it is."""
    if start <= _SHORT_S or container.format.name not in _ENTERED:
        return False
    container.seek(round((start - _RUN_UP_S) * 1e6) + (container.start_time or 0))
    return True


def packets(container: Any) -> Iterator[Any]:
    """Packets of its first track of sound; begins anew where PyAV stumbles over a stream that a transport stream adds
    on its way.
    """
    stream = container.streams.audio[0]
    while True:
        try:
            yield from container.demux(stream)
            return
        except IndexError:
            continue


def is_called_back(frame: FrameType) -> bool:
    """Whether Python runs there on FFmpeg's behalf, which loses exceptions and takes them for the end of the file."""
    return frame.f_code in _CALLED_BACK


class _Reader:
    """A file as FFmpeg gets it: its bytes and the ending of its name, which helps to tell formats apart.

    Never the name itself: it could be read as a protocol ("http:", "concat:").
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file = file
        ending = Path(name).suffix
        self.name = "recording" + (ending if ending[1:].isalnum() and ending.isascii() else "")

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        if not isinstance(data, bytes | bytearray | memoryview) or len(data) > size:
            raise OSError(f"expected at most {size} bytes, got {type(data).__name__}")
        return bytes(data)


class _SeekableReader(_Reader):
    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


_CALLED_BACK = {_Reader.read.__code__, _SeekableReader.seek.__code__, _SeekableReader.tell.__code__}


def _reader(file: IO[bytes], name: str) -> _Reader:
    return _SeekableReader(file, name) if is_seekable(file) else _Reader(file, name)


def _tags(version: str) -> dict[str, Any]:
    """How PyAV takes tags that are no UTF-8: up to version 18 it raises UnicodeDecodeError unless it is told otherwise, from
    19 on it keeps the bytes as surrogates and knows no such argument.
    """
    return {"metadata_errors": "replace"} if int(version.split(".")[0]) < 19 else {}


@lru_cache
def _allowed_demuxers() -> str:
    from av.format import formats_available

    return ",".join(sorted(set(formats_available) - _REFERRING_DEMUXERS))
