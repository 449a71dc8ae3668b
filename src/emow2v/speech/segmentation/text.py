"""Text files of other programs: their bytes, their encodings, and how they write times."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from emow2v import storage
from emow2v.errors import FormatError
from emow2v.storage.text import WESTERN
from emow2v.storage.text import decode as decoded

LARGEST = 256 * 2**20  # bytes; a day of speech with a time for each word has a tenth of it
NO_TEXT = "it is no text in UTF-8, UTF-16 or Windows-1252; expected a file with segments; save it in UTF-8"
LONGEST_S = 1e9  # 32 years: a time of that length is a mistake
_LONGEST = 64  # signs of a time
_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:e[+-]?\d{1,3})?", re.IGNORECASE | re.ASCII)
_CLOCK = re.compile(
    r"(?P<sign>-?)(?:(?P<days>\d{1,6}) days?,? *\+?)?"
    r"(?:(?:(?P<hours>\d{1,6}):)?(?P<minutes>\d{1,2}):(?P<seconds>\d{1,2}(?:[.,]\d*)?))?",
    re.IGNORECASE | re.ASCII,
)
_UNIT = re.compile(r"(.+?) *(ms|msec|s|sec)", re.IGNORECASE)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors begin with the name of the file that they are about."""
    try:
        yield
    except FormatError as error:
        raise FormatError(f"{storage.shown(path)}: {error}.") from None


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        FormatError: it cannot be read, or is empty or too large
        PathError: the operating system does not say what lies there
    """
    if storage.is_folder(path):
        raise FormatError("it is a folder; expected a file with segments; name the file")
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FormatError(f"it cannot be read ({reason}); expected a file with segments; check its name") from None
    if len(content) > LARGEST:
        raise FormatError(f"it has more than {LARGEST >> 20} MiB; expected a file with segments; choose another")
    if not content.strip(b" \t\r\n\0\xef\xbb\xbf\xff\xfe"):
        raise FormatError("it is empty; expected a file with segments; save it again")
    return content


def decode(content: bytes) -> tuple[str, str]:
    """The text of a file, see `storage.text.decode`, and a notice where its encoding had to be guessed.

    Raises:
        FormatError: no text, or text that is cut off within a sign
    """
    try:
        text, encoding = decoded(content)
    except UnicodeDecodeError as error:
        if error.reason.startswith("illegal") and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise FormatError(NO_TEXT) from None  # what looked like UTF-16 are the zeros of any other file
        damage = "it is cut off within a letter" if error.encoding == "utf-8" else "its UTF-16 is damaged or cut off"
        raise FormatError(f"{damage}; expected a whole file; save it again") from None
    if "\0" in text:
        raise FormatError(NO_TEXT)
    notice = f"it is not in UTF-8 and is read as {encoding.title()}; check letters with accents"
    return text, notice if encoding in WESTERN else ""


def lines_of(text: str) -> list[str]:
    """Lines as the common programs end them; `str.splitlines` also ends them within labels."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def parse_time(text: str) -> float:
    """Seconds: 1.5, 1,5, 90s, 1500 ms, 01:30, 0:01:30.5, 00:01:30,500, 0 days 00:01:30.500000.

    Raises:
        FormatError: it is no time
    """
    original = text
    text = text.strip().replace("\N{MINUS SIGN}", "-")
    if len(text) > _LONGEST:
        text = ""
    unit = _UNIT.fullmatch(text)
    clock = _CLOCK.fullmatch(text)
    if _NUMBER.fullmatch(text):
        value = _float(text)
    elif unit and _NUMBER.fullmatch(unit[1]):
        value = _float(unit[1]) / (1000 if unit[2].lower().startswith("ms") else 1)
    elif clock and (clock["days"] or clock["seconds"]):
        # as pandas counts: -1 days +23:59:59 is a second before 0, the sign is that of the days
        sign = -1 if clock["sign"] else 1
        value = int(clock["hours"] or 0) * 3600 + int(clock["minutes"] or 0) * 60 + _float(clock["seconds"] or "0")
        value = sign * int(clock["days"]) * 86400 + value if clock["days"] else sign * value
    else:
        raise FormatError(f"a time is {quoted(original)}; expected seconds, such as 1.5, or 0:00:01.5; correct it")
    return checked_time(value)


def checked_time(value: float) -> float:
    """A time that a recording can have.

    Raises:
        FormatError: no number, or decades
    """
    if not abs(value) <= LONGEST_S:
        raise FormatError(f"a time is {value:g} s; expected seconds within a recording; correct it")
    return value


def _float(text: str) -> float:
    return float(text.replace(",", "."))


def quoted(text: str) -> str:
    """Some words of a file, as sentences give them."""
    short = storage.one_line(text)
    return f"'{short[:40]}{'…' if len(short) > 40 else ''}'"
