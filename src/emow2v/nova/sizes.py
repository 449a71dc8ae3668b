"""Sizes of documents in BSON, counted before any work: MongoDB refuses larger ones than 16 MiB."""

from __future__ import annotations

from fractions import Fraction

from emow2v.errors import DatabaseError
from emow2v.storage import shown

MAX_BYTES = 16 << 20  # of a document, by every version of MongoDB
_LABEL_BYTES = 4 + (1 + len("score\0") + 8) + (1 + len("conf\0") + 8) + 1  # two doubles
# length, _id with its ObjectId, the name of the list, length and end of the list, end
_FRAME_BYTES = 4 + (1 + len("_id\0") + 12) + (1 + len("labels\0")) + (4 + 1) + 1


def continuous_bytes(count: int) -> int:
    """Bytes of the document with the values of a continuous annotation.

    Each value is stored under its number as a text, so that later ones take more.

    Args:
        count: of values
    """
    digits, first, width = 0, 0, 1
    while first < count:
        last = min(count, 10**width)
        digits += (last - first) * width
        first, width = last, width + 1
    return _FRAME_BYTES + count * (1 + 1 + _LABEL_BYTES) + digits


def most_values() -> int:
    """The largest number of values that one annotation holds."""
    low, high = 0, MAX_BYTES
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if continuous_bytes(middle) <= MAX_BYTES else (low, middle - 1)
    return low


def check_continuous(scheme: str, count: int, rate: Fraction) -> None:
    """Refuse an annotation that no document of MongoDB holds.

    Args:
        scheme: its name
        count: of values
        rate: of the scheme, in Hz

    Raises:
        DatabaseError: one sentence with the duration that it holds
    """
    if (size := continuous_bytes(count)) <= MAX_BYTES:
        return
    minutes = int(most_values() / rate / 60)
    raise DatabaseError(
        f"The annotation {shown(scheme)} would have {count} values, {size / 2**20:.1f} MiB; a document of MongoDB holds "
        f"16 MiB, which is {minutes // 60} h {minutes % 60:02} min at {float(rate):g} Hz; choose a scheme with a lower sr, "
        "a part of the recording (start, end), or an output with the origin file:."
    )
