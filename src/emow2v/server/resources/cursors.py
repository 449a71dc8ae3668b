"""Cursors: where the next page of a list begins. They tell clients nothing, since the number of a job counts all jobs."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from hashlib import sha256

from emow2v.errors import FormatError

_NONCE = _NUMBER = _TAG = 8  # bytes


def seal(secret: bytes, number: int, about: str) -> str:
    """A cursor: letters, digits, dashes and underscores.

    Args:
        secret: of the server
        number: what it stands for
        about: the list that it belongs to
    """
    nonce = secrets.token_bytes(_NONCE)
    hidden = _pad(secret, nonce, number.to_bytes(_NUMBER, "big"))
    sealed = nonce + hidden + _tag(secret, nonce + hidden, about)
    return base64.urlsafe_b64encode(sealed).decode()


def opened(secret: bytes, cursor: str, about: str) -> int:
    """The number that a cursor stands for.

    Raises:
        FormatError: this server made no such cursor for the list
    """
    try:
        sealed = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        sealed = b""
    nonce, hidden, tag = sealed[:_NONCE], sealed[_NONCE : _NONCE + _NUMBER], sealed[_NONCE + _NUMBER :]
    if not hmac.compare_digest(tag, _tag(secret, nonce + hidden, about)):
        raise FormatError("The cursor is none of this list; expected that of the last page, with the same filters.")
    return int.from_bytes(_pad(secret, nonce, hidden), "big")


def _pad(secret: bytes, nonce: bytes, number: bytes) -> bytes:
    """Hide a number, or show it again."""
    stream = hmac.digest(secret, b"number" + nonce, sha256)
    return bytes(one ^ other for one, other in zip(number, stream, strict=False))


def _tag(secret: bytes, sealed: bytes, about: str) -> bytes:
    return hmac.digest(secret, b"tag" + sealed + about.encode(), sha256)[:_TAG]
