"""No command leaves anything outside what it was asked to write and the documented cache, wherever it is begun."""

from __future__ import annotations

import functools
import http.client
import http.server
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import soundfile
import typer

from checkpoints import audonnx_yaml, foreign_graph
from emow2v.cli import main as cli
from emow2v.modelstore.verify import EXAMPLE
from encoders import pretrained
from object_stores import CREDENTIALS, object_store
from voices import write_corpus

# What points to folders of its own, or keeps telemetry still by itself (CI)
UNSET = re.compile(
    r"XDG_|EMOW2V_|HF_|ORT_|TORCH|TRANSFORMERS|MPL|NUMBA|TMP|TEMP|CI$|TF_BUILD|JENKINS_URL|GITHUB_|PYTEST_"
)
CACHE = ".cache/emow2v"  # below the home folder, on Linux
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="home folders and signals are others there")
pytestmark = POSIX


class Person:
    """Somebody with an empty home, an empty folder for temporary files, and an empty folder to stand in."""

    def __init__(self, folder: Path) -> None:
        self.home, self.temporary, self.here = (folder / name for name in ("home", "temporary", "here"))
        self.output = folder / "output"
        for one in (self.home, self.temporary, self.here):
            one.mkdir()
        kept = {name: value for name, value in os.environ.items() if not UNSET.match(name)}
        places = {"HOME": str(self.home), "USERPROFILE": str(self.home), "TMPDIR": str(self.temporary)}
        self.environment = {**kept, **places, "OMP_NUM_THREADS": "1"}

    def run(self, *arguments: str | Path, sound: bytes = b"", code: int = 0) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "emow2v", *map(str, arguments)]
        done = subprocess.run(
            command, input=sound, capture_output=True, env=self.environment, cwd=self.here, timeout=500
        )
        assert done.returncode == code, done.stderr.decode()
        assert b"Traceback" not in done.stderr
        return done

    def left(self) -> list[str]:
        """All that was left behind, but for the cache."""
        found = [
            f"{folder.name}: {path.relative_to(folder)}"
            for folder in (self.home, self.temporary, self.here)
            for path in sorted(folder.rglob("*"))
        ]
        return [one for one in found if not one.startswith(f"home: {CACHE}/") and one not in self._above]

    _above = ("home: .cache", f"home: {CACHE}")

    def cached(self) -> set[str]:
        """Folders of the cache, but for those where Matplotlib keeps its list of fonts and PyTorch what it compiles."""
        folder = self.home / CACHE
        found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        return found - {"matplotlib", "torch"}


@dataclass
class Given:
    """What the commands are run on."""

    folder: Path
    talk: Path
    corpus: Path

    @functools.cached_property
    def checkpoint(self) -> Path:
        from checkpoints import write_checkpoint

        return write_checkpoint(self.folder / "checkpoint")

    @functools.cached_property
    def package(self) -> Path:
        from emow2v import cards
        from emow2v.modelstore.export import export

        export(cards.find(self.checkpoint), self.folder / "package")
        return self.folder / "package"

    @functools.cached_property
    def encoder(self) -> Path:
        return pretrained(self.folder / "encoder")

    @functools.cached_property
    def archive(self) -> Path:
        graph = foreign_graph(self.checkpoint, self.folder / "model.onnx", normalise=False)
        with zipfile.ZipFile(self.folder / "served" / "weights.zip", "w") as zipped:
            zipped.write(graph, "w2v2/model.onnx")
            zipped.writestr("w2v2/model.yaml", audonnx_yaml())
        return self.folder / "served" / "weights.zip"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("given")
    (folder / "served").mkdir()
    signal_, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write(folder / "talk.wav", signal_[: 2 * rate], rate)
    return Given(folder, folder / "talk.wav", write_corpus(folder / "corpus", 32))


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(tmp_path)


def needs(*packages: str) -> None:
    for name in packages:
        if find_spec(name) is None:  # without importing it
            pytest.skip(f"{name} is not installed")


def predict(person: Person, given: Given) -> None:
    person.run("predict", given.talk, "-o", person.output)
    assert (person.output / "talk.csv").is_file() and person.cached() == set()
    person.run("predict", given.talk, "-o", person.output, "--speech")
    person.run("predict", given.talk, "-o", person.output, "--unit", "turns", "--pool")
    person.run("predict", given.talk, "--table", person.output / "all.csv")
    (given.folder / "talk.srt").write_text("1\n00:00:00,500 --> 00:00:01,500\nGood morning.\n")
    person.run("predict", given.talk, "-o", person.output, "--segments", given.folder, "--format", "csv,eaf,textgrid")
    person.run("predict", given.talk, "-o", person.output / "curves", "--format", "eaf,praat")
    for ending in ("json", "annotation", "stream"):
        person.run("predict", given.talk, "-o", person.output, "--format", ending)
    person.run("predict", person.here / "none.wav", "-o", person.output, code=1)


