"""The errors a user can cause, each a sentence: what was expected, what came, what to do."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

_PACKAGE = Path(__file__).parent

P = ParamSpec("P")
R = TypeVar("R")


class Emow2vError(Exception):
    """Base of every error that emow2v raises about its input."""


class PathError(Emow2vError):
    """The operating system refuses to say what lies at a path."""


class AudioError(Emow2vError, ValueError):
    """A source holds no sound that can be decoded, or is no source at all."""


class TooLong(AudioError):
    """A recording lasts longer than is taken."""


class FramingError(Emow2vError, ValueError):
    """A time, a window or a recording's length does not fit."""


class ModelError(Emow2vError):
    """A model cannot be found, read or run."""


class FormatError(Emow2vError):
    """A result file cannot be read or written."""


class Closed(Emow2vError):
    """Rows are asked for after the trajectory or stream was closed."""


class PlaceTaken(FormatError):
    """Something that emow2v did not write, or that was changed since, lies where a result should go.

    Attributes:
        what: the sentence without its remedy
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}.")
        self.what = what


class RequestError(Emow2vError):
    """A DISCOVER request cannot be carried out as it stands."""


class Cancelled(Emow2vError):
    """The work was stopped on request; nothing was written."""


def is_own(error: BaseException) -> bool:
    """Whether an error was raised by a line of emow2v, and not below it in a library: a mistake of ours, which is no
    damaged file and must come through.
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
