"""Backups of a work folder: one zip with the jobs, uploads and results as they were at one moment, checked by hashes.

The server may run meanwhile. Its jobs are copied by SQLite's backup, and its files get second names, while no job changes;
what is copied into the archive afterwards is what those names stand for, whatever the server removes or replaces.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import sqlite3
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from emow2v import storage
from emow2v._version import __version__
from emow2v.errors import Emow2vError, PlaceTaken
from emow2v.server.jobs.store.connections import WAIT_S
from emow2v.server.jobs.store.schema import copy_database, version
from emow2v.storage import shown
from emow2v.storage.atomic import atomic_file

FORMAT = 1
MANIFEST = "emow2v-backup.json"
PREFIX = "work/"  # of the members that are files of the work folder
DATABASE = "jobs.sqlite"
LINKS = ".backup-"  # beginning of the name of the folder with second names
PIECE = 1 << 20
DAY_S = 86400
_LEFT_OUT = (".lock", ".part", ".old", ".bak", "-wal", "-shm", "-journal")
# Values of jobs that run, since a restored job begins anew; what can be fetched again; passwords of waiting jobs
_NOT_KEPT = ("computed", "fetched", "passwords")


@dataclass(frozen=True)
class Summary:
    """What a backup holds.

    Attributes:
        jobs: number of jobs
        files: number of files
        size: bytes of the files
        made: UTC, ISO 8601
    """

    jobs: int
    files: int
    size: int
    made: str


def back_up(work_dir: Path, archive: Path, *, overwrite: bool = False) -> Summary:
    """Write the backup of a work folder.

    Args:
        archive: the zip; only this account may read it
        overwrite: replace a file that is there

    Raises:
        Emow2vError: the folder is no work folder, or it cannot be read; nothing is written
        PlaceTaken: a file is there
        OSError: the archive cannot be written
    """
    work_dir = work_dir.resolve()
    if not storage.is_file(work_dir / DATABASE):
        raise Emow2vError(f"{shown(work_dir)} has no {DATABASE}; expected the work folder of a server (--work-dir).")
    if archive.resolve().is_relative_to(work_dir):
        raise Emow2vError(f"The archive {shown(archive)} lies in the work folder; choose a place outside it.")
    if storage.is_folder(archive):
        raise Emow2vError(f"{shown(archive)} is a folder; expected the name of a file, such as backup.zip.")
    if not storage.is_folder(archive.parent):
        raise Emow2vError(f"There is no folder {shown(archive.parent)}; expected one for the backup.")
    if not overwrite and storage.kind_of(archive) is not None:
        raise PlaceTaken(f"{shown(archive)} is there already", "choose another name, or replace it with --overwrite")
    remove_links(work_dir)
    links = work_dir / f"{LINKS}{secrets.token_hex(4)}"
    links.mkdir(mode=0o700)
    try:
        jobs, schema = _freeze(work_dir, links)
        with atomic_file(archive, mode=0o600) as file:
            return _write(links, file, jobs, schema)
    finally:
        shutil.rmtree(links, ignore_errors=True)


def remove_links(work_dir: Path) -> None:
    """Remove what backups that were killed left, a day later."""
    for folder in work_dir.glob(f"{LINKS}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > DAY_S:
                shutil.rmtree(folder)


def _freeze(work_dir: Path, links: Path) -> tuple[int, int]:
    """Copy the databases, and give every other file a second name, while no job changes; gives the number of jobs and the schema."""
    path = work_dir / DATABASE
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)) as database:
            schema = version(database)
            database.execute("BEGIN IMMEDIATE")
            for name in _files(work_dir):
                other = links / name
                other.parent.mkdir(parents=True, exist_ok=True)
                if name.suffix == ".sqlite" and len(name.parts) == 1:
                    with contextlib.closing(sqlite3.connect(work_dir / name, timeout=WAIT_S)) as source:
                        copy_database(source, other)
                else:
                    _second_name(work_dir / name, other)
            database.execute("ROLLBACK")
            jobs: int = database.execute("SELECT count(*) FROM jobs").fetchone()[0]
    except sqlite3.Error as error:
        raise Emow2vError(f"The jobs in {shown(path)} cannot be copied ({error}); try it again in a moment.") from None
    return jobs, schema


def _files(work_dir: Path) -> Iterator[Path]:
    """Files that belong to a backup, relative to the work folder."""
    for folder, folders, names in os.walk(work_dir):
        here = Path(folder).relative_to(work_dir)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and "." not in _of_results(here, name) and (here.parts or name not in _NOT_KEPT)
        )
        for name in sorted(names):
            hidden = name.startswith(".") and not name.startswith(".turns-")
            if not hidden and not name.endswith(_LEFT_OUT) and not (here.name == "results" and name.endswith(".zip")):
                yield here / name


def _of_results(here: Path, name: str) -> str:
    """The name of a folder of results, which has a dot where it is sent once; "" for another folder."""
    return name if here.name == "results" else ""


def _second_name(path: Path, other: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # removed since it was listed
        try:
            os.link(path, other)
        except FileNotFoundError:
            raise
        except OSError:  # a file system without links
            shutil.copyfile(path, other)


def _write(links: Path, file: IO[bytes], jobs: int, schema: int) -> Summary:
    files: dict[str, dict[str, str | int]] = {}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(path for path in links.rglob("*") if path.is_file()):
            name = path.relative_to(links).as_posix()
            info = zipfile.ZipInfo.from_file(path, PREFIX + name, strict_timestamps=False)
            with path.open("rb") as source, archive.open(info, "w", force_zip64=True) as member:
                digest, size = copied(source, member)
            files[name] = {"sha256": digest, "size": size}
        made = datetime.now(UTC).isoformat(timespec="seconds")
        facts = {"format": FORMAT, "made": made, "software": f"emow2v {__version__}", "schema": schema, "jobs": jobs}
        archive.writestr(MANIFEST, json.dumps({**facts, "files": files}, indent=1))
    return Summary(jobs, len(files), sum(int(one["size"]) for one in files.values()), made)


def copied(source: IO[bytes], target: IO[bytes]) -> tuple[str, int]:
    """Copy a file; gives its SHA-256 and its size."""
    digest, size = hashlib.sha256(), 0
    while piece := source.read(PIECE):
        target.write(piece)
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size
