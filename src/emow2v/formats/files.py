"""Files that appear whole or not at all: written beside their place, flushed, then renamed, all together."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from emow2v.errors import FormatError


class Staged:
    """Files on their way: open each, write, then `publish` them all or `discard` them all."""

    def __init__(self) -> None:
        self._files: list[tuple[IO[bytes], Path, Path]] = []

    def open(self, path: Path) -> IO[bytes]:
        """A binary file that will become `path`.

        Raises:
            FormatError: the folder cannot be made or written to
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name[:80]}.{secrets.token_hex(4)}.part")
            file = part.open("xb")
        except OSError as error:
            raise FormatError(f"{path} cannot be written ({error.strerror}); choose another folder.") from None
        self._files.append((file, part, path))
        return file

    def flush(self) -> None:
        """Bring everything to the disk and close it; a full disk shows here, before anything is replaced."""
        for file, _, path in self._files:
            try:
                if not file.closed:
                    file.flush()
                    os.fsync(file.fileno())
                    file.close()
            except OSError as error:
                raise FormatError(f"{path} cannot be written ({error.strerror}); free some space.") from None

    def discard(self) -> None:
        """Remove what was written; what stood in the places before stays."""
        for file, part, _ in self._files:
            with contextlib.suppress(OSError):
                file.close()
            with contextlib.suppress(OSError):
                part.unlink()
        self._files.clear()

    def moves(self) -> list[tuple[Path, Path]]:
        return [(part, path) for _, part, path in self._files]


def publish(groups: Sequence[Staged]) -> None:
    """Rename the files of all groups into place; if one cannot be, those before it are taken back.

    Raises:
        FormatError: a file could not be put into its place; everything is as it was
    """
    kept: list[tuple[Path, Path | None]] = []  # (place, copy of what stood there)
    try:
        for group in groups:
            group.flush()
        for group in groups:
            for part, path in group.moves():
                kept.append((path, _keep(path)))
                part.replace(path)
    except (OSError, FormatError) as error:
        for path, old in reversed(kept):
            with contextlib.suppress(OSError):
                old.replace(path) if old else path.unlink(missing_ok=True)
        for group in groups:
            group.discard()
        if isinstance(error, FormatError):
            raise
        raise FormatError(
            f"{error.filename2 or error.filename} cannot be written ({error.strerror}); "
            "close programs that have it open, or choose another place."
        ) from None
    for _, old in kept:
        if old:
            with contextlib.suppress(OSError):
                old.unlink()


def _keep(path: Path) -> Path | None:
    """A second name for what stands at `path`, to go back to; None where nothing stands there."""
    if not path.exists():
        return None
    old = path.with_name(f".{path.name[:80]}.{secrets.token_hex(4)}.old")
    try:
        os.link(path, old)
    except OSError:  # a file system without links
        old.write_bytes(path.read_bytes())
    return old
