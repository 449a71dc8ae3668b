import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch")
pytest.importorskip("sklearn")
import torch
from typer.testing import CliRunner

from emow2v.cards import find
from emow2v.cli.main import app
from emow2v.errors import FormatError, ModelError
from emow2v.modelstore.verify import verify
from emow2v.networks.lite import Lite, LiteConfig
from emow2v.networks.lite_frames import FramesConfig, LiteFrames
from emow2v.training import recipe as recipes
from emow2v.training.confidence import run as confidence_run
from emow2v.training.confidence.recipe import ConfidenceRecipe
from emow2v.training.frames import package as frames_package
from emow2v.training.frames.recipe import FramesRecipe
from emow2v.training.lite import package

SMALL = {"layers": 2, "width": 32, "heads": 2, "intermediate": 64, "hidden": 16}
SHORT = ["corpora=[ravdess]", "batches=4", "batch_size=8", "no_speech=4", "crop_seconds=[0.5, 1]", "steps=20",
         "speech_steps=20", "threads=1"]  # fmt: skip


@pytest.fixture(autouse=True)
def memory_as_it_is(monkeypatch) -> None:
    monkeypatch.setattr(confidence_run, "keep_memory", lambda: False)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Noise of a training corpus, by one speaker and one that is held out, and of a rated one, by two."""
    rng = np.random.default_rng(0)
    speakers = [("ravdess", f"ravdess_{n}", ("anger", "sadness")[k % 2]) for k in range(6) for n in ("01", "24")]
    speakers += [("rated", speaker, "joy") for _ in range(8) for speaker in ("x", "y")]
    rows, ratings = [], []
    for number, (name, speaker, emotion) in enumerate(speakers):
        soundfile.write(tmp_path / f"{number}.wav", rng.normal(0, 0.1, 12_000 + 300 * number), 16000)
        rows.append((f"{number}.wav", name, speaker, emotion, "normal" if name == "ravdess" else ""))
        if name == "rated":
            ratings.append((f"{number}.wav", 100 * rng.uniform(), 100 * rng.uniform()))
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "corpus", "speaker", "emotion", "intensity"), *rows])
    with (tmp_path / "ratings.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "arousal", "valence"), *ratings])
    return tmp_path


def unlike(model: torch.nn.Module) -> None:
    """Change all weights at random: a graph keeps equal tensors, as untrained layers have them, once."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
        for name, statistics in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                statistics.add_(0.01 * torch.rand_like(statistics))


def started(folder: Path, **changes: int) -> Path:
    """A model.pt as `lite-2` writes it, of random weights, whose scores spread."""
    torch.manual_seed(1)
    config = LiteConfig(**{**SMALL, "beside": 1, "confidence": 1, "emotions": 8, **changes})
    model = Lite(config)
    unlike(model)
    content = {
        "config": config.to_dict(),
        "recipe": {"epochs": 3, "corpora": ["ravdess"]},
        "figures": {"clips": 5},
        "model": model.state_dict(),
    }
    torch.save(content, folder / "model.pt")
    return folder / "model.pt"


def train(corpus: Path, start: Path, output: Path, *changes: str) -> str:
    arguments = ["train", "lite-2-confidence", f"data={corpus}", f"rated={corpus / 'ratings.csv'}", f"start={start}"]
    result = CliRunner().invoke(app, [*arguments, *SHORT, *changes, "-o", str(output)])
    if result.exception:
        raise result.exception
    return result.output


