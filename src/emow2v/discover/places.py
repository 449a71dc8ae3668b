"""Places that a request may read and write: below the data folders and among the uploads, nowhere else."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from emow2v import storage
from emow2v.errors import AudioError, RequestError
from emow2v.nova.connection import Databases
from emow2v.sources.remote import Remote
from emow2v.sources.web import Client, Web
from emow2v.storage import shown

if TYPE_CHECKING:
    from emow2v.stores.cache import StoredFolders

T = TypeVar("T")

_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # names that Windows takes for devices
INCOMING = "incoming"  # beside the folder of an owner's uploads
_PEOPLE = "people"  # in the work folder
_COPY = ".16k.flac"
_JOB_ID = re.compile(r"\w[\w .-]{0,127}")


def copy_of(upload: Path) -> Path:
    """The place of a smaller copy that may replace an upload when its job has ended."""
    return upload.with_name(upload.name + _COPY)


def original(path: Path) -> Path:
    """The upload that a copy has replaced; the path itself where it is no copy."""
    return path.with_name(path.name.removesuffix(_COPY))


def check_job_id(job_id: str) -> str:
    """A jobID that is safe to show, to log and to use in the names inside a zip.

    Raises:
        RequestError: missing, or anything but letters, digits, blanks, dots, dashes and underscores
    """
    if not job_id.strip():
        raise RequestError("jobID is missing; expected a name for the job, which later calls ask for.")
    if not _JOB_ID.fullmatch(job_id) or ".." in job_id:
        raise RequestError(
            f"jobID '{job_id[:60]!s}' is not usable; expected up to 128 letters, digits, blanks, dots, dashes or underscores."
        )
    return job_id


def safe_name(text: str, default: str) -> str:
    """A file name made of a text from a request: no separators, no leading dot, at most 80 characters and 200 bytes."""
    name = re.sub(r"[^\w .-]+|\.{2,}", "_", text).strip(" .")[:80].encode()[:200].decode(errors="ignore").strip(" .")
    return f"_{name}" if _DEVICE.fullmatch(name) else name or default


@dataclass(frozen=True)
class Places:
    """The folders of a server.

    Attributes:
        data_dirs: folders below which `file:` paths must lie, in the order in which relative ones are looked up
        work_dir: uploads and the results of `request:` outputs lie here
        web: addresses of recordings that requests may name; none by default
        databases: of NOVA that requests may name; none by default
        overwrite: whether every request may replace what others wrote, as if it had the option overwrite
        owner: name of the person whose uploads and results are meant; "" for those of nobody
        stores: data folders at addresses, which are only read, and come after those here
    """

    data_dirs: Sequence[Path]
    work_dir: Path
    web: Web = field(default_factory=Web)
    databases: Databases = field(default_factory=Databases)
    overwrite: bool = False
    owner: str = ""
    stores: Sequence[str] = ()

    def of(self, owner: str) -> Places:
        """The places of a person: uploads and results are folders of their own, data folders are those of all."""
        return self if owner == self.owner else replace(self, owner=owner)

    @property
    def owners(self) -> list[str]:
        """The people who have a folder; "" comes first."""
        folder = self.work_dir / _PEOPLE
        return ["", *sorted(path.name for path in folder.iterdir())] if folder.is_dir() else [""]

    @property
    def own_dir(self) -> Path:
        """The folder of the owner's uploads and results; the work folder itself where the owner has no name."""
        return self.work_dir / _PEOPLE / self.owner if self.owner else self.work_dir

    @property
    def uploads(self) -> Path:
        """Folder of the owner's uploads."""
        return self.own_dir / "uploads"

    @property
    def incoming(self) -> Path:
        """Folder of what has come of the owner's resumable uploads."""
        return self.own_dir / INCOMING

    @property
    def passwords(self) -> Path:
        """Folder of the passwords of requests, as long as their jobs wait or run."""
        return self.work_dir / "passwords"

    def upload(self, name: str) -> Path:
        """The owner's upload of a name, or the copy that has replaced it; it need not exist."""
        path = self.uploads / Path(name).name
        return copy if not path.exists() and (copy := copy_of(path)).exists() else path

    def is_upload(self, path: Path) -> bool:
        """Whether a path is that of an upload."""
        return path.resolve().parent == self.uploads.resolve()

    def results(self, job_id: str) -> Path:
        """Folder of a job's `request:` outputs; the jobID itself never becomes part of a path."""
        return self.own_dir / "results" / hashlib.sha256(job_id.encode(errors="backslashreplace")).hexdigest()[:32]

    @property
    def fetched(self) -> Path:
        """Folder of what was fetched from data folders at addresses, each in a folder of its own."""
        return self.work_dir / "fetched"

    def computed(self, number: int) -> Path:
        """File with what a job that has not ended has computed."""
        return self.work_dir / "computed" / str(number)

    def input(self, uri: str, expected: str = "a recording") -> Path:
        """The file that an input's uri names: relative ones among the uploads, then below the data folders.

        Clients on Windows separate folders by backslashes; a name that really holds one has priority.

        Args:
            expected: what the file should be, for sentences

        Raises:
            RequestError: the file lies elsewhere, does not exist, or is a folder
            PathError: the operating system refuses to answer
        """
        _check(uri)
        roots = [self.uploads, *self.data_dirs]
        is_folder = False
        for path in dict.fromkeys([Path(uri), _path(uri, 255)]):
            candidates = [path] if path.is_absolute() else [root / path for root in roots]
            inside = [resolved for candidate in candidates if (resolved := _inside(candidate, roots))]
            allowed = [one for one in inside if not self._in_work_dir(one) or _inside(one, [self.uploads])]
            for resolved in allowed:
                if kind := storage.kind_of(resolved):
                    if kind == "other":
                        raise RequestError(f"The input {shown(uri)} is a pipe or a device; expected a file.")
                    if kind == "file":
                        return resolved
                    is_folder = True
        if fetched := self._stored(lambda folders: folders.find(uri.replace("\\", "/"))):
            return fetched
        if is_folder:
            raise RequestError(f"{shown(uri)} is a folder; expected {expected}.")
        if not allowed:
            raise RequestError(
                f"The input {shown(uri)} lies outside the data folders; expected a path below --data-dir."
            )
        raise RequestError(f"The input {shown(uri)} does not exist; expected {expected} below the data folders.")

    def stored_entries(self, folder: str) -> dict[str, tuple[str, int]]:
        """What lies in a folder of the data folders at addresses, by name: "file" or "folder", and bytes.

        Raises:
            RequestError: a store cannot be read
        """
        return self._stored(lambda folders: folders.entries(folder)) or {}

    def _stored(self, ask: Callable[[StoredFolders], T]) -> T | None:
        """An answer of the data folders at addresses; None where there are none. Errors of stores are RequestErrors."""
        if not self.stores:
            return None
        from emow2v.stores.cache import StoredFolders

        try:
            return ask(StoredFolders(self.stores, self.fetched))
        except AudioError as error:
            raise RequestError(str(error)) from None

    def entries(self, folder: str) -> dict[str, Path]:
        """What lies in a folder of the data folders, by name: without hidden entries, and links that lead out.

        Where several data folders have such a folder, each gives its entries; of entries with the same name the first counts,
        as for `input`.

        Args:
            folder: relative to the data folders; "" for the data folders themselves

        Raises:
            RequestError: the folder lies elsewhere, is hidden, or does not exist
            PathError: the operating system refuses to answer
        """
        if folder:
            _check(folder)
        path = _path(folder, 255)
        found: dict[str, Path] = {}
        is_hidden = any(part.startswith(".") for part in path.parts)
        inside = [] if path.is_absolute() or is_hidden else [_inside(root / path, [root]) for root in self.data_dirs]
        allowed = [one for one in inside if one and not self._in_work_dir(one)]
        if not allowed and (is_hidden or path.is_absolute() or not self.stores):
            raise RequestError(
                f"The folder {shown(folder)} is hidden or lies outside the data folders; expected one below --data-dir."
            )
        folders = [one for one in allowed if storage.is_folder(one)]
        if not folders and not self.stored_entries(folder):
            raise RequestError(f"The folder {shown(folder)} does not exist; expected one below --data-dir.")
        for one in folders:
            try:
                names = [entry.name for entry in one.iterdir()]
            except OSError as error:
                raise RequestError(f"The folder {shown(folder)} cannot be read ({error.strerror}).") from None
            for name in names:
                if not name.startswith(".") and name not in found and self._is_open(one / name):
                    found[name] = one / name
        return found

    def _is_open(self, path: Path) -> bool:
        """Whether an entry of a folder may be shown: it leads to something in the data folders, and is not the work folder."""
        if path.is_symlink():
            target = _inside(path, self.data_dirs)
            return target is not None and target.exists() and not self._in_work_dir(target)
        return not (path == self.work_dir and self._in_work_dir(path))

    def remote(self, url: str) -> Remote:
        """The recording at an address; nothing is fetched before it is opened.

        Raises:
            SourceError: the address has no usable form, or is not allowed
        """
        return Remote(self.web.address(url), Client(self.web), self.work_dir)

    def output(self, uri: str, ending: str) -> Path:
        """The file that an output's uri names: relative ones below the first data folder.

        Raises:
            RequestError: the file lies elsewhere, or has another ending
            PathError: the operating system refuses to answer
        """
        _check(uri)
        path = _path(uri, 240)  # leaves room for a prefix and a suffix
        if path.name.lower() == ending:
            raise RequestError(f"The output {shown(uri)} is no more than an ending; expected a name before it.")
        if path.suffix.lower() != ending:
            raise RequestError(f"The output {shown(uri)} does not end in {ending}; expected a name that does.")
        if not self.data_dirs:
            raise RequestError(
                f"The output {shown(uri)} cannot be written: all data folders are at addresses, which are only read; "
                "expected a --data-dir here, too."
            )
        resolved = _inside(path if path.is_absolute() else self.data_dirs[0] / path, self.data_dirs)
        if resolved is None or self._in_work_dir(resolved):
            raise RequestError(
                f"The output {shown(uri)} lies outside the data folders; expected a path below --data-dir."
            )
        if storage.is_folder(resolved):
            raise RequestError(f"The output {shown(uri)} is a folder; expected a file name.")
        return resolved

    def _in_work_dir(self, path: Path) -> bool:
        """Whether a path lies in the work folder, which may lie below a data folder, or hold one."""
        within = [root for root in self.data_dirs if root.resolve().is_relative_to(self.work_dir.resolve())]
        return _inside(path, [self.work_dir]) is not None and _inside(path, within) is None


