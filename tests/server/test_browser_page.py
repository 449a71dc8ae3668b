"""The page that computes in the browser alone, as the server serves it: its files and no others, with what isolates it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from emow2v.errors import FormatError
from emow2v.server.run import Server
from emow2v.web.build import built_files

TOKEN = {"Authorization": "Bearer secret"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("plotly")
    from emow2v.web.build import build

    folder = tmp_path_factory.mktemp("page")
    build(folder, {"onnxruntime-web.js": b"// runtime", "onnxruntime-web.wasm": b"\0asm"})
    (folder / "notes.txt").write_text("not of the page")
    (folder.parent / "secret.txt").write_text("not for anybody")
    (folder / "scripts" / "link.js").symlink_to(folder.parent / "secret.txt")
    return folder


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[str]:
    work = tmp_path_factory.mktemp("work")
    options = {"port": 0, "work_dir": work, "threads": 1, "token": "secret", "root_path": "/lab"}
    with Server(**options, web_folder=folder).running() as address:
        yield address


def test_every_file_of_the_page_is_served(url: str, folder: Path) -> None:
    with httpx.Client(base_url=url, headers=TOKEN, trust_env=False) as client:
        for name in [*built_files(folder), "build.json", ""]:
            answer = client.get(f"/alone/{name}")
            assert answer.status_code == 200, name
            assert answer.content == (folder / (name or "index.html")).read_bytes()
            headers = answer.headers
            assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
            assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert "connect-src 'self'" in headers["Content-Security-Policy"]
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert client.get("/alone/scripts/page.js").headers["Content-Type"].startswith("text/javascript")
        known = client.get("/alone/model/model.onnx").headers["ETag"]
        assert client.get("/alone/model/model.onnx", headers={"If-None-Match": known}).status_code == 304


@pytest.mark.parametrize(
    "path",
    ["notes.txt", "scripts/link.js", "../secret.txt", "%2e%2e/secret.txt", "scripts/..%2f..%2fsecret.txt", "scripts",
     "scripts/", "absent.js", "%00", "a" * 5000],
)  # fmt: skip
def test_nothing_else_is_served(url: str, path: str) -> None:
    with httpx.Client(base_url=url, headers=TOKEN, trust_env=False) as client:
        answer = client.get(f"/alone/{path}")
        assert answer.status_code == 404 and b"anybody" not in answer.content
        assert client.post("/alone/index.html").status_code == 405


def test_it_needs_the_token_and_keeps_the_path_of_a_proxy(url: str) -> None:
    with httpx.Client(base_url=url, trust_env=False) as client:
        for path in ("/alone", "/alone/", "/alone/model/model.onnx"):
            assert client.get(path).status_code == 401
        answer = client.get("/alone", headers=TOKEN)
        assert answer.is_redirect and answer.headers["Location"] == "alone/"
        assert client.get("/lab/alone/", headers=TOKEN).status_code == 200
        assert 'href="alone/"' in client.get("/lab/", headers=TOKEN).text


def test_without_the_option_there_is_no_page(tmp_path: Path) -> None:
    with Server(port=0, work_dir=tmp_path, threads=1).running() as url, httpx.Client(trust_env=False) as client:
        assert client.get(f"{url}/alone/").status_code == 404
        assert "alone" not in client.get(url).text


@pytest.mark.parametrize("name", ["absent", "empty", "file"])
def test_folders_that_hold_no_page(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(FormatError, match="expected a folder that emow2v web build wrote"):
        Server(port=0, work_dir=tmp_path / "work", web_folder=tmp_path / name)
    with Server(port=0, work_dir=tmp_path / "work", threads=1).running():
        pass  # the refused server holds nothing
