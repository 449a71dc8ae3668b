"""Fine-tuning of small encoders on a small made corpus."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch")
import torch
import yaml
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from rich.console import Console
from safetensors.torch import load_file

from emow2v import cards
from emow2v.agreement import ccc
from emow2v.corpora.checks import CheckedCorpus
from emow2v.corpora.read import read_corpus
from emow2v.engines import choose
from emow2v.errors import FormatError, ModelError
from emow2v.training import recipe as recipes
from emow2v.training import state as states
from emow2v.training.finetune.prune import prune
from emow2v.training.finetune.run import FineTuningResult, run
from emow2v.training.finetune.task import FineTuning, FineTuningRecipe
from encoders import pretrained
from runs import better_by_epoch, log, stopped_after
from small_corpora import stretch
from voices import RATE, hum, write_corpus

QUIET = Console(quiet=True)
STEADY = dict.fromkeys(("layerdrop", "mask_time_prob", "hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout"), 0.0)  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that wait for each other are slower than one, at these sizes; and Accelerate's state is one a process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    return prune(pretrained(folder / "whole"), folder / "pruned", keep=2).folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), 32)


@pytest.fixture(scope="module")
def recipe(small: Path, corpus: Path) -> FineTuningRecipe:
    """16 clips are trained on, in four steps an epoch."""
    return FineTuningRecipe(
        model=str(small), data=str(corpus), epochs=2, batch_size=4, learning_rate=1e-3, tensorboard=False
    )


@pytest.fixture(scope="module")
def whole(recipe: FineTuningRecipe, tmp_path_factory) -> FineTuningResult:
    """A run that nothing stopped."""
    torch.set_num_threads(1)
    AcceleratorState._reset_state(True)
    return run(recipe, tmp_path_factory.mktemp("run") / "whole", QUIET)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_a_run_writes_a_checkpoint_with_its_figures(
    whole: FineTuningResult, recipe: FineTuningRecipe, corpus: Path
) -> None:
    folder = whole.best.parent
    assert whole.best.name == "best" and not whole.skipped
    about = json.loads((whole.best / "training.json").read_text())
    assert about["best"] == whole.record and about["recipe"]["seed"] == 1
    assert yaml.safe_load((folder / "recipe.yaml").read_text())["learning_rate"] == 1e-3
    assert len(log(folder)) == 2 and whole.record["score"] == max(record["score"] for record in log(folder))
    # what the log says of the development part is what the checkpoint gives, clip by clip, on our engine
    engine = choose(cards.find(whole.best), "torch")
    with corpus.open() as file:
        rows = [row for row in csv.DictReader(file) if row["partition"] == "development"]
    found = np.stack(
        [engine.run(soundfile.read(corpus.parent / row["file"], dtype="float32")[0][None])[1][0] for row in rows]
    )
    for k, name in enumerate(("arousal", "dominance", "valence")):
        assert whole.record["ccc"][name] == pytest.approx(
            ccc([float(row[name]) for row in rows], found[:, k]), abs=1e-5
        )
    frozen = [name for name in weights(whole.best) if "feature_extractor" in name]
    before, after = weights(Path(recipe.model)), weights(whole.best)
    assert frozen and all(torch.equal(before[name], after[name]) for name in frozen)
    assert not torch.equal(before["classifier.dense.weight"], after["classifier.dense.weight"])


@pytest.mark.parametrize("stop", [2, 4, 6])
def test_a_run_stopped_within_an_epoch_ends_with_the_same_bits(
    whole: FineTuningResult, recipe: FineTuningRecipe, tmp_path: Path, stop: int
) -> None:
    """Dropout, layerdrop and masks are on."""
    stopping = replace(recipe, checkpoint_steps=2)
    with stopped_after(FineTuning, stop):
        run(stopping, tmp_path / "run", QUIET)
    result = run(stopping, tmp_path / "run", QUIET)
    assert log(tmp_path / "run") == log(whole.best.parent)
    expected, found = weights(whole.best), weights(result.best)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_a_run_of_0_1_0_whose_report_has_no_mark_goes_on(
    whole: FineTuningResult, recipe: FineTuningRecipe, tmp_path: Path
) -> None:
    stopping = replace(recipe, checkpoint_steps=2)
    with stopped_after(FineTuning, 4):
        run(stopping, tmp_path / "run", QUIET)
    described, text = (tmp_path / "run" / f"corpus{ending}" for ending in (".json", ".md"))
    values = json.loads(described.read_text())
    assert values.pop("mark")
    described.write_text(json.dumps(values, indent=2) + "\n")
    text.write_text(text.read_text().partition("<!-- emow2v:")[0])
    before = [path.read_bytes() for path in (described, text)]
    result = run(stopping, tmp_path / "run", QUIET)
    assert log(tmp_path / "run") == log(whole.best.parent)
    assert [path.read_bytes() for path in (described, text)] == before
    expected, found = weights(whole.best), weights(result.best)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    (tmp_path / "other").mkdir()  # a folder without a state is nobody's run
    shutil.copy(described, tmp_path / "other" / described.name)
    with pytest.raises(FormatError, match="is there already"):
        run(recipe, tmp_path / "other", QUIET)


def test_a_resumed_run_with_another_recipe_corpus_or_checkpoint_is_refused(
    whole: FineTuningResult, recipe: FineTuningRecipe, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(whole.best.parent, tmp_path / "run"))
    other = write_corpus(tmp_path / "corpus", 32, seed=1)
    wider = prune(pretrained(tmp_path / "whole", seed=5), tmp_path / "pruned", keep=2).folder
    for change, sentence in (
        ({"learning_rate": 1e-4}, "learning_rate was 0.001 and is 0.0001"),
        ({"epochs": 3}, "epochs was 2 and is 3"),
        ({"data": str(other)}, "the corpus was"),
        ({"model": str(wider)}, "the checkpoint was"),
    ):
        with pytest.raises(FormatError, match=sentence):
            run(replace(recipe, **change), folder, QUIET)
    assert run(replace(recipe, workers=1, checkpoint_steps=7), folder, QUIET) == replace(whole, best=folder / "best")


def test_a_best_network_that_was_not_in_its_place_is_put_back(
    whole: FineTuningResult, recipe: FineTuningRecipe, tmp_path: Path
) -> None:
    """A run that was killed while it replaced best/ left a state that names a network which is not there."""
    folder = Path(shutil.copytree(whole.best.parent, tmp_path / "run"))
    hidden = folder / ".best.0123abcd.old"
    hidden.mkdir()
    (folder / "best").rename(hidden / "best")
    (folder / ".state.pt.0123.part").write_bytes(b"half a state")
    (folder / "state.pt.part").write_bytes(b"half a state of version 0.1.0")
    assert run(recipe, folder, QUIET) == replace(whole, best=folder / "best")
    assert all(torch.equal(value, weights(folder / "best")[name]) for name, value in weights(whole.best).items())
    assert not [path for path in folder.iterdir() if "best." in path.name or path.name.endswith(".part")]
    shutil.rmtree(folder / "best")
    with pytest.raises(
        FormatError, match=r"best is missing, although .*state\.pt says that epoch \d wrote it; copy it"
    ):
        run(recipe, folder, QUIET)


KILLED = """
import os, signal, sys
from pathlib import Path
from rich.console import Console
from emow2v.training import recipe as recipes
from emow2v.training.finetune.task import FineTuning, FineTuningRecipe
from emow2v.training.finetune.run import run
sys.path.insert(0, sys.argv[4])
from runs import better_by_epoch
import torch
torch.set_num_threads(1)
FineTuning.evaluate = better_by_epoch(FineTuning.evaluate)
replace, found = Path.replace, []
def killing(self, target):
    if target.name == "best":
        found.append(target)
        if len(found) == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
