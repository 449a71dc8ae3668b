"""From a pre-trained encoder to an answer of the server, by the commands that a user types; one of them is killed."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

import emow2v
from emow2v.cli.main import app
from encoders import pretrained
from processes import serving
from voices import write_corpus

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


# A command that kills itself when it has written its state for the sixth time, in the second of three epochs
KILLED = """
import os, signal
from emow2v.training import state
from emow2v.cli.main import main
write, left = state.write, 6
def counted(*given, **named):
    global left
    write(*given, **named)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
state.write = counted
main()
"""


def emow2v_(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    assert result.exit_code == 0, f"{arguments}: {result.output} {result.exception!r}"
    return result.output


def log(folder: Path) -> list[dict[str, object]]:
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in record.items() if key != "seconds"} for record in records]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of Unix")
def test_prune_train_kill_resume_evaluate_export_add_serve(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", 24)
    emow2v_("prune", "--model", pretrained(tmp_path / "whole"), "--layers", 2, "-o", tmp_path / "pruned")
    changes = [f"model={tmp_path / 'pruned'}", f"data={corpus}", "epochs=3", "batch_size=3", "learning_rate=1e-3"]

    def train(output: Path, *program: str) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            *(program or ("-m", "emow2v")),
            "train",
            "msp-dim",
            *changes,
            "checkpoint_steps=1",
            "-o",
            str(output),
        ]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENVIRONMENT)

    # 12 clips are trained on, in four steps an epoch
    killed = train(tmp_path / "run", "-c", KILLED)
    told = killed.communicate()[0].decode()
    assert killed.returncode == -signal.SIGKILL, told
    assert len(log(tmp_path / "run")) == 1
    for output in ("run", "whole-run"):
        done = train(tmp_path / output)
        told = done.communicate()[0].decode()
        assert done.returncode == 0, told
        assert ("going on after step" in told) == (output == "run")
    assert log(tmp_path / "run") == log(tmp_path / "whole-run") and len(log(tmp_path / "run")) == 3
    best, same = (load_file(tmp_path / name / "best" / "model.safetensors") for name in ("run", "whole-run"))
    assert all(np.array_equal(value, same[name]) for name, value in best.items())

    tests = ["--data", tmp_path / "run" / "corpus.csv", "--only", "partition=test", "--draws", 0]
    emow2v_("evaluate", "--model", tmp_path / "run" / "best", *tests, "--engine", "torch", "-o", tmp_path / "report")
    report = json.loads(next((tmp_path / "report").glob("*.json")).read_text())
    assert "arousal" in json.dumps(report)
    emow2v_("export", "--model", tmp_path / "run" / "best", "-o", tmp_path / "package")
    assert "installed ours in" in emow2v_("models", "add", tmp_path / "package", "--name", "ours")

    clip = tmp_path / "corpus" / "003.wav"
    with serving("--model", "ours", "--data-dir", str(tmp_path / "corpus"), work=tmp_path / "work") as url:
        with clip.open("rb") as file:
            answer = httpx.post(f"{url}/v1/predictions", files={"file": file}, data={"format": "csv"}, timeout=300)
        assert answer.status_code == 200, answer.text
    rows = list(csv.DictReader(line for line in io.StringIO(answer.text) if not line.startswith("#")))
    expected = emow2v.load(tmp_path / "run" / "best", engine="torch").predict(clip).to_frame()
    names = ["arousal", "dominance", "valence"]
    found = np.array([[float(row[name]) for name in names] for row in rows])
    np.testing.assert_allclose(found, expected[names].to_numpy(), atol=2e-4)
