"""Lines to a server that are cut, as those of a telephone are in a tunnel."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx


@contextmanager
def cutting(url: str, after: list[int]) -> Iterator[str]:
    """A line to a server; gives its address.

    Args:
        after: bytes after which a connection is cut; each number counts for the first connection that sends so many, and is
            removed from the list as it happens
    """
    server = httpx.URL(url).host, httpx.URL(url).port
    lines: list[socket.socket] = []
    threads: list[threading.Thread] = []
    counting = threading.Lock()

    def pass_on(source: socket.socket, target: socket.socket, is_over: Callable[[int], bool]) -> None:
        passed = 0
        with contextlib.suppress(OSError):  # the other way has ended
            while data := source.recv(1 << 14):
                target.sendall(data)
                passed += len(data)
                if is_over(passed):
                    break
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def is_cut(passed: int) -> bool:
        with counting:  # each connection has a thread
            if not after or passed <= after[0]:
                return False
            after.pop(0)
            return True

    def accept() -> None:
        with contextlib.suppress(OSError):  # the end of the test
            while True:
                near, _ = listening.accept()
                far = socket.create_connection(server)
                lines.extend((near, far))
                for given in ((near, far, is_cut), (far, near, lambda passed: False)):
                    threads.append(threading.Thread(target=pass_on, args=given))
                    threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for one in lines:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
            for one in lines:
                one.close()