def _path(uri: str, longest: int) -> Path:
    """The path that a uri names, with either separator.

    Args:
        longest: bytes of a name
    """
    if os.sep == "/":
        if re.match(r"[A-Za-z]:[\\/]|\\\\", uri):
            raise RequestError(
                f"The path {shown(uri)} is one of a Windows machine; expected a path below the server's own data folders, "
                "such as study/talk.wav."
            )
        uri = uri.replace("\\", "/")
    path = Path(uri)
    if len(uri) > 1000 or any(len(os.fsencode(part)) > longest for part in path.parts):
        raise RequestError(
            f"The path {shown(uri)} is too long; expected at most 1000 characters, and {longest} bytes in a name."
        )
    return path


def _check(uri: str) -> None:
    if "\0" in uri or not uri.strip():
        raise RequestError("The path is empty or holds a NUL character; expected the path of a file.")
    try:
        os.fsencode(uri)
    except UnicodeEncodeError:
        raise RequestError(f"The path {shown(uri)} holds half a character; expected a path in Unicode.") from None


def _inside(path: Path, roots: Sequence[Path]) -> Path | None:
    """The path with links and dots resolved, if it lies below one of the roots."""
    try:
        resolved = path.resolve()
        return resolved if any(resolved.is_relative_to(root.resolve()) for root in roots) else None
    except (OSError, RuntimeError):  # names that are too long, loops of links (before Python 3.13)
        return None


def make_folder(folder: Path) -> None:
    """Make an output's folder.

    Raises:
        RequestError: the folder cannot be made or written to
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "no permission to write")
    except OSError as error:
        raise RequestError(
            f"The output folder {folder} cannot be made or written to ({error.strerror}); choose another."
        ) from None
