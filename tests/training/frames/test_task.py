"""A model of frames learns what its teacher says, and a run that was stopped goes on as if it had not been."""

from pathlib import Path

import pytest

pytest.importorskip("torch")
import torch

from emow2v.networks.lite import Lite, LiteConfig
from emow2v.training.frames import task as frames_task
from emow2v.training.frames.recipe import FramesRecipe
from emow2v.training.frames.run import student
from emow2v.training.frames.task import FramesTraining
from emow2v.training.lite.signals import decode
from emow2v.training.lite.targets import EMOTIONS, read_acted_clips
from emow2v.training.loop import Loop
from runs import log, stopped_after
from small_corpora import write_tones

SIZES = {"layers": 2, "width": 32, "heads": 2, "intermediate": 64, "hidden": 16}


@pytest.fixture(autouse=True)
def few_statistics(monkeypatch) -> None:
    monkeypatch.setattr(frames_task, "STATISTICS_BATCHES", 2)
    monkeypatch.setattr(frames_task, "PLACES_WINDOWS", 16)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tones")
    write_tones(folder)
    return folder


def teacher() -> Lite:
    torch.manual_seed(0)
    model = Lite(LiteConfig(**SIZES, emotions=len(EMOTIONS), confidence=1, beside=1))
    torch.nn.init.normal_(model.embed_positions.weight, std=0.3)
    for statistics in (model.standardise, model.lower.standardise):
        statistics.running_var.fill_(0.01)
    return model.eval()


def trainer(corpus: Path, **changes) -> FramesTraining:
    given = {"trunk_rate": 1e-3, "head_rate": 2e-3, "frozen_layers": 0, "average_decay": 0.5, **changes}
    recipe = FramesRecipe(
        batch_size=8, crop_seconds=(0.6, 1.0), long_share=0.0, no_speech=1, corpora=("ravdess",), back=(10, 5), ahead=(2, 1),
        level_back=30, pause_seconds=0.4, **given,
    )  # fmt: skip
    clips = read_acted_clips(corpus / "manifest.csv", recipe.corpora)
    signals = decode(clips, corpus / "signals.npz")
    return FramesTraining(recipe, student(recipe, teacher()), clips, signals, "cpu", teacher=teacher())


def away(task: FramesTraining) -> float:
    """Distance of the network from its teacher, of the frames of the same crops."""
    network = task.average.module.eval()
    crops = torch.stack([torch.from_numpy(task.signals[index][:16000]) for index in task.held_out])
    with torch.no_grad():
        said = task.teacher.frames(task.teacher.log_mel(crops))
        return float((network.frames(crops) - said).square().mean())


def test_the_network_comes_nearer_to_its_teacher(corpus: Path) -> None:
    task = trainer(corpus, epochs=6, frame_weight=10.0)
    begin = away(task)
    for epoch in range(6):
        task.begin_epoch(epoch, 0)
        for _ in range(task.steps_per_epoch):
            task.step()
    assert away(task) < 0.7 * begin


def test_frozen_layers_learn_distances_alone(corpus: Path) -> None:
    task = trainer(corpus, frozen_layers=1, weight_decay=0.1)
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    task.begin_epoch(0, 0)
    task.step()
    changed = {name for name, value in task.model.state_dict().items() if not torch.equal(value, before[name])}
    assert {name for name in changed if name.startswith(("conv", "layers.0."))} == {
        "layers.0.distant_keys",
        "layers.0.distant_values",
    }
    assert {
        "layers.1.fc1.weight",
        "layers.1.distant_keys",
        "position",
        "speech.0.weight",
        "lower.head.1.weight",
    } <= changed
    assert not any(parameter.requires_grad for parameter in task.teacher.parameters())


def test_scores_stay_when_values_are_standardised_again(corpus: Path) -> None:
    task = trainer(corpus)
    task.begin_epoch(0, 0)
    task.step()
    frames = torch.randn(3, 20, 64)
    task.average.module.eval()
    averaged = task.averaged()
    scores, again = (model.read(model.pooled(frames))[1] for model in (task.average.module, averaged))
    torch.testing.assert_close(again, scores, atol=1e-4, rtol=0)
    assert not torch.equal(averaged.standardise.running_mean, task.average.module.standardise.running_mean)


def test_crops_that_are_heard_together_do_not_change_the_statistics(corpus: Path, monkeypatch) -> None:
    found = []
    for together in (3, 32):
        monkeypatch.setattr(frames_task, "AT_ONCE", together)
        found.append(trainer(corpus).averaged())
    for name in ("standardise", "both"):
        few, many = (getattr(model, name) for model in found)
        torch.testing.assert_close(few.running_mean, many.running_mean, atol=1e-5, rtol=0)
        torch.testing.assert_close(few.running_var, many.running_var, atol=1e-5, rtol=1e-4)


def test_a_run_that_was_stopped_goes_on_alike(corpus: Path, tmp_path: Path) -> None:
    def run(folder: Path) -> None:
        Loop(trainer(corpus, epochs=2), folder, {"is": "alike"}, epochs=2, checkpoint_steps=2).run()

    run(tmp_path / "whole")
    with stopped_after(FramesTraining, 6):  # of four an epoch: in the second one, behind a state
        run(tmp_path / "stopped")
    run(tmp_path / "stopped")
    assert log(tmp_path / "stopped") == log(tmp_path / "whole")
    assert len(log(tmp_path / "whole")) == 2