Path.replace = killing
given = recipes.read(Path(sys.argv[1]))
recipes.task(given)
run(recipes.parse(FineTuningRecipe, given), Path(sys.argv[2]), Console(quiet=True))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX's")
def test_a_run_killed_while_it_replaces_the_best_network_goes_on(
    recipe: FineTuningRecipe, tmp_path: Path, monkeypatch
) -> None:
    """Between the two renames: best/ is not there, and the state names it."""
    learning = replace(recipe, epochs=3)
    monkeypatch.setattr(FineTuning, "evaluate", better_by_epoch(FineTuning.evaluate))
    recipes.write(tmp_path, recipes.FINE_TUNING, learning)
    plain = run(learning, tmp_path / "plain", QUIET)
    arguments = [str(tmp_path / "recipe.yaml"), str(tmp_path / "run"), "3", str(Path(__file__).parents[2])]
    ended = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    assert ended.returncode == -9
    assert (tmp_path / "run" / "state.pt").is_file() and not (tmp_path / "run" / "best").exists()
    assert cards.find(tmp_path / "run" / "best").pytorch  # for whoever uses it before the run goes on
    result = run(learning, tmp_path / "run", QUIET)
    assert log(tmp_path / "run") == log(tmp_path / "plain")
    assert all(torch.equal(value, weights(result.best)[name]) for name, value in weights(plain.best).items())
    assert not list((tmp_path / "run").glob(".best*"))


