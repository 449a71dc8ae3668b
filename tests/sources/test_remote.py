"""Recordings at addresses: the same values as from a file, with ranges and without, and limits on what a server sends."""

import gzip
import io
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
import soundfile

import webs
from emow2v.errors import Cancelled
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.sources.address import SourceError
from emow2v.sources.remote import PIECE, Remote
from emow2v.sources.web import Client, Unreachable, Web

MAKE = Callable[..., Remote]


def remote(site: webs.Site, path: str = "/talk.wav", *, most: int = 0, folder: Path | None = None) -> Remote:
    web = Web((site.host,), webs.LOOPBACK, max_bytes=most)
    return Remote(web.address(site.url(path)), Client(web), folder, pauses_s=(0.01, 0.01))


@pytest.fixture(scope="module")
def large() -> bytes:
    """A wav file of 3.7 MB: noise, of which no piece is like another."""
    noise = np.random.default_rng(0).integers(-9000, 9000, 1_850_000, np.int16)
    file = io.BytesIO()
    soundfile.write(file, noise, 48000, "PCM_16", format="WAV")
    return file.getvalue()


def files(large: bytes, *, ranges: bool) -> webs.Reply:
    return lambda handler: webs.give(handler, large, ranges=ranges)


@pytest.mark.parametrize("ranges", [True, False])
def test_the_bytes_are_those_of_the_file_in_any_order(large: bytes, ranges: bool, tmp_path: Path) -> None:
    with webs.serving(files(large, ranges=ranges)) as site, closing(remote(site, folder=tmp_path)) as source:
        assert source.gives_ranges is ranges
        with source.open() as file:
            assert file.read() == large
            assert file.seek(0, io.SEEK_END) == len(large) and file.read(9) == b""
        drawn = np.random.default_rng(1)
        fresh = remote(site, folder=tmp_path)
        with closing(fresh), fresh.open() as file, fresh.open() as other:
            for _ in range(60):
                at, size = int(drawn.integers(len(large))), int(drawn.integers(3 * PIECE))
                for one in (file, other):
                    one.seek(at)
                    assert one.read(size) == large[at : at + size]
        assert not [*tmp_path.iterdir()]  # the temporary file has no name


def test_a_closed_recording_that_is_opened_anew_is_fetched_again(large: bytes) -> None:
    """Also if the server gives ranges by then, or no longer."""
    for before, after in ((True, False), (False, True), (True, True)):
        ranges = [before]
        with webs.serving(lambda handler: webs.give(handler, large, ranges=ranges[0])) as site:  # noqa: B023
            with closing(remote(site)) as source, source.open() as file:
                assert file.read() == large
            ranges[0] = after
            with closing(source), source.open() as file:
                assert file.read() == large and source.gives_ranges is after


def test_what_was_fetched_is_not_fetched_again(large: bytes) -> None:
    with webs.serving(files(large, ranges=True)) as site, closing(remote(site)) as source:
        for _ in range(3):
            with source.open() as file:
                assert file.read() == large
        bounds = [tuple(map(int, re.findall(r"\d+", asked))) for _, asked in site.asked]
    assert sum(last + 1 - first for first, last in bounds) < len(large) + PIECE
    assert [last + 1 for _, last in bounds[:-1]] == [first for first, _ in bounds[1:]]


def test_a_recording_without_ranges_is_fetched_once(large: bytes) -> None:
    with webs.serving(files(large, ranges=False)) as site, closing(remote(site)) as source:
        for _ in range(3):
            with source.open() as file:
                assert file.read() == large
    assert len(site.asked) == 1


@pytest.mark.parametrize("ranges", [True, False])
def test_values_are_those_of_the_file(lite: Model, ranges: bool) -> None:
    content, name = EXAMPLE.read_bytes(), EXAMPLE.name
    with webs.serving(files(content, ranges=ranges)) as site:
        path = f"/{name}?signature=secret"
        with closing(remote(site, path)) as source:
            computed = lite.predict(source)
            assert computed.scores.tolist() == lite.predict(EXAMPLE).scores.tolist()
            assert computed.info.source == site.url(f"/{name}")
        with closing(remote(site, path)) as source:  # two passes over the sound
            turns = lite.predict_turns(source)
            assert turns.scores.tolist() == lite.predict_turns(EXAMPLE).scores.tolist()


