"""Opening files with FFmpeg. The format is recognised by content, and no other file or address is opened."""

from __future__ import annotations

import contextlib
import io
import re
import stat
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from emow2v.audio.headers import Header, examine, stated_s
from emow2v.audio.reader import Reader, is_seekable
from emow2v.errors import AudioError
from emow2v.storage import counted, shown
from emow2v.stores import with_two_slashes

# Demuxers that open further files or network addresses named inside the file. A playlist that somebody uploads must not
# read the server's disk. All other demuxers read only the file itself.
_REFERRING_DEMUXERS = {
    "applehttp", "concat", "concatf", "dash", "hls", "image2", "imf", "rtp", "rtsp", "sap", "sdp",
}  # fmt: skip

# Demuxers of samples without a header. They accept any bytes, and their sampling rate is unknown.
_HEADERLESS_DEMUXERS = {
    "alaw", "mulaw", "vidc", "sln", "dfpwm", "aptx", "aptx_hd", "codec2raw", "g726", "g726le",
    *(f"{kind}{bits}{order}" for kind in "su" for bits in (16, 24, 32) for order in ("le", "be")), "s8", "u8",
    *(f"f{bits}{order}" for bits in (32, 64) for order in ("le", "be")),
}  # fmt: skip
_TELEPHONE = {
    ".al": "alaw", ".alaw": "alaw", ".pcma": "alaw", ".ul": "mulaw", ".ulaw": "mulaw", ".mulaw": "mulaw",
    ".pcmu": "mulaw", ".sln": "sln",
}  # fmt: skip
_TELEPHONE_NAMES = {"alaw": "A-law", "mulaw": "mu-law", "sln": "16-bit samples"}
_TELEPHONE_RATE = 8000  # Hz
_HEADERLESS = frozenset(
    ".sw .sb .ub .uw .s8 .u8 .s16 .s16le .s16be .u16 .s24 .s24le .s24be .s32 .s32le .f32 .f32le .f32be .f64 .f64le .raw "
    ".pcm .lpcm .vox .int16 .float32".split()
)
HEADS = re.compile(
    rb"RIFF|RIFX|RF64|BW64|FORM|\.snd|OggS|fLaC|ID3|caff|riff|wvpk|MAC |TTA1|#!AMR|\x1aE\xdf\xa3|\x30\x26\xb2\x75|....ftyp"
    rb"|Creative Voice File|NIST_1A|PK\x03\x04| paf|fap |2BIT|ajkg|\.SoX|XoS\.|FLV\x01|%PDF|<!DOCTYPE|<html|version https:"
    rb"|G.{187}G.{187}G|\xff[\xe2-\xff].{2,36}(?:Xing|Info|VBRI)",
    re.DOTALL,
)

# Decoding begins this long before a stretch: some codecs need earlier packets, and the resampler has an edge.
_LEAD_IN_S = 1.0
_SHORT_S = 10.0  # a start before this is reached by decoding from the beginning
_PADDING_S = 0.2  # encoders add padding; an index may differ from its stated length by this much

GLANCE = {"probesize": "4096"}  # bytes; recognises the format from the beginning only, which is faster
# FFmpeg searches the samples of 16-bit wav files for DTS, AC-3 and others, in 128 KiB, which takes seven times as long
# as decoding a short clip. Their frames have at most 4 KiB, so 32 KiB show them as well.
_LESS = {"max_probe_packets": "8"}  # of 4096 bytes
_SEARCHED = 36864  # bytes of a wav file that are looked at to decide whether FFmpeg's search can be skipped
_SOFT = 200.0  # mean size of samples of 16 bit
_ALIKE = 0.7  # mean distance of neighbouring samples, over their mean size
_MAX_RETRIES = 100  # without a packet in between

_COMMENT, _VISUALLY_IMPAIRED, _DESCRIPTIONS = 1 << 3, 1 << 8, 1 << 17  # FFmpeg's AV_DISPOSITION
_SECONDARY = _COMMENT | _VISUALLY_IMPAIRED | _DESCRIPTIONS
_DEFAULT = 1


