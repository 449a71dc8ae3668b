"""Wrong tokens by address: whoever tries many different ones has to wait."""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

MOST_WRONG = 10  # different wrong tokens of one address within `PERIOD_S`
PERIOD_S = 300.0
MOST_ADDRESSES = 10_000  # that are remembered; those that tried last
MOST_ACCEPTED = 1000  # tokens of one address


class Attempts:
    """The wrong tokens of the last minutes, and the tokens that were accepted.

    A program that sends one expired token again and again counts once. A token that was accepted from an address before
    still opens the server from there while others of the address (of a proxy, say) have to wait.

    Args:
        clock: seconds
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._wrong: OrderedDict[str, OrderedDict[str, float]] = OrderedDict()  # by address: hashes of tokens
        self._accepted: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()
        self._ended: OrderedDict[tuple[str, str], float] = OrderedDict()

    def must_wait(self, address: str, digest: str) -> float:
        """Seconds after which an address may try a token; 0.0: now.

        Args:
            digest: of the token
        """
        place, now = network(address), self._clock()
        with self._lock:
            wrong = self._wrong.get(place)
            if wrong is None or digest in self._accepted.get(place, ()):
                return 0.0
            while wrong and now - next(iter(wrong.values())) >= PERIOD_S:
                wrong.popitem(last=False)
            if digest in wrong or len(wrong) < MOST_WRONG:
                return 0.0
            return PERIOD_S - (now - next(iter(wrong.values())))

    def count_wrong(self, address: str, digest: str) -> bool:
        """Remember a wrong token; False where it was remembered already."""
        with self._lock:
            wrong = _newest(self._wrong, network(address), MOST_ADDRESSES)
            if digest in wrong:
                return False
            wrong[digest] = self._clock()
            return True

    def is_news(self, address: str, digest: str) -> bool:
        """Whether a token that has expired or was removed came from an address for the first time in `PERIOD_S`.

        It is no guess and does not count as wrong: a laboratory behind one address may get new tokens on one day, while
        its browsers still send the old ones.
        """
        what, now = (network(address), digest), self._clock()
        with self._lock:
            if now - self._ended.get(what, -math.inf) < PERIOD_S:
                return False
            self._ended[what] = now
            self._ended.move_to_end(what)
            if len(self._ended) > MOST_ADDRESSES:
                self._ended.popitem(last=False)
            return True

    def accept(self, address: str, digest: str) -> bool:
        """Remember that a token was accepted; False where it was remembered already."""
        with self._lock:
            accepted = _newest(self._accepted, network(address), MOST_ADDRESSES)
            if digest in accepted:
                return False
            accepted[digest] = None
            if len(accepted) > MOST_ACCEPTED:
                accepted.popitem(last=False)
            return True


def network(address: str) -> str:
    """What counts as one address: of IPv6 the first 64 bits, because one machine may have all addresses below them."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # no address: a socket of the operating system
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def _newest(known: OrderedDict[str, OrderedDict[str, T]], place: str, most: int) -> OrderedDict[str, T]:
    """What is known of a place, which counts as the newest one then."""
    found = known.setdefault(place, OrderedDict())
    known.move_to_end(place)
    if len(known) > most:
        known.popitem(last=False)
    return found