def test_the_first_values_come_before_the_recording_is_fetched(large: bytes, lite: Model) -> None:
    with webs.serving(files(large, ranges=True)) as site, closing(remote(site)) as source:
        rows = iter(lite.predict(source))
        next(rows)
        fetched = max(int(asked.partition("-")[2]) for _, asked in site.asked)
        rows.close()  # type: ignore[attr-defined]
    assert fetched < len(large) / 2


def test_an_index_at_the_end_is_found(large: bytes) -> None:
    with webs.serving(files(large, ranges=True)) as site, closing(remote(site)) as source, source.open() as file:
        file.read(100)
        file.seek(-100, io.SEEK_END)
        assert file.read() == large[-100:]
        assert len(site.asked) == 2
        file.seek(PIECE)
        file.read(100)
        assert len(site.asked) <= 3


def test_a_connection_that_breaks_is_continued(large: bytes) -> None:
    broken = 0

    def reply(handler: BaseHTTPRequestHandler) -> None:
        nonlocal broken
        if len(site.asked) % 2 == 0:
            broken += 1
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers["Range"])
            assert found
            first, last = int(found[1]), min(int(found[2]), len(large) - 1)
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {first}-{last}/{len(large)}")
            handler.send_header("Content-Length", str(last + 1 - first))
            handler.send_header("ETag", '"1"')
            handler.end_headers()
            handler.wfile.write(large[first : first + (last + 1 - first) // 2])
            handler.close_connection = True
        else:
            webs.give(handler, large)

    with webs.serving(reply) as site, closing(remote(site)) as source, source.open() as file:
        assert file.read() == large
    assert broken > 1


def test_a_server_that_stays_away_ends_in_a_sentence(large: bytes) -> None:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        if len(site.asked) > 1:
            handler.close_connection = True
        else:
            webs.give(handler, large)

    with webs.serving(reply) as site, closing(remote(site)) as source, source.open() as file:
        with pytest.raises(Unreachable, match="breaks off"):
            file.read()
        assert len(site.asked) == 1 + 3


@pytest.mark.parametrize("ranges", [True, False])
def test_a_server_that_is_busy_at_first_is_asked_again(large: bytes, ranges: bool) -> None:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        if len(site.asked) == 1:
            handler.send_error(503)
        elif len(site.asked) == 2:
            handler.close_connection = True
        else:
            webs.give(handler, large, ranges=ranges)

    with webs.serving(reply) as site:
        with closing(remote(site)) as source, source.open() as file:
            assert file.read() == large
        site.asked.clear()
        with closing(remote(site)) as source, source.hurried(20), pytest.raises(Unreachable):
            source.open()
        assert len(site.asked) == 2


@pytest.mark.parametrize("tag", ['"1"', '"2"'])
def test_a_signed_redirect_that_has_expired_is_asked_for_anew(large: bytes, tag: str) -> None:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        signed = [path for path, _ in site.asked if path.startswith("/signed")]
        if handler.path == "/talk.wav":
            handler.send_response(302)
            handler.send_header("Location", f"/signed?{len(signed)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        elif signed.count(handler.path) > 1:  # each address is good for once
            handler.send_error(403)
        else:
            webs.give(handler, large, ETag=tag if len(signed) > 1 else '"1"')

    with webs.serving(reply) as site, closing(remote(site)) as source, source.open() as file:
        if tag == '"1"':
            assert file.read() == large
        else:
            with pytest.raises(SourceError, match="has changed while it was read"):
                file.read()


@pytest.mark.parametrize("change", ["tag", "size", "no range", "another range"])
def test_a_recording_that_changes_while_it_is_read(large: bytes, change: str) -> None:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        if len(site.asked) == 1:
            webs.give(handler, large)
        elif change == "tag":
            webs.give(handler, large, ETag='"2"')
        elif change == "size":
            webs.give(handler, large + b"more")
        elif change == "no range":
            webs.give(handler, large, ranges=False)
        else:
            webs.give(handler, large, Content_Range=f"bytes 0-9/{len(large)}")

    with (
        webs.serving(reply) as site,
        closing(remote(site)) as source,
        source.open() as file,
        pytest.raises(SourceError, match=r"changed|without saying"),
    ):
        file.read()


@pytest.mark.parametrize(
    ("status", "said"),
    [(404, "is not there"), (403, "asks for access"), (418, "gives no file"), (503, "not available now")],
)
def test_answers_without_a_file(status: int, said: str) -> None:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with (
        webs.serving(reply) as site,
        closing(remote(site, "/a.wav?sig=secret")) as source,
        pytest.raises(SourceError, match=said) as caught,
    ):
        source.open()
    assert "secret" not in str(caught.value)


# --- attacks ---


def test_a_body_without_an_end_stops_at_the_limit() -> None:
    sent = 0

    def reply(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        while True:
            handler.wfile.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
            sent += 1 << 16

    with (
        webs.serving(reply) as site,
        closing(remote(site, most=1_000_000)) as source,
        pytest.raises(SourceError, match="more than 1 MB; expected a smaller recording"),
    ):
        source.open()
    assert sent < 50_000_000  # the buffers of a connection


@pytest.mark.parametrize("ranges", [True, False])
def test_a_size_above_the_limit_is_refused_before_it_is_fetched(large: bytes, ranges: bool) -> None:
    with (
        webs.serving(files(large, ranges=ranges)) as site,
        closing(remote(site, most=1_000_000)) as source,
        pytest.raises(SourceError, match="more than 1 MB"),
    ):
        source.open()


def test_ranges_that_go_on_without_an_end() -> None:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 0-{4 * PIECE - 1}/{9 * PIECE}")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        while True:
            handler.wfile.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")

    with (
        webs.serving(reply) as site,
        closing(remote(site)) as source,
        source.open() as file,
        pytest.raises(SourceError, match="sends more than was asked for"),
    ):
        file.read()


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "zstd"])
def test_a_compressed_body_is_refused_and_never_unpacked(encoding: str) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    with (
        webs.serving(lambda handler: webs.give(handler, bomb, Content_Encoding=encoding)) as site,
        closing(remote(site)) as source,
        pytest.raises(SourceError, match="comes compressed"),
    ):
        source.open()


def test_an_empty_recording() -> None:
    with (
        webs.serving(files(b"", ranges=False)) as site,
        closing(remote(site)) as source,
        pytest.raises(SourceError, match="is empty"),
    ):
        source.open()


def test_a_recording_may_be_cancelled_while_it_is_fetched(large: bytes) -> None:
    def cancel() -> None:
        raise Cancelled

    for ranges in (True, False):
        with webs.serving(files(large, ranges=ranges)) as site, closing(remote(site)) as source:
            source.check = cancel
            with pytest.raises(Cancelled):
                source.open().read()


def test_a_hurried_with_block_gives_up_soon_and_leaves_the_time_of_the_rest() -> None:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.connection.settimeout(25)  # less than the client waits without haste
        handler.rfile.read(1)  # until it hangs up

    with webs.serving(reply) as site, closing(remote(site)) as source:
        with pytest.raises(Unreachable, match="in time"), source.hurried(0.3):
            source.open()
        assert source._client.deadline.total_s > 3000


def test_several_readers_share_what_is_fetched(large: bytes) -> None:
    with webs.serving(files(large, ranges=True)) as site, closing(remote(site)) as source:
        got: list[bytes] = []
        threads = [threading.Thread(target=lambda: got.append(source.open().read())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert got == [large] * 4


def test_a_closed_recording_is_refused(large: bytes) -> None:
    def opened() -> Iterator[io.BufferedReader]:
        with webs.serving(files(large, ranges=True)) as site, closing(remote(site)) as source:
            yield source.open()

    (file,) = opened()
    with pytest.raises(SourceError, match="is closed"):
        file.read()