def predict_tables(person: Person, given: Given) -> None:
    needs("pyarrow", "pyreadstat", "xlsxwriter")
    for ending in ("parquet", "xlsx", "sav"):
        person.run("predict", given.talk, "--table", person.output / f"all.{ending}")
        assert (person.output / f"all.{ending}").is_file()


def predict_in_a_store(person: Person, given: Given) -> None:
    """The journal of a run into a store is in the cache; nothing else is left here, and no credentials anywhere."""
    needs("s3fs", "moto", "flask_cors")
    with object_store() as store:
        store.reset()
        person.environment |= store.environment
        store.put("in/talk.wav", given.talk.read_bytes())
        person.run("predict", "s3://study/in/talk.wav", "-o", "s3://study/out")
        assert person.cached() == set() and len(store.keys("out/")) == 2
        said = person.run("predict", "s3://study/in", "-o", "s3://study/run", "--table", "s3://study/all.csv")
        assert person.cached() == {"runs"} and store.keys("all.csv") and len(store.keys("run/")) == 0
        secret = CREDENTIALS["AWS_SECRET_ACCESS_KEY"].encode()
        files = [path.read_bytes() for path in person.home.rglob("*") if path.is_file()]
        assert files and not any(secret in content for content in (*files, *map(store.get, store.keys()), said.stderr))


def predict_on_other_engines(person: Person, given: Given) -> None:
    needs("onnxruntime", "torch")
    person.run("predict", given.talk, "-o", person.output, "--engine", "onnxruntime")
    person.run("predict", given.talk, "-o", person.output, "--model", given.checkpoint, "--engine", "torch")
    assert person.cached() == set()


def serve(person: Person, given: Given) -> None:
    command = [sys.executable, "-m", "emow2v", "serve", "--port", "0", "--threads", "1"]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=person.environment, cwd=person.here
    )
    try:
        assert server.stdout is not None
        found = re.search(r"http://([^:/]+):(\d+)", server.stdout.readline())
        assert found
        client = http.client.HTTPConnection(found[1], int(found[2]), timeout=300)
        head = '--b\r\nContent-Disposition: form-data; name="file"; filename="talk.wav"\r\n\r\n'
        body = head.encode() + given.talk.read_bytes() + b"\r\n--b--\r\n"
        client.request("POST", "/v1/predictions", body, {"Content-Type": "multipart/form-data; boundary=b"})
        answer = client.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
        for path in ("/", "/static/plotly.min.js", "/metrics"):
            client.request("GET", path)
            client.getresponse().read()
        client.close()
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
    assert person.cached() == {"server"}


def live(person: Person, given: Given) -> None:
    samples, _ = soundfile.read(given.talk, dtype="int16")
    assert person.run("live", "-", sound=samples.tobytes()).stdout.count(b"\n") == 10
    assert person.cached() == set()


def demonstration(person: Person, given: Given) -> None:
    needs("matplotlib")
    person.run("demo", "-o", person.output)
    assert person.cached() == set()


def evaluate(person: Person, given: Given) -> None:
    needs("sklearn", "matplotlib")
    person.run("evaluate", "--data", given.corpus, "-o", person.output, "--draws", "10")
    assert person.cached() == set()


def robustness(person: Person, given: Given) -> None:
    needs("matplotlib")
    person.run("robustness", given.talk, "-o", person.output)
    assert person.cached() == set()


def compare(person: Person, given: Given) -> None:
    for name in ("one", "other"):
        person.run("predict", given.talk, "-o", person.output / name)
    person.run("compare", person.output / "one", person.output / "other")
    assert person.cached() == set()


def export(person: Person, given: Given) -> None:
    needs("torch", "onnx")
    person.run("export", "--model", given.checkpoint, "-o", person.output)
    assert person.cached() == set()


def prune(person: Person, given: Given) -> None:
    needs("torch", "transformers")
    person.run("prune", "--model", given.encoder, "-o", person.output, "--layers", "2")
    assert person.cached() == set()


def train(person: Person, given: Given) -> None:
    needs("torch", "accelerate", "tensorboard")
    person.run("prune", "--model", given.encoder, "-o", person.output / "start", "--layers", "2")
    changes = (f"model={person.output / 'start'}", f"data={given.corpus}", "epochs=1", "batch_size=4")
    person.run("train", "msp-dim", *changes, "-o", person.output / "run")
    assert (person.output / "run" / "tensorboard").is_dir() and person.cached() == set()


def models_list(person: Person, given: Given) -> None:
    person.run("models", "list")
    assert person.cached() == set()


def plot(person: Person, given: Given) -> None:
    pytest.importorskip("matplotlib")
    person.run("predict", given.talk, "-o", person.output)
    person.run("plot", person.output / f"{given.talk.stem}.csv", "-o", person.output / "page.png")


def cite(person: Person, given: Given) -> None:
    person.run("cite")
    assert person.cached() == set()


def models_info(person: Person, given: Given) -> None:
    person.run("models", "info", "lite")
    assert person.cached() == set()


def models_verify(person: Person, given: Given) -> None:
    person.run("models", "verify", "lite")
    assert person.cached() == set()


