"""`emow2v train lite-frames`: from a teacher to a network that can be read again."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
import torch
from rich.console import Console
from typer.testing import CliRunner

from emow2v.cli.main import app
from emow2v.errors import FormatError, ModelError
from emow2v.networks.lite import Lite, LiteConfig
from emow2v.training import recipe as recipes
from emow2v.training.frames import task as frames_task
from emow2v.training.frames.recipe import FramesRecipe
from emow2v.training.frames.run import read_frames, read_teacher, run, student
from emow2v.training.lite.targets import EMOTIONS
from small_corpora import write_tones

SIZES = {"layers": 2, "width": 32, "heads": 2, "intermediate": 64, "hidden": 16}


def write_teacher(path: Path, **changes) -> Path:
    torch.manual_seed(0)
    model = Lite(LiteConfig(**{**SIZES, "emotions": len(EMOTIONS), "confidence": 1, "beside": 1, **changes}))
    torch.save({"config": model.config.to_dict(), "recipe": {}, "figures": {}, "model": model.state_dict()}, path)
    return path


def test_the_command_trains_and_its_network_can_be_read(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(frames_task, "STATISTICS_BATCHES", 2)
    monkeypatch.setattr(frames_task, "PLACES_WINDOWS", 16)
    write_tones(tmp_path)
    changes = [
        f"data={tmp_path}", f"teacher={write_teacher(tmp_path / 'teacher.pt')}", "corpora=[ravdess]", "epochs=1",
        "batch_size=16", "crop_seconds=[0.6, 0.8]", "long_seconds=0.8", "pause_seconds=0.2", "back=[10, 5]", "ahead=[2, 1]",
        "level_back=30", "half=false", "threads=1", "device=cpu", "tensorboard=false",
    ]  # fmt: skip
    result = CliRunner().invoke(app, ["train", "lite-frames", *changes, "-o", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert "CCC on the held-out speakers" in result.output
    assert f"next: python -m emow2v.training.frames.package {tmp_path / 'run' / 'model.pt'}" in result.output
    model, stored = read_frames(tmp_path / "run" / "model.pt")
    assert (model.config.back, model.config.ahead, model.config.floor) == ((10, 5), (2, 1), -6.0)
    assert model.emotion is None
    assert stored["figures"]["clips"] == 10
    assert "teacher" not in stored["recipe"]
    frames, speech = model(torch.zeros(1, 16000))
    assert (frames.shape, speech.shape) == ((1, 25, 64), (1, 25))
    written = recipes.read(tmp_path / "run" / "recipe.yaml")
    assert recipes.task(written) == recipes.LITE_FRAMES
    assert recipes.parse(FramesRecipe, written).numbers() == json.loads(json.dumps(stored["recipe"])) | {
        name: tuple(stored["recipe"][name]) for name in ("back", "ahead", "crop_seconds", "corpora")
    }


def test_the_shipped_recipe_goes_with_a_lite_of_three_layers(tmp_path: Path) -> None:
    given = recipes.read(recipes.find("lite-frames"))
    assert recipes.task(given) == recipes.LITE_FRAMES
    recipe = recipes.parse(FramesRecipe, given)
    teacher = read_teacher(write_teacher(tmp_path / "teacher.pt", layers=3))
    model = student(recipe, teacher)
    assert model.look_ahead / 16000 < 1
    torch.testing.assert_close(model.layers[2].fc1.weight, teacher.layers[2].fc1.weight)
    assert torch.equal(model.share, teacher.share)


def test_what_cannot_be_trained_is_told(tmp_path: Path) -> None:
    write_tones(tmp_path)
    alone = write_teacher(tmp_path / "alone.pt", beside=0)
    deep = write_teacher(tmp_path / "deep.pt")
    (tmp_path / "text.pt").write_text("nothing of the kind")
    for given, error, words in (
        ({}, FormatError, "names no teacher"),
        ({"teacher": str(tmp_path / "none.pt")}, ModelError, "holds no network"),
        ({"teacher": str(tmp_path / "text.pt")}, ModelError, "holds no network"),
        ({"teacher": str(alone)}, ModelError, "no lite with a head beside"),
        ({"teacher": str(deep)}, FormatError, "a number for each layer"),
    ):
        with pytest.raises(error, match=words):
            run(FramesRecipe(data=str(tmp_path), corpora=("ravdess",), **given), tmp_path / "run", Console(quiet=True))
    with pytest.raises(ModelError, match="no model of frames"):
        read_frames(deep)


def test_keys_without_a_part_in_it_are_refused() -> None:
    for given, words in (
        ({"beside": 1, "start": "lite"}, "'start' of a recipe has no part"),
        ({"level_ahead": 6}, "a multiple of 4"),
        ({"crop_seconds": (0.2, 1.0)}, "0.52 s or more"),
    ):
        with pytest.raises(FormatError, match=words):
            FramesRecipe(**given)
