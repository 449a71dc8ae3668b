"""Tutorials do what they say: their Python blocks and emow2v commands are run in order, on a small made corpus."""

import importlib
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from emow2v import cli
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
def follow(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Run a page in a folder with the corpus; the names that its code has made."""

    def follow(name: str) -> dict[str, Any]:
        path = ROOT / "docs" / "tutorials" / name
        monkeypatch.chdir(corpus)
        text = path.read_text(encoding="utf-8")
        names: dict[str, Any] = {"__name__": "tutorial"}
        for block in _BLOCK.finditer(text):
            kind, code = block.groups()
            if kind == "python":
                before = text[: block.start(2)].count("\n")  # so that a traceback names the page's line
                exec(compile("\n" * before + code, path, "exec"), names)
            for command in code.splitlines() if kind == "sh" else ():
                if command.startswith("emow2v "):
                    result = CliRunner().invoke(cli.app, shlex.split(command)[1:])
                    assert result.exit_code == 0, f"{command}: {result.output}"
        return names

    return follow


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
    assert (names["told"] != names["by_scores"]).any() or names["recall"] == 1
    told = names["table"]["told"].to_numpy()
    half = len(told) // 2
    assert (told[half:] == "excited").mean() > (told[:half] == "excited").mean()
    assert "unweighted average recall" in capsys.readouterr().out