def test_a_small_corpus_is_learnt(small: Path, corpus: Path, tmp_path: Path) -> None:
    """In the same 12 clips; what is said of others is no matter of this size."""
    recipe = FineTuningRecipe(
        model=str(small),
        batch_size=12,
        learning_rate=4e-3,
        freeze_feature_encoder=False,
        network=STEADY,
        thorough=False,
    )
    clips = [one for one in read_corpus("csv", corpus) if one.partition == "train"][:12]
    clips += [replace(one, partition="development") for one in clips]
    durations = np.full(len(clips), 1.0)
    task = FineTuning(recipe, CheckedCorpus(tuple(clips), durations, (), (), False), Accelerator(cpu=True), tmp_path)
    score = 0.0
    for epoch in range(200):
        task.begin_epoch(epoch, 0)
        if task.step() < 0.08:
            score = task.evaluate()[1]
            break
    assert score > 0.9


def test_micro_batches_and_checkpointing_change_memory_and_no_number(
    recipe: FineTuningRecipe, whole: FineTuningResult, tmp_path: Path
) -> None:
    steady = replace(recipe, network=STEADY, epochs=1)
    expected = weights(run(steady, tmp_path / "whole", QUIET).best)
    for name, change in (("micro", {"micro_batch": 1}), ("checkpointing", {"gradient_checkpointing": True})):
        AcceleratorState._reset_state(True)
        found = weights(run(replace(steady, **change), tmp_path / name, QUIET).best)
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, atol=2e-4, rtol=0, msg=f"{name}: {key}")


def test_bf16_trains_close_to_fp32(recipe: FineTuningRecipe, tmp_path: Path) -> None:
    half = replace(recipe, network=STEADY, epochs=1, precision="bf16")
    result = run(half, tmp_path / "half", QUIET)
    AcceleratorState._reset_state(True)
    full = run(replace(half, precision="fp32"), tmp_path / "full", QUIET)
    assert result.record["loss"] == pytest.approx(full.record["loss"], abs=0.02)
    assert result.record["loss"] != full.record["loss"]
    assert {value.dtype for value in weights(result.best).values()} == {torch.float32}


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm"])
def test_networks_that_cannot_mask_and_other_kinds_train(corpus: Path, tmp_path: Path, kind: str) -> None:
    """The base sizes normalise over time, so that clips of different lengths go one by one."""
    base = {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False} if kind != "wavlm" else {}
    folder = prune(pretrained(tmp_path / "whole", kind, **base), tmp_path / "pruned", keep=2).folder
    recipe = FineTuningRecipe(model=str(folder), data=str(corpus), epochs=1, batch_size=8, tensorboard=False)
    result = run(recipe, tmp_path / "run", QUIET)
    assert math.isfinite(result.record["loss"]) and cards.find(result.best).pytorch


def test_clips_that_cannot_be_used_are_skipped_listed_and_counted(
    recipe: FineTuningRecipe, corpus: Path, tmp_path: Path
) -> None:
    """Found while training, where the corpus was not decoded before."""
    folder = Path(shutil.copytree(corpus.parent, tmp_path / "corpus"))
    soundfile.write(folder / "000.wav", np.zeros(RATE, np.float32), RATE)
    data = bytearray((folder / "001.wav").read_bytes())
    data[44:] = b""
    (folder / "001.wav").write_bytes(data)
    soundfile.write(folder / "004.wav", hum(0.5, 0.5, 0.5, 0.15, np.random.default_rng(0)), RATE)
    soundfile.write(folder / "002.wav", np.full(RATE, 0.3, np.float32), RATE)  # of the development part
    change = {"data": str(folder / "corpus.csv"), "batch_size": 16, "epochs": 1}
    result = run(replace(recipe, thorough=False, **change), tmp_path / "run", QUIET)
    with (tmp_path / "run" / "skipped.csv").open() as file:
        told = {Path(row["file"]).name: row["why"] for row in csv.DictReader(file)}
    assert told.keys() == {"000.wav", "001.wav", "002.wav", "004.wav"} and len(result.skipped) == 4
    assert "silent" in told["000.wav"] and "silent" in told["002.wav"] and "too few" in told["004.wav"]
    assert math.isfinite(result.record["loss"])


