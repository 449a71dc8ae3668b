"""Segmentations on the disk: written whole or not at all, with a mark where the format has room for a remark."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

from emow2v.storage import marks
from emow2v.storage.files import StagedFiles, publish

_REMARKS = {
    ".eaf": "<!-- {} -->\n", ".xml": "<!-- {} -->\n", ".textgrid": "! {}\n", ".table": "! {}\n", ".rttm": ";;{}\n",
    ".vtt": "\nNOTE {}\n",
}  # fmt: skip


def write_files(
    contents: Mapping[Path, str | bytes], *, vouchers: Mapping[Path, Path] | None = None, overwrite: bool = False
) -> None:
    """Write files together: all of them appear, or none.

    Args:
        contents: text (UTF-8) or bytes of each file
        vouchers: for a file without room for a mark, such as a CSV, the one among the others that vouches for it
        overwrite: also what emow2v did not write makes way

    Raises:
        PlaceTaken: something that emow2v did not write, or that was changed since, lies in a place
        FormatError: one of them cannot be written
    """
    vouchers = vouchers or {}
    data = {path: utf8(one) if isinstance(one, str) else one for path, one in contents.items()}
    digests = {voucher: hashlib.sha256(data[path]).hexdigest() for path, voucher in vouchers.items()}
    staged = StagedFiles({path: vouchers.get(path) for path in data}, overwrite=overwrite)
    try:
        staged.check()
        for path, content in data.items():
            staged.open(path).write(marked(content, path.suffix.lower(), digests.get(path, "")))
        publish([staged])
    except BaseException:
        staged.discard()
        raise


def utf8(text: str) -> bytes:
    """A text as UTF-8; what UTF-8 cannot hold, such as bytes of a name in another code, is written as its number."""
    return text.encode(errors="backslashreplace")


def marked(content: bytes, ending: str, digest: str = "") -> bytes:
    """The content with its mark at the end; as it is where the format has no room, or its letters take two bytes."""
    if ending not in _REMARKS or b"\0" in content:
        return content
    file = io.BytesIO(content + _REMARKS[ending].format(marks.text(digest)).encode())
    marks.seal(file)
    return file.getvalue()
