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
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn

from emow2v import cards, engines, storage
from emow2v.discover.options import choose_card
from emow2v.discover.places import Places
from emow2v.engines import cores
from emow2v.engines.shared_context import check_shared
from emow2v.errors import Emow2vError
from emow2v.framing import Framing
from emow2v.server.app import create_app
from emow2v.server.callbacks.keys import read_keys
from emow2v.server.jobs.pool import Pool
from emow2v.server.jobs.store import Store
from emow2v.server.jobs.worker import WorkerConfig
from emow2v.server.live.route import Live
from emow2v.server.models.held import HeldModels
from emow2v.server.options import ServerOptions
from emow2v.server.people.tokens import Tokens
from emow2v.server.protocol import Protocol
from emow2v.server.security.access import check_exposure
from emow2v.server.security.proxies import check_proxies
from emow2v.server.security.tls import self_signed
from emow2v.server.state import ServerState
from emow2v.server.work_folder.restore import check_whole
from emow2v.storage import locks
from emow2v.storage.home import home

logger = logging.getLogger("emow2v.server")

LISTEN = 128  # connections that wait while the server is busy, instead of being refused
# asyncio accepts so many connections in one go, and tries and logs every one of them when no file can be opened
ACCEPTED_AT_ONCE = 4
REPEAT_S = 60  # between two lines of the log on that


class Server:
    """A server; it is bound to its port when it is made, so that its address is known and a taken port shows at once.

    Args:
        options: default: those of `emow2v serve`
        changes: fields of `ServerOptions` with other values

    Raises:
        Emow2vError: the address cannot be used or would be open to everybody, or a folder or certificate cannot be used
        ModelError: the model is not installed
    """

    def __init__(self, options: ServerOptions | None = None, /, **changes: Any) -> None:
        options = replace(options or ServerOptions(), **changes)
        work_dir = options.work_dir or home() / "server"
        card = _check(options, Tokens(work_dir))
        if storage.kind_of(work_dir) not in (None, "folder"):
            raise Emow2vError(f"The work folder {work_dir} is a file; expected a folder.")
        folders = [folder.resolve() for folder in options.data_folders]
        places = Places(
            folders, work_dir.resolve(), options.web, options.databases, options.overwrite, stores=options.data_stores
        )
        self._socket = _bind(options.host, options.port)
        with contextlib.ExitStack() as unless_made:
            unless_made.callback(self._socket.close)
            self._lock = _lock(places.work_dir)
            unless_made.callback(self._lock.release)
            check_whole(places.work_dir)
            certificate, key = _certificate(options, places.work_dir)
            path = places.work_dir / "jobs.sqlite"
            self._store = Store(path)
            unless_made.callback(self._store.close)
            threads = options.threads or max(1, cores() // options.workers)
            self._pool = Pool(path, WorkerConfig(replace(options, token="", threads=threads), places))
            config = WorkerConfig(options, places)
            live = Live(HeldModels(config.load, config.limits), card, options.max_streams)
            state = ServerState(options, card, places, self._store, self._pool)
            app = create_app(state, live)
            unless_made.pop_all()
        shown = f"[{options.host}]" if ":" in options.host else options.host
        self.url = f"{'https' if certificate else 'http'}://{shown}:{self._socket.getsockname()[1]}"
        self._server = _Uvicorn(
            state.stopping,
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                proxy_headers=False,  # the application reads them (`security.proxies`)
                timeout_graceful_shutdown=5,
                backlog=ACCEPTED_AT_ONCE,
                http=Protocol,
                ws_max_size=1 << 20,
                ws_max_queue=4,  # messages that are kept of a client that is too fast
                ws_per_message_deflate=False,  # takes time, and sound hardly becomes smaller
                ssl_certfile=certificate,
                ssl_keyfile=key,
            ),
        )

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM."""
        try:
            self._server.run(sockets=[self._socket])
        finally:
            if self._pool.running:  # a second Ctrl+C does not wait for running jobs
                self._pool.stop(0)
            self._pool.close()
            self._store.close()
            self._lock.release()

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Serve in a thread for the duration of a with block; gives the URL."""
        thread = threading.Thread(target=self.run, name="emow2v-server")
        thread.start()
        try:
            yield self.url
        finally:
            self._server.should_exit = True
            thread.join()


