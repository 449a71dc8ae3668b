"""Predicting from the command line: every option arrives, every format agrees, and one bad file costs one sentence."""

import csv
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from commands import caller, run
from emow2v.formats.ssi_read import read_annotation, read_stream
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from waiting import until


@pytest.fixture
def invoke(lite: Model, monkeypatch):
    """The command line in this process, with the model loaded already."""
    return caller(monkeypatch, lite)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    path = tmp_path / "in" / "ein Gespräch.wav"
    path.parent.mkdir()
    soundfile.write(path, signal[rate : 2 * rate], rate)
    return path


def test_shared_context_and_what_it_cannot_do(windows: Model, clip: Path, tmp_path: Path) -> None:
    shared = ("--context", "shared", "--model", windows.card.folder)
    result = run("predict", clip, "-o", tmp_path / "out", *shared, "--format", "json")
    assert result.returncode == 0, result.stderr.decode()
    document = json.loads((tmp_path / "out" / f"{clip.stem}.json").read_text(encoding="utf-8"))
    assert document["provenance"]["context"] == "shared" and len(document["rows"]) == 25
    result = run("predict", clip, "-o", tmp_path / "none", *shared, "--unit", "files")
    assert result.returncode == 1 and b"shares no context" in result.stderr
    assert not (tmp_path / "none").exists()


def test_batch_sizes_are_taken_as_asked(windows: Model, monkeypatch) -> None:
    sizes = []
    run_parallel = windows.engine.run_parallel
    monkeypatch.setattr(windows.engine, "run_parallel", lambda batch: sizes.append(len(batch)) or run_parallel(batch))
    signal = np.random.default_rng(0).normal(0, 0.1, 32000).astype(np.float32)
    for asked, largest in ((None, 16), (3, 3), (40, 40)):
        sizes.clear()
        assert len(windows.predict(signal, 16000, batch_size=asked).starts) == 50
        assert max(sizes) == largest


def test_every_format_agrees_with_the_library(invoke, lite: Model, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "neu" / "results"
    result = invoke("predict", clip, "-o", out, "--format", "csv,json,annotation,stream")
    assert result.exit_code == 0 and result.output == f"1 of 1 recording done; results are in {out}.\n"
    trajectory = lite.predict(clip)
    with (out / "ein Gespräch.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    scores = [[float(row[name]) for name in ("arousal", "dominance", "valence")] for row in rows]
    np.testing.assert_allclose(scores, trajectory.scores, atol=1e-5)
    document = json.loads((out / "ein Gespräch.json").read_text("utf-8"))
    np.testing.assert_allclose(np.array(document["rows"])[:, 2:5], trajectory.scores, atol=1e-5)
    assert document["provenance"]["model"] == "lite"
    values = read_annotation(out / "ein Gespräch.valence.annotation").values
    np.testing.assert_allclose(values, trajectory.scores[:, 2].clip(0, 1), atol=1e-5)
    stream = read_stream(out / "ein Gespräch.embeddings.stream")
    np.testing.assert_allclose(stream.data, trajectory.embeddings, atol=1e-4)


def test_options_reach_the_framing(invoke, clip: Path, tmp_path: Path) -> None:
    options = [
        "--frame-step",
        "0.25s",
        "--left-context",
        "0",
        "--start",
        "250ms",
        "--end",
        "750ms",
        "--padding",
        "zeros",
    ]
    assert invoke("predict", clip, "-o", tmp_path, *options, "--format", "json").exit_code == 0
    document = json.loads((tmp_path / "ein Gespräch.json").read_text("utf-8"))
    assert [row[:2] for row in document["rows"]] == [[0.25, 0.5], [0.5, 0.75]]
    assert document["provenance"]["padding"] == "zeros"


def test_one_value_a_file_on_standard_output(invoke, clip: Path) -> None:
    result = invoke("predict", clip, EXAMPLE, "-o", "-", "--unit", "files")
    rows = list(csv.reader(io.StringIO(result.stdout)))
    assert result.exit_code == 0 and rows[0][:3] == ["file", "start", "end"] and len(rows) == 3
    assert [row[0] for row in rows[1:]] == [str(clip), str(EXAMPLE)]
    result = invoke("predict", clip, EXAMPLE, "-o", "-", "--unit", "files", "--format", "json")
    assert [len(json.loads(line)["rows"]) for line in result.stdout.splitlines()] == [1, 1]


def test_a_pipe_in_and_out(clip: Path) -> None:
    done = run("predict", "-", "-o", "-", stdin=clip.read_bytes())
    assert done.returncode == 0 and done.stderr == b""
    assert len(done.stdout.splitlines()) == 26


def test_bad_inputs_are_one_sentence_each_and_the_others_are_done(invoke, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "empty.mp3").touch()
    (tmp_path / "folder").mkdir()
    names = [
        tmp_path / "text.wav",
        tmp_path / "empty.mp3",
        tmp_path / "none.wav",
        tmp_path / "folder",
        str(tmp_path / "*.xyz"),
        clip,
    ]
    result = invoke("predict", *names, "-o", tmp_path / "out")
    assert result.exit_code == 1 and result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 6 and all("expected" in line for line in lines[:5])
    assert lines[5] == f"1 of 6 recordings done, 5 failed; results are in {tmp_path / 'out'}."
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "ein Gespräch.csv",
        "ein Gespräch.csv-metadata.json",
    ]


def test_the_recording_itself_is_never_overwritten(invoke, clip: Path, tmp_path: Path) -> None:
    recording = tmp_path / "talk.csv"
    recording.write_bytes(clip.read_bytes())
    result = invoke("predict", recording, "-o", tmp_path)
    assert result.exit_code == 1 and "is the recording itself" in result.stderr
    assert recording.read_bytes() == clip.read_bytes()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_with_a_name_is_read_once_and_whole(lite: Model, clip: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=lambda: pipe.write_bytes(clip.read_bytes()), daemon=True).start()
    np.testing.assert_allclose(lite.predict(pipe).scores, lite.predict(clip).scores, atol=1e-6)


@pytest.mark.skipif(sys.platform == "win32", reason="signals as a terminal or an administrator sends them")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_stopped_run_leaves_nothing_half_written(tmp_path: Path, name: str) -> None:
    import signal

    signal_, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write(tmp_path / "long.wav", np.tile(signal_, 40), rate)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "emow2v", "predict", str(tmp_path / "long.wav"), "-o", str(out)]
    # a test run in the background of a shell inherits that Ctrl+C is ignored
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )
    until(lambda: out.exists() and any(out.iterdir()), alive=lambda: process.poll() is None)
    process.send_signal(getattr(signal, name))
    _, messages = process.communicate(timeout=300)
    assert process.returncode == 128 + getattr(signal, name) and b"Traceback" not in messages
    assert not out.exists() and b"0 of 1 recording done, 1 not done." in messages
