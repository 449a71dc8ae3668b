"""The flow of a download: into a file that appears whole, continued where the connection broke."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from dataclasses import replace
from email.message import Message
from functools import partial
from pathlib import Path
from typing import IO, Any

from emow2v.client.exchange import Answer, Call, Close, Flow, Lost, Next, Open, Patience, Pause, Request, Server, ask
from emow2v.errors import ClientError, PlaceTaken
from emow2v.storage.atomic import atomic_file

_NOT_IN_NAMES = re.compile(r'[<>:"/|?*\\\x00-\x1f]')
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")  # on Windows
_PART = re.compile(r"bytes (\d+)-")
_SEPARATORS = tuple({"/", os.sep})


def download(server: Server, request: Request, path: str | os.PathLike[str], overwrite: bool) -> Flow[Path]:
    """Fetch something into a file.

    Args:
        path: of the file; a folder, or a path that ends with "/", for a file with the name that the server gives it

    Raises:
        ClientError: it cannot be fetched, or the file not be written
        PlaceTaken: there is such a file, and `overwrite` is false
    """
    place = Path(path)
    if os.fspath(path).endswith(_SEPARATORS):  # the first file of a folder that is not there yet
        yield Call(_guarded(partial(place.mkdir, parents=True, exist_ok=True), str(place)))
    # ranges are of the file itself
    request = replace(request, headers={**request.headers, "Accept-Encoding": "identity"})
    if not place.is_dir():
        yield Call(partial(_check, place, overwrite))
    answer: Answer = yield from ask(server, request, Open)
    target = place / _name(answer) if place.is_dir() else place
    yield Call(partial(_check, target, overwrite))
    with contextlib.ExitStack() as unfinished:
        file = yield Call(_guarded(partial(unfinished.enter_context, atomic_file(target)), str(target.parent)))
        yield from _fill(server, request, answer, file, str(target))
        yield Call(_guarded(unfinished.close, str(target)))  # as a step, since it waits for the disk
    return target


def _fill(server: Server, request: Request, answer: Answer, file: IO[bytes], name: str) -> Flow[None]:
    """Write the body of an answer; where the connection breaks, ask for the rest.

    Args:
        name: of the file, for errors
    """
    patience = Patience(server)
    size, mark = 0, answer.headers.get("etag", "")
    while True:
        try:
            while (piece := (yield Next(answer.stream))) is not None:
                yield Call(_guarded(partial(file.write, piece), name))
                size += len(piece)
                patience.reset()
            yield Close(answer.stream)
            return
        except Lost as error:
            yield Pause(patience.after_loss(request, error))
        rest = {"Range": f"bytes={size}-", "If-Range": mark} if size and _is_strong(mark) else {}
        answer = yield from ask(server, replace(request, headers={**request.headers, **rest}), Open)
        part = _PART.match(answer.headers.get("content-range", "")) if answer.status == 206 else None
        if part is None or int(part[1]) != size:
            if answer.status == 206:
                raise ClientError(f"{server.address} sends another part than was asked for; try again.")
            size = 0  # it has changed, or comes whole
            yield Call(_guarded(partial(_empty, file), name))
        mark = answer.headers.get("etag", "")


def _is_strong(mark: str) -> bool:
    """Whether an ETag stands for the same bytes, so that parts may be joined."""
    return mark.startswith('"') and len(mark) > 2


def _name(answer: Answer) -> str:
    """The name that a server gives a file; only a name, wherever it points."""
    message = Message()
    message["Content-Disposition"] = answer.headers.get("content-disposition", "")
    name = _NOT_IN_NAMES.sub("_", message.get_filename() or "result").strip(" .") or "result"
    return f"_{name}" if _RESERVED.match(name) else name


def _check(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise PlaceTaken(f"{path} exists already", "choose another name, or give overwrite=True")


def _empty(file: IO[bytes]) -> None:
    file.seek(0)
    file.truncate()


def _guarded(function: Callable[[], Any], name: str) -> Callable[[], Any]:
    """A function whose errors of the operating system are sentences."""

    def guarded() -> Any:
        try:
            return function()
        except OSError as error:
            raise ClientError(
                f"{name} cannot be written ({error.strerror}); free some space, or choose another place."
            ) from None

    return guarded
