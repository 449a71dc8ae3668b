"""A server with its address: made, run, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn

from emow2v import cards, storage
from emow2v.discover.places import Places
from emow2v.engines import candidates, cores
from emow2v.engines.shared_context import check_shared
from emow2v.errors import Emow2vError
from emow2v.framing import Framing
from emow2v.model import Context
from emow2v.server.app import create_app
from emow2v.server.jobs.pool import Pool
from emow2v.server.jobs.store import Store
from emow2v.server.jobs.worker import Served
from emow2v.server.logs import LogFormat
from emow2v.server.options import Settings
from emow2v.server.protocol import Protocol
from emow2v.server.routes.live import Live
from emow2v.server.security.tls import self_signed
from emow2v.server.security.walls import Walls, check_open, own_hosts
from emow2v.storage import locks
from emow2v.storage.home import home

logger = logging.getLogger("emow2v.server")

LISTEN = 128  # whoever asks while all are busy waits instead of being refused
# connections that are taken in one go: asyncio tries, and logs, every one of them when no file can be opened
AT_ONCE = 4
TELL_S = 60  # between two lines on that


class Server:
    """Bound to its port when it is made, so that its address is known and a taken port shows at once.

    Args:
        host, port: to listen on; port 0 takes a free one
        model, engine, precision, device, threads, context: what is run; threads are shared among the workers
        workers: processes that run jobs
        data_dirs: folders that requests may read and write
        work_dir: of jobs, uploads and results to fetch; one server's at a time
        token, insecure, allow_hosts: who may ask, see `walls`
        max_upload_mb, max_duration_h, max_waiting: of a request, of a recording, in the queue; 0 for any
        keep_jobs, keep_days: of jobs that have ended
        patience_s: how long running jobs may go on when the server is told to stop
        nova_status: 3 for cancelled jobs, since NOVA knows no 4
        max_streams: live ones at once; 0 for as many as stay in real time, by measure
        tls_cert, tls_key, tls_self_signed: https instead of http, on the same port
        log_format: of what the workers say; of this process it is `logs.set_up` that decides

    Raises:
        Emow2vError: the address cannot be had or would be open to everybody, a folder or certificate cannot be used
        ModelError: the model is not there
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        model: str = "lite",
        engine: str = "auto",
        precision: str = "",
        device: str = "auto",
        threads: int = 0,
        context: Context = "window",
        workers: int = 1,
        data_dirs: Sequence[Path] = (Path(),),
        work_dir: Path | None = None,
        token: str = "",
        insecure: bool = False,
        allow_hosts: Sequence[str] = (),
        max_upload_mb: float = 2000,
        max_duration_h: float = 24,
        max_waiting: int = 10_000,
        keep_jobs: int = 1000,
        keep_days: float = 30,
        patience_s: float = 10,
        nova_status: bool = False,
        max_streams: int = 0,
        tls_cert: Path | None = None,
        tls_key: Path | None = None,
        tls_self_signed: bool = False,
        log_format: LogFormat = "text",
    ) -> None:
        card = cards.find(model)  # a wrong name is found before the first request
        chosen = cards.for_precision(card, precision)
        candidates(chosen, engine, precision or chosen.precision)  # likewise
        if context == "shared":
            check_shared(card, Framing())
        if not host.strip():
            raise Emow2vError("--host is empty; expected an address such as 127.0.0.1.")
        check_open(host, token, insecure=insecure)
        for folder in data_dirs:
            if not storage.is_folder(folder):
                raise Emow2vError(f"The data folder {folder} is not there; expected a folder that exists.")
        work_dir = work_dir or _default_work_dir()
        if storage.kind_of(work_dir) not in (None, "folder"):
            raise Emow2vError(f"The work folder {work_dir} is a file; expected a folder.")
        places = Places([folder.resolve() for folder in data_dirs], work_dir.resolve())
        settings = Settings(
            card,
            places,
            context,
            most_kept=keep_jobs,
            days_kept=keep_days,
            most_waiting=max_waiting,
            longest_s=max_duration_h * 3600,
            patience_s=patience_s,
            nova_status=nova_status,
            walls=Walls(token, own_hosts(host, allow_hosts), round(max_upload_mb * 1e6)),
        )
        self._socket = _bind(host, port)
        with contextlib.ExitStack() as unless_made:
            unless_made.callback(self._socket.close)
            self._lock = _lock(places.work_dir)
            unless_made.callback(self._lock.release)
            certificate, key = _certificate(tls_cert, tls_key, tls_self_signed, places.work_dir, host)
            path = places.work_dir / "jobs.sqlite"
            each = threads or max(1, cores() // workers)
            served = Served(model, engine, precision, device, each, places, settings.longest_s)
            live = Live(lambda: replace(served, threads=threads).load(card.name), max_streams)
            self._store = Store(path)
            unless_made.callback(self._store.close)
            self._pool = Pool(path, served, workers, log_format)
            app = create_app(settings, self._store, self._pool, live)
            unless_made.pop_all()
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if certificate else 'http'}://{shown}:{self._socket.getsockname()[1]}"
        self._server = _Uvicorn(
            settings.stopping,
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=5,
                backlog=AT_ONCE,
                http=Protocol,
                ws_max_size=1 << 20,
                ws_max_queue=4,  # messages that are kept of a client that is too fast
                ssl_certfile=certificate,
                ssl_keyfile=key,
            ),
        )

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM."""
        try:
            self._server.run(sockets=[self._socket])
        finally:
            if self._pool.running:  # whoever asks twice (Ctrl+C) does not wait for it
                self._pool.stop(0)
            self._pool.close()
            self._store.close()
            self._lock.release()

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Serve in a thread for the length of a with block; gives the URL."""
        thread = threading.Thread(target=self.run, name="emow2v-server")
        thread.start()
        try:
            yield self.url
        finally:
            self._server.should_exit = True
            thread.join()


