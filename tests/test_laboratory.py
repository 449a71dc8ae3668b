"""Every command of docs/laboratory.md is run, in its order, in an empty folder with an empty home."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "laboratory.md"
PORT = "8080"

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the commands are those of a shell of Linux and macOS"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
    pytest.mark.slow,
]


def blocks(text: str) -> Iterator[list[str]]:
    """The lines of each block of commands."""
    for block in re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]


class Shell:
    """A shell in an empty folder, in which `emow2v` is that of this checkout. Servers listen on a free port."""

    def __init__(self, folder: Path) -> None:
        self.here = folder / "here"
        programs = folder / "programs"
        for one in (self.here, programs, folder / "home"):
            one.mkdir()
        (programs / "emow2v").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m emow2v "$@"\n')
        (programs / "emow2v").chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("EMOW2V_")}
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**kept, "PATH": path, "EMOW2V_HOME": str(folder / "home"), "EMOW2V_PORT": "0"}
        self.port = PORT

    def run(self, line: str) -> str:
        command = ["bash", "-ec", line.replace(PORT, self.port)]
        done = subprocess.run(command, cwd=self.here, env=self.environment, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        return done.stdout

    def serve(self, line: str) -> "subprocess.Popen[str]":
        """A server that has begun to listen."""
        server = subprocess.Popen(
            ["bash", "-ec", f"exec {line}"],
            cwd=self.here,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert server.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:(\d+)", server.stdout.readline())
        assert found, line
        self.port = found[1]
        return server


def test_every_command_of_the_page(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    said: dict[str, str] = {}
    for lines in blocks(PAGE.read_text(encoding="utf-8")):
        server = None
        try:
            for line in lines:
                if line.startswith("emow2v serve"):
                    server = shell.serve(line)
                else:
                    said[line] = shell.run(line)
        finally:
            if server is not None:
                server.send_signal(signal.SIGTERM)
                server.communicate(timeout=120)
    assert len(said) > 10
    assert next(text for line, text in said.items() if line.startswith("curl")) == "[]"
    listed = said["emow2v tokens list"]
    assert all(name in listed for name in ("anna", "carla", "boss", "prometheus", "guest"))
    assert (shell.here / "restored" / "jobs.sqlite").is_file()
