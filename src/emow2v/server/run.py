"""A server with its address: made, run, stopped."""

from __future__ import annotations

import contextlib
import functools
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import uvicorn

from emow2v import cards
from emow2v.context import check_shared
from emow2v.discover.places import Places
from emow2v.engines import candidates
from emow2v.errors import Emow2vError
from emow2v.framing import Framing
from emow2v.home import home
from emow2v.model import Context, Model, load
from emow2v.server.app import Settings, create_app


class Server:
    """Bound to its port when it is made, so that its address is known and a taken port shows at once.

    Raises:
        Emow2vError: the address cannot be had, a data folder is missing
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
        data_dirs: Sequence[Path] = (Path(),),
        work_dir: Path | None = None,
    ) -> None:
        self._card = cards.find(model)  # a wrong name is found before the first request
        chosen = cards.for_precision(self._card, precision)
        candidates(chosen, engine, precision or chosen.precision)  # likewise
        if context == "shared":
            check_shared(self._card, Framing())
        if not host.strip():
            raise Emow2vError("--host is empty; expected an address such as 127.0.0.1.")
        self._open = functools.partial(load, engine=engine, precision=precision, threads=threads, device=device)
        self._model = model
        for folder in data_dirs:
            if not folder.is_dir():
                raise Emow2vError(f"The data folder {folder} is not there; expected a folder that exists.")
        work_dir = work_dir or _default_work_dir()
        if work_dir.exists() and not work_dir.is_dir():
            raise Emow2vError(f"The work folder {work_dir} is a file; expected a folder.")
        places = Places([folder.resolve() for folder in data_dirs], work_dir.resolve())
        app = create_app(Settings(self._card, places, context), self._load)
        self._socket = _bind(host, port)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5)
        )

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM."""
        self._server.run(sockets=[self._socket])

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

    def _load(self, name: str) -> Model:
        return self._open(self._model if name == self._card.name else name)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # on Windows it would let two servers share the port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(128)  # whoever asks while the server still starts waits instead of being refused
    except OSError as error:
        bound.close()
        raise Emow2vError(
            f"{host}:{port} cannot be listened on ({error.strerror}); choose another --port or --host."
        ) from None
    return bound


def _default_work_dir() -> Path:
    return home() / "server"