class _Uvicorn(uvicorn.Server):
    """Says that it stops before it waits for the requests that it has."""

    def __init__(self, stopping: threading.Event, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopping = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(LoopErrors())
        await super().startup(sockets)
        for one in sockets or ():
            one.listen(LISTEN)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Also SIGHUP: a terminal that is closed stops its server in order, unless it is told to stay (nohup)."""
        with super().capture_signals():
            hangup = getattr(signal, "SIGHUP", None)
            here = threading.current_thread() is threading.main_thread()
            if hangup is None or not here or signal.getsignal(hangup) is signal.SIG_IGN:
                yield
                return
            before = signal.signal(hangup, self.handle_exit)
            try:
                yield
            finally:
                signal.signal(hangup, before)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping.set()
        await super().shutdown(sockets)


class LoopErrors:
    """Logs errors that no task of the event loop handled; of connections that cannot be taken one line a minute.

    asyncio logs every try, with a traceback: a server whose files are all open would fill its disk with them.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._next = clock, 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not str(context.get("message", "")).startswith("socket.accept()"):
            loop.default_exception_handler(context)
        elif (now := self._clock()) >= self._next:
            self._next = now + TELL_S
            error = context.get("exception")
            said = getattr(error, "strerror", None) or error
            logger.error("connections wait (%s); raise the limit of open files (ulimit -n) if it stays so", said)


def _certificate(
    certificate: Path | None, key: Path | None, self_made: bool, folder: Path, host: str
) -> tuple[Path | None, Path | None]:
    """The files of a TLS certificate and its key, if the server is to speak TLS."""
    if self_made and (certificate or key):
        raise Emow2vError("--tls-self-signed makes its own certificate; leave --tls-cert and --tls-key out.")
    if bool(certificate) != bool(key):
        raise Emow2vError("--tls-cert and --tls-key belong together; give both.")
    if self_made:
        return self_signed(folder, host)
    if certificate and key:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise Emow2vError(
                f"{certificate} and {key} are no certificate with its key ({error.strerror or error}); expected PEM files."
            ) from None
    return certificate, key


def _lock(work_dir: Path) -> locks.Lock:
    """The right to use a work folder: jobs belong to one server."""
    try:
        if not storage.is_folder(work_dir):
            work_dir.mkdir(mode=0o700, parents=True)  # voices of people
        activity = f"The work folder {work_dir} is being used"
        return locks.acquire(work_dir / "server.lock", activity, "choose another --work-dir", error=Emow2vError)
    except OSError as error:
        raise Emow2vError(
            f"The work folder {work_dir} cannot be used ({error.strerror}); choose another --work-dir."
        ) from None


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named; else every answer waits 40 ms for an acknowledgement
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":  # on Windows it would let two servers share the port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(LISTEN)
    except OSError as error:
        bound.close()
        raise Emow2vError(
            f"{host}:{port} cannot be listened on ({error.strerror}); choose another --port or --host."
        ) from None
    return bound


def _default_work_dir() -> Path:
    return home() / "server"
