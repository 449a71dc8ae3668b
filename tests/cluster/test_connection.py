"""Clusters that cannot be reached or used: one sentence each, in seconds."""

from __future__ import annotations

import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from commands import run
from emow2v.cluster import connection
from emow2v.cluster.connection import connected
from emow2v.errors import ClusterError
from emow2v.modelstore.verify import EXAMPLE


@pytest.mark.parametrize("address", ["recordings/", "ray://10.0.0.1", "10.0.0.1", "a:b", ""])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ClusterError, match=r"is no address of a cluster; expected HOST:PORT"), connected(address):
        pass


def test_a_cluster_that_does_not_answer_is_refused() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with (
            pytest.raises(ClusterError, match=rf"No cluster of Ray answers at {address} \(Connection refused\)"),
            connected(address),
        ):
            pass


def test_a_name_that_is_unknown_is_refused() -> None:
    with (
        pytest.raises(ClusterError, match=r"No cluster of Ray answers at no-such-host\.invalid:6379"),
        connected("no-such-host.invalid:6379"),
    ):
        pass


def test_without_ray_a_sentence_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"pip install 'emow2v\[ray\]'"), connected("local"):
        pass


def test_a_single_recording_is_refused(tmp_path: Path) -> None:
    done = run("predict", EXAMPLE, "-o", tmp_path / "out", "--ray", "local")
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        "--ray computes a folder or a list of recordings, with a journal; expected -o DIR with it."
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.6\r\n", b"", None])
def test_a_port_of_another_program_is_refused(monkeypatch: pytest.MonkeyPatch, answer: bytes | None) -> None:
    """Such as that of the dashboard; Ray would try for minutes, and print warnings."""
    monkeypatch.setattr(connection, "_TRY_S", 0.2 if answer is None else 60)
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        address = f"127.0.0.1:{server.getsockname()[1]}"

        def serve() -> None:
            client, _ = server.accept()
            with client:
                if answer is not None:
                    client.sendall(answer)
                while answer is None and client.recv(64):  # it waits for more, as a database does
                    pass

        served = pool.submit(serve)
        why = "timed out" if answer is None else "another program does|Connection reset by peer|Broken pipe"
        with (
            pytest.raises(ClusterError, match=rf"^No cluster of Ray answers at {address} \(({why})\)"),
            connected(address),
        ):
            pass
        served.exception()
