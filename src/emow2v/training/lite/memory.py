"""Memory of a training: glibc keeps it between steps."""

from __future__ import annotations

import ctypes
import sys

# Numbers of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8


def keep_memory() -> bool:
    """Let glibc keep freed memory for the next step, instead of returning it to the system and fetching it page by page.

    On two cores half of the time of a step was spent on that. The environment variables MALLOC_ARENA_MAX=1,
    MALLOC_MMAP_MAX_=0, MALLOC_TRIM_THRESHOLD_ and MALLOC_TOP_PAD_ do the same, but only before a process starts, where
    nobody who types a command would set them. Without glibc nothing happens.

    Returns:
        whether glibc took all settings
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    except OSError:
        return False
    if mallopt is None:
        return False
    settings = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 1 << 28))
    return all(mallopt(option, value) == 1 for option, value in settings)
