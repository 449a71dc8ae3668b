"""States of version 0.1.0 are gone on with: their layout, and the digests by which they know their corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("accelerate")
import torch

from emow2v.corpora.clip import Clip
from emow2v.corpora.read import read_corpus
from emow2v.training import state
from emow2v.training.finetune import run as finetune_run
from emow2v.training.lite import run as lite_run
from emow2v.training.lite.targets import TARGETS
from emow2v.training.loop import Loop
from runs import Counting, plain
from small_corpora import write_csv

MADE_OF = {"epochs": 2, "crop_seconds": (0.5, 1.0), "the corpus": "7b4d"}


def test_a_run_of_0_1_0_goes_on(tmp_path: Path) -> None:
    whole = Loop(Counting([0.1, 0.3]), tmp_path / "whole", MADE_OF, 2).run()
    # as version 0.1.0 wrote it behind the second of three steps of the second epoch
    old = {
        "made_of": MADE_OF,
        "epoch": 1,
        "step": 2,
        "seconds": 0.25,
        "losses": [4.993, 7.4923],
        "history": [{"epoch": 1, "loss": 2.7700000000000005, "seconds": 0.5, "score": 0.1, "value": 6.41}],
        "finished": False,
        "task": {"value": torch.tensor([7.0])},
    }
    task = Counting([0.1, 0.3])
    (tmp_path / "old").mkdir()
    torch.save(old, tmp_path / "old" / "state.pt")
    records = Loop(task, tmp_path / "old", {**MADE_OF, "crop_seconds": [0.5, 1.0]}, 2).run()
    assert task.done == [(1, 2)] and [record["epoch"] for record in records] == [1, 2]
    assert plain(whole)[1].keys() == plain(records)[1].keys()
    assert float(task.value) == pytest.approx(7.0 * 1.1 + 3)


def test_a_finished_run_of_0_1_0_is_finished(tmp_path: Path) -> None:
    history = [{"epoch": 1, "loss": 2.77, "seconds": 0.5, "score": 0.1}]
    old = {"made_of": MADE_OF, "epoch": 1, "step": 0, "seconds": 0.0, "losses": [], "history": history}
    torch.save({**old, "finished": True, "task": {"value": torch.zeros(1)}}, tmp_path / "state.pt")
    task = Counting([0.1])
    assert Loop(task, tmp_path, MADE_OF, 1).run() == history and not task.done


def test_corpora_have_the_digests_of_0_1_0(tmp_path: Path, monkeypatch) -> None:
    rows = [
        {
            "file": "a.wav",
            "speaker": "A",
            "partition": "train",
            "start": "",
            "arousal": 2,
            "dominance": 4,
            "valence": "",
        },
        {
            "file": "b/c.wav",
            "speaker": "",
            "partition": "dev",
            "start": 1.5,
            "arousal": 7,
            "dominance": 3.3,
            "valence": 1,
        },
    ]
    clips = read_corpus("csv", write_csv(tmp_path / "corpus.csv", rows), scale="1:7")
    assert finetune_run._digest(clips) == "35bc4cada76e76c0594a3f5b6c75ee5e5b3724ed020fef9d7c67bff886f39423"
    acted = [
        Clip(Path("x/1.wav"), "1.wav", speaker="nemo_TP0", emotion="anger", groups={"corpus": "nemo"}),
        Clip(
            Path("2.wav"),
            "2.wav",
            speaker="ravdess_01",
            emotion="calm",
            intensity="strong",
            groups={"corpus": "ravdess"},
        ),
        Clip(Path("3.wav"), "3.wav", speaker="baved_1", intensity="2", groups={"corpus": "baved"}),
    ]
    # the values of classes are part of a corpus, and were others in 0.1.0
    monkeypatch.setitem(TARGETS, "anger", (0.80, 0.78, 0.22))
    monkeypatch.setitem(TARGETS, "calm", (0.32, 0.42, 0.58))
    assert lite_run._digest(acted, "nemo") == "9a5f6ecb538944c89539a789a72c54a195769ed6bf58046a55e4ac49789e8966"


def test_digests_are_of_values() -> None:
    assert state.digest([("a", 1)]) == state.digest([["a", 1]]) != state.digest([("a", 2)])
