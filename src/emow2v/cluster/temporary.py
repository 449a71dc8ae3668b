"""Temporary folders that do not stay where a process was killed: the next one removes what nobody holds."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from emow2v.errors import ClusterError
from emow2v.storage import locks

_LOCK = ".lock"


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A folder within the block. Folders of the same prefix whose process has ended are removed, too.

    Raises:
        OSError: it cannot be made
    """
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(ClusterError, OSError), locks.acquire(left / _LOCK, "", error=ClusterError):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    with locks.acquire(folder / _LOCK, f"{folder} is used", error=ClusterError):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
