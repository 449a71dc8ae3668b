"""Results at addresses: complete files of a folder here, put into a store. Each of them appears whole or not at all."""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import os
import posixpath
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emow2v.errors import FormatError, PlaceTaken
from emow2v.storage import RUN_FOLDER, is_file, public, shown
from emow2v.storage.files import StagedFiles
from emow2v.storage.home import home
from emow2v.stores import is_address, join, name_of, parent, schemes, with_two_slashes
from emow2v.stores.connection import again, connect, is_without_bucket, writing

# Stores in which an object appears when all of it has come; elsewhere a file gets its name when it is complete
_OBJECT_STORES = frozenset(["s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci", "cos", "obs"])
_NOT_WRITTEN = frozenset(["http", "https", "zip", "tar", "libarchive", "github", "data", "hf"])


class StoredResults:
    """A folder of results at an address.

    Args:
        address: of the folder
        folder: here, in which files are complete before they are put there
        overwrite: also replace what emow2v did not write, or what was changed since
        only: names of files and folders that are looked at; None for all that is there

    Attributes:
        name: the address, without what may be a secret
        folder: as it is given

    Raises:
        FormatError: nothing can be written to such an address
        StoreError: the store cannot be reached, or refuses to list what is there
    """

    def __init__(
        self, address: str, folder: Path, *, overwrite: bool = False, only: Sequence[str] | None = None
    ) -> None:
        self.name, self.folder, self._overwrite = public(address).rstrip("/"), folder, overwrite
        if len(schemes(address)) != 1 or schemes(address)[0] in _NOT_WRITTEN:
            raise FormatError(f"{shown(address)} takes no results; expected s3:// or another store, or a folder here.")
        self._address = address.rstrip("/") + "/"
        self._own: set[str] = set()  # names that were put there
        with writing(address):
            self._files, self._top = connect(self._address)
            self._top = self._top.rstrip("/")
            self._files.invalidate_cache()
            if schemes(address)[0] in _OBJECT_STORES:  # in which a folder without objects is not there
                self._check_bucket()
            found = again(lambda: self._find(only))
        self._there = {name.removeprefix(self._top).lstrip("/") for name in found}

    def _check_bucket(self) -> None:
        try:
            again(lambda: self._files.info(self._top.split("/")[0]))
        except FileNotFoundError as error:
            if is_without_bucket(error):
                raise
            # an empty bucket, for some versions of s3fs

    def _find(self, only: Sequence[str] | None) -> list[str]:
        found: list[str] = []
        for place in [self._top] if only is None else [f"{self._top}/{name}" for name in only]:
            with contextlib.suppress(FileNotFoundError):  # of an empty bucket, for some versions of s3fs
                found += self._files.find(place)
        return found

    @property
    def names(self) -> list[str]:
        """What is there, relative to the folder."""
        return sorted(self._there)

    def address_of(self, path: Path) -> str:
        """The address that a file of the folder has, or gets."""
        return join(f"{self.name}/", self._relative(path))

    def has(self, path: Path) -> bool:
        """Whether a file of the folder is in the store."""
        return self._relative(path) in self._there

    def check(self, places: Mapping[Path, Path | None]) -> None:
        """Refuse to replace what emow2v did not write, and what was changed since.

        Args:
            places: files of the folder, each with the one that vouches for it, as for `StagedFiles`

        Raises:
            PlaceTaken: one sentence on the first such object
            StoreError: the store cannot be read
        """
        names = {self._relative(path): path for path in places}
        asked = [name for name in names if name in self._there - self._own]
        if self._overwrite or not asked:
            return
        with tempfile.TemporaryDirectory(prefix="emow2v-") as temporary:
            copies: dict[Path, Path | None] = {}
            for name in asked:
                voucher = places[names[name]]
                copies[self._copy(name, temporary)] = (
                    self._copy(self._relative(voucher), temporary) if voucher else None
                )
            try:
                StagedFiles(copies).check()
            except PlaceTaken as error:
                longest = sorted(asked, key=len, reverse=True)  # a.csv-metadata.json before a.csv
                what = next((name for name in longest if shown(Path(temporary, name)) in error.what), asked[0])
                reason = error.what.partition(shown(Path(temporary, what)))[2]
                remedy = "choose another place, or replace it with --overwrite (in Python and in requests: overwrite)"
                raise PlaceTaken(f"{shown(join(f'{self.name}/', what))}{reason}", remedy) from None

    def _copy(self, name: str, temporary: str) -> Path:
        path = Path(temporary, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if name in self._there and not path.exists():
            with writing(self._address):
                again(lambda: self._files.get_file(f"{self._top}/{name}", str(path)))
        return path

    def put(self, paths: Iterable[Path]) -> tuple[str, ...]:
        """Put complete files into the store in this order, and remove them here.

        Returns:
            their addresses

        Raises:
            StoreError: the store cannot be written; the files stay here
        """
        done = {path: self.put_copy(path) for path in paths}
        for path in done:
            path.unlink(missing_ok=True)
        return tuple(done.values())

    def put_copy(self, path: Path) -> str:
        """Put a complete file into the store, and keep it here; its address. Raises as `put`."""
        name, address = self._relative(path), self.address_of(path)
        with writing(address):
            again(lambda: self._put(path, name))
        self._there.add(name)
        self._own.add(name)
        return address

    def _put(self, path: Path, name: str) -> None:
        place = f"{self._top}/{name}"
        if schemes(self._address)[0] in _OBJECT_STORES:
            self._files.put_file(str(path), place)
            return
        folder, _, last = place.rpartition("/")
        part = f"{folder}/.{last[:40]}.{os.urandom(4).hex()}.part"
        self._files.makedirs(folder, exist_ok=True)
        try:
            self._files.put_file(str(path), part)
            self._files.mv(part, place)
        except BaseException:
            with contextlib.suppress(OSError):
                self._files.rm_file(part)
            raise

    def remove(self, path: Path) -> None:
        """Remove a file of the folder from the store."""
        name = self._relative(path)
        if name in self._there:
            with writing(self.address_of(path)):
                again(lambda: self._files.rm_file(f"{self._top}/{name}"))
            self._there.discard(name)

    def finish(self, kept: Sequence[str] = ()) -> None:
        """Put what a run that was stopped had completed here, and had not put there.

        Args:
            kept: names of files that stay here

        Raises:
            PlaceTaken: somebody else has put something at such a place since
            StoreError: the store cannot be read or written; the files stay here
        """
        left = []
        for path in sorted(self.folder.rglob("*"), key=lambda one: (one.name.endswith("-metadata.json"), str(one))):
            parts = path.relative_to(self.folder).parts
            if is_file(path) and not any(part.startswith(".") for part in parts) and path.name not in kept:
                left.append(path)
        self._check_left(left)
        self.put(left)

    def _check_left(self, left: Sequence[Path]) -> None:
        """Refuse to replace what has come to the places of these files since; what is the same was put there before a kill."""
        others: dict[Path, Path | None] = {}
        with tempfile.TemporaryDirectory(prefix="emow2v-") as temporary:
            for path in left:
                if self.has(path) and not filecmp.cmp(path, self._copy(self._relative(path), temporary), shallow=False):
                    others[path] = self._voucher(path)
        self.check(others)

    def _voucher(self, path: Path) -> Path | None:
        """The file that vouches for another one, as for `StagedFiles`."""
        if path.name.endswith("~"):
            return path.with_name(path.name.removesuffix("~"))
        described = path.with_name(f"{path.name}-metadata.json")
        return described if is_file(described) or self.has(described) else None

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def folder_of_run(address: str) -> Path:
    """The folder of this user and this computer that keeps the journal of a run whose results lie at an address."""
    digest = hashlib.sha256(public(address).rstrip("/").encode(errors="backslashreplace")).hexdigest()
    return home() / "runs" / digest[:16] / (posixpath.basename(public(address).rstrip("/")) or "results")


class Outputs:
    """Where the results and the table of a command go: into folders here, or to addresses.

    Args:
        to: of results; "-" for none, None for the current folder
        table: of the table; "" for none
        overwrite: as for `StoredResults`

    Attributes:
        folder: of results, here; None if they are printed
        stored: of results at an address
        table: path of the table, here; None if there is none
        stored_table: of a table at an address
        shown, shown_table: what messages call them

    Raises:
        FormatError, StoreError: as for `StoredResults`
    """

    def __init__(self, to: str | None, table: str, *, overwrite: bool = False) -> None:
        for place in (to or "", table):
            if address := with_two_slashes(place):
                raise FormatError(f"{shown(place)} has one slash; expected an address with two: {shown(address)}.")
        self.stored: StoredResults | None = None
        self.stored_table: StoredResults | None = None
        self.folder: Path | None = None if to == "-" else Path(to or ".")
        self.shown: Path | str | None = self.folder
        if to and is_address(to):
            self.folder, self.shown = folder_of_run(to), public(to)
            self.stored = StoredResults(to, self.folder, overwrite=overwrite)
        self.table: Path | None = Path(table) if table else None
        self.shown_table: Path | str | None = self.table
        if table and is_address(table):
            name, place = name_of(table), parent(table.rstrip("/"))
            self.table, self.shown_table = folder_of_run(f"{place} tables") / name, public(table)
            names = [name, f"{name}-metadata.json", f"{Path(name).stem}.parquet"]
            self.stored_table = StoredResults(place, self.table.parent, overwrite=overwrite, only=names)

    def close(self) -> None:
        """Remove folders here that were made for results at addresses and are empty."""
        for stored in (self.stored, self.stored_table):
            if stored is not None and stored.folder.is_dir():
                folders = [path for path in stored.folder.rglob("*") if path.is_dir()]
                for folder in (*sorted(folders, reverse=True), stored.folder, *list(stored.folder.parents)[:2]):
                    with contextlib.suppress(OSError):  # it holds something
                        folder.rmdir()


def in_order(places: Mapping[Path, Path | None]) -> list[Path]:
    """Files in the order in which they are put: those for which others vouch first."""
    return sorted(places, key=lambda path: places[path] is None)


def places_of(writers: Iterable[Any]) -> dict[Path, Path | None]:
    """The results of some writers, each with the one that vouches for it."""
    places = {path: voucher for writer in writers for path, voucher in writer.staged.vouchers.items()}
    return {path: voucher for path, voucher in places.items() if RUN_FOLDER not in path.parts}
