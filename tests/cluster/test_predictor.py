"""A run on a cluster of several nodes, each a process group of its own: its results are those of one computer."""

from __future__ import annotations

import io
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from emow2v.modelstore.verify import EXAMPLE
from waiting import until

pytest.importorskip("ray", reason="Ray is not installed")

from object_stores import ObjectStore
from ray_nodes import ENVIRONMENT, Nodes, nodes

pytestmark = pytest.mark.slow

CLIPS = 130  # three jobs
STEP = ("--format", "csv", "--frame-step", "100ms")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many short clips in two folders, a text file that is called .wav, and the results of one computer."""
    folder = tmp_path_factory.mktemp("made")
    signal_, rate = soundfile.read(EXAMPLE, dtype="float32")
    (folder / "in" / "b").mkdir(parents=True)
    for clip in range(CLIPS):
        begin = rate + clip * rate // 50
        place = folder / "in" / ("b" if clip % 2 else "")
        soundfile.write(place / f"t{clip:03}.wav", signal_[begin : begin + rate // 2 + 10 * clip], rate)
    (folder / "in" / "bad.wav").write_text("no sound")
    run(folder, *options("alone"))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "work")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Nodes]:
    with nodes() as started:
        yield started


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "emow2v", "predict", "in", *options]


def run(folder: Path, *options: str, code: int = 1) -> str:
    """What a run printed; one with bad.wav ends with 1."""
    done = subprocess.run(command(*options), cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    return done.stderr


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if ".emow2v" not in path.parts)


def states(folder: Path) -> dict[str, str]:
    """The state of each recording, by the journal of a run that has ended."""
    with closing(sqlite3.connect(folder / ".emow2v" / "journal.sqlite")) as database:
        return dict(database.execute("SELECT key, state FROM recordings").fetchall())


def assert_equal_runs(folder: Path, one: str, other: str) -> None:
    """The same files, rows and keys, and numbers to 1e-5, whichever computer had them."""
    assert files(folder / f"out-{one}") == files(folder / f"out-{other}")
    tables = [pd.read_csv(folder / name / "all.csv") for name in (f"table-{one}", f"table-{other}")]
    pd.testing.assert_frame_equal(tables[0], tables[1], rtol=0, atol=1e-5)
    assert states(folder / f"out-{one}") == states(folder / f"out-{other}")
    failures = [(folder / f"out-{name}" / "failures.csv").read_text() for name in (one, other)]
    assert failures[0] == failures[1]


def options(name: str, *more: str) -> tuple[str, ...]:
    return "-o", f"out-{name}", "--table", f"table-{name}/all.csv", *STEP, *more


@pytest.fixture
def node(cluster: Nodes) -> Iterator[None]:
    """A node with one processor, for one test."""
    process = cluster.add()
    yield
    cluster.kill(process)


# What makes a node odd, before anything else runs in its processes: a folder that it does not have, another version,
# or no packages of models
ODD = """
import os, sys
if os.environ.get("ODD") == "version":
    import emow2v._version
    emow2v._version.__version__ = "0.0.1"
elif os.environ.get("ODD") == "folder":
    import emow2v.storage
    emow2v.storage.exists = lambda path: False
elif os.environ.get("ODD") == "weights":
    import emow2v.cards, emow2v.errors
    find = emow2v.cards.find
    def only_sent(place):
        if "emow2v-weights-" in str(place):
            return find(place)
        raise emow2v.errors.ModelError("not here")
    emow2v.cards.find = only_sent
