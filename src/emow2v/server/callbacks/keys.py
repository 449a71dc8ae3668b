"""Keys of callbacks: each signs, so that a receiver may change to a new key while the old one still holds."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from emow2v.errors import Emow2vError

SHORTEST = 32  # characters of a secret
TIMESTAMP, SIGNATURE = "Emow2v-Timestamp", "Emow2v-Signature"


@dataclass(frozen=True)
class Key:
    """A key that signs callbacks.

    Attributes:
        id: names the key in signatures
        secret: known to the server and the receiver
    """

    id: str
    secret: str = field(repr=False)


def read_keys(path: Path) -> list[Key]:
    """The keys in a file: a line for each, with its id, a blank and its secret; lines that begin with # are left out.

    Raises:
        Emow2vError: the file cannot be read, holds no key, or one that is short or has no usable id
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()  # editors on Windows write a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "not UTF-8"
        raise Emow2vError(
            f"The keys in {path} cannot be read ({said}); expected a file with a key in each line."
        ) from None
    keys: list[Key] = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if len(words) != 2 or not re.fullmatch(r"[A-Za-z0-9._-]{1,40}", words[0]):
            raise Emow2vError(f"Line {number} of {path} is no key; expected an id and a secret, as in: 2026a SECRET.")
        if len(words[1]) < SHORTEST:
            raise Emow2vError(
                f"The secret in line {number} of {path} is short; expected at least {SHORTEST} characters, as openssl rand -hex 32 "
                "makes them."
            )
        if any(key.id == words[0] for key in keys):
            raise Emow2vError(f"Line {number} of {path} repeats the id {words[0]}; expected another one for each key.")
        keys.append(Key(*words))
    if not keys:
        raise Emow2vError(f"{path} holds no key; expected an id and a secret in each line.")
    return keys


def signature(keys: Sequence[Key], timestamp: str, body: bytes) -> str:
    """The signatures of a callback by every key: "id=hex,id=hex", HMAC-SHA256 (RFC 2104) over "timestamp.body"."""
    signed = timestamp.encode() + b"." + body
    return ",".join(f"{key.id}={hmac.new(key.secret.encode(), signed, hashlib.sha256).hexdigest()}" for key in keys)
