"""Memory that is kept between the steps of a training."""

from __future__ import annotations

import ctypes
import sys

# Numbers of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8


def keep_memory() -> bool:
    """Have glibc keep what was freed, instead of giving it back after each step and asking for it again, page by page.

    On two cores half of a step's time went into that. Elsewhere than with glibc nothing happens.

    Returns:
        whether it was taken up
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    except OSError:
        return False
    if mallopt is None:
        return False
    wanted = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 1 << 28))
    return all(mallopt(option, value) == 1 for option, value in wanted)
