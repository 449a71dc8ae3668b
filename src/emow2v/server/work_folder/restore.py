"""Restoring a work folder from its backup: checked whole before anything is put in its place."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from emow2v import storage
from emow2v.errors import Emow2vError
from emow2v.server.jobs.store.schema import SCHEMA
from emow2v.server.work_folder.backup import DATABASE, FORMAT, MANIFEST, PREFIX, Summary, copied
from emow2v.storage import counted, locks, shown

LOCK = "server.lock"
_NEW, _OLD, _REMOVED = ".restore-", ".replaced-", ".removed-"  # beginnings of the names of folders on the way
_ASIDE = ".all-is-here"  # in the folder with the old files, when all of them have been moved there


def restore(archive: Path, work_dir: Path, *, overwrite: bool = False) -> Summary:
    """Put the files of a backup into a work folder.

    All files are unpacked and compared with their hashes first. An error changes nothing.

    Args:
        work_dir: made where it does not exist
        overwrite: replace what is in the folder

    Raises:
        Emow2vError: the archive is no backup, is damaged, or was made by a newer version; the folder is used by a server, or
            is not empty; or the disk has no room
        OSError: the folder cannot be written
    """
    if not storage.is_file(archive):
        raise Emow2vError(f"There is no file {shown(archive)}; expected a backup that emow2v backup has written.")
    if storage.kind_of(work_dir) not in (None, "folder"):
        raise Emow2vError(f"The work folder {shown(work_dir)} is a file; expected a folder.")
    if archive.resolve().is_relative_to(work_dir.resolve()):  # it would be removed with what is replaced
        raise Emow2vError(f"The backup {shown(archive)} lies in the work folder; move it to a place outside it.")
    work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)  # voices of people
    activity = f"The work folder {shown(work_dir)} is being used"
    with locks.acquire(work_dir / LOCK, activity, "stop the server first", error=Emow2vError):
        _undo(work_dir)
        there = _entries(work_dir)
        if there and not overwrite:
            raise Emow2vError(
                f"The work folder {shown(work_dir)} holds {counted(len(there), 'file or folder', 'files and folders')}, such as "
                f"{shown(there[0].name)}; expected an empty one; choose another, or replace what is there with --overwrite."
            )
        new = work_dir / f"{_NEW}{secrets.token_hex(4)}"
        new.mkdir(mode=0o700)
        try:
            summary = _unpack(archive, new)
            _replace(work_dir, new)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return summary


def _entries(work_dir: Path) -> list[Path]:
    """What a restore would replace."""
    passing = (LOCK, _NEW, _OLD, _REMOVED)
    return sorted(path for path in work_dir.iterdir() if not path.name.startswith(passing))


def _unpack(archive: Path, folder: Path) -> Summary:
    try:
        with zipfile.ZipFile(archive) as packed:
            manifest = _manifest(packed, archive)
            files: Mapping[str, Mapping[str, Any]] = manifest["files"]
            size = sum(int(one["size"]) for one in files.values())
            free = shutil.disk_usage(folder).free
            if free < size:
                raise Emow2vError(
                    f"The backup has {size / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free at {shown(folder.parent)}; free some space."
                )
            for name, expected in files.items():
                path = folder.joinpath(*PurePosixPath(name).parts)
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with packed.open(PREFIX + name) as member, open(path, "xb", opener=_private) as file:
                    found = copied(member, file)
                if found != (expected["sha256"], expected["size"]):
                    raise _damaged(archive, name)
            return Summary(manifest["jobs"], len(files), size, str(manifest["made"]))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise _damaged(archive, str(error)) from None


def _private(path: str, flags: int) -> int:
    """Open a file that only this account may read: hashes of tokens, a private key, voices of people."""
    return os.open(path, flags, 0o600)


def _manifest(packed: zipfile.ZipFile, archive: Path) -> dict[str, Any]:
    names = packed.namelist()
    if MANIFEST not in names:
        raise Emow2vError(
            f"{shown(archive)} is no backup of a work folder; expected a file that emow2v backup has written."
        )
    try:
        manifest = json.loads(packed.read(MANIFEST))
    except ValueError:
        raise _damaged(archive, MANIFEST) from None
    if not isinstance(manifest, dict) or not all(isinstance(manifest.get(name), int) for name in ("format", "schema")):
        raise _damaged(archive, MANIFEST)
    if manifest["format"] > FORMAT or manifest["schema"] > SCHEMA:
        raise Emow2vError(
            f"{shown(archive)} was written by a newer version ({str(manifest.get('software', 'emow2v'))[:40]}); update emow2v."
        )
    files = manifest.get("files")
    if (
        not isinstance(files, dict)
        or not all(map(_is_complete, files.values()))
        or not {"jobs", "made"} <= manifest.keys()
    ):
        raise _damaged(archive, MANIFEST)
    if sorted(names) != sorted([MANIFEST, *(PREFIX + name for name in files)]) or not all(map(_is_inside, files)):
        raise _damaged(archive, MANIFEST)
    if DATABASE not in files:
        raise _damaged(archive, DATABASE)
    return manifest


def _is_complete(facts: object) -> bool:
    """Whether a file has a hash and a size."""
    size = facts.get("size") if isinstance(facts, dict) else None
    return isinstance(facts, dict) and isinstance(facts.get("sha256"), str) and isinstance(size, int) and size >= 0


def _is_inside(name: str) -> bool:
    """Whether the name of a file leads into the work folder, on any system."""
    parts = PurePosixPath(name).parts
    plain = "/".join(parts) == name and not any(sign in name for sign in "\\:\0")
    return plain and bool(parts) and not name.startswith(("/", LOCK)) and ".." not in parts


def _damaged(archive: Path, what: str) -> Emow2vError:
    return Emow2vError(
        f"{shown(archive)} is damaged ({shown(what[:200])}); expected a whole backup; take another copy of it."
    )


def _replace(work_dir: Path, new: Path) -> None:
    """Move what is there aside, and what is new in; when the moves are done, the old files are removed."""
    old = work_dir / f"{_OLD}{secrets.token_hex(4)}"
    old.mkdir(mode=0o700)
    there, came = _entries(work_dir), []
    moved = []
    try:
        for path in there:
            moved.append((path.rename(old / path.name), path))
        (old / _ASIDE).touch()
        for path in sorted(new.iterdir()):
            came.append(path.rename(work_dir / path.name))
    except BaseException:
        for path in came:
            path.rename(new / path.name)
        (old / _ASIDE).unlink(missing_ok=True)
        for now, before in moved:
            now.rename(before)
        old.rmdir()
        raise
    done = old.rename(work_dir / f"{_REMOVED}{secrets.token_hex(4)}")  # from here on nothing is undone
    shutil.rmtree(done, ignore_errors=True)


def _undo(work_dir: Path) -> None:
    """Undo a restore that was killed while it moved files: what was there before returns."""
    for old in work_dir.glob(f"{_OLD}*"):
        if (old / _ASIDE).exists():  # what is in the folder came from the backup
            for path in _entries(work_dir):
                if storage.is_folder(path):
                    shutil.rmtree(path)
                else:
                    path.unlink()
            (old / _ASIDE).unlink()
        for path in old.iterdir():
            path.rename(work_dir / path.name)
        old.rmdir()
    for prefix in (_NEW, _REMOVED):
        for path in work_dir.glob(f"{prefix}*"):
            shutil.rmtree(path, ignore_errors=True)


def check_whole(work_dir: Path) -> None:
    """Refuse a work folder whose restore was killed while it moved files.

    Raises:
        Emow2vError: with what to do
    """
    if any(work_dir.glob(f"{_OLD}*")):
        raise Emow2vError(f"A restore of {shown(work_dir)} was interrupted; run emow2v restore again.")
