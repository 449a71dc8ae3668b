"""Headers of files: lengths that they state, sizes to correct, and bytes that are missing."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

_MAX_CHUNKS = 1000  # chunks of a file that are read; more would cost too much time
_PLACEHOLDER = 0x7F000000  # writers that do not know the length yet state sizes from here on
_SHORTEST_REST_S = 0.02  # shorter sound behind the stated end is ignored
_PCM = (1, 3, 6, 7, 0xFFFE)  # formats of wav files in which all samples have the same number of bytes


@dataclass
class Header:
    """Facts from the structure of a file.

    Attributes:
        kind: family of formats, such as riff or flac; "" for formats that are not examined
        patches: bytes that replace those of the file, by their offset
        stated_s: seconds that an exact field states; None if the file has no such field
        missing_bytes: number of bytes that the file is shorter than its structure states
        unfinished: whether the structure has no end or no index
    """

    kind: str = ""
    patches: dict[int, bytes] = field(default_factory=dict)
    stated_s: float | None = None
    missing_bytes: int = 0
    unfinished: bool = False


@dataclass(frozen=True)
class _ChunkFormat:
    """The form of chunks in a family of formats."""

    begin: int  # offset of the first chunk
    name: int  # bytes of a chunk's name
    size: str  # format of a chunk's size, for struct
    includes_head: bool  # the size counts name and size too
    align: int  # bytes; the next chunk begins at a multiple
    data: bytes  # name of the chunk with the samples


_RIFF = _ChunkFormat(12, 4, "<I", False, 2, b"data")
_FAMILIES = {
    b"RIFF": _RIFF,
    b"RF64": _RIFF,
    b"BW64": _RIFF,
    b"FORM": _ChunkFormat(12, 4, ">I", False, 2, b"SSND"),
    b"caff": _ChunkFormat(8, 4, ">q", False, 1, b"data"),
    b"riff": _ChunkFormat(40, 16, "<Q", True, 8, b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"),
}


def examine(file: IO[bytes]) -> Header:
    """Examine a file that can seek. The file must be at its beginning, and is there again afterwards."""
    try:
        if file.tell():
            return Header()
        head = file.read(64)
        length = file.seek(0, 2)
        header = _examine(file, head, length)
        file.seek(0)
    except OSError:  # reported when the file is read
        return Header()
    return header


def stated_s(begin: bytes) -> float | None:
    """Seconds that the beginning of a wav or flac file from a pipe states; None if it states none."""
    header = _examine(io.BytesIO(begin), begin[:64], _PLACEHOLDER)
    return header.stated_s if header.kind in ("riff", "flac") else None


def samples_end(begin: bytes) -> tuple[int, int] | None:
    """The offset at which the samples of a wav file end as its beginning states it, and the number of bytes in 20 ms.

    None for other files, and for files whose writer did not know the length.
    """
    if begin[:4] != b"RIFF" or begin[8:12] != b"WAVE":
        return None
    file, bytes_a_second = io.BytesIO(begin), 32000
    for name, at, size in _chunks(file, _RIFF, len(begin)):
        if name == b"fmt ":
            bytes_a_second = int.from_bytes(begin[at + 8 : at + 12], "little")
        elif name == b"data":
            known = 0 < size < _PLACEHOLDER
            return (at + size + size % 2, round(_SHORTEST_REST_S * bytes_a_second)) if known else None
    return None


def _examine(file: IO[bytes], head: bytes, length: int) -> Header:
    head = head.ljust(64, b"\0")  # for files that are shorter than 64 bytes
    if head[:4] in _FAMILIES and (head[:4] != b"FORM" or head[8:12] in (b"AIFF", b"AIFC")):
        return _chunked(file, head, length)
    if head[:4] == b"fLaC" and head[4] & 0x7F == 0 and len(head) >= 42:
        packed = int.from_bytes(head[18:26], "big")
        rate, total = packed >> 44, packed & (1 << 36) - 1
        return Header("flac", stated_s=total / rate if total and rate else None)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return _mp4(file, length)
    if head[:4] == b"\x1aE\xdf\xa3":
        return _matroska(file, length)
    if head[:4] == b"OggS":
        return _ogg(file, length)
    if head[:3] == b"ID3" or head[:1] == b"\xff":
        return _mpeg(file, head)
    return Header()


def _chunked(file: IO[bytes], head: bytes, length: int) -> Header:
    family = _FAMILIES[head[:4]]
    header = Header("riff" if family is _RIFF else "chunks")
    if family is _RIFF and head[8:12] != b"WAVE":  # AVI; a size of 0 means that it is unfinished
        stated = struct.unpack("<I", head[4:8])[0]
        header.missing_bytes = max(0, stated + 8 - length) if stated < _PLACEHOLDER else 0
        return header
    width = bytes_a_second = 0
    long_size: tuple[int, int] | None = None
    for name, at, size in _chunks(file, family, length):
        if name == b"fmt ":
            file.seek(at)
            kind, channels, rate, average, width, bits = struct.unpack("<HHIIHH", file.read(16).ljust(16, b"\0"))
            bytes_a_second = rate * width
            if kind in _PCM and width and width * 8 == channels * bits and average != bytes_a_second:
                header.patches[at + 8] = struct.pack("<I", min(bytes_a_second, 0xFFFFFFFF))
            if kind not in _PCM:
                bytes_a_second = average
        elif name == b"ds64":
            file.seek(at + 8)
            long_size = at + 8, struct.unpack("<Q", file.read(8).ljust(8, b"\0"))[0]
        elif name == family.data:
            at_size = at - struct.calcsize(family.size)
            stated, form = size, family.size
            if long_size and size == 0xFFFFFFFF:
                (at_size, stated), form = long_size, "<Q"
            _compare_size(file, header, family, at_size, form, at, stated, length, bytes_a_second)
            break
    return header


def _compare_size(
    file: IO[bytes], header: Header, family: _ChunkFormat, at_size: int, form: str, begin: int, stated: int, length: int,
    bytes_a_second: int,
) -> None:  # fmt: skip
    """Compare the stated size of the samples with the bytes that follow their beginning."""
    available = length - begin
    if stated < 0 or (form.upper() in ("<I", ">I") and stated >= _PLACEHOLDER and stated > available):
        return  # the writer did not know the size
    if stated > available:
        header.missing_bytes = stated - available
        header.stated_s = stated / bytes_a_second if bytes_a_second else None
        return
    end = begin + stated + -stated % family.align
    rest = length - end
    if rest <= _SHORTEST_REST_S * (bytes_a_second or 32000) or _is_chunk(file, family, end, length):
        return
    if stated or family is not _RIFF:  # FFmpeg itself continues after a size of 0 in wav files
        size = available + (begin - at_size + family.name if family.includes_head else 0)
        header.patches[at_size] = struct.pack(form, min(size, (1 << 31) - 1 if form in ("<I", ">I") else size))
    if stated > (8 if family.data == b"SSND" else 0):
        header.stated_s = stated / bytes_a_second if bytes_a_second else None


def _chunks(file: IO[bytes], family: _ChunkFormat, length: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, beginning and size of each chunk."""
    at = family.begin
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        head = file.read(family.name + struct.calcsize(family.size))
        if len(head) < family.name + struct.calcsize(family.size):
            return
        size = struct.unpack(family.size, head[family.name :])[0] - (len(head) if family.includes_head else 0)
        at += len(head)
        yield head[: family.name], at, size
        if size < 0:
            return
        at += size + -size % family.align


