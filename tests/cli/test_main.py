import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import emow2v
from commands import caller
from emow2v.audio.inputs import expand
from emow2v.formats.ssi_read import read_annotation, read_stream
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from waiting import until


def run(
    *arguments: str | Path, stdin: bytes | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "emow2v", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, cwd=cwd, check=False)


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


@pytest.mark.quick
def test_version_and_help() -> None:
    assert run("--version").stdout.decode().strip() == f"emow2v {emow2v.__version__}"
    for command in ([], ["predict"], ["serve"], ["demo"], ["models"], ["models", "list"], ["models", "info"]):
        assert b"Usage" in run(*command, "--help").stdout


def test_shared_context_and_what_it_cannot_do(clip: Path, tmp_path: Path) -> None:
    result = run("predict", clip, "-o", tmp_path / "out", "--context", "shared", "--format", "json")
    assert result.returncode == 0, result.stderr.decode()
    document = json.loads((tmp_path / "out" / f"{clip.stem}.json").read_text(encoding="utf-8"))
    assert document["provenance"]["context"] == "shared" and len(document["rows"]) == 25
    result = run("predict", clip, "-o", tmp_path / "none", "--context", "shared", "--unit", "files")
    assert result.returncode == 1 and b"shares no context" in result.stderr
    assert not (tmp_path / "none").exists()


def test_batch_sizes_are_taken_as_asked(lite: Model, monkeypatch) -> None:
    seen = []
    beside = lite.engine.run_beside
    monkeypatch.setattr(lite.engine, "run_beside", lambda windows: seen.append(len(windows)) or beside(windows))
    signal = np.random.default_rng(0).normal(0, 0.1, 32000).astype(np.float32)
    for asked, largest in ((None, 16), (3, 3), (40, 40)):
        seen.clear()
        assert len(lite.predict(signal, 16000, batch_size=asked).starts) == 50
        assert max(seen) == largest


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


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["predict", EXAMPLE, "--model", "big"], 1, "Model 'big' was not found; available: lite"),
        (["predict", EXAMPLE, "--engine", "x"], 1, "Engine 'x' is unknown"),
        (["predict", EXAMPLE, "--frame-step", "fast"], 1, "--frame-step is 'fast'; expected a time"),
        (["predict", EXAMPLE, "--format", "xls"], 1, "Format 'xls' is unknown; expected csv"),
        (["predict", EXAMPLE, "-o", "-", "--format", "stream"], 1, "takes csv or json"),
        (["predict", EXAMPLE, "-o", EXAMPLE / "x"], 1, "cannot be written"),
        (["predict"], 2, "Missing argument"),
        (["serve", "--data-dir", "/none"], 1, "The data folder /none is not there"),
        (["serve", "--host", "256.1.1.1", "--insecure"], 1, "cannot be listened on"),
        (["serve", "--host", "0.0.0.0"], 1, "there is no token"),
        (["models", "info", "big"], 1, "was not found"),
    ],
)
def test_what_cannot_be_done_is_a_sentence_and_an_exit_code(arguments: list[str], code: int, sentence: str) -> None:
    done = run(*arguments)
    assert done.returncode == code
    assert sentence in done.stderr.decode() and b"Traceback" not in done.stderr


def test_a_taken_port_is_a_sentence() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("serve", "--port", str(port))
    assert done.returncode == 1 and b"cannot be listened on" in done.stderr and b"Traceback" not in done.stderr