def open_file(path: Path) -> io.BufferedReader:
    """Open the file of a recording for reading.

    Raises:
        AudioError: the file does not exist, is a folder, is empty, or cannot be read
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise AudioError(f"{path} is a folder; expected a recording.")
        if stat.S_ISREG(status.st_mode) and status.st_size == 0:
            raise AudioError(f"{path} is empty (0 bytes); expected a recording.")
        return path.open("rb")
    except AudioError:  # which is a ValueError, too
        raise
    except FileNotFoundError:
        address = with_two_slashes(str(path))
        expected = f"an address as a text: {shown(address)}" if address else "a recording"
        raise AudioError(f"{shown(path)} does not exist; expected {expected}.") from None
    except OSError as error:
        raise AudioError(
            f"{path} cannot be read ({error.strerror or error}); check its name and permissions."
        ) from None
    except ValueError as error:  # a zero byte
        raise AudioError(f"{path} cannot be read ({error}); check its name.") from None


def search_options(file: io.BufferedReader) -> dict[str, str]:
    """Options for FFmpeg's search of the samples of a wav file for other encodings; none for other files.

    Such encodings have two channels, so the search can be skipped for one channel of integers or floats. For two channels
    of 16 bit it is skipped where the first samples are sound (see `_is_sound`).
    """
    with contextlib.suppress(OSError):  # reported when the file is read
        head = file.peek(24)
        if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
            is_plain = head[12:16] == b"fmt " and head[20:24] in (b"\1\0\1\0", b"\3\0\1\0")
            return GLANCE if is_plain or _begins_with_sound(file) else _LESS
    return {}


def _begins_with_sound(file: io.BufferedReader) -> bool:
    """Whether a wav file is one of two channels of 16 bit whose first samples are sound. The file stays where it is."""
    if not file.seekable():
        return False
    at = file.tell()
    begin = file.read(_SEARCHED)
    file.seek(at)
    data = begin.find(b"data", 36, 1024)  # behind the format, and behind short chunks
    is_stereo = begin[12:16] == b"fmt " and begin[20:24] == b"\1\0\2\0" and begin[34:36] == b"\x10\0"
    return is_stereo and data > 0 and _is_sound(begin[data + 8 :])


def _is_sound(samples: bytes) -> bool:
    """Whether 16-bit samples of two channels are sound, not another encoding, as samples of which they are noise.

    Neighbouring samples of sound are alike: their mean distance is small against their mean size. In noise of equal
    probability it is 4/3 of it, with silence between the frames of the encoding, too. Soft samples are sound: frames at
    the lowest rate of AC-3, 32 kbit/s, are louder on average.
    """
    import numpy as np

    values = np.frombuffer(samples[: len(samples) // 4 * 4], "<i2").astype(np.int32).reshape(-1, 2)
    if len(values) < 2:
        return False
    mean_size = float(np.abs(values).mean())
    distance = float(np.abs(np.diff(values, axis=0)).mean())
    return mean_size < _SOFT or distance < _ALIKE * mean_size


class Container:
    """An open file, and its track of sound that is decoded.

    Attributes:
        pyav: PyAV's container
        stream: PyAV's stream of the chosen track
        header: facts from the structure of the file
        facts: number of the track, number of tracks, and why this track was chosen
        unsupported: the error at which the packets ended, if a chained recording changes to an encoding that FFmpeg does
            not support there
    """

    def __init__(self, pyav: Any, stream: Any, reader: Reader, header: Header, facts: dict[str, str | float]) -> None:
        self.pyav = pyav
        self.stream = stream
        self.header = header
        self.facts = facts
        self.unsupported: Exception | None = None
        self._reader = reader

    @property
    def format(self) -> str:
        """FFmpeg's name of the container format."""
        return str(self.pyav.format.name)

    @property
    def begins_s(self) -> float:
        """Seconds at which the clock of the file begins."""
        return (self.pyav.start_time or 0) / 1e6

    @property
    def stated_s(self) -> float | None:
        """Duration in seconds that FFmpeg reads or estimates from the header; None if it cannot."""
        return self.pyav.duration / 1e6 if self.pyav.duration and self.pyav.duration > 0 else None

    def seek(self, start: float) -> bool:
        """Seek to a little before `start` seconds if that saves time and loses no exactness; whether it did."""
        if start <= _SHORT_S or not self._seeks_exactly():
            return False
        self.pyav.seek(round((start - _LEAD_IN_S) * 1e6) + (self.pyav.start_time or 0))
        self._reader.check()
        return True

    def _seeks_exactly(self) -> bool:
        """Whether decoding after a seek gives the same samples as decoding from the beginning."""
        stream, codec = self.stream, self.stream.codec_context
        if self.header.unfinished:
            return False
        if self.format in ("wav", "w64"):
            return str(codec.name).startswith("pcm_")  # all samples have the same size
        if self.format == "flac":
            return self.header.stated_s is not None  # each frame has the index of its first sample
        if self.format == "mov,mp4,m4a,3gp,3g2,mj2" and stream.frames and stream.duration and codec.frame_size:
            indexed_s = stream.frames * codec.frame_size / codec.sample_rate  # equal if no frame is missing
            return bool(abs(indexed_s - float(stream.duration * stream.time_base)) < _PADDING_S)
        return False

    def packets(self) -> Iterator[Any]:
        """Packets of the track.

        PyAV raises IndexError if a transport stream adds another stream later; demuxing is then started again.

        Raises:
            BaseException: any exception that occurred while the file was read, also Ctrl+C
        """
        from av.error import FFmpegError, PatchWelcomeError

        retries, failures = 0, self._reader.failures
        while True:
            try:
                for packet in self.pyav.demux(self.stream):
                    if failures:
                        raise failures[0]
                    yield packet
                    retries = 0
                self._reader.check()
                return
            except PatchWelcomeError as error:
                self._reader.check()
                self.unsupported = error
                return
            except FFmpegError:
                self._reader.check()
                raise
            except IndexError:
                self._reader.check()
                retries += 1
                if retries > _MAX_RETRIES:
                    raise

    @property
    def is_piped_mp4(self) -> bool:
        """Whether the file is an MP4 file in a pipe, of which an index at the end cannot be used."""
        return self._reader.is_piped_mp4

    @property
    def has_unread_sound(self) -> bool:
        """Whether the file is a wav file in a pipe with more sound than its header states."""
        return self.format == "wav" and self._reader.has_unread_sound()

    def close(self) -> None:
        """Close the decoder; the file stays open."""
        self.pyav.close()


