"""The command line as a whole: how it starts, refuses and ends."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import emow2v
from commands import run
from emow2v.modelstore.verify import EXAMPLE


@pytest.mark.quick
def test_version_and_help() -> None:
    assert run("--version").stdout.decode().strip() == f"emow2v {emow2v.__version__}"
    for command in ([], ["predict"], ["serve"], ["demo"], ["models"], ["models", "list"], ["models", "info"]):
        assert b"Usage" in run(*command, "--help").stdout


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


def test_names_of_any_script_on_any_terminal(tmp_path: Path) -> None:
    path = shutil.copyfile(EXAMPLE, tmp_path / "\u65e5\u672c.wav")
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252:strict"}
    command = [sys.executable, "-m", "emow2v", "predict", str(path), "-o", "-", "--unit", "files"]
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0 and "\u65e5\u672c.wav" in done.stdout.decode("utf-8")


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
