"""Building the page: complete, with the licences of all that is in it, and nothing of others is replaced."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from emow2v import cards
from emow2v.errors import FormatError, ModelError
from emow2v.web import build as module
from emow2v.web.build import build, built_files

pytest.importorskip("plotly")
ROOT = Path(__file__).parents[2]
RUNTIME = {"onnxruntime-web.js": b"// runtime", "onnxruntime-web.wasm": b"\0asm"}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "page"
    build(folder, RUNTIME)
    return folder


def test_every_file_is_described(page: Path) -> None:
    here = {path.relative_to(page).as_posix(): path.read_bytes() for path in page.rglob("*") if path.is_file()}
    described = built_files(page)
    assert here.keys() == {*described, "build.json"}
    assert described == {
        name: (len(content), hashlib.sha256(content).hexdigest())
        for name, content in here.items()
        if name != "build.json"
    }
    card = cards.find("lite-frames")
    assert here["model/model.onnx"] == (card.folder / card.graph).read_bytes()
    content = json.loads(here["build.json"])
    assert content["model"]["delay"] == card.delay and set(content["fetched"]) == {"wasm", "step", "readout"}


def test_all_that_scripts_and_the_page_load_is_there(page: Path) -> None:
    scripts = page / "scripts"
    for script in scripts.glob("*.js"):
        if script.name == "plotly.min.js":
            continue
        text = script.read_text(encoding="utf-8")
        for name in re.findall(r'(?:from |import |new URL\()"(\.{0,2}/?[\w./-]+\.js)"', text):
            assert (scripts / name).resolve().is_file(), (script.name, name)
        assert not re.search(r"https?://(?!localhost)", text), script.name
    for name in re.findall(r'(?:src|href)="([^"]+)"', (page / "index.html").read_text(encoding="utf-8")):
        assert (page / name).is_file(), name
    assert "{" not in (page / "index.html").read_text(encoding="utf-8")


def test_it_holds_the_licences_of_all_that_is_in_it(page: Path) -> None:
    for path in (ROOT / "LICENSES").iterdir():
        assert (page / "licences" / path.name).read_bytes() == path.read_bytes()
    assert (page / "licences" / "emow2v.txt").read_bytes() == (ROOT / "NOTICE").read_bytes()
    mit = (page / "licences" / "MIT.txt").read_text(encoding="utf-8")
    assert "Permission is hereby granted" in mit
    assert all(name in mit for name in ("Microsoft Corporation", "Plotly, Inc.", "OpenAI"))
    notice = (page / "NOTICE.txt").read_text(encoding="utf-8")
    card = cards.find("lite-frames")
    assert card.licence in notice and card.citation in notice and "{" not in notice
    for name in re.findall(r"licences/[\w.-]+\.txt", notice):
        assert (page / name).is_file(), name


def test_a_built_folder_is_replaced_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    for _ in range(2):
        build(tmp_path / "page", RUNTIME)
    (tmp_path / "page" / "scripts" / "notes.txt").write_text("mine")
    with pytest.raises(FormatError, match=r"did not write \(scripts/notes.txt\)"):
        build(tmp_path / "page", RUNTIME)
    assert (tmp_path / "page" / "scripts" / "notes.txt").read_text() == "mine"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.html").write_text("mine")
    with pytest.raises(FormatError, match=r"did not write \(index.html\)"):
        build(tmp_path / "other", RUNTIME)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FormatError, match="is no folder"):
        build(tmp_path / "file", RUNTIME)
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == [
        "file",
        "other",
        "page",
    ]


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"\xff", b'{"format": 1}', b'{"format": 1, "files": {"a": {}}}', b"[" * 100_000]
)
def test_a_description_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "build.json").write_bytes(content)
    with pytest.raises(FormatError, match="has no page for browsers"):
        built_files(tmp_path)


def test_a_page_of_another_version(tmp_path: Path) -> None:
    (tmp_path / "build.json").write_text('{"format": 2, "files": {}}')
    with pytest.raises(FormatError, match="built by another version"):
        built_files(tmp_path)


def test_models_that_a_browser_cannot_run(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected a model of frames, such as lite-frames"):
        build(tmp_path / "page", RUNTIME, model="lite")
    assert not (tmp_path / "page").exists()


def test_without_plotly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install 'emow2v\[server\]'"):
        build(tmp_path / "page", RUNTIME)
