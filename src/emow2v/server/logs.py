"""The log of a server on standard error: lines for people, or one JSON object per line for collectors."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime

from emow2v.discover.database.passwords import SECRETS
from emow2v.server.options import LogFormat
from emow2v.storage import one_line

# Uvicorn logs the address of a WebSocket with its query, in which a client may send a secret that belongs into a header.
_SECRET = re.compile(rf"([?&][^=&\s]*(?:{'|'.join(SECRETS)})[^=&\s]*=)[^&\s\"']+", re.IGNORECASE)
# What Uvicorn says of a WebSocket that was refused: `security.refusals` has one line for it, with its reason, and not more
# than so many in a minute.
_REFUSED = frozenset(
    [
        '%s - "WebSocket %s" %d',
        '%s - "WebSocket %s" 403',
        "connection rejected (%d %s)",
        "ASGI callable returned without completing handshake.",
    ]
)


def set_up(kind: LogFormat, level: int = logging.INFO) -> None:
    """Send the whole log of this process to standard error, with Uvicorn's lines and Python's warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter() if kind == "json" else TextFormatter())
    handler.addFilter(lambda record: record.msg not in _REFUSED)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(True)


def masked(text: str) -> str:
    """A text without the values of query fields that are named like secrets."""
    return _SECRET.sub(r"\1****", text)


class TextFormatter(logging.Formatter):
    """One line per message; a traceback follows below its message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        return one_line(masked(super().formatMessage(record)))


class JSONFormatter(logging.Formatter):
    """One object per line: time (UTC, ISO 8601), level, message; job and client of a line about a job; error with a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "message": masked(record.getMessage()),
        }
        fields |= {name: value for name in ("job", "client") if (value := getattr(record, name, None))}
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)
