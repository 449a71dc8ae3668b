"""Lock files: the right of one process, or one thread, to write in a place."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from emow2v.errors import Emow2vError, FormatError

if TYPE_CHECKING:
    from filelock import BaseFileLock

logger = logging.getLogger("emow2v.storage")


class Lock:
    """A lock file that this thread holds until `release`, or to the end of a `with` block.

    The operating system releases it when the process ends, whatever ends it.
    """

    def __init__(self, held: BaseFileLock | None) -> None:
        self._held = held

    def release(self) -> None:
        """Remove the lock file and give the right back; any thread may call this, more than once."""
        held, self._held = self._held, None
        if held is None:
            return
        with contextlib.suppress(OSError):  # removed before the release: afterwards it may be another process's lock
            Path(held.lock_file).unlink()
        held.release()

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def acquire(path: Path, activity: str, remedy: str = "", *, error: type[Emow2vError] = FormatError) -> Lock:
    """Take the lock file `path`, at once or not at all; where the file system has no locks, go on without one.

    Args:
        activity: the beginning of the refusal, such as "Model x is being installed"
        remedy: what a user can do instead of waiting, such as "choose another folder"
        error: the type of the refusal

    Raises:
        Emow2vError: of the type `error`; another process or thread holds the lock
        OSError: the lock file cannot be written
    """
    from filelock import FileLock, Timeout  # imported when it is needed: the import takes 30 ms

    lock = FileLock(path, timeout=0, is_singleton=False, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        advice = f"wait for it, or {remedy}" if remedy else "wait for it"
        raise error(f"{activity} by another process; {advice}.") from None
    except NotImplementedError:
        logger.warning("the file system of %s has no locks; run one process at a time there", path.parent)
        return Lock(None)
    return Lock(lock)