def open_container(
    file: IO[bytes], name: str, *, track: int | None = None, search: Mapping[str, str] | None = None
) -> Container:
    """Open a file and choose its track of sound.

    Args:
        file: read from its current position; it need not be able to seek
        name: of the recording, for messages; its ending helps to recognise the format
        track: number of the track, from 1; None for the one that is marked as default, or else the first
        search: options for how far FFmpeg searches, such as `GLANCE`; None for its own

    Raises:
        AudioError: the file has no sound, has no such track, or cannot be decoded
    """
    import av  # takes 70 ms, so only if something is decoded
    from av.error import FFmpegError

    demuxer = _headerless_demuxer(file, name)
    header = examine(file) if is_seekable(file) else Header()
    reader = Reader(file, name, header.patches)
    options = {"protocol_whitelist": "none", **(search or {})}
    options |= {"sample_rate": str(_TELEPHONE_RATE)} if demuxer else {"format_whitelist": _allowed_demuxers()}
    try:
        try:
            pyav: Any = av.open(reader, format=demuxer or None, options=options, **_tags(av.__version__))
        finally:
            reader.check()  # an exception of the file is the cause of FFmpeg's
    except FFmpegError:
        raise _unknown(name, header, file, reader) from None
    except OSError as error:
        raise AudioError(f"{name} cannot be read ({error}); check its disk or connection.") from None
    try:
        stream, facts = _choose(pyav, name, track)
    except BaseException:
        pyav.close()
        raise
    if not is_seekable(file) and reader.first_bytes:
        header.stated_s = stated_s(reader.first_bytes[0])
    if demuxer:
        facts["assumed"] = f"{_TELEPHONE_NAMES[demuxer]} at {_TELEPHONE_RATE} Hz"
    return Container(pyav, stream, reader, header, facts)


