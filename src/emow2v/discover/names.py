"""Names of fields and options: their spelling, and the known one that is nearest to an unknown one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

NEAR = 0.7  # of difflib's measure; frame and frame_size have 0.71
_SHOWN = 60  # characters of a name in a message


def snake_case(name: str) -> str:
    """jobID to job_id, frameSize to frame_size; what is in that form already stays."""
    return re.sub(r"(?<=[^A-Z_])(?=[A-Z])", "_", name).lower()


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant; case, dashes and underscores do not count."""
    by_letters = {_letters(one): one for one in known}
    found = difflib.get_close_matches(_letters(name[:_SHOWN]), by_letters, n=1, cutoff=NEAR)
    return by_letters[found[0]] if found else None


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The sentence for a name that is not known, without the last stop: with the nearest known one, and all of them."""
    every = list(known)
    near = nearest(name, every)
    plain = "".join(sign if sign.isprintable() else "?" for sign in name[:_SHOWN])
    meant = f"; did you mean {near}?" if near else ";"
    expected = f" Expected {', '.join(every)}" if near else f" expected {', '.join(every)}"
    return f"The {what} '{plain}' is unknown{meant}{expected if every else ' expected none'}"


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
