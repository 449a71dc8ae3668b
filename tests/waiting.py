"""Waiting for what other threads, processes and servers do."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

HANG_S = 300.0  # nothing that goes on takes so long, however busy the machine


def until(
    condition: Callable[[], T], what: str = "it did not come", *, alive: Callable[[], object] = lambda: True
) -> T:
    """Ask until the answer is true, and give it.

    Args:
        what: the failure's words
        alive: whether the answer can still become true; where not, the test fails at once
    """
    hung = time.monotonic() + HANG_S
    while True:
        goes_on = alive()  # asked first: what ends after its last word has still said it
        if answer := condition():
            return answer
        assert goes_on and time.monotonic() < hung, what
        time.sleep(0.01)
