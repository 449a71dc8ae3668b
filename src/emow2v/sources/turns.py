"""Files with turns at addresses: small, fetched whole, and both files of an annotation of NOVA."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from emow2v.sources.address import Address
from emow2v.sources.remote import Remote
from emow2v.sources.web import Client, Unreachable, Web

WAITED_S = 20.0  # for one file, in all
KEPT_BYTES = 64 << 20  # of files that may be asked for again, as a request with many sessions does


class TurnFiles:
    """Files with turns at addresses; each is fetched once, as long as there are few.

    Args:
        web: what an administrator allows
        folder: for a temporary file
        max_bytes: of a file
    """

    def __init__(self, web: Web, folder: Path, max_bytes: int) -> None:
        most = min(max_bytes, web.max_bytes or max_bytes)
        self._web, self._folder = replace(web, max_bytes=most, expected="a file with turns"), folder
        self._known: dict[str, dict[str, bytes]] = {}
        self._gone: dict[str, Unreachable] = {}

    def read(self, url: str) -> dict[str, bytes]:
        """What lies at an address, by names: one file, or X.annotation and X.annotation~.

        Raises:
            SourceError: the address has no usable form or is not allowed, or the file is not there or too large
        """
        if url not in self._known:
            address = self._web.address(url)
            if address.name.endswith(".annotation~"):
                address = _with_end(address, remove="~")
            files = {address.name or "turns": self._fetch(address)}
            if address.name.endswith(".annotation"):  # its data lie beside it
                files[f"{address.name}~"] = self._fetch(_with_end(address, add="~"))
            self._known[url] = files
            while len(self._known) > 1 and self._bytes > KEPT_BYTES:
                del self._known[next(iter(self._known))]
        return self._known[url]

    @property
    def _bytes(self) -> int:
        return sum(len(content) for files in self._known.values() for content in files.values())

    def _fetch(self, address: Address) -> bytes:
        if gone := self._gone.get(address.origin):  # a request with many sessions does not wait for each of them
            raise gone
        try:
            with closing(Remote(address, Client(self._web), self._folder)) as remote, remote.hurried(WAITED_S):
                return remote.open().read()
        except Unreachable as error:
            self._gone[address.origin] = error
            raise


def _with_end(address: Address, add: str = "", remove: str = "") -> Address:
    """The address with another end of its path, before the query."""
    path, mark, query = address.target.partition("?")
    return replace(address, target=path.removesuffix(remove) + add + mark + query)