"""


def odd(folder: Path, what: str) -> dict[str, str]:
    """The environment of an odd node."""
    place = folder / "odd"
    place.mkdir()
    (place / "sitecustomize.py").write_text(ODD)
    return {"PYTHONPATH": os.pathsep.join([str(place), ENVIRONMENT["PYTHONPATH"]]), "ODD": what}


def test_a_node_is_killed_and_another_one_comes(folder: Path, cluster: Nodes) -> None:
    run(folder, *options("alone"))
    node = cluster.add()
    process = subprocess.Popen(
        command(*options("ray", "--ray", cluster.address)),
        cwd=folder,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    )
    out = folder / "out-ray"
    until(lambda: list(out.rglob("t*.csv")), "no result came", alive=lambda: process.poll() is None)
    cluster.kill(node)
    other = cluster.add()
    _, said = process.communicate(timeout=300)
    cluster.kill(other)
    assert process.returncode == 1, said
    assert f"{CLIPS} of {CLIPS + 1} recordings done, 1 failed" in said
    assert_equal_runs(folder, "alone", "ray")


@pytest.mark.usefixtures("node")
def test_a_killed_command_is_continued(folder: Path, cluster: Nodes) -> None:
    first = subprocess.Popen(
        command(*options("ray", "--ray", cluster.address)), cwd=folder, env=ENVIRONMENT, stderr=subprocess.DEVNULL
    )
    out = folder / "out-ray"
    until(lambda: len(list(out.rglob("t*.csv"))) > 5, "no results came", alive=lambda: first.poll() is None)
    first.send_signal(signal.SIGKILL)
    first.wait()
    said = run(folder, *options("ray", "--ray", cluster.address))
    assert f"{CLIPS} of {CLIPS + 1} recordings done (" in said and " of them earlier), " in said
    assert_equal_runs(folder, "alone", "ray")


@pytest.mark.usefixtures("node")
def test_embeddings_turns_and_channels_are_those_of_one_computer(folder: Path, cluster: Nodes) -> None:
    for path in sorted((folder / "in").rglob("t*.wav"))[6:]:
        path.unlink()
    sound, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write(folder / "in" / "stereo.wav", np.stack([sound, sound[::-1]], axis=1), rate)
    kinds = {
        "embeddings": ("--unit", "files", "--embeddings"),
        "turns": ("--unit", "turns", "--pool"),
        "channels": ("--channel", "each", "--unit", "files", "--speech"),
    }
    for kind, more in kinds.items():
        run(folder, *options(f"{kind}-alone", *more))
        run(folder, *options(f"{kind}-ray", *more, "--ray", cluster.address))
        assert_equal_runs(folder, f"{kind}-alone", f"{kind}-ray")


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("version", "has emow2v 0.0.1; expected emow2v "),
        ("folder", "does not see in/"),
    ],
)
def test_a_node_that_does_not_fit_gets_no_recordings(folder: Path, cluster: Nodes, what: str, sentence: str) -> None:
    node = cluster.add(environment=odd(folder, what))
    said = run(folder, *options("ray", "--ray", cluster.address))
    cluster.kill(node)
    assert sentence in said.splitlines()[-1]
    assert "Traceback" not in said
    assert "done" not in states(folder / "out-ray").values()


def test_a_node_without_the_weights_gets_them(folder: Path, cluster: Nodes) -> None:
    node = cluster.add(environment=odd(folder, "weights"))
    said = run(folder, *options("ray", "--ray", cluster.address))
    cluster.kill(node)
    assert "has no weights of lite; it gets them from here." in said
    assert_equal_runs(folder, "alone", "ray")


def test_nodes_read_recordings_from_a_store_by_themselves(store: ObjectStore, cluster: Nodes, tmp_path: Path) -> None:
    """The command's computer lists them and writes; only the nodes' processes, in folders of their own, read sound."""
    sound, rate = soundfile.read(EXAMPLE, dtype="float32")
    for clip in range(6):
        file = io.BytesIO()
        soundfile.write(file, sound[rate + 100 * clip : 2 * rate], rate, format="WAV")
        store.put(f"in/b/t{clip}.wav", file.getvalue())
    store.put("in/bad.wav", b"no sound")
    environment = {**ENVIRONMENT, **store.environment, "EMOW2V_HOME": str(tmp_path / "home")}
    process = cluster.add(environment=store.environment)
    try:
        for name, more in (("alone", ()), ("ray", ("--ray", cluster.address))):
            words = ["predict", "s3://study/in", "-o", f"s3://study/out-{name}", *STEP, *more]
            done = subprocess.run(
                [sys.executable, "-m", "emow2v", *words], cwd=tmp_path, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 1 and "6 of 7 recordings done" in done.stderr, done.stderr
    finally:
        cluster.kill(process)
    assert [key.replace("out-ray", "out-alone") for key in store.keys("out-ray/")] == store.keys("out-alone/")
    for key in store.keys("out-alone/"):
        if key.endswith("t0.csv"):
            tables = [pd.read_csv(io.BytesIO(store.get(one))) for one in (key, key.replace("alone", "ray"))]
            pd.testing.assert_frame_equal(tables[0], tables[1], rtol=0, atol=1e-5)
    assert store.get("out-alone/failures.csv") == store.get("out-ray/failures.csv")
