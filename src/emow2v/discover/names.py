"""Names of fields and options: their spelling, and the known name nearest to an unknown one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

NEAR = 0.7  # of difflib's measure; frame and frame_size have 0.71
_SHOWN = 60  # characters of a name in a message


def snake_case(name: str) -> str:
    """The name in snake case: jobID gives job_id, frameSize gives frame_size."""
    return re.sub(r"(?<=[^A-Z_])(?=[A-Z])", "_", name).lower()


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant; case, dashes and underscores are ignored. None where none is near."""
    by_letters = {_letters(one): one for one in known}
    near = difflib.get_close_matches(_letters(name[:_SHOWN]), by_letters, n=1, cutoff=NEAR)
    return by_letters[near[0]] if near else None


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The sentence for an unknown name, without the full stop: with the nearest known name, and all known names."""
    every = list(known)
    near = nearest(name, every)
    plain = "".join(sign if sign.isprintable() else "?" for sign in name[:_SHOWN])
    meant = f"; did you mean {near}?" if near else ";"
    expected = f" Expected {', '.join(every)}" if near else f" expected {', '.join(every)}"
    return f"The {what} '{plain}' is unknown{meant}{expected if every else ' expected none'}"


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
