"""Tutorials do what they say: their Python blocks and commands are run in order, on a small made corpus."""

import csv
import importlib
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from emow2v.cli import main
from emow2v.trajectory import DIMENSIONS
from processes import serving
from voices import RATE, hum

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def hummed(text: str, speaker: str, manner: Any, path: Path) -> None:
    """In place of espeak-ng: what differs between manners is what its options ask for."""
    rng = np.random.default_rng(sum(map(ord, f"{speaker}{text}")))
    labels = [(value - 1) / 6 for value in manner.labels]
    soundfile.write(path, hum(*labels, 60 / manner.rate * 5, rng), RATE)


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What scripts/make_corpus.py makes, one sentence less; hums where there is no espeak-ng."""
    script = ROOT / "scripts" / "make_corpus.py"
    if not script.is_file():
        pytest.skip("neither the pages nor the scripts are in the source distribution")
    monkeypatch.syspath_prepend(script.parent)
    make = importlib.import_module("make_corpus")
    monkeypatch.setattr(make, "SENTENCES", make.SENTENCES[:2])
    make.write_corpus(tmp_path / "corpus", *([] if shutil.which("espeak-ng") else [hummed]))
    return tmp_path


@pytest.fixture
def follow(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Run a page in a folder with the corpus; the names that its code has made. What commands say is printed."""
    with ExitStack() as servers:

        def command(text: str, url: str) -> str:
            """The address of the server that answers from now on."""
            program, *arguments = shlex.split(text)
            if program == "emow2v" and arguments[0] == "serve":
                return servers.enter_context(serving(*arguments[1:], work=corpus / "work"))
            if program == "emow2v":
                result = CliRunner().invoke(main.app, arguments)
                assert result.exit_code == 0, f"{text}: {result.output} {result.exception!r}"
                print(result.stdout)
            elif program == "curl":
                there = [one.replace("http://127.0.0.1:8080", url) for one in arguments]
                told = subprocess.run(["curl", "-sS", "--fail-with-body", *there], capture_output=True, text=True)
                assert told.returncode == 0, f"{text}: {told.stdout} {told.stderr}"
                print(told.stdout)
            else:
                assert text == "python scripts/make_corpus.py -o corpus", text  # `corpus` has done it
            return url

        def follow(name: str) -> dict[str, Any]:
            path = ROOT / "docs" / "tutorials" / name
            monkeypatch.chdir(corpus)
            text = path.read_text(encoding="utf-8")
            names: dict[str, Any] = {"__name__": "tutorial"}
            url = ""
            for block in _BLOCK.finditer(text):
                kind, code = block.groups()
                if kind == "python":
                    before = text[: block.start(2)].count("\n")  # so that a traceback names the page's line
                    exec(compile("\n" * before + code, path, "exec"), names)
                for line in code.replace("\\\n", " ").splitlines() if kind == "sh" else ():
                    url = command(line, url)
            return names

        yield follow


@pytest.mark.slow
def test_embeddings(follow: Callable[[str], dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    """The recall is the one that evaluate computes, and far above chance; the new voice is heard to change."""
    pytest.importorskip("sklearn")
    pytest.importorskip("confidence_intervals")
    from emow2v.evaluation.embeddings import recall

    names = follow("embeddings.md")
    clips = names["clips"]
    speakers = np.unique(clips["speaker"], return_inverse=True)[1]
    judged = recall(names["embeddings"], clips["emotion"].tolist(), speakers)
    assert names["recall"] == pytest.approx(judged.uar.value) and judged.uar.value > 0.6
    assert (names["predicted"] != names["by_scores"]).any() or names["recall"] == 1
    predicted = names["table"]["predicted"].to_numpy()
    half = len(predicted) // 2
    arousal = clips.groupby("emotion")["arousal"].first().to_dict()
    calmer, livelier = (np.mean([arousal[one] for one in part]) for part in (predicted[:half], predicted[half:]))
    assert livelier > calmer
    if shutil.which("espeak-ng"):  # hums are a coarser speech: of somebody new, what is livelier is not called excited
        assert (predicted[half:] == "excited").mean() > (predicted[:half] == "excited").mean()
    assert "unweighted average recall" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="the page asks the server with curl, which is not here")
def test_training(follow: Callable[[str], dict[str, Any]], corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every step leaves what the next one needs, labels differ within batches, and the server gives what predict gives."""
    for name in ("torch", "transformers", "accelerate", "tensorboard", "sklearn", "confidence_intervals"):
        pytest.importorskip(name)
    log = follow("training.md")["log"]
    assert log["loss"].min() < 0.99 and log["score"].max() > log["score"][0]
    assert "arousal" in (corpus / "report" / "evaluation.md").read_text(encoding="utf-8")
    told = capsys.readouterr().out
    assert "installed ours in" in told
    [file] = (corpus / "predicted").rglob("*.csv")
    answered, predicted = (_scores(text) for text in (told[told.rindex("file,start") :], file.read_text("utf-8")))
    assert len(predicted) and answered == pytest.approx(predicted, abs=1e-5)


def _scores(text: str) -> np.ndarray:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return np.array([[float(row[name]) for name in ("end", *DIMENSIONS)] for row in csv.DictReader(lines)])
