"""Marks: they tell a file that emow2v wrote, and nobody has changed since, from every other file.

A mark is the text `emow2v:sha256:` and the SHA-256, in 64 digits, of the whole file with zeros in place of these digits
(in a PNG also in place of the check sum behind them). It stands where a format has room for a remark: a member
"mark" of a JSON object or of the first line of NDJSON, an attribute of the element <meta>, a comment of Markdown, SVG and PDF,
a text chunk of a PNG, the metadata of a shard of Parquet. A file without such room (CSV, the data of an annotation or a
stream) has a voucher: the file beside it that describes it holds `emow2v:data:` and the digest of that data, before its own mark.
"""

from __future__ import annotations

import glob
import hashlib
import io
import os
import re
import stat
import struct
import zlib
from enum import Enum
from pathlib import Path
from typing import IO

from emow2v._version import __version__
from emow2v.errors import FormatError
from emow2v.storage import shown

BLANK = "emow2v:sha256:" + 64 * "0"
_MARK = re.compile(rb"emow2v:sha256:([0-9a-f]{64})")
_DATA = re.compile(rb"emow2v:data:([0-9a-f]{64}) emow2v:sha256:")
_OLD = re.compile(rb'"software": "emow2v |[; "]software: emow2v ')  # how 0.1.0 names itself
_SOFTWARE = re.compile(rb"software\W{1,5}emow2v (\d+(?:\.\d+)*)")  # in a provenance
_NEAR = 4096  # bytes from an end of the file within which its mark stands
_HEAD = 65536  # bytes within which 0.1.0 said that it wrote the file
_PIECE_BYTES = 1 << 20
_PARQUET, _FOOTER = b"PAR1", 1 << 20  # the end of such a file, and bytes that its schema may take behind the mark
_PNG = b"\x89PNG\r\n\x1a\n"
_COMMENTS = {".md": "\n<!-- {} -->\n", ".svg": "<!-- {} -->\n", ".pdf": "% {}\n"}


class Origin(Enum):
    """Where a file comes from."""

    NOTHING = "no file"
    OURS = "written by emow2v, unchanged"
    CHANGED = "written by emow2v, changed since"
    OLD = "written by emow2v 0.1.0, which left no mark"
    FOREIGN = "something else"


def text(data: str = "") -> str:
    """A mark to be filled in by `seal`.

    Args:
        data: digest of the file that the marked file vouches for
    """
    return f"emow2v:data:{data} {BLANK}" if data else BLANK


def seal(file: IO[bytes]) -> None:
    """Fill in the mark of a complete file that is open for reading and writing."""
    file.flush()
    place = _place(file)
    if place is None:
        raise ValueError("the file holds no mark to be filled in")
    digest = _digest(file, *place).encode()
    file.seek(place[0])
    file.write(digest)
    if place[1] > 64:  # a PNG: the check sum of a chunk covers its name too
        file.write(struct.pack(">I", zlib.crc32(b"tEXtComment\0emow2v:sha256:" + digest)))
    file.seek(0, os.SEEK_END)


def marked(content: bytes, ending: str, data: str = "") -> bytes:
    """The content of a small file with its mark: .json (an object), .md, .svg, .pdf or .png; others stay as they are.

    Args:
        data: digest of the file that this one vouches for
    """
    whole = _with_blank(content, ending.lower(), text(data))
    if whole is None:
        return content
    file = io.BytesIO(whole)
    seal(file)
    return file.getvalue()


def _with_blank(content: bytes, ending: str, mark: str) -> bytes | None:
    if ending in _COMMENTS:
        return content + _COMMENTS[ending].format(mark).encode()
    if ending == ".json" and content.rstrip().endswith(b"}"):
        body = content.rstrip()[:-1].rstrip()
        before, after = (b"\n  ", b"\n") if b"\n" in body else (b" ", b"")
        return body + b"," + before + f'"mark": "{mark}"'.encode() + after + b"}\n"
    if ending == ".png" and content.startswith(_PNG):
        chunk = b"Comment\0" + mark.encode()
        return content[:-12] + struct.pack(">I", len(chunk)) + b"tEXt" + chunk + bytes(4) + content[-12:]
    return None


