"""Whether a server on this machine answers and can decode, for the health checks of containers.

python -m emow2v.server.health [PORT]
"""

from __future__ import annotations

import http.client
import os
import re
import ssl
import sys
from pathlib import Path

TIMEOUT_S = 4.0
USUAL = "8080"
EXAMPLE = Path(__file__).parents[1] / "data" / "example.flac"


def alive(port: int) -> bool:
    """Whether a server answers on 127.0.0.1, over HTTP or, with any certificate, over HTTPS."""
    unchecked = ssl._create_unverified_context()  # the server is on this machine, and no secret is sent
    for connection in (
        http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S),
        http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_S, context=unchecked),
    ):
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return True
        except (OSError, http.client.HTTPException):  # the other protocol, or no server
            pass
        finally:
            connection.close()
    return False


def decodes(recording: Path = EXAMPLE) -> bool:
    """Whether the beginning of a recording of speech decodes to sound, in the same way as every recording.

    Raises:
        AudioError: it cannot be decoded; other faults of the installation, such as an ImportError, are raised unchanged
    """
    from emow2v.audio import recording as audio

    opened = audio.open_recording(recording)
    try:
        return any(float(abs(block).max()) > 0 for block in opened)
    finally:
        opened.close()


def main(port: int) -> str:
    """A sentence on the first fault; empty for none."""
    if not alive(port):
        return f"No server answers on 127.0.0.1:{port}; look into its log."
    if not decodes():
        return (
            f"{EXAMPLE.name} decodes to silence; the installation is broken, install emow2v with its pinned versions."
        )
    return ""


def check(port: str) -> str:
    """A sentence on the first fault of the server on a port, given as text; an empty text is the default port."""
    text = port.strip() or USUAL
    if not re.fullmatch("[0-9]{1,5}", text, re.ASCII) or not 0 < int(text) < 65536:
        return f"The port is '{text[:40]}'; expected a number from 1 to 65535, as an argument or in EMOW2V_PORT."
    return main(int(text))


if __name__ == "__main__":
    sys.exit(check(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("EMOW2V_PORT", "")) or 0)