class _Uvicorn(uvicorn.Server):
    """Sets `stopping` before it waits for its open requests."""

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
            self._next = now + REPEAT_S
            error = context.get("exception")
            said = getattr(error, "strerror", None) or error
            logger.error("connections wait (%s); raise the limit of open files (ulimit -n) if it stays so", said)


def _check(options: ServerOptions, tokens: Tokens) -> cards.Card:
    """Refuse options that cannot be served, and tokens that cannot be read; gives the card of the model."""
    card = cards.find(options.model)  # a wrong name is found before the first request
    chosen = cards.for_precision(card, options.precision)
    engines.check(chosen, options.engine, precision=options.precision, device=options.device)  # likewise
    if options.context == "shared":
        check_shared(card, Framing())
    _check_models(options, card)
    if not options.host.strip():
        raise Emow2vError("--host is empty; expected an address such as 127.0.0.1.")
    options.web.check()
    options.databases.check()
    options.callback_web.check()
    if options.callback_keys is not None:
        read_keys(options.callback_keys)
    elif options.allow_callbacks:
        raise Emow2vError(
            "--allow-callback requires --callback-keys; expected a file with the keys that sign callbacks."
        )
    _check_effect(options)
    check_proxies(options.root_path, options.forwarded_allow)
    check_exposure(options.host, options.token, insecure=options.insecure, named=bool(tokens.all()))
    for address in options.data_stores:
        from emow2v.stores.listing import is_folder

        if not is_folder(address.rstrip("/") + "/"):  # by which a web server tells folders
            raise Emow2vError(f"The data folder {storage.shown(address)} is no folder; expected one that exists.")
    for folder in options.data_folders:
        if not storage.is_folder(folder):
            raise Emow2vError(f"The data folder {folder} is not there; expected a folder that exists.")
    return card


def _check_models(options: ServerOptions, card: cards.Card) -> None:
    """Refuse models that cannot stay in memory."""
    names = [name for name in options.warm_models if name != card.name]
    for name in names:
        chosen = cards.for_precision(choose_card(name, card), options.precision)
        engines.check(chosen, options.engine, precision=options.precision, device=options.device)
    if len(names) + 1 > options.max_models:
        raise Emow2vError(
            f"--warm and the server's own model are {len(names) + 1} models, more than --max-models {options.max_models}; "
            f"expected --max-models {len(names) + 1}, or fewer of them."
        )


def _check_effect(options: ServerOptions) -> None:
    """Refuse options that change nothing, because another one is missing: people take them for effective."""
    for flag, is_given, required in (
        ("--callback-keys", options.callback_keys is not None, "--allow-callback"),
        ("--callback-names", options.callback_names, "--allow-callback"),
        ("--allow-network", bool(options.allow_networks), "--allow-source or --allow-callback"),
    ):
        has_effect = options.allow_callbacks or (flag == "--allow-network" and options.allow_sources)
        if is_given and not has_effect:
            raise Emow2vError(f"{flag} has no effect without {required}; expected both, or neither.")


def _certificate(options: ServerOptions, folder: Path) -> tuple[Path | None, Path | None]:
    """The files of a TLS certificate and its key; None where the server does not speak TLS.

    Args:
        folder: for a certificate that is made here
    """
    certificate, key = options.tls_cert, options.tls_key
    if options.tls_self_signed and (certificate or key):
        raise Emow2vError("--tls-self-signed makes its own certificate; leave --tls-cert and --tls-key out.")
    if bool(certificate) != bool(key):
        raise Emow2vError("--tls-cert and --tls-key belong together; give both.")
    if options.tls_self_signed:
        return self_signed(folder, options.host)
    if certificate and key:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise Emow2vError(
                f"{certificate} and {key} are no certificate with its key ({error.strerror or error}); expected PEM files."
            ) from None
    return certificate, key


def _lock(work_dir: Path) -> locks.Lock:
    """Lock the work folder, which serves one server at a time."""
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