def models_pull(person: Person, given: Given) -> None:
    needs("torch", "onnx")
    folder = given.archive.parent
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/weights.zip"
        person.run("models", "pull", "msp-dim", "--from", address, "--accept-licence", code=1)
        person.run(
            "models", "pull", "msp-dim", "--from", address, "--accept-licence", "--unverified", code=1
        )  # kept, and said
        server.shutdown()
    assert person.cached() == {"models", "downloads"}


def models_add(person: Person, given: Given) -> None:
    needs("torch", "onnx")
    person.run("models", "add", given.package, "--name", "own")
    person.run("predict", given.talk, "-o", person.output, "--model", "own")
    assert person.cached() == {"models"}


def models_remove(person: Person, given: Given) -> None:
    models_add(person, given)
    person.run("models", "remove", "own")
    person.run("models", "remove", "lite", code=1)


def models_quantize(person: Person, given: Given) -> None:
    needs("nncf")
    from emow2v.engines.openvino import has_int8

    if not has_int8():
        pytest.skip("this processor has no 8-bit products for int8")
    person.run("models", "quantize", "lite")
    assert person.cached() == {"models"}


def backup(person: Person, given: Given) -> None:
    needs("fastapi")
    person.run("backup", "-o", person.output, code=1)  # there is no server yet
    work, other = person.output / "work", person.output / "other"
    (work / "uploads").mkdir(parents=True)
    from emow2v.server.jobs.store import Store

    Store(work / "jobs.sqlite").close()
    said = person.run("backup", "-o", person.output / "backup.zip", "--work-dir", work).stdout
    assert said.startswith(b"backed up: 0 jobs, 1 file")
    person.run("backup", "-o", person.output / "backup.zip", "--work-dir", work, code=1)
    assert person.run("restore", person.output / "backup.zip", "--work-dir", other).stdout.startswith(
        b"restored: 0 jobs"
    )
    person.run("restore", person.output / "backup.zip", "--work-dir", other, code=1)
    assert sorted(path.name for path in person.output.iterdir()) == ["backup.zip", "other", "work"]
    assert [path.name for path in other.iterdir()] == ["jobs.sqlite"] and person.cached() == set()


def tokens(person: Person, given: Given) -> None:
    assert person.run("tokens", "list").stdout.count(b"\n") == 1 and person.cached() == set()
    token = person.run("tokens", "add", "anna").stdout.decode().strip()
    person.run("tokens", "add", "anna", code=1)
    person.run("tokens", "remove", "anna")
    stored = (person.home / CACHE / "server" / "tokens.json").read_text()
    assert person.cached() == {"server"} and len(token) > 40 and token not in stored


def web_build(person: Person, given: Given) -> None:
    needs("plotly")
    from browser_builds import package

    person.run("web", "build", person.output / "page", "--onnxruntime-web", package())
    assert (person.output / "page" / "build.json").is_file() and person.cached() == set()
    person.run("web", "build", person.output / "other", "--registry", "http://127.0.0.1:9", code=1)
    assert person.cached() == {"downloads"} and not (person.output / "other").exists()


CASES = {
    "predict": [predict, predict_tables, predict_on_other_engines, predict_in_a_store],
    "serve": [serve],
    "live": [live],
    "demo": [demonstration],
    "evaluate": [evaluate],
    "robustness": [robustness],
    "compare": [compare],
    "cite": [cite],
    "plot": [plot],
    "export": [export],
    "prune": [prune],
    "train": [train],
    "backup": [backup],
    "restore": [backup],
    "tokens add": [tokens],
    "tokens list": [tokens],
    "tokens remove": [tokens],
    "web build": [web_build],
    "models list": [models_list],
    "models info": [models_info],
    "models pull": [models_pull],
    "models verify": [models_verify],
    "models quantize": [models_quantize],
    "models add": [models_add],
    "models remove": [models_remove],
}
QUICK = (predict, live, models_list, models_info)  # the others are slow


def commands(group: object, before: str = "") -> Iterator[str]:
    """Names of every command, as the command line itself has them."""
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield before + name


def test_every_command_has_a_case() -> None:
    assert set(commands(typer.main.get_command(cli.app))) == set(CASES)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.__name__, marks=[] if case in QUICK else [pytest.mark.slow])
        for case in dict.fromkeys(case for cases in CASES.values() for case in cases)
    ],
)
def test_nothing_is_left_behind(case: object, person: Person, given: Given) -> None:
    case(person, given)  # type: ignore[operator]
    assert person.left() == []


def test_what_is_left_behind_is_seen(person: Person) -> None:
    """A check that cannot fail is none."""
    for folder, name in (
        (person.home, "intel/stats"),
        (person.home, ".cache/matplotlib/x"),
        (person.temporary, "a"),
        (person.here, "b"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (person.home / CACHE / "models").mkdir(parents=True)
    assert person.left() == [
        "home: .cache/matplotlib",
        "home: .cache/matplotlib/x",
        "home: intel",
        "home: intel/stats",
        "temporary: a",
        "here: b",
    ]
    shutil.rmtree(person.home / "intel")
