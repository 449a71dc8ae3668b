"""ONNX Runtime for browsers: from a registry, an archive or a folder, and only of the version whose bytes are known."""

import base64
import hashlib
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from browser_builds import Site, archive, site
from emow2v.errors import ModelError, PathError
from emow2v.web import runtime
from emow2v.web.runtime import Part

CONTENT = {"a.js": b"export default 1;" * 100, "b.wasm": bytes(range(256)) * 50}
FILES = {"dist/a.min.mjs": CONTENT["a.js"], "dist/b.wasm": CONTENT["b.wasm"], "package.json": b"{}"}
ARCHIVE = archive(FILES)
PLACE = f"onnxruntime-web/-/onnxruntime-web-{runtime.VERSION}.tgz"


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A small package takes the place of the real one."""
    parts = {
        name: Part(path, len(content), hashlib.sha256(content).hexdigest())
        for (name, content), path in zip(CONTENT.items(), FILES, strict=False)
    }
    monkeypatch.setattr(runtime, "PARTS", parts)
    monkeypatch.setattr(runtime, "SHA512", hashlib.sha512(ARCHIVE).hexdigest())
    monkeypatch.setattr(runtime, "SIZE", len(ARCHIVE))
    monkeypatch.setattr("emow2v.modelstore.download.PAUSES_S", ())
    monkeypatch.setenv("EMOW2V_HOME", str(tmp_path / "home"))
    for name in ("EMOW2V_NPM_REGISTRY", "npm_config_registry", "NPM_CONFIG_REGISTRY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "registry" / PLACE).parent.mkdir(parents=True)
    (tmp_path / "registry" / PLACE).write_bytes(ARCHIVE)
    with site(tmp_path / "registry") as found:
        yield found


def test_it_is_downloaded_once(registry: Site) -> None:
    told: list[tuple[int, int | None]] = []
    for _ in range(2):
        assert runtime.parts(registry=f"{registry.url}/", progress=lambda *step: told.append(step)) == CONTENT
    assert registry.asked == [f"/{PLACE}"] and told[-1] == (len(ARCHIVE), len(ARCHIVE))


def test_the_registry_of_the_environment(registry: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtime.registry_address() == "https://registry.npmjs.org"
    monkeypatch.setenv("npm_config_registry", registry.url)
    assert runtime.parts() == CONTENT
    monkeypatch.setenv("EMOW2V_NPM_REGISTRY", "http://127.0.0.1:9/ours/")
    assert runtime.registry_address() == "http://127.0.0.1:9/ours"
    assert runtime.registry_address("http://127.0.0.1:9/named") == "http://127.0.0.1:9/named"


def test_what_was_downloaded_and_changed_since_is_downloaded_again(registry: Site, tmp_path: Path) -> None:
    runtime.parts(registry=registry.url)
    kept = tmp_path / "home" / "downloads" / f"onnxruntime-web-{runtime.VERSION}.tgz"
    kept.write_bytes(ARCHIVE[:-1] + b"x")
    assert runtime.parts(registry=registry.url) == CONTENT
    assert len(registry.asked) == 2 and kept.read_bytes() == ARCHIVE


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (ARCHIVE[:-1] + bytes([ARCHIVE[-1] ^ 1]), "is damaged or another file"),
        (ARCHIVE + b"x", "is another file"),
        (ARCHIVE[:100], "is another file"),
        (None, "is not there"),
    ],
    ids=["changed", "longer", "cut off", "none"],  # the archive has the time at which it was made
)
def test_another_file_in_the_registry(registry: Site, tmp_path: Path, content: bytes | None, sentence: str) -> None:
    path = tmp_path / "registry" / PLACE
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(ModelError, match=sentence):
        runtime.parts(registry=registry.url)
    assert list((tmp_path / "home" / "downloads").glob("*.tgz")) == []


def test_a_registry_that_cannot_be_reached() -> None:
    with pytest.raises(ModelError, match=r"127\.0\.0\.1 cannot be reached"):
        runtime.parts(registry="http://127.0.0.1:9")
    with pytest.raises(ModelError, match="expected the form https://host/path"):
        runtime.parts(registry="registry")


def test_without_a_network_from_an_archive_or_a_folder(tmp_path: Path) -> None:
    (tmp_path / "it.tgz").write_bytes(ARCHIVE)
    assert runtime.parts(tmp_path / "it.tgz") == CONTENT
    for name, content in FILES.items():
        (tmp_path / "node_modules" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "node_modules" / name).write_bytes(content)
    assert runtime.parts(tmp_path / "node_modules") == CONTENT


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is no archive"),
        (b"hello" * 1000, "is no archive"),
        (ARCHIVE[: len(ARCHIVE) // 2], "is no archive"),
        (archive({"package.json": b"{}"}), r"has no dist/a\.min\.mjs of onnxruntime-web"),
        (archive({**FILES, "dist/b.wasm": b"another version"}), r"has another dist/b\.wasm"),
        (archive({**FILES, "dist/b.wasm": CONTENT["b.wasm"] + b"more"}), r"has another dist/b\.wasm"),
        (archive({f"../{name}": content for name, content in FILES.items()}), "has no dist"),
    ],
)
def test_archives_of_something_else(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "it.tgz").write_bytes(content)
    with pytest.raises(ModelError, match=sentence):
        runtime.parts(tmp_path / "it.tgz")


def test_links_in_an_archive_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(CONTENT["a.js"])
    with tarfile.open(tmp_path / "it.tgz", "w:gz") as tar:
        link = tarfile.TarInfo("package/dist/a.min.mjs")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
        tar.addfile(link)
    with pytest.raises(ModelError, match="has no dist"):
        runtime.parts(tmp_path / "it.tgz")


def test_places_without_a_package(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no dist"):
        runtime.parts(tmp_path)
    with pytest.raises(PathError, match="cannot be read"):
        runtime.parts(tmp_path / "absent.tgz")


def test_the_pinned_hash_is_the_registrys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real package, and the registry of this computer
    try:
        answer = httpx.get(f"{runtime.registry_address()}/onnxruntime-web/{runtime.VERSION}", timeout=30)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        pytest.skip(f"the registry cannot be reached ({type(error).__name__})")
    kind, _, digest = answer.json()["dist"]["integrity"].partition("-")
    assert kind == "sha512" and base64.b64decode(digest).hex() == runtime.SHA512