def refuse_newer(path: Path) -> None:
    """Refuse a result that a newer version of emow2v wrote, for readers that cannot read it.

    Raises:
        FormatError: by its provenance, or by that in the file that describes it, it is of a newer version
    """
    for place in (path, path.with_name(path.name + "-metadata.json")):
        try:
            with place.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                parts = []
                for begin in (0, max(0, size - _HEAD)):
                    file.seek(begin)
                    parts.append(file.read(_HEAD).replace(b"\0", b""))  # also of UTF-16
        except (OSError, ValueError):
            continue
        for found in _SOFTWARE.findall(b"\n".join(parts)):
            version = found.decode()
            if _numbers(version) > _numbers(__version__):
                raise FormatError(
                    f"{shown(path)} was written by emow2v {version} and cannot be read by emow2v {__version__}, which is older; "
                    "update emow2v, or compute the result again."
                )


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]


def origin_of(path: Path, voucher: Path | None = None) -> Origin:
    """Where the file at a path comes from.

    Args:
        voucher: the file beside it that vouches for it, where it can hold no mark itself; an unfinished one that a killed
            process left counts too

    Raises:
        OSError, ValueError: the operating system does not say
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return Origin.NOTHING
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return Origin.FOREIGN
        if voucher is None:
            with path.open("rb") as file:
                return _judge(file)[0]
        return _origin_by_voucher(path, voucher)
    except OSError:  # a link that leads nowhere, or a file that may not be read
        return Origin.FOREIGN


def _origin_by_voucher(path: Path, voucher: Path) -> Origin:
    with path.open("rb") as file:
        digest = ""
        origin = Origin.FOREIGN
        unfinished = glob.escape(f".{voucher.name[:40]}.") + "*.part"
        for place in [voucher, *voucher.parent.glob(unfinished)]:
            if not place.is_file():
                continue
            with place.open("rb") as beside:
                other, data = _judge(beside)
            if other == Origin.OURS and data:
                digest = digest or _digest(file)
                if data == digest:
                    return Origin.OURS
            if place == voucher and other != Origin.FOREIGN:
                origin = Origin.OLD if other == Origin.OLD else Origin.CHANGED
    return origin


def _judge(file: IO[bytes]) -> tuple[Origin, str]:
    """The origin of a file that has room for a mark, and the digest of the data that it vouches for."""
    place = _place(file)
    if place is None:
        file.seek(0)
        return (Origin.OLD if _OLD.search(file.read(_HEAD)) else Origin.FOREIGN), ""
    file.seek(place[0])
    stated = file.read(64).decode()
    if _digest(file, *place) != stated:
        return Origin.CHANGED, ""
    file.seek(max(0, place[0] - 200))
    data = list(_DATA.finditer(file.read(min(200, place[0]))))
    return Origin.OURS, data[-1][1].decode() if data else ""


def _place(file: IO[bytes]) -> tuple[int, int] | None:
    """Where the digits of a file's mark begin, and how many bytes the mark leaves out of the digest."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - len(_PARQUET)))
    begin = max(0, size - (_FOOTER if file.read() == _PARQUET else _NEAR))
    file.seek(begin)
    matches = list(_MARK.finditer(file.read()))
    if not matches:
        begin = 0
        file.seek(0)
        matches = list(_MARK.finditer(file.read(_NEAR)))[:1]
    if not matches:
        return None
    file.seek(0)
    return begin + matches[-1].start(1), 68 if file.read(len(_PNG)) == _PNG else 64


def _digest(file: IO[bytes], begin: int = 0, count: int = 0) -> str:
    """SHA-256 of a whole file, some of whose bytes count as the digit 0."""
    total = hashlib.sha256()
    file.seek(0)
    left = begin
    while count and left:
        piece = file.read(min(left, _PIECE_BYTES))
        total.update(piece)
        left -= len(piece)
    if count:
        total.update(b"0" * count)
        file.seek(begin + count)
    while piece := file.read(_PIECE_BYTES):
        total.update(piece)
    return total.hexdigest()