def _is_chunk(file: IO[bytes], family: _ChunkFormat, at: int, length: int) -> bool:
    """Whether only chunks or zeros follow, from an offset to the end of the file. If so, the size before them is true."""
    rest = length - at
    file.seek(at)
    if rest <= 1 << 16 and not any(file.read(rest)):
        return True
    following = _ChunkFormat(at, family.name, family.size, family.includes_head, family.align, b"")
    for name, begin, size in _chunks(file, following, length):
        at = begin + size
        if size < 0 or at > length or not all(32 <= sign < 127 for sign in name[:4]):
            return False
    return at > length - rest


def _mp4(file: IO[bytes], length: int) -> Header:
    header = Header("boxes")
    at, names = 0, set()
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            break
        size = int.from_bytes(head[:4], "big")
        size = int.from_bytes(head[8:16], "big") if size == 1 else size or length - at
        if size < 8 or not all(32 <= sign < 127 or sign == 0xA9 for sign in head[4:8]):
            break
        names.add(head[4:8])
        at += size
        if at >= length:
            header.missing_bytes = at - length
            break
    header.unfinished = not names & {b"moov", b"moof"}
    return header


def _matroska(file: IO[bytes], length: int) -> Header:
    header = Header("matroska")
    at = 4
    for name in (b"", b"\x18\x53\x80\x67"):
        file.seek(at)
        if file.read(len(name)) != name:
            return header
        at += len(name)
        first = file.read(1)
        if not first or not first[0]:
            return header
        more = 8 - first[0].bit_length()
        size = int.from_bytes(first + file.read(more), "big") - (1 << 7 * (more + 1))
        at += 1 + more
        if name and size != (1 << 7 * (more + 1)) - 1:  # known
            header.missing_bytes = max(0, at + size - length)
        at += size
    return header


def _ogg(file: IO[bytes], length: int) -> Header:
    header = Header("ogg")
    begin = max(0, length - (1 << 16) - 300)
    file.seek(begin)
    tail = file.read(1 << 17)
    at = tail.rfind(b"OggS\0")
    page = tail[at : at + 27]
    if at < 0 or len(page) < 27:
        header.unfinished = True
        return header
    sizes = tail[at + 27 : at + 27 + page[26]]
    end = at + 27 + page[26] + sum(sizes)
    header.missing_bytes = max(0, end - len(tail)) if len(sizes) == page[26] else page[26] - len(sizes)
    header.unfinished = not page[5] & 4
    return header


def _mpeg(file: IO[bytes], head: bytes) -> Header:
    """An MP3 file states its exact length only if its first frame has a table of contents (Xing, Info or VBRI)."""
    begin = 0
    if head[:3] == b"ID3" and len(head) >= 10:
        begin = 10 + sum((sign & 0x7F) << 7 * (3 - k) for k, sign in enumerate(head[6:10]))
    file.seek(begin)
    frame = file.read(4096)
    at = frame.find(b"\xff")
    if any(0 < frame.find(name, at) - at < 64 for name in (b"Xing", b"Info", b"VBRI")):
        return Header("mpeg with length")
    return Header("mpeg")
