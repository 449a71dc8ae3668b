"""Pulling a model: from a local server that plays Zenodo and the hub, by hand, and everything that can go wrong."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import emow2v
from emow2v import cards
from emow2v.cards import published as known
from emow2v.cards.published import MSP_DIM, Expectation
from emow2v.cli import main as cli
from emow2v.engines import choose
from emow2v.errors import ModelError
from emow2v.modelstore import download, install, verify

HUB_NAME = MSP_DIM.hub
REVISION = "0123456789abcdef0123456789abcdef01234567"


class Server:
    """A path gets the bytes, the status, or the function that was put there; what was asked for is kept."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes | int | Callable[[http.server.BaseHTTPRequestHandler], None]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                answer = outer.answers.get(self.path.partition("?")[0], 404)
                if callable(answer):
                    answer(self)
                    return
                status, body = (answer, b"") if isinstance(answer, int) else (200, answer)
                begin = 0
                if status == 200 and (asked := self.headers.get("Range")):
                    begin = int(asked.removeprefix("bytes=").rstrip("-"))
                    status = 206
                self.send_response(status)
                if status == 206:
                    self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
                self.send_header("ETag", f'"{hashlib.md5(body).hexdigest()}"')
                self.send_header("Content-Length", str(len(body) - begin))
                self.end_headers()
                self.wfile.write(body[begin:])

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    running = Server()
    monkeypatch.setattr(install, "ZENODO", running.url + "/api/records")
    monkeypatch.setattr(download, "PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr(download, "TIMEOUT_S", 60.0)
    yield running
    running.close()


@pytest.fixture(scope="module")
def archive(checkpoint, tmp_path_factory) -> Path:
    """What Zenodo holds: a zip with a graph of one clip and audonnx's description, in a folder."""
    from checkpoints import audonnx_yaml, foreign_graph

    folder = tmp_path_factory.mktemp("zenodo")
    graph = foreign_graph(checkpoint, folder / "model.onnx", normalise=False)
    with zipfile.ZipFile(folder / MSP_DIM.zenodo_file, "w") as zipped:
        zipped.write(graph, "w2v2/model.onnx")
        zipped.writestr("w2v2/model.yaml", audonnx_yaml())
        zipped.writestr("../evil.txt", "outside")
    return folder / MSP_DIM.zenodo_file


@pytest.fixture(scope="module")
def published(checkpoint) -> known.Published:
    """As if the small checkpoint were what was published: its own numbers."""
    run = choose(cards.find(checkpoint), "torch").run
    rows = [
        Expectation(
            one["input"], one["begin"], one["end"], tuple(one["logits"]), tuple(one["first"]), tuple(one["last"]), "published"
        )
        for one in verify.own_expectations(run, "")
    ]  # fmt: skip
    return replace(MSP_DIM, expectations=tuple(rows))


@pytest.fixture(autouse=True)
def small_is_msp_dim(published, monkeypatch) -> None:
    monkeypatch.setitem(known.PUBLISHED, "msp-dim", published)


def serve_zenodo(server: Server, archive: Path, **change: object) -> str:
    data = archive.read_bytes()
    path = f"/files/{archive.name}/content"
    entry = {
        "key": archive.name, "size": len(data), "checksum": "md5:" + hashlib.md5(data).hexdigest(),
        "links": {"self": server.url + path}, **change,
    }  # fmt: skip
    listing = {"id": 6221127, "files": [{"key": "readme.txt", "size": 1, "checksum": "md5:0", "links": {}}, entry]}
    server.answers[f"/api/records/{MSP_DIM.zenodo}"] = json.dumps(listing).encode()
    server.answers[path] = data
    return path


def serve_hub(server: Server, folder: Path, monkeypatch, **change: str) -> None:
    """The hub's answers that huggingface_hub asks for, with the mirror variable pointing here."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}")  # fmt: skip
    files = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        entry: dict[str, object] = {"rfilename": path.name, "size": len(data), "blobId": "0" * 40}
        if path.suffix == ".safetensors":
            sha = change.get("sha256", hashlib.sha256(data).hexdigest())
            entry["lfs"] = {"sha256": sha, "size": len(data), "pointerSize": 134}
        files.append(entry)
        server.answers[f"/{HUB_NAME}/resolve/{REVISION}/{path.name}"] = data
    server.answers[f"/api/models/{HUB_NAME}"] = json.dumps(
        {
            "_id": "1",
            "id": HUB_NAME,
            "modelId": HUB_NAME,
            "sha": REVISION,
            "siblings": files,
            "private": False,
            "tags": [],
        }
    ).encode()


def nothing_here(home: Path) -> bool:
    models = home / "models"
    return not models.exists() or not list(models.iterdir())


def test_from_zenodo_without_pytorch_then_offline(server: Server, archive: Path, home: Path, checkpoint) -> None:
    serve_zenodo(server, archive)
    seen: list[tuple[str, int, int | None]] = []
    pulled = install.pull("msp-dim", progress=lambda *what: seen.append(what))
    assert pulled.rows and all(row.passed for row in pulled.rows)
    size = archive.stat().st_size
    assert seen[-1] == (archive.name, size, size)
    asked = len(server.asked)
    card = cards.find("msp-dim")
    assert card.folder == home / "models" / "msp-dim" and card.licence == "CC-BY-NC-SA-4.0"
    assert card.details["zip_sha256"] == cards.file_sha256(archive)
    assert card.details["verified"]["passed"] and verify.verdict(card) != "no"
    assert sorted(path.name for path in home.rglob("*")) == sorted(
        ["models", "msp-dim", "card.json", *card.files, "downloads"]
    )  # the download made way, nothing escaped from the zip
    signal = np.random.default_rng(0).normal(0, 0.1, (3, 16000)).astype(np.float32)
    model = emow2v.load("msp-dim")
    np.testing.assert_allclose(model.run(signal)[1], choose(cards.find(checkpoint)).run(signal)[1], atol=1e-5)
    facts = model.provenance(emow2v.Framing())
    assert (facts["model"], facts["licence"]) == ("msp-dim", "CC-BY-NC-SA-4.0") and "Wagner" in str(facts["citation"])
    assert len(server.asked) == asked


def test_a_download_that_broke_off_goes_on(server: Server, archive: Path) -> None:
    path = serve_zenodo(server, archive)
    data = archive.read_bytes()

    def break_off(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.send_header("ETag", f'"{hashlib.md5(data).hexdigest()}"')
        handler.end_headers()
        handler.wfile.write(data[:5000])
        handler.close_connection = True
        server.answers[path] = 503

    server.answers[path] = break_off
    with pytest.raises(ModelError, match="By hand: get w2v2-L-robust-12"):
        install.pull("msp-dim")
    server.answers[path] = data
    assert all(row.passed for row in install.pull("msp-dim").rows)
    last = [headers for asked, headers in server.asked if asked == path][-1]
    assert last["range"] == "bytes=5000-" and last["if-range"] == f'"{hashlib.md5(data).hexdigest()}"'


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda s, a: s.answers.clear(), "is not there"),
        (lambda s, a: s.answers.update({f"/files/{a.name}/content": 404}), "is not there"),
        (lambda s, a: serve_zenodo(s, a, checksum="md5:" + "0" * 32), "md5"),
        (lambda s, a: serve_zenodo(s, a, size=10), "10"),
        (lambda s, a: serve_zenodo(s, a, key="other.zip"), "does not list"),
        (lambda s, a: s.answers.update({f"/api/records/{MSP_DIM.zenodo}": b"<html>busy</html>"}), "does not list"),
    ],
)
def test_network_failures_name_the_two_ways_by_hand(server, archive, home, break_it, sentence: str) -> None:
    serve_zenodo(server, archive)
    break_it(server, archive)
    with pytest.raises(ModelError, match=sentence) as error:
        install.pull("msp-dim")
    text = str(error.value)
    assert (
        "By hand: get" in text
        and "--from ZIP, or get the files of https://huggingface.co/" in text
        and "\n" not in text
    )
    assert nothing_here(home)


def test_no_network_at_all(archive, home, monkeypatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(install, "ZENODO", f"http://127.0.0.1:{free.getsockname()[1]}/api/records")
        with pytest.raises(ModelError, match="By hand: get"):
            install.pull("msp-dim")
    assert nothing_here(home)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_leaves_no_half_model(server: Server, archive: Path, home: Path) -> None:
    serve_zenodo(server, archive)
    folder = home / "downloads" / "msp-dim"
    folder.mkdir(parents=True)
    (folder / (archive.name + ".part")).symlink_to("/dev/full")
    with pytest.raises(ModelError, match=r"(?i)space|full|room"):
        install.pull("msp-dim")
    assert nothing_here(home)


def test_no_room_for_the_package_leaves_none(archive: Path, home: Path, monkeypatch) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(emow2v.errors.Emow2vError, match="No space left on device"):
        install.pull("msp-dim", origin=archive)
    assert nothing_here(home)


@pytest.mark.slow
def test_from_the_hub_by_its_own_variables(server: Server, checkpoint: Path, home: Path, monkeypatch) -> None:
    serve_hub(server, checkpoint, monkeypatch)
    pulled = install.pull("msp-dim", source="hub")
    assert all(row.passed for row in pulled.rows)
    assert {row.engine.split()[0] for row in pulled.rows} == {"openvino", "onnxruntime", "torch"}
    assert pulled.card.details["origin"]["sha256"] == cards.file_sha256(checkpoint / "model.safetensors")
    strange = [path for path, _ in server.asked if HUB_NAME not in path]
    assert strange == []


def test_weights_that_are_not_what_the_hub_says(server: Server, checkpoint: Path, home: Path, monkeypatch) -> None:
    serve_hub(server, checkpoint, monkeypatch, sha256="f" * 64)
    with pytest.raises(ModelError, match=r"(?i)sha-?256"):
        install.pull("msp-dim", source="hub")
    assert nothing_here(home)


def test_a_hub_that_does_not_answer(server: Server, checkpoint: Path, home: Path, monkeypatch) -> None:
    serve_hub(server, checkpoint, monkeypatch)
    server.answers[f"/api/models/{HUB_NAME}"] = 401
    with pytest.raises(ModelError, match=r"does not list the files of .* By hand"):
        install.pull("msp-dim", source="hub")
    server.answers[f"/api/models/{HUB_NAME}"] = json.dumps(
        {"_id": "1", "id": HUB_NAME, "sha": REVISION, "siblings": [], "private": False, "tags": []}
    ).encode()
    with pytest.raises(ModelError, match=r"holds nothing; expected config\.json and weights"):
        install.pull("msp-dim", source="hub")
    assert nothing_here(home)


@pytest.mark.slow
def test_by_hand_from_a_zip_a_folder_a_package_and_an_address(
    server: Server, archive: Path, checkpoint: Path, package: Path, tmp_path: Path
) -> None:
    serve_zenodo(server, archive)
    unpacked = tmp_path / "with spaces und Umläuten ü"
    unpacked.mkdir()
    shutil.copy(archive.parent / "model.onnx", unpacked / "model.onnx")
    for origin in (archive, checkpoint, package, unpacked, f"{server.url}/files/{archive.name}/content"):
        pulled = install.pull("msp-dim", origin=origin, replace=True)
        assert pulled.rows and all(row.passed for row in pulled.rows), origin
        assert pulled.card.name == "msp-dim" and pulled.card.version == "1.1.0"


def test_what_is_here_stays_unless_told(archive: Path) -> None:
    first = install.pull("msp-dim", origin=archive).card
    with pytest.raises(ModelError, match=r"is installed already, in .* --force"):
        install.pull("msp-dim", origin=archive)
    with pytest.raises(ModelError):
        install.pull("msp-dim", origin=archive.with_name("none.zip"), replace=True)
    assert cards.find("msp-dim").sha256 == first.sha256


@pytest.mark.slow
def test_strangers_are_not_given_the_name(home: Path, tmp_path: Path) -> None:
    from checkpoints import write_checkpoint

    other = write_checkpoint(tmp_path / "other", seed=5)
    with pytest.raises(ModelError, match=r"These weights are not msp-dim: .* published says .* --unverified"):
        install.pull("msp-dim", origin=other)
    assert nothing_here(home)
    pulled = install.pull("msp-dim", origin=other, unverified=True)
    assert not all(row.passed for row in pulled.rows)
    assert verify.verdict(cards.find("msp-dim")) == "failed"


def _zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as zipped:
        for name, data in members.items():
            zipped.writestr(name, data)
    return path


def test_what_is_no_model_is_refused_in_a_sentence(archive: Path, home: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    data = archive.read_bytes()
    cases = {
        "text.zip": b"no zip",
        "cut.zip": data[: len(data) // 2],
        "damaged.zip": data[:3000] + bytes(2000) + data[5000:],
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
    origins = [
        *(tmp_path / name for name in cases),
        _zip(tmp_path / "none.zip", {"readme.txt": b""}),
        _zip(tmp_path / "two.zip", {"a.onnx": b"", "b.onnx": b""}),
        _zip(tmp_path / "junk.zip", {"a.onnx": b"junk"}),
        empty,
        tmp_path / "not there",
    ]
    for origin in origins:
        with pytest.raises(ModelError) as error:
            install.pull("msp-dim", origin=origin)
        assert "\n" not in str(error.value) and len(str(error.value)) < 500
        assert nothing_here(home), origin


def test_what_an_address_gave_never_passes_for_zenodos(
    server: Server, archive: Path, tmp_path: Path, home: Path
) -> None:
    other = _zip(tmp_path / "other.zip", {"model.onnx": b"another model"})
    server.answers["/mine.zip"] = other.read_bytes()
    with pytest.raises(ModelError, match=r"w2v2-L-robust.* is not a whole ONNX graph"):
        install.pull("msp-dim", origin=server.url.replace("http", "HTTP") + "/mine.zip")
    path = serve_zenodo(server, archive)
    (home / "downloads" / "msp-dim" / archive.name).write_bytes(other.read_bytes())  # as if it had been left there
    assert all(row.passed for row in install.pull("msp-dim").rows)
    assert path in [asked for asked, _ in server.asked]


@pytest.mark.parametrize("kind", ["deflated", "lzma", "bzip2"])
def test_a_zip_whose_data_are_damaged(archive: Path, tmp_path: Path, home: Path, kind: str) -> None:
    method = {"deflated": zipfile.ZIP_DEFLATED, "lzma": zipfile.ZIP_LZMA, "bzip2": zipfile.ZIP_BZIP2}[kind]
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as zipped:
        zipped.write(archive.parent / "model.onnx", "model.onnx")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    for begin in (60, len(data) // 2):
        broken = data.copy()
        broken[begin : begin + 40] = bytes(range(1, 41))
        (tmp_path / "b.zip").write_bytes(broken)
        with pytest.raises(ModelError, match=r"b\.zip is not a whole zip"):
            install.pull("msp-dim", origin=tmp_path / "b.zip")
    assert nothing_here(home)


def test_finders_shadows_are_no_graphs(archive: Path, tmp_path: Path) -> None:
    graph = (archive.parent / "model.onnx").read_bytes()
    path = _zip(tmp_path / "mac.zip", {"w2v2/model.onnx": graph, "__MACOSX/w2v2/._model.onnx": b"shadow"})
    assert install.pull("msp-dim", origin=path).rows


@pytest.mark.parametrize("kind", ["file", "models is a file", "long name", "nowhere"])
def test_a_home_that_cannot_be_written(archive: Path, tmp_path: Path, monkeypatch, kind: str) -> None:
    place = {"long name": tmp_path / ("x" * 300), "nowhere": Path("/proc/nothing")}.get(kind, tmp_path / "place")
    if kind == "file":
        place.write_text("mine")
    elif kind == "models is a file":
        place.mkdir()
        (place / "models").write_text("mine")
    elif kind == "nowhere" and not Path("/proc").is_dir():
        pytest.skip("there is no /proc here")
    monkeypatch.setenv("EMOW2V_HOME", str(place))
    with pytest.raises(ModelError, match=r"cannot be written .* set EMOW2V_HOME"):
        install.pull("msp-dim", origin=archive)
    assert [card.name for card in emow2v.models()] == ["lite", "lite-frames"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_that_leads_nowhere_makes_way(archive: Path, home: Path) -> None:
    (home / "models").mkdir()
    (home / "models" / "msp-dim").symlink_to(home / "gone")
    assert install.pull("msp-dim", origin=archive).rows


def test_a_strangers_card_does_not_change_the_models_limits(package: Path, tmp_path: Path, home: Path) -> None:
    lie = Path(shutil.copytree(package, tmp_path / "lie"))
    content = json.loads((lie / "card.json").read_text())
    (lie / "card.json").write_text(
        json.dumps({**content, "sampling_rate": 8000, "max_samples": 800, "batch_samples": 1})
    )
    card = install.pull("msp-dim", origin=lie).card
    assert (card.sampling_rate, card.min_samples, card.max_samples) == (16000, 400, 480_000)


def test_a_card_under_another_name_is_left_out(package: Path, home: Path, caplog) -> None:
    shutil.copytree(package, home / "models" / "x")
    assert [card.name for card in emow2v.models()] == ["lite", "lite-frames"]
    assert "calls itself small and is left out" in caplog.text


def test_unknown_names_and_sources(home: Path) -> None:
    with pytest.raises(ModelError, match="cannot be pulled; expected msp-dim"):
        install.pull("gpt")
    with pytest.raises(ModelError, match="expected zenodo or hub"):
        install.pull("msp-dim", source="floppy")
    with pytest.raises(ModelError, match="not here yet; run: emow2v models pull msp-dim"):
        cards.find("msp-dim")


def run_cli(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["emow2v", *arguments])
    try:
        cli.main()
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def test_the_command_shows_the_licence_and_asks(archive: Path, home: Path, monkeypatch, capsys) -> None:
    arguments = ["models", "pull", "msp-dim", "--from", str(archive)]
    assert run_cli(monkeypatch, *arguments) == 1  # standard input is no terminal here
    printed = capsys.readouterr().err
    assert "BY-NC-SA" in printed and "no commercial use" in printed and "--accept-licence" in printed
    assert nothing_here(home)
    assert run_cli(monkeypatch, *arguments, "--accept-licence") == 0
    assert "ok     openvino" in capsys.readouterr().out
    assert run_cli(monkeypatch, "models", "list") == 0
    assert "msp-dim" in capsys.readouterr().out
    assert run_cli(monkeypatch, "models", "verify", "msp-dim") == 0
    assert run_cli(monkeypatch, "models", "remove", "msp-dim") == 0
    assert nothing_here(home)
    assert run_cli(monkeypatch, "models", "remove", "lite") == 1
    assert "part of emow2v" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="terminals are made differently there")
@pytest.mark.parametrize(("answer", "sentence"), [("n", "was not accepted"), ("y", "These weights are not msp-dim")])
def test_a_person_is_asked(archive: Path, home: Path, answer: str, sentence: str) -> None:
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "emow2v", "models", "pull", "msp-dim", "--from", str(archive)]
    child = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.write(ours, f"{answer}\n".encode())
    _, printed = child.communicate(timeout=120)
    os.close(ours)
    os.close(theirs)
    assert child.returncode == 1 and sentence in printed and "Traceback" not in printed
    assert nothing_here(home)


def test_removing_touches_nothing_else(archive: Path, home: Path) -> None:
    install.pull("msp-dim", origin=archive)
    (home / "keep.txt").write_text("mine")
    for name in ("..", ".", "", "/", "../..", "nothing"):
        with pytest.raises(ModelError, match="is not installed; installed: msp-dim"):
            install.remove(name)
    assert install.remove("msp-dim") > 100_000
    assert (home / "keep.txt").exists() and nothing_here(home)


def test_a_damaged_model_says_so_and_hides_no_other(archive: Path, home: Path) -> None:
    card = install.pull("msp-dim", origin=archive).card
    weights = card.folder / card.weights
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(ModelError, match="is damaged: expected SHA-256"):
        emow2v.load("msp-dim")
    (card.folder / "card.json").write_text("{")
    with pytest.raises(ModelError, match=r"is not a model card .* emow2v models pull msp-dim --force"):
        cards.find("msp-dim")
    assert [one.name for one in emow2v.models()] == ["lite", "lite-frames"]


def test_killed_while_pulling_leaves_no_half_model(server: Server, archive: Path, home: Path) -> None:
    """A real process, really killed; the next one goes on where it was."""
    path = serve_zenodo(server, archive)
    data = archive.read_bytes()
    stalled = threading.Event()

    def stall(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.send_header("ETag", f'"{hashlib.md5(data).hexdigest()}"')
        handler.end_headers()
        handler.wfile.write(data[:4096])
        handler.wfile.flush()
        stalled.wait(30)

    server.answers[path] = stall
    code = (
        f"from emow2v.modelstore import install; install.ZENODO = {server.url + '/api/records'!r}\n"
        "install.pull('msp-dim', progress=lambda what, done, total: print(done, flush=True))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, "EMOW2V_HOME": str(home)}
    )
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) >= 4096:
            break
    child.kill()
    child.wait()
    child.stdout.close()
    stalled.set()
    assert [path.name for path in (home / "models").iterdir() if not path.name.startswith(".")] == []
    assert [card.name for card in emow2v.models()] == ["lite", "lite-frames"]
    server.answers[path] = data
    assert all(row.passed for row in install.pull("msp-dim").rows)
    assert [headers.get("range") for asked, headers in server.asked if asked == path] == [None, "bytes=4096-"]
    assert [path.name for path in (home / "models").iterdir()] == ["msp-dim"]


@pytest.mark.parametrize("hidden", [".msp-dim.0123abcd.old", ".msp-dim.old.ab_d3fgh"])  # the latter is version 0.1.0's
def test_a_pull_killed_between_its_renames_loses_no_model(archive: Path, home: Path, hidden: str) -> None:
    """The next pull found the old copy and deleted it."""
    first = install.pull("msp-dim", origin=archive).card
    models = home / "models"
    (models / hidden).mkdir()
    (models / "msp-dim").rename(models / hidden / "msp-dim")
    (models / ".msp-dim.ab3d_fgh").mkdir()  # what else it had begun
    with pytest.raises(ModelError):
        install.pull("msp-dim", origin=archive.with_name("none.zip"), replace=True)
    assert cards.find("msp-dim").sha256 == first.sha256
    assert [path.name for path in models.iterdir()] == ["msp-dim"]
    with pytest.raises(ModelError, match="is installed already"):
        install.pull("msp-dim", origin=archive)


def test_a_model_whose_folder_cannot_be_replaced_stays(archive: Path, home: Path, monkeypatch) -> None:
    first = install.pull("msp-dim", origin=archive).card
    replace_path = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if target == home / "models" / "msp-dim":
            raise PermissionError(13, "Permission denied")
        return replace_path(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", failing)
        with pytest.raises(emow2v.errors.Emow2vError, match="Permission denied"):
            install.pull("msp-dim", origin=archive, replace=True)
    assert cards.find("msp-dim").sha256 == first.sha256
    assert [path.name for path in (home / "models").iterdir()] == ["msp-dim"]


def test_a_pull_leaves_the_neighbours_that_are_begun(archive: Path, home: Path) -> None:
    """A pull of `msp-dim` swept what an installation of `msp-dim.mine` had begun."""
    begun = home / "models" / ".msp-dim.mine.0123abcd.new"
    begun.mkdir(parents=True)
    install.pull("msp-dim", origin=archive)
    assert begun.is_dir()


def test_a_removed_model_does_not_come_back(archive: Path, home: Path) -> None:
    install.pull("msp-dim", origin=archive)
    shutil.copytree(home / "models" / "msp-dim", home / "models" / ".msp-dim.0123abcd.old" / "msp-dim")
    assert install.remove("msp-dim") > 0
    assert not list((home / "models").iterdir())
    with pytest.raises(ModelError, match="is not here yet"):
        cards.find("msp-dim")


@pytest.mark.slow
def test_the_hub_is_asked_without_a_word_on_what_is_installed(server: Server, checkpoint: Path, monkeypatch) -> None:
    """And without changing the settings of a library that others in this process use, at the same time."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    serve_hub(server, checkpoint, monkeypatch)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_secret")
    before = dict(vars(huggingface_hub.constants))
    seen: list[bool] = []
    install.pull("msp-dim", source="hub", say=lambda what: seen.append(dict(vars(huggingface_hub.constants)) == before))
    assert seen and all(seen) and dict(vars(huggingface_hub.constants)) == before
    assert {headers["user-agent"] for _, headers in server.asked} == {f"emow2v/{emow2v.__version__}"}
    assert {headers["authorization"] for _, headers in server.asked} == {"Bearer hf_secret"}


@pytest.mark.parametrize("answer", [b"", b"<html>", b"[]", b"{}", b'{"sha": "1", "siblings": [1]}', b"\xff"])
def test_a_hub_that_answers_something_else(server: Server, checkpoint: Path, home: Path, monkeypatch, answer) -> None:
    serve_hub(server, checkpoint, monkeypatch)
    server.answers[f"/api/models/{HUB_NAME}"] = answer
    with pytest.raises(ModelError, match=r"its answer is no listing\); check HF_ENDPOINT|holds nothing; expected"):
        install.pull("msp-dim", source="hub")
    assert nothing_here(home)


def test_a_hub_that_may_not_be_asked(checkpoint: Path, home: Path, monkeypatch) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        install.pull("msp-dim", source="hub")
