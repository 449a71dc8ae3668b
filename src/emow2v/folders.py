"""Folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from emow2v.errors import FormatError


@contextlib.contextmanager
def appearing(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """A fresh folder to fill; it becomes `folder` when the block ends well, and is removed when it does not.

    Args:
        replace: a folder of that name that holds something makes way; else that is an error

    Raises:
        FormatError: the name is taken, or the place cannot be written
    """
    taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if taken and not replace:
        raise FormatError(f"{folder} is there already and not empty; expected a new folder.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise FormatError(f"{folder.parent} cannot be written ({error.strerror}); choose another folder.") from None
    try:
        fresh.chmod(0o777 & ~_umask())
        yield fresh
        if folder.exists() or folder.is_symlink():  # a link that leads nowhere makes way too
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
            folder.replace(old / folder.name)
            fresh.replace(folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            fresh.replace(folder)
    except OSError as error:
        reason = f"{error.strerror or error}"
        raise FormatError(f"{folder} cannot be written ({reason}); make room or choose another folder.") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