def test_a_training_part_of_silence_is_no_run(recipe: FineTuningRecipe, corpus: Path, tmp_path: Path) -> None:
    """Found while training, too: an untrained network is not given out for a trained one."""
    folder = Path(shutil.copytree(corpus.parent, tmp_path / "corpus"))
    with corpus.open() as file:
        files = [row["file"] for row in csv.DictReader(file) if row["partition"] == "train"]
    for name in files:
        soundfile.write(folder / name, np.zeros(RATE, np.float32), RATE)
    with pytest.raises(FormatError, match=rf"None of the {len(files)} clips of the training part can be used.*silent"):
        run(replace(recipe, thorough=False, data=str(folder / "corpus.csv")), tmp_path / "run", QUIET)
    assert not (tmp_path / "run" / "best").exists()


def test_long_clips_are_cut_at_random_and_evaluated_in_the_middle(
    recipe: FineTuningRecipe, small: Path, tmp_path: Path
) -> None:
    ramp = np.linspace(-0.5, 0.5, 3 * RATE).astype(np.float32)
    soundfile.write(tmp_path / "ramp.wav", ramp, RATE, subtype="FLOAT")
    clips = [stretch(tmp_path / "ramp.wav", 0.0, None, "a", name) for name in ("train", "development")]
    checked = CheckedCorpus(tuple(clips), np.array([3.0, 3.0]), (), (), False)
    task = FineTuning(replace(recipe, max_seconds=1.0), checked, Accelerator(cpu=True), tmp_path)
    begins = []
    for epoch in range(4):
        (signals,) = task.signals.ahead([[0]], 1, epoch)
        begins.append(float(signals[0][0]))
        assert signals[0].size == RATE
    assert len(set(begins)) == 4
    (signals,) = task.signals.ahead([[0]])
    np.testing.assert_allclose(signals[0], ramp[RATE : 2 * RATE], atol=1e-6)


def test_a_loss_that_is_no_number_is_told(recipe: FineTuningRecipe, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="try a smaller learning_rate"):
        run(replace(recipe, learning_rate=1e30, network=STEADY), tmp_path / "run", QUIET)


def test_gradients_are_shortened(recipe: FineTuningRecipe, tmp_path: Path, monkeypatch) -> None:
    norms = []
    step = torch.optim.Adam.step

    def watched(self: Any, *more: Any) -> Any:
        norms.append(
            math.sqrt(
                sum(float((p.grad**2).sum()) for g in self.param_groups for p in g["params"] if p.grad is not None)
            )
        )
        return step(self, *more)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    run(replace(recipe, epochs=1, max_gradient_norm=0.01), tmp_path / "run", QUIET)
    assert len(norms) == 4 and max(norms) == pytest.approx(0.01, rel=1e-3)


def test_curves_have_every_step_once_also_after_a_stop(recipe: FineTuningRecipe, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    drawn = replace(recipe, tensorboard=True, checkpoint_steps=2)
    with stopped_after(FineTuning, 4):
        run(drawn, tmp_path / "run", QUIET)
    AcceleratorState._reset_state(True)
    run(drawn, tmp_path / "run", QUIET)
    curves = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in curves.Scalars("loss")] == list(range(1, 9))
    assert [event.step for event in curves.Scalars("ccc/arousal")] == [4, 8]


@pytest.mark.slow
def test_two_processes_train_as_one_does(recipe: FineTuningRecipe, tmp_path: Path) -> None:
    """Begun as `accelerate launch` begins them, on the processor, where it would begin one only."""
    steady = replace(recipe, network=STEADY, epochs=1)
    expected = run(steady, tmp_path / "one", QUIET)
    changes = [f"model={steady.model}", f"data={steady.data}", "epochs=1", "batch_size=4", "learning_rate=0.001",
               f"network={json.dumps(STEADY)}", "-o", str(tmp_path / "two")]  # fmt: skip
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
               "-m", "emow2v", "train", "msp-dim", *changes]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500)
    assert done.returncode == 0, done.stderr
    state = states.read(tmp_path / "two", torch.load(tmp_path / "two" / "state.pt", weights_only=True)["made_of"])
    assert state is not None and state["made_of"]["processes"] == 2
    assert done.stdout.count("wrote ") == 1  # by one of them
    found = weights(tmp_path / "two" / "best")
    for name, value in weights(expected.best).items():
        torch.testing.assert_close(found[name], value, atol=2e-4, rtol=0, msg=name)
