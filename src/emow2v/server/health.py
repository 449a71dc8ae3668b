"""Whether a server on this machine lives, for the health checks of containers: python -m emow2v.server.health [PORT]."""

from __future__ import annotations

import http.client
import os
import ssl
import sys

TIMEOUT_S = 4.0


def alive(port: int) -> bool:
    """Whether a server answers on 127.0.0.1, over http or, with whatever certificate, over https."""
    unchecked = ssl._create_unverified_context()  # it is this machine that is asked, and only whether it answers
    for connection in (
        http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S),
        http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_S, context=unchecked),
    ):
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return True
        except (OSError, http.client.HTTPException):  # the other way, or nobody
            pass
        finally:
            connection.close()
    return False


if __name__ == "__main__":
    sys.exit(not alive(int(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("EMOW2V_PORT", "8080"))))