def test_the_command_adds_a_confidence_and_changes_nothing_else(corpus: Path, tmp_path: Path) -> None:
    start = started(tmp_path)
    assert "next: python -m emow2v.training.lite.package" in train(corpus, start, tmp_path / "run")
    before, after = (torch.load(path, weights_only=True) for path in (start, tmp_path / "run" / "model.pt"))
    assert after["config"] == {**before["config"], "confidence": 2}
    assert all(torch.equal(after["model"][name], value) for name, value in before["model"].items())
    assert after["model"]["confidence.speech.weight"].std() > 0 and after["figures"]["clips"] == 5
    assert after["recipe"]["confidence"]["temperature"] == 3.0 and after["recipe"]["epochs"] == 3
    recipe = recipes.read(tmp_path / "run" / "recipe.yaml")
    assert recipes.task(recipe) == recipes.CONFIDENCE
    assert recipes.parse(ConfidenceRecipe, recipe).numbers() == after["recipe"]["confidence"]
    train(corpus, tmp_path / "run" / "model.pt", tmp_path / "again")  # from a network that has one
    again = torch.load(tmp_path / "again" / "model.pt", weights_only=True)
    assert all(torch.equal(again["model"][name], value) for name, value in after["model"].items())
    package.main([str(tmp_path / "run" / "model.pt"), "-o", str(tmp_path / "package")])
    card = find(tmp_path / "package")
    assert all(row.passed for row in verify(card))
    assert "within 0.1 of what people would rate" in card.details["limits"]


def test_a_model_of_frames_takes_a_confidence(corpus: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = FramesConfig(**{**SMALL, "emotions": 8, "back": (5, 5), "ahead": (1, 1), "level_back": 20})
    network = LiteFrames(config)
    unlike(network)
    content = {
        "config": config.to_dict(),
        "recipe": FramesRecipe(corpora=("ravdess",)).numbers(),
        "figures": {"clips": 5},
        "model": network.state_dict(),
    }
    torch.save(content, tmp_path / "model.pt")
    told = train(corpus, tmp_path / "model.pt", tmp_path / "run")
    assert "next: python -m emow2v.training.frames.package" in told
    after = torch.load(tmp_path / "run" / "model.pt", weights_only=True)
    assert after["config"] == {**config.to_dict(), "confidence": 2}
    assert all(torch.equal(after["model"][name], value) for name, value in network.state_dict().items())
    assert after["model"]["confidence.speech.weight"].std() > 0 and after["figures"]["clips"] == 5
    frames_package.main([str(tmp_path / "run" / "model.pt"), "-o", str(tmp_path / "package")])
    card = find(tmp_path / "package")
    assert all(row.passed for row in verify(card))
    assert "within 0.1 of what people would rate" in card.details["limits"]
    assert "values of classes, on which it was trained, had a weight of 0.5" in card.details["targets"]


def test_what_cannot_be_taken_is_told(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="The recipe names no rated; add rated=PATH"):
        train(corpus, started(tmp_path), tmp_path / "run", "rated=''")
    with pytest.raises(ModelError, match=r"is no network with two heads; expected the model\.pt of lite-2"):
        train(corpus, started(tmp_path, beside=0), tmp_path / "run")
    for content in (b"", json.dumps({"config": {}}).encode()):
        (tmp_path / "other.pt").write_bytes(content)
        with pytest.raises(ModelError, match=r"holds no network .*expected the model\.pt of lite-2"):
            train(corpus, tmp_path / "other.pt", tmp_path / "run")
    with pytest.raises(ModelError, match=r"holds no network .*expected the model\.pt of lite-2"):
        train(corpus, tmp_path / "none.pt", tmp_path / "run")
    with pytest.raises(FormatError, match="'crop_seconds' of a recipe is 2 to 1; expected"):
        train(corpus, started(tmp_path), tmp_path / "run", "crop_seconds=[2, 1]")
    text = (corpus / "manifest.csv").read_text()
    (corpus / "manifest.csv").write_text(text.replace("ravdess_01", "ravdess_23"))
    with pytest.raises(FormatError, match="All of 12 clips are by held-out speakers"):
        train(corpus, started(tmp_path), tmp_path / "run")


def test_the_shipped_recipe_is_read() -> None:
    given = recipes.read(recipes.find("lite-2-confidence"))
    assert recipes.task(given) == recipes.CONFIDENCE
    assert "emospeech" in recipes.parse(ConfidenceRecipe, given).corpora
