"""The route of /v1 that lists the recordings of the data folders, so that people can choose among them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated

from fastapi import FastAPI, Query, Response
from pydantic import BaseModel

from emow2v import storage
from emow2v.errors import PathError
from emow2v.inputs import ENDINGS
from emow2v.server.batches.choosing import is_unicode
from emow2v.server.routes.views import PRIVATE, or_404
from emow2v.server.state import ServerState

MOST = 1000  # entries of one answer
TURNS = frozenset((".eaf", ".textgrid", ".rttm", ".srt", ".vtt"))  # of files that say who speaks when, and nothing else


class FileModel(BaseModel):
    """A file: `path` is what a prediction takes as `path`, or as `segments_path` where the file says who speaks when."""

    name: str
    path: str
    size: int
    turns: bool


class FolderModel(BaseModel):
    """A folder, relative to the data folders; "" are the data folders themselves.

    `listed` is false, and nothing else is told, if the server was started without --data-dir. `more` says that the folder has
    more entries than one answer.
    """

    listed: bool
    folder: str
    folders: list[str]
    files: list[FileModel]
    more: bool


def add(api: FastAPI, state: ServerState) -> None:
    """Add the route."""
    places = state.places

    @api.get("/files")
    def files(
        answer: Response,
        folder: Annotated[str, Query(max_length=1000, description="Relative to the data folders; empty: these.")] = "",
    ) -> FolderModel:
        """Recordings, files that say who speaks when, and folders. Nothing is read or changed."""
        answer.headers.update(PRIVATE)
        if not state.options.lists_data:
            return FolderModel(listed=False, folder="", folders=[], files=[], more=False)
        folder = folder.replace("\\", "/").strip("/")
        here = or_404(lambda: places.entries(folder))
        there = or_404(lambda: places.stored_entries(folder))
        entries = sorted({**there, **here}, key=str.casefold)
        folders: list[str] = []
        found: list[FileModel] = []
        more = False
        for name in entries:
            if len(folders) + len(found) == MOST:
                more = True
                break
            if not is_unicode(name):
                continue
            kind, size = _look(here[name]) if name in here else there[name]
            ending = PurePosixPath(name).suffix.lower()
            if kind == "folder":
                folders.append(name)
            elif kind == "file" and (ending in ENDINGS or ending in TURNS):
                relative = f"{folder}/{name}" if folder else name
                found.append(FileModel(name=name, path=relative, size=size, turns=ending in TURNS))
        return FolderModel(listed=True, folder=folder, folders=folders, files=found, more=more)


def _look(path: Path) -> tuple[str | None, int]:
    """Whether a path is a file or a folder, and its bytes; None where the operating system does not say, or it is gone."""
    try:
        return storage.kind_of(path), path.stat().st_size
    except (OSError, PathError):
        return None, 0
