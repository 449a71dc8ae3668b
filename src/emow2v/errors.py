"""The errors a user can cause, each a sentence: what was expected, what came, what to do."""

from __future__ import annotations


class Emow2vError(Exception):
    """Base of every error that emow2v raises about its input."""


class AudioError(Emow2vError):
    """A source holds no sound that can be decoded."""


class FramingError(Emow2vError):
    """A time, a window or a recording's length does not fit."""


class ModelError(Emow2vError):
    """A model cannot be found, read or run."""


class FormatError(Emow2vError):
    """A result file cannot be read or written."""


class RequestError(Emow2vError):
    """A DISCOVER request cannot be carried out as it stands."""


class Cancelled(Emow2vError):
    """The work was stopped on request; nothing was written."""