def _choose(pyav: Any, name: str, track: int | None) -> tuple[Any, dict[str, str | float]]:
    """The chosen track, or the one that a player would choose, and facts about it."""
    streams = pyav.streams.audio
    if not streams:
        raise AudioError(f"{name} holds no sound; expected a file with an audio track.")
    if track is not None and not 1 <= track <= len(streams):
        has = counted(len(streams), "track")
        raise AudioError(f"{name} has {has} of sound; track {track} was asked for; choose one that it has.")
    known = [stream for stream in streams if stream.codec_context is not None]
    if track is not None:
        chosen = streams[track - 1]
    elif known:
        marks = {stream.index: int(stream.disposition.value) for stream in known}
        chosen = min(known, key=lambda one: (bool(marks[one.index] & _SECONDARY), not marks[one.index] & _DEFAULT))
    if not known or chosen.codec_context is None:
        raise AudioError(f"{name} holds sound in an unknown encoding; expected a common one, e.g. wav, flac or mp3.")
    facts: dict[str, str | float] = {"track": list(streams).index(chosen) + 1, "tracks": len(streams)}
    if len(streams) > 1:
        default = [bool(int(stream.disposition.value) & _DEFAULT) for stream in streams]
        is_only_default = default[int(facts["track"]) - 1] and sum(default) == 1
        facts["track_why"] = (
            "asked for" if track is not None else "marked as default" if is_only_default else "no other is preferred"
        )
    return chosen, facts


def _headerless_demuxer(file: IO[bytes], name: str) -> str:
    """The demuxer of a file without a header; "" for a file with a header.

    Raises:
        AudioError: the sampling rate and the encoding are unknown
    """
    ending = Path(name).suffix.lower()
    if ending not in _HEADERLESS and ending not in _TELEPHONE:
        return ""
    head = b""
    with contextlib.suppress(OSError):  # reported when the file is read
        if hasattr(file, "peek"):
            head = file.peek(16)
        elif is_seekable(file):
            at = file.tell()
            head = file.read(16)
            file.seek(at)
    if HEADS.match(head):
        return ""
    if ending in _TELEPHONE:
        return _TELEPHONE[ending]
    raise AudioError(
        f"{name} has no header that states its sampling rate and encoding; give it one, for 16-bit samples at 16 kHz: "
        f"ffmpeg -f s16le -ar 16000 -ac 1 -i IN{ending} OUT.wav."
    )


def index_at_end(name: str) -> AudioError:
    """The error for an MP4 file in a pipe whose index is at its end."""
    return AudioError(
        f"{name} comes through a pipe and has its index at its end, which can be read only from a file; save it first, or "
        "write it with ffmpeg -movflags +faststart."
    )


def _unknown(name: str, header: Header, file: IO[bytes], reader: Reader) -> AudioError:
    """The error for a file that FFmpeg does not recognise."""
    if reader.is_piped_mp4:
        return index_at_end(name)
    if header.kind == "boxes" and header.unfinished:
        return AudioError(
            f"{name} is incomplete: the index that MP4 files have at their end is missing; copy it again, or repair it with a "
            "whole recording of the same device."
        )
    if not reader.first_bytes or not reader.first_bytes[0]:
        return AudioError(f"{name} is empty (0 bytes); expected a recording.")
    more = "" if is_seekable(file) else "; some kinds are read from a file only, not through a pipe: save it first"
    return AudioError(f"{name} is not a recording that can be decoded; expected audio or video, e.g. wav{more}.")


def _tags(version: str) -> dict[str, Any]:
    """The argument of PyAV for tags that are not UTF-8.

    Up to version 18, PyAV raises UnicodeDecodeError without it. From version 19 on, PyAV keeps the bytes as surrogates
    and has no such argument.
    """
    return {"metadata_errors": "replace"} if int(version.split(".")[0]) < 19 else {}


@lru_cache
def _allowed_demuxers() -> str:
    from av.format import formats_available

    return ",".join(sorted(set(formats_available) - _REFERRING_DEMUXERS - _HEADERLESS_DEMUXERS))