def test_folders_patterns_and_names_that_meet(tmp_path: Path) -> None:
    for name in ("a/talk.wav", "a/talk.mp3", "a/b/talk.wav", "a/.hidden.wav", "a/notes.txt", "c/talk.wav"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found, failed = expand([str(tmp_path / "a"), str(tmp_path / "a" / "talk.wav"), str(tmp_path / "c" / "*.wav")])
    assert not failed
    places = [(Path(one.path).relative_to(tmp_path).as_posix(), one.folder.as_posix(), one.stem) for one in found]
    assert places == [
        ("a/b/talk.wav", "b", "talk"),
        ("a/talk.mp3", ".", "talk.mp3"),
        ("a/talk.wav", ".", "talk.wav"),
        ("c/talk.wav", ".", "talk.wav-2"),
    ]
    assert len({(one.folder, one.stem.lower()) for one in found}) == len(found)


def test_models(invoke) -> None:
    assert "lite" in invoke("models", "list").stdout
    assert json.loads(invoke("models", "info", "lite", "--json").stdout)["licence"] == "CC-BY-NC-SA-4.0"
    lines = invoke("models", "info", "lite").stdout.splitlines()
    assert len(lines) == 10 and lines[0].startswith("lite 1.0: ") and "licence: CC-BY-NC-SA-4.0" in lines


def test_the_demo_shows_the_main_job(tmp_path: Path) -> None:
    done = run("demo", "-o", tmp_path / "mit Leerzeichen")
    assert done.returncode == 0, done.stderr.decode()
    assert b"321 values a curve at 25 a second and 321 x 1024 embeddings" in done.stdout
    names = {path.name for path in (tmp_path / "mit Leerzeichen").iterdir()}
    assert {"example.arousal.annotation", "example.embeddings.stream~", "example.png"} <= names
    assert (tmp_path / "mit Leerzeichen" / "example.png").read_bytes().startswith(b"\x89PNG")


def test_importing_is_light() -> None:
    heavy = ["torch", "openvino", "onnxruntime", "pandas", "av", "soxr", "starlette", "typer", "matplotlib", "numpy"]
    code = f"import sys, emow2v; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    # and predicting takes nothing of PyTorch or of the GPL readers
    code = (
        f"import sys, emow2v; emow2v.load().predict(r'{EXAMPLE}').scores; "
        "print([name for name in ('torch', 'transformers', 'discover_utils', 'ray') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]"


def test_the_recording_itself_is_never_overwritten(invoke, clip: Path, tmp_path: Path) -> None:
    recording = tmp_path / "talk.csv"
    recording.write_bytes(clip.read_bytes())
    result = invoke("predict", recording, "-o", tmp_path)
    assert result.exit_code == 1 and "is the recording itself" in result.stderr
    assert recording.read_bytes() == clip.read_bytes()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_with_a_name_is_read_once_and_whole(lite: Model, clip: Path, tmp_path: Path) -> None:
    import threading

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=lambda: pipe.write_bytes(clip.read_bytes()), daemon=True).start()
    np.testing.assert_allclose(lite.predict(pipe).scores, lite.predict(clip).scores, atol=1e-6)


def test_names_of_any_script_on_any_terminal(clip: Path, tmp_path: Path) -> None:
    path = clip.rename(tmp_path / "\u65e5\u672c.wav")
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252:strict"}
    command = [sys.executable, "-m", "emow2v", "predict", str(path), "-o", "-", "--unit", "files"]
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0 and "\u65e5\u672c.wav" in done.stdout.decode("utf-8")


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
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + getattr(signal, name) and b"Traceback" not in said
    assert not out.exists() and b"0 of 1 recording done, 1 not done." in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["serve", "--host", ""], "--host is empty"),
        (["serve", "--engine", "x", "--port", "0"], "Engine 'x' is unknown"),
        (["serve", "--work-dir", EXAMPLE, "--port", "0"], "is a file; expected a folder"),
        (["demo", "-o", EXAMPLE], "cannot be written"),
        (["predict", EXAMPLE, "--format", ""], "--format is empty"),
    ],
)
def test_what_cannot_start_does_not_start(arguments: list[str], sentence: str) -> None:
    done = run(*arguments)
    assert done.returncode == 1 and sentence in done.stderr.decode() and b"Traceback" not in done.stderr


LONG = "x" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", LONG, "-o", "out"],
        ["predict", EXAMPLE, "-o", LONG],
        ["predict", EXAMPLE, "--model", LONG],
        ["evaluate", "--data", LONG, "-o", "out"],
        ["evaluate", "--data", "none.csv", "-o", LONG],
        ["robustness", LONG],
        ["robustness", EXAMPLE, "-o", LONG],
        ["robustness", EXAMPLE, "--noises", LONG],
        ["compare", LONG, LONG],
        ["train", LONG, "data=x", "-o", "run"],
        ["train", "msp-dim", f"model={LONG}", "data=x", "-o", "run"],
        ["train", "lite", f"data={LONG}", "encoder=none", "-o", "run"],
        ["export", "--model", LONG, "-o", "package"],
        ["prune", "--model", LONG, "-o", "package"],
        ["models", "info", LONG],
        ["models", "add", LONG],
        ["models", "quantize", "lite", "--speech", LONG],
        ["demo", "-o", LONG],
    ],
    ids=lambda arguments: " ".join(str(one)[:12] for one in arguments),
)
def test_every_command_answers_a_refused_name_with_one_sentence(arguments: list[str], tmp_path: Path) -> None:
    if arguments[0] in ("train", "prune"):
        for package in ("torch", "transformers", "accelerate"):
            pytest.importorskip(package)
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.decode().splitlines()) == 1 and b"Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
