"""Connecting to a cluster of Ray, or starting one of this computer alone."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

from emow2v.cluster.temporary import temporary_folder
from emow2v.engines import cores
from emow2v.errors import ClusterError
from emow2v.storage import shown

LOCAL = "local"  # as an address: this computer alone
RUNNING = "auto"  # as an address: the cluster that this computer belongs to
_STORE_BYTES = 256 << 20  # for rows on their way, of a cluster that is started here
_TRY_S = 5  # to reach a computer, and for its answer
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(
    [0, 0, 0, 4, 0, 0, 0, 0, 0]
)  # of a client of gRPC, as Ray is one
_SETTINGS = 4  # the type of the first frame that a server of gRPC sends
_HEAD_BYTES = 9  # of a frame: its length, type, flags and stream
_PREFIX = "emow2v-ray-"
_QUIET: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "logging_level": "ERROR"}


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """The module `ray`, connected within the block; it sends no statistics of use, and has no dashboard.

    Args:
        address: "local" starts Ray on this computer, whose folder is removed afterwards; "auto" takes the cluster that this
            computer belongs to; else HOST:PORT of a cluster

    Raises:
        ClusterError: Ray is not installed, or the cluster cannot be reached or used
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # engines choose processors as without Ray
    _check(address)
    with contextlib.ExitStack() as stack:
        if address == LOCAL:
            stack.enter_context(_token())  # before the import, which reads it
        try:
            import ray
        except ImportError:
            raise ClusterError("--ray needs Ray, which is not installed; run: pip install 'emow2v[ray]'") from None
        handler = signal.getsignal(signal.SIGTERM)  # which Ray replaces
        if address == LOCAL:
            place = str(stack.enter_context(temporary_folder(_PREFIX)))  # short: Ray makes sockets below it
            options: dict[str, Any] = {
                "num_cpus": cores(), "include_dashboard": False, "_temp_dir": place, "object_store_memory": _STORE_BYTES,
            }  # fmt: skip
        else:
            options = {"address": address}
        stack.callback(ray.shutdown)  # before the folder is removed
        try:
            ray.init(**options, **_QUIET)
        except (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
            raise ClusterError(_reason(address, error)) from None
        finally:
            if handler is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)
        yield ray


def _check(address: str) -> None:
    """Refuse an address that is none, or of which nothing answers; Ray itself tries for minutes."""
    if address in (LOCAL, RUNNING):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in address:
        raise ClusterError(
            f"--ray {shown(address)} is no address of a cluster; expected HOST:PORT, auto for the cluster that this "
            "computer belongs to, or local."
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _TRY_S) as connection:
            why = "" if os.environ.get("RAY_USE_TLS", "0") == "1" or _greets(connection) else "another program does"
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error) or "no answer"
    if why:
        raise ClusterError(
            f"No cluster of Ray answers at {address} ({why}); start one with `ray start --head`, and name its HOST:PORT."
        )


def _greets(connection: socket.socket) -> bool:
    """Whether a server of gRPC answers, as the head of a cluster is one.

    Raises:
        OSError: nothing answers
    """
    connection.settimeout(_TRY_S)
    connection.sendall(_GREETING)
    answer = b""
    while len(answer) < _HEAD_BYTES and (more := connection.recv(64)):
        answer += more
    return answer[3:4] == bytes([_SETTINGS]) and answer[5:9] == bytes(4)


def _reason(address: str, error: Exception) -> str:
    text = str(error)
    found = re.findall(r"Ray: (\S+)\s+Python: (\S+)", text)
    if len(found) == 2:
        (ray, python), (own_ray, own_python) = found
        return (
            f"The cluster at {address} runs Ray {ray} with Python {python}, and this computer Ray {own_ray} with Python "
            f"{own_python}; install the same versions on both."
        )
    if "uthentication" in f"{text}{error.__cause__ or ''}":
        return f"The cluster at {address} expects a token (RAY_AUTH_MODE, RAY_AUTH_TOKEN_PATH); this computer has none or another."
    if address == RUNNING:
        return (
            "This computer belongs to no cluster of Ray that runs; start one with `ray start`, or name its HOST:PORT."
        )
    first = " ".join(text.split())[:300]
    if address == LOCAL:
        return f"Ray did not start on this computer ({first}); see that the folder for temporary files has space."
    return (
        f"The cluster at {address} cannot be used from here ({first}); run the command on one of its nodes, and name the port of "
        "`ray start --head`, which is 6379 unless --port chose another."
    )


@contextlib.contextmanager
def _token() -> Iterator[None]:
    """A secret of this run, so that nobody else can use its processes, and Ray writes none into the home folder."""
    given = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    if any(name in os.environ for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        given = {}
    os.environ.update(given)
    try:
        yield
    finally:
        for name in given:
            os.environ.pop(name, None)
