"""Passwords of requests, from the posting of a job to its end.

The form that is stored and shown has four asterisks and the name of a file in the work folder, which only the server's
user can read. The name opens nothing: the password of a form that is posted is always replaced by a new name.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from emow2v.discover.names import snake_case
from emow2v.errors import RequestError

T = TypeVar("T")

FIELD = "db_password"
MASK = "****"
SECRETS = ("pass", "pwd", "token", "secret", "credential")  # parts of names; also of dbPasswort and dbPass
_NAMED = re.compile(r"\*{4} ([0-9a-f]{32})")
_POSTED_S = 600.0  # that a request may take from keeping its password to being stored


def masked(fields: Mapping[str, T]) -> dict[str, T | str]:
    """Fields without the values of those that are named like secrets."""
    return {
        name: MASK if value and any(word in name.lower() for word in SECRETS) else value
        for name, value in fields.items()
    }


def keep(folder: Path, password: str) -> str:
    """Keep a password; gives the text for the form.

    Args:
        folder: of the passwords; made if it is missing

    Raises:
        OSError: it cannot be written
    """
    name = secrets.token_hex(16)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(password)
    return f"{MASK} {name}"


def read(folder: Path, text: str) -> str:
    """The password of a stored form.

    Raises:
        RequestError: it is not kept any more
    """
    named = _NAMED.fullmatch(text)
    try:
        if named:
            return (folder / named[1]).read_text(encoding="utf-8")
    except FileNotFoundError:
        pass
    raise RequestError("The password of the request is not kept any more; post it again.")


def forget(folder: Path, form: Mapping[str, str]) -> None:
    """Remove the password of a stored form, if it has one."""
    for name in _names([form]):
        (folder / name).unlink(missing_ok=True)


def sweep(folder: Path, forms: Iterable[Mapping[str, str]], now: float | None = None) -> None:
    """Remove passwords that none of these forms names, as those of jobs that were cancelled before they ran."""
    used, now = _names(forms), time.time() if now is None else now
    for path in folder.glob("*"):
        with contextlib.suppress(OSError):
            if path.name not in used and path.stat().st_mtime < now - _POSTED_S:
                path.unlink()


def _names(forms: Iterable[Mapping[str, str]]) -> set[str]:
    values = (value for form in forms for name, value in form.items() if snake_case(name) == FIELD)
    return {named[1] for value in values if (named := _NAMED.fullmatch(value))}
