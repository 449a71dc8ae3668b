"""Data folders at addresses, which are only read: objects are fetched into a folder here when they are asked for."""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, unquote

from emow2v.errors import DiskFull
from emow2v.storage import is_file, name_here, shown
from emow2v.storage.atomic import unfinished_path
from emow2v.stores import is_on_web, join, name_of
from emow2v.stores.connection import again, connect, fresh_facts, may_pass, reading

KEPT_BYTES = 20 << 30  # of objects; those that were not asked for longest make room


class StoredFolders:
    """Folders at addresses, in the order in which names are looked up.

    Args:
        addresses: of the folders
        folder: here, for what is fetched
    """

    def __init__(self, addresses: Sequence[str], folder: Path) -> None:
        self._roots, self._folder = [address.rstrip("/") + "/" for address in addresses], folder

    def find(self, name: str) -> Path | None:
        """The file here of an object, which is fetched where that was not done before; None where no folder has it.

        Args:
            name: relative to a folder; hidden ones and those that lead out are not found

        Raises:
            AudioError: its store cannot be read
            DiskFull: there is no room for it
        """
        for root in self._roots if _is_inside(name) else ():
            address = _address(root, name)
            with reading(address):
                file_system, path = connect(address)
                file_system.invalidate_cache()
                try:
                    info = again(lambda: file_system.info(path))  # noqa: B023
                except FileNotFoundError as error:
                    if may_pass(error):  # so fsspec calls a web server that does not answer
                        raise
                    continue
                if info.get("type") != "directory":
                    return self._fetched(address)
        return None

    def entries(self, folder: str) -> dict[str, tuple[str, int]]:
        """What lies in a folder of the folders, by name: "file" or "folder", and bytes; no hidden entries.

        Raises:
            AudioError: a store cannot be read
        """
        found: dict[str, tuple[str, int]] = {}
        for root in self._roots if not folder or _is_inside(folder) else ():
            address = _address(root, folder) if folder else root
            with reading(address):
                file_system, path = connect(address)
                file_system.invalidate_cache()
                try:
                    listed = again(lambda: file_system.ls(path.rstrip("/"), detail=True))  # noqa: B023
                except FileNotFoundError as error:
                    if may_pass(error):  # so fsspec calls a web server that does not answer
                        raise
                    continue
            for info in listed:
                name = posixpath.basename(str(info["name"]).rstrip("/"))
                name = unquote(name) if is_on_web(root) else name
                if name and not name.startswith(".") and str(info["name"]).rstrip("/") != path.rstrip("/"):
                    kind = "folder" if info.get("type") == "directory" else "file"
                    found.setdefault(name, (kind, int(info.get("size") or 0)))
        return found

    def _fetched(self, address: str) -> Path:
        facts = fresh_facts(address)
        digest = hashlib.sha256(f"{address}\n{facts}".encode(errors="backslashreplace")).hexdigest()
        path = self._folder / digest[:32] / name_here(name_of(address))
        if is_file(path):
            os.utime(path)
            return path
        file_system, there = connect(address)
        part = unfinished_path(path, "part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            again(lambda: file_system.get_file(there, str(part)))
            part.replace(path)
        except OSError as error:
            if error.filename in (str(part), str(path), str(path.parent)):
                raise DiskFull(f"{shown(address)} cannot be kept ({error.strerror}); free some space.") from None
            raise
        finally:
            part.unlink(missing_ok=True)
        self._make_room(path)
        return path

    def _make_room(self, newest: Path) -> None:
        """Remove what was not asked for longest, as far as there is too much. What is being read goes on to its end."""
        with contextlib.suppress(OSError):  # another process removes them, too
            files = [(path.stat().st_mtime, path.stat().st_size, path) for path in self._folder.glob("*/*")]
            total = sum(size for _, size, _ in files)
            for _, size, path in sorted(files):
                if total > KEPT_BYTES and path != newest:
                    path.unlink(missing_ok=True)
                    path.parent.rmdir()
                    total -= size


def _address(root: str, name: str) -> str:
    """The address of a name in a folder. Web servers would take %2e for a dot, and ? for the begin of a query."""
    return join(root, quote(name) if is_on_web(root) else name)


def _is_inside(name: str) -> bool:
    """Whether a name is relative, leads nowhere else, and has no hidden part."""
    parts = name.replace("\\", "/").split("/")
    return "::" not in name and "\0" not in name and not any(part == "" or part.startswith(".") for part in parts)
