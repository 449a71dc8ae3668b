"""The errors that users can cause: each is a sentence with the expected input, the actual one, and a remedy."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

_PACKAGE = Path(__file__).parent

P = ParamSpec("P")
R = TypeVar("R")


class Emow2vError(Exception):
    """Base class of all errors that emow2v raises about its input."""


class PathError(Emow2vError):
    """The operating system refuses access to a path."""


class AudioError(Emow2vError, ValueError):
    """A source holds no sound that can be decoded, or is no source at all."""


class TooLong(AudioError):
    """A recording lasts longer than the limit."""


class FramingError(Emow2vError, ValueError):
    """Times, windows or options do not fit the recording or the model."""


class ModelError(Emow2vError):
    """A model cannot be found, read or run."""


class FormatError(Emow2vError):
    """A result file cannot be read or written."""


class DiskFull(FormatError):
    """A disk has no space left for a result."""


class StoreError(FormatError):
    """An object store, or another place at an address, cannot be written."""


class DatabaseError(Emow2vError):
    """NOVA's database cannot be reached or used, or a document in it is none of NOVA's."""


class ClusterError(Emow2vError):
    """A cluster of Ray cannot be reached or used, or has no node that can work."""


class ClientError(Emow2vError):
    """A server of emow2v cannot be reached, refuses a request, or answers as none; see `emow2v.client` for its kinds."""


class Closed(Emow2vError):
    """A model, trajectory or stream is used after it was closed."""


class PlaceTaken(FormatError):
    """A file that emow2v did not write, or that was changed since, is in the place of a result.

    Attributes:
        what: the sentence without the remedy
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}.")
        self.what = what


class RequestError(Emow2vError):
    """A DISCOVER request cannot be carried out as it stands."""


class Cancelled(Emow2vError):
    """The work was stopped on request; nothing was written."""


def is_own(error: BaseException) -> bool:
    """Whether a line of emow2v raised the error, and not a library that it called: then it is a bug, not a damaged file,
    and must not be hidden.
    """
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place is not None and Path(place.tb_frame.f_code.co_filename).is_relative_to(_PACKAGE)


def exit_with_message(main: Callable[P, R]) -> Callable[P, R]:
    """Decorate an entry point: an `Emow2vError` ends the program with its sentence and exit code 1."""

    @functools.wraps(main)
    def run(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return main(*arguments, **options)
        except Emow2vError as error:
            raise SystemExit(str(error)) from None

    return run
