"""Files with turns at addresses, from real servers on this machine."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

import webs
from emow2v.sources import turns
from emow2v.sources.address import SourceError
from emow2v.sources.turns import TurnFiles
from emow2v.sources.web import Unreachable, Web

FILES = {
    "/a.vtt": b"WEBVTT\n",
    "/b%20c.annotation": b"<annotation/>",
    "/b%20c.annotation~": b"0;1;so;1\n",
    "/large": b"0" * 101,
}


@pytest.fixture(params=[True, False], ids=["ranges", "whole"])
def site(request: pytest.FixtureRequest) -> Iterator[webs.Site]:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        path = handler.path.partition("?")[0]
        if path == "/elsewhere":
            webs.move(handler, "http://192.0.2.1/a.vtt")
        elif content := FILES.get(path):
            webs.give(handler, content, ranges=request.param)
        else:
            handler.send_error(404)

    with webs.serving(reply) as site:
        yield site


@pytest.fixture
def files(site: webs.Site, tmp_path: Path) -> TurnFiles:
    return TurnFiles(Web((site.host,), webs.LOOPBACK), tmp_path, 100)


def test_a_file_is_fetched_once(files: TurnFiles, site: webs.Site, tmp_path: Path) -> None:
    for _ in range(2):
        assert files.read(site.url("/a.vtt?signature=x")) == {"a.vtt": b"WEBVTT\n"}
    assert [path for path, _ in site.asked] == ["/a.vtt?signature=x"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", ["", "~"])
def test_an_annotation_comes_with_its_data(files: TurnFiles, site: webs.Site, end: str) -> None:
    read = files.read(site.url(f"/b%20c.annotation{end}?version=2"))
    assert read == {"b c.annotation": b"<annotation/>", "b c.annotation~": b"0;1;so;1\n"}
    assert {path for path, _ in site.asked} == {f"/b%20c.annotation{end}?version=2" for end in ("", "~")}


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/large", r"has more than 0\.0001 MB; expected a smaller file with turns\."),
        ("/none.eaf", r"is not there \(status 404\); expected a file with turns\."),
        ("/elsewhere", r"The host 192\.0\.2\.1 with the port 80 is not allowed here"),
    ],
)
def test_what_is_no_file_with_turns(files: TurnFiles, site: webs.Site, path: str, sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        files.read(site.url(path))


def test_a_host_that_is_not_allowed_is_not_asked(site: webs.Site, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="this server allows no host"):
        TurnFiles(Web(), tmp_path, 100).read(site.url("/a.vtt"))
    with pytest.raises(SourceError, match=r"127\.0\.0\.1, which is"):
        TurnFiles(Web((site.host,)), tmp_path, 100).read(site.url("/a.vtt"))
    assert site.asked == []


def test_a_host_that_does_not_answer_is_asked_once_for_all_sessions(tmp_path: Path) -> None:
    def unavailable(handler: BaseHTTPRequestHandler) -> None:
        handler.send_error(503)

    with webs.serving(unavailable) as site:
        files = TurnFiles(Web((site.host,), webs.LOOPBACK), tmp_path, 100)
        for name in ("a", "b", "c"):
            with pytest.raises(Unreachable, match=r"/a\.vtt is not available now \(status 503\)"):
                files.read(site.url(f"/{name}.vtt"))
        assert {path for path, _ in site.asked} == {"/a.vtt"}


def test_only_some_files_are_kept(files: TurnFiles, site: webs.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "KEPT_BYTES", 10)
    for path in ("/a.vtt", "/b%20c.annotation", "/a.vtt"):
        files.read(site.url(path))
    assert [path for path, _ in site.asked].count("/a.vtt") == 2
