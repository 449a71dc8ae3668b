"""The state of a training on the disk: one file, whole at every moment, from which the run continues."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from emow2v import storage
from emow2v.errors import FormatError, ModelError, is_own
from emow2v.storage.atomic import atomic_file, remove_unfinished

FILE = "state.pt"


def write(folder: Path, state: Mapping[str, Any]) -> None:
    """The state in the place of the last one.

    Raises:
        FormatError: the disk is full or cannot be written; the last state is as it was
    """
    path = folder / FILE
    left = "the last one is whole, and the same command goes on from there" if path.is_file() else "there is none yet"
    save(path, state, "The state of the training", left)


def save(path: Path, content: Mapping[str, Any], what: str, left: str) -> None:
    """Tensors and what is said of them, written beside their place, flushed, and only then put there.

    Args:
        what, left: for the error's sentence: what cannot be written, and what is there nevertheless

    Raises:
        FormatError: the disk is full or cannot be written; what stood there is as it was
    """
    try:
        with atomic_file(path) as file:
            torch.save(dict(content), file)
    except (OSError, RuntimeError) as error:  # PyTorch's writer has an error of its own
        raise FormatError(f"{what} cannot be written to {path} ({_reason(error)}); {left}. Make room.") from None


def digest(rows: Sequence[Sequence[Any]]) -> str:
    """SHA-256 of rows of plain values, by which a run knows its corpus again."""
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def sweep(folder: Path) -> None:
    """Remove the unfinished states of a run that was killed; for the one process that may write in the folder."""
    remove_unfinished(folder / FILE)
    with contextlib.suppress(OSError):
        (folder / f"{FILE}.part").unlink(missing_ok=True)  # version 0.1.0's


def _reason(error: BaseException) -> str:
    """The operating system's word, where PyTorch's writer raised another error upon it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__context__
    return (cause.strerror if cause else None) or storage.reason(error)


def read(folder: Path, made_of: Mapping[str, Any]) -> dict[str, Any] | None:
    """The last state in a folder, on the processor; None where there is none.

    Args:
        made_of: what the result of the run depends on: recipe, corpus, first weights

    Raises:
        FormatError: a damaged file, or a run of another recipe, corpus or first weights
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        state = _load(path)
    except _DamagedError as error:
        raise FormatError(f"{path} is no state of a training ({error}); choose another folder or remove it.") from None
    before = state.get("made_of") if isinstance(state, dict) else None
    if not isinstance(before, dict):
        raise FormatError(f"{path} is no state of a training (it holds another); choose another folder or remove it.")
    changed = [key for key in {**before, **made_of} if _plain(before.get(key)) != _plain(made_of.get(key))]
    if changed:
        changes = ", ".join(
            f"{key} was {_short(before.get(key))} and is {_short(made_of.get(key))}" for key in changed[:3]
        )
        raise FormatError(f"{path} was made by another recipe ({changes}); take that one, or choose another folder.")
    return state


def read_network(path: Path, expected: str) -> dict[str, Any]:
    """The content of the model.pt of a training: `config`, `model` (tensors by name) and more.

    Args:
        expected: for the error's sentence, what the file should be

    Raises:
        ModelError: no such file, a damaged one, or another
    """
    try:
        stored = _load(path)
    except _DamagedError as error:
        raise ModelError(f"{storage.shown(path)} holds no network ({error}); expected {expected}.") from None
    if not isinstance(stored, dict) or not {"config", "model"} <= set(stored):
        raise ModelError(f"{storage.shown(path)} holds no network (it holds another content); expected {expected}.")
    return stored


class _DamagedError(Exception):
    """PyTorch cannot read a file; the message says why."""


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle or archive can fail anywhere in PyTorch
        if is_own(error):
            raise
        raise _DamagedError(storage.reason(error)) from None


def _plain(value: Any) -> Any:
    """Lists for tuples."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
