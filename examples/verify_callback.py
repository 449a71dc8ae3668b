"""Receive callbacks of emow2v, and accept only those that it signed.

    python verify_callback.py KEYS [PORT]

KEYS is the file of `emow2v serve --callback-keys`, or one with some of its keys. Each callback that is accepted becomes
a line of JSON on standard output. This file needs nothing but Python; copy `is_genuine` into your own program.
"""

import hashlib
import hmac
import json
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

TOLERANCE_S = 300  # an older callback may be one that somebody recorded and sends again


def is_genuine(keys: Mapping[str, str], timestamp: str, signature: str, body: bytes, now: float) -> bool:
    """Whether one of the keys signed a callback, a short time ago.

    Args:
        keys: secrets by their ids
        timestamp, signature: the headers Emow2v-Timestamp and Emow2v-Signature
        body: the bytes as they came
        now: seconds since 1970
    """
    if not timestamp.isascii() or not timestamp.isdigit() or abs(now - int(timestamp)) > TOLERANCE_S:
        return False
    signatures = dict(part.strip().split("=", 1) for part in signature.split(",") if "=" in part)
    for name, secret in keys.items():
        expected = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        if hmac.compare_digest(expected.encode(), signatures.get(name, "").encode()):
            return True
    return False


class Receiver(BaseHTTPRequestHandler):
    keys: Mapping[str, str] = {}

    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), 65536))
        timestamp, signature = (self.headers.get(f"Emow2v-{name}", "") for name in ("Timestamp", "Signature"))
        genuine = is_genuine(self.keys, timestamp, signature, body, time.time())
        self.send_response(204 if genuine else 403)  # another status than 2xx: emow2v tries again later
        self.end_headers()
        if genuine:
            print(json.dumps(json.loads(body)), flush=True)


def main() -> None:
    lines = [line.split() for line in Path(sys.argv[1]).read_text("utf-8-sig").splitlines() if not line.startswith("#")]
    Receiver.keys = {words[0]: words[1] for words in lines if len(words) == 2}
    server = HTTPServer(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0), Receiver)
    print(f"callbacks are received on http://127.0.0.1:{server.server_port}/", file=sys.stderr, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
