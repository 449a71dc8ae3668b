"""What a server says of itself on standard error: lines for people, or one JSON object a line for collectors."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime

from emow2v.server.options import LogFormat

# Breaks of lines, and signs that turn the direction of what follows: a name would read as another, evil.wav as vaw.live
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# Uvicorn tells the address of a WebSocket with its query, in which somebody may put what belongs into a header.
_SECRET = re.compile(r"([?&][^=&\s]*(?:token|password|secret)[^=&\s]*=)[^&\s\"']+", re.IGNORECASE)


def set_up(kind: LogFormat, level: int = logging.INFO) -> None:
    """Send all that this process logs to standard error; uvicorn's own lines and Python's warnings too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter() if kind == "json" else TextFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(True)


def one_line(text: str) -> str:
    """A text that stays on its line and can be written as UTF-8, whatever a file or a request was named."""
    plain = text.encode(errors="backslashreplace").decode()
    return _CONTROL.sub(lambda found: " " if found[0] in "\t\n\r" else f"\\x{ord(found[0]):02x}", plain)


def masked(text: str) -> str:
    """A text without the values of query fields that are named like secrets."""
    return _SECRET.sub(r"\1****", text)


class TextFormatter(logging.Formatter):
    """One line a message; tracebacks follow below theirs."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        return one_line(masked(super().formatMessage(record)))


class JSONFormatter(logging.Formatter):
    """One object a line: time (UTC, ISO 8601), level, message; job and client where it is about one, error with a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "message": masked(record.getMessage()),
        }
        told |= {name: value for name in ("job", "client") if (value := getattr(record, name, None))}
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)
