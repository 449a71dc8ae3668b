"""A web server for benchmarks, a process of its own: the files of a folder, with ranges, slow where that is asked for.

    python benchmarks/file_server.py FOLDER [--delay 0] [--mbit 0] [--no-ranges]

It prints its port, waits --delay milliseconds before each answer, and sends no more than --mbit megabits a second; 0
for no limit.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PIECE = 1 << 16  # bytes that are sent at a time


@contextmanager
def serving(folder: Path, *, delay_ms: float = 0, mbit: float = 0, ranges: bool = True) -> Iterator[str]:
    """The address of a folder while a process of its own gives its files."""
    command = [sys.executable, __file__, str(folder), f"--delay={delay_ms}", f"--mbit={mbit}"]
    process = subprocess.Popen([*command, *([] if ranges else ["--no-ranges"])], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.communicate()


def serve(folder: Path, delay_ms: float, mbit: float, ranges: bool) -> None:
    """Give the files, on a port that is printed."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

        def do_HEAD(self) -> None:
            self.answer(give=False)

        def do_GET(self) -> None:
            self.answer(give=True)

        def answer(self, *, give: bool) -> None:
            time.sleep(delay_ms / 1000)
            path = folder / self.path.rpartition("/")[2]
            size = path.stat().st_size
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if ranges else None
            first, last = (int(asked[1]), min(int(asked[2] or size), size - 1)) if asked else (0, size - 1)
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            self.send_header("Content-Length", str(last + 1 - first))
            self.send_header("ETag", '"1"')
            self.end_headers()
            begun, sent = time.monotonic(), 0
            with path.open("rb") as file:
                file.seek(first)
                while give and sent < last + 1 - first:
                    sent += self.wfile.write(file.read(min(PIECE, last + 1 - first - sent)))
                    if mbit:
                        time.sleep(max(0.0, begun + sent * 8e-6 / mbit - time.monotonic()))

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda request, address: None  # type: ignore[method-assign]
        print(server.server_port, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("folder", type=Path)
    reader.add_argument("--delay", type=float, default=0)
    reader.add_argument("--mbit", type=float, default=0)
    reader.add_argument("--no-ranges", action="store_true")
    chosen = reader.parse_args()
    serve(chosen.folder, chosen.delay, chosen.mbit, not chosen.no_ranges)
