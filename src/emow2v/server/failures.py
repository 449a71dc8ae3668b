"""Failures of the operating system and of the jobs' database: an HTTP status, and a sentence with a remedy."""

from __future__ import annotations

import errno
import logging
import sqlite3
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException

logger = logging.getLogger("emow2v.server")

RETRY_S = 10  # after which a client may ask again

_FULL = "the administrator must free some space"
_RIGHTS = "the administrator must give the server's account the right to use its folders"
_BROKEN = "the administrator must check the disk and the work folder"
_LIMIT = "try again in a moment; if it stays so, the administrator must raise the limit of open files (ulimit -n)"
_LATER = "try again in a moment"
_MEMORY = "try again later, or with less at once"
_LOG = "its log says more"

# status, remedy, remedy where a store of jobs is opened (empty: another file), numbers of the system, codes of SQLite
_KNOWN: tuple[tuple[int, str, str, tuple[int, ...], tuple[int, ...]], ...] = (
    (507, _FULL, "free some space, then start again", (errno.ENOSPC, errno.EDQUOT), (sqlite3.SQLITE_FULL,)),
    (503, _LIMIT, "", (errno.EMFILE, errno.ENFILE), ()),
    (500, _RIGHTS, "give this account the right to write it, then start again",
     (errno.EACCES, errno.EPERM, errno.EROFS), (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH)),
    (500, _BROKEN, "check the disk, then start again", (errno.EIO,), (sqlite3.SQLITE_IOERR,)),
    (500, _BROKEN, "", (), (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)),
    (503, _MEMORY, "start again with more memory", (errno.ENOMEM,), (sqlite3.SQLITE_NOMEM,)),
    (503, _LATER, "another program holds the file: let it end, then start again", (errno.EAGAIN, errno.EBUSY),
     (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)),
    (500, "the administrator must check the work folder, and how many files may be open", "", (), (sqlite3.SQLITE_CANTOPEN,)),
    (503, "the administrator must check the network drive", "", (errno.ESTALE,), ()),
    (400, "choose a shorter name", "", (errno.ENAMETOOLONG,), ()),
)  # fmt: skip
_SYSTEM = {number: row[:3] for row in _KNOWN for number in row[3]}
_DATABASE = {code: row[:3] for row in _KNOWN for code in row[4]}
_WORDS = {
    "is full": sqlite3.SQLITE_FULL,
    "is locked": sqlite3.SQLITE_BUSY,
    "readonly": sqlite3.SQLITE_READONLY,
    "unable to open": sqlite3.SQLITE_CANTOPEN,
    "I/O error": sqlite3.SQLITE_IOERR,
    "malformed": sqlite3.SQLITE_CORRUPT,
    "not a database": sqlite3.SQLITE_NOTADB,
}


def failure(error: OSError | sqlite3.Error) -> tuple[int, str]:
    """Status and sentence for a failure, which is logged; an unknown failure is logged with its traceback."""
    if isinstance(error, sqlite3.Error):
        said = str(error)
        known = _DATABASE.get(_code(error))
        what = "The server's list of jobs cannot be used"
    else:
        known = _SYSTEM.get(error.errno or 0)
        said = error.strerror or str(error) or type(error).__name__
        what = "The server cannot keep that" if known and known[0] == 507 else "The server cannot do that"
    if known is None:
        logger.error("a request failed: %s: %s", type(error).__name__, error, exc_info=error)
        return 500, f"{what} ({said}); {_LOG}."
    logger.error("a request failed: %s: %s", type(error).__name__, error)
    return known[0], f"{what} ({said}); {known[1]}."


def remedy(error: OSError | sqlite3.Error) -> str:
    """The remedy where a store of jobs cannot be opened; moving it away would lose jobs, so other remedies come first."""
    known = _SYSTEM.get(error.errno or 0) if isinstance(error, OSError) else _DATABASE.get(_code(error))
    passing = known[2] if known else ""
    return passing or "move the file away (results stay where they are), or choose another --work-dir"


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary code."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None:  # raised by Python itself
        code = next((code for words, code in _WORDS.items() if words in str(error)), 0)
    return code & 0xFF


def sentence(error: HTTPException, path: str) -> str:
    """The sentence of an answer, also where the framework has only the name of the status."""
    if error.status_code not in (404, 405) or error.detail != HTTPStatus(error.status_code).phrase:
        return error.detail
    if error.status_code == 404:
        return f"There is no address '{path[:100]}' here; expected one such as /process, or one of /v1/openapi.json."
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        return f"The method is not one that '{path[:100]}' takes; expected {allowed}."
    return error.detail


def invalid(fault: Mapping[str, Any]) -> str:
    """The sentence for a field that Pydantic refuses: its name, its value, what was expected."""
    name = ".".join(str(part) for part in fault["loc"][1:]) or "the request"
    kind, limits, value = str(fault["type"]), fault.get("ctx", {}), fault.get("input")
    if kind == "literal_error":
        expected = str(limits["expected"]).removeprefix("'', ").replace("'", "")
    elif kind.startswith("bool_"):
        expected = "true or false"
    elif kind.startswith("int_"):
        expected = "a whole number" + (", not so large" if kind == "int_parsing_size" else "")
    elif kind == "greater_than_equal":
        expected = f"{limits['ge']} or more"
    elif kind == "less_than_equal":
        expected = f"{limits['le']} at most"
    elif kind == "string_too_long":
        expected = f"at most {limits['max_length']} characters"
    elif kind == "string_type":
        expected = "a text"
    else:
        return f"{name}: {fault['msg']}."
    return f"{name} is {_came(value)}; expected {expected}."


def _came(value: object) -> str:
    if isinstance(value, str):
        return f"'{value[:40]}'"
    return str(value)[:40] if isinstance(value, int | float) else "an upload"


def headers(status: int) -> dict[str, str]:
    """The headers of a status: Retry-After where the client should ask again."""
    return {"Retry-After": str(RETRY_S)} if status in (429, 503) else {}
