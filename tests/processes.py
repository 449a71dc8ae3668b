"""`emow2v serve` as a user starts it: a process of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from waiting import HANG_S


@contextmanager
def serving(*arguments: str, work: Path) -> Iterator[str]:
    """Its address, at a free port, while it runs."""
    fixed = ("--port", "0", "--threads", "1", "--work-dir", str(work))
    command = [sys.executable, "-m", "emow2v", "serve", *arguments, *fixed]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ)
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found
        yield found[0]
    finally:
        process.terminate()
        process.communicate(timeout=HANG_S)
