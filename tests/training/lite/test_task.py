import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch")
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from safetensors.torch import save_file
from typer.testing import CliRunner

import baseline
from emow2v.agreement import ccc
from emow2v.cards import find
from emow2v.cli.main import app
from emow2v.corpora.clip import Clip
from emow2v.errors import Emow2vError, FormatError, ModelError
from emow2v.modelstore.verify import verify
from emow2v.networks.lite import Lite, LiteConfig
from emow2v.training import recipe as recipes
from emow2v.training.confidence.recipe import ConfidenceRecipe
from emow2v.training.lite import package
from emow2v.training.lite import run as lite_run
from emow2v.training.lite import task as training
from emow2v.training.lite.augment import Augmenter
from emow2v.training.lite.held_out import held_out_figures
from emow2v.training.lite.package import load_lite
from emow2v.training.lite.recipe import LiteRecipe
from emow2v.training.lite.signals import decode
from emow2v.training.lite.targets import EMOTIONS, HELD_OUT, TARGETS, is_held_out, read_acted_clips
from emow2v.training.loop import Loop
from emow2v.training.losses import ccc_loss
from runs import log, stopped_after
from small_corpora import write_tones

SMALL = {"layers": 1, "width": 32, "heads": 2, "intermediate": 64, "hidden": 16}
SHORT = ["epochs=2", "batch_size=8", "crop_seconds=[0.5, 1]", "long_seconds=1.5", "no_speech=1", "tensorboard=false",
         "consistency_from=1", "threads=1", "device=cpu"]  # fmt: skip
floats = st.floats(-2, 2, width=32)


@given(st.lists(st.tuples(floats, floats), min_size=3, max_size=50))
def test_ccc_follows_from_correlation_spread_and_bias(pairs: list[tuple[float, float]]) -> None:
    x, y = np.array(pairs).T
    if x.std() < 1e-3 or y.std() < 1e-3:
        return
    bias = (x.mean() - y.mean()) ** 2
    expected = 2 * np.corrcoef(x, y)[0, 1] * x.std() * y.std() / (x.var() + y.var() + bias)
    assert ccc(x, y) == pytest.approx(expected, abs=1e-9)
    loss = ccc_loss(torch.tensor(x)[:, None], torch.tensor(y)[:, None])
    assert float(loss) == pytest.approx(1 - expected, abs=1e-4)


def test_ccc_leaves_out_what_is_not_known() -> None:
    x, y = np.array([0.1, 0.5, np.nan, 0.9]), np.array([0.2, 0.4, 0.7, 0.8])
    assert ccc(x, y) == ccc(x[[0, 1, 3]], y[[0, 1, 3]])
    assert np.isnan(ccc([1.0], [1.0])) and np.isnan(ccc([1.0, 1.0], [1.0, 1.0]))
    truth = torch.tensor([[0.1, np.nan], [0.5, np.nan], [0.9, np.nan]])
    prediction = torch.rand(3, 2, requires_grad=True)
    loss = ccc_loss(truth, prediction)
    assert loss.item() == pytest.approx(1 - ccc(truth[:, 0].numpy(), prediction[:, 0].detach().numpy()), abs=1e-5)
    loss.backward()
    assert torch.isfinite(prediction.grad).all() and (prediction.grad[:, 1] == 0).all()


def test_every_change_keeps_shape_and_sense_and_comes_again_with_its_seed() -> None:
    signal = torch.randn(16, 16000) * 0.1
    for change in ("add_noise", "tilt", "narrow", "reverberate", "clip", "add_voices", "quantise", "hold_edge"):
        first, second = (getattr(Augmenter(torch.Generator().manual_seed(7)), change)(signal) for _ in range(2))
        assert first.shape == signal.shape and torch.isfinite(first).all()
        assert torch.equal(first, second) and not torch.equal(first, signal)
    noisy = Augmenter(torch.Generator().manual_seed(1)).add_noise(signal)
    ratio = 10 * torch.log10((signal**2).mean(1) / ((noisy - signal) ** 2).mean(1))
    assert ratio.min() > 4.9 and ratio.max() < 35.1


def test_targets_lie_on_the_scale_and_dominance_follows_arousal() -> None:
    values = np.array(list(TARGETS.values()))
    assert set(TARGETS) == set(EMOTIONS) and values.min() > 0.1 and values.max() < 0.9
    assert np.corrcoef(values[:, 0], values[:, 1])[0, 1] > 0.8


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    write_tones(tmp_path)
    return tmp_path


def test_manifests(corpus: Path, tmp_path: Path) -> None:
    clips = read_acted_clips(corpus / "manifest.csv")
    assert len(clips) == 48 and sum(map(is_held_out, clips)) == 10
    assert {clip.speaker for clip in clips if is_held_out(clip)} <= HELD_OUT
    with pytest.raises(FormatError, match="no clip whose corpus is nemo"):
        read_acted_clips(corpus / "manifest.csv", corpora=["nemo"])
    signals = decode(clips, tmp_path / "cache" / "signals.npz")
    np.testing.assert_allclose(signals[5], soundfile.read(clips[5].file, dtype="float32")[0], atol=2e-5)
    again = decode(clips, tmp_path / "cache" / "signals.npz")
    np.testing.assert_array_equal(again.samples, signals.samples)
    (corpus / "manifest.csv").write_text("file,corpus,speaker,emotion,intensity\na.wav,nemo,x,envy,\n")
    with pytest.raises(Emow2vError, match="No target for emotion 'envy'"):
        read_acted_clips(corpus / "manifest.csv")
    with pytest.raises(Emow2vError, match="does not exist"):
        read_acted_clips(corpus / "none.csv")


@pytest.fixture(autouse=True)
def few_statistics(monkeypatch) -> None:
    monkeypatch.setattr(training, "STATISTICS_BATCHES", 4)


def trainer(corpus: Path, folder: Path, epochs: int = 1) -> training.LiteTraining:
    clips = read_acted_clips(corpus / "manifest.csv")
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    model = Lite(LiteConfig(**SMALL, emotions=len(EMOTIONS), confidence=1))
    recipe = LiteRecipe(
        epochs=epochs, batch_size=8, crop_seconds=(0.5, 1.0), long_share=0.1, long_seconds=1.5, trunk_rate=2e-3,
        head_rate=5e-3, average_decay=0.5, no_speech=1, consistency_weight=1.0, frozen_layers=0,
    )  # fmt: skip
    return training.LiteTraining(recipe, model, clips, decode(clips, folder / "signals.npz"))


def held_out(clips: list[Clip]) -> list[int]:
    return [index for index, clip in enumerate(clips) if is_held_out(clip)]


def train_epoch(task: training.LiteTraining, epoch: int = 0) -> None:
    task.begin_epoch(epoch, 0)
    for _ in range(task.steps_per_epoch):
        task.step()


@pytest.fixture
def encoder(tmp_path_factory) -> Path:
    """A folder as a Whisper encoder's, of random weights."""
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("encoder")
    own = ("conv", "embed_positions", "layers", "layer_norm")
    tensors = {name: value for name, value in Lite(LiteConfig(**SMALL)).state_dict().items() if name.startswith(own)}
    for value in tensors.values():
        if value.ndim == 1:  # ones and zeros, which graphs keep once: no trained network has equal tensors
            value.add_(0.01 * torch.randn_like(value))
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.fixture
def small(monkeypatch) -> None:
    """What `emow2v train lite` makes is small, and leaves this process's memory as it is."""
    monkeypatch.setattr(lite_run, "keep_memory", lambda: False)
    monkeypatch.setattr(lite_run, "LiteConfig", lambda **more: LiteConfig(**{**more, **SMALL}))


def train(corpus: Path, encoder: Path, output: Path, *changes: str) -> str:
    arguments = ["train", "lite", f"data={corpus}", f"encoder={encoder}", *SHORT, *changes, "-o", str(output)]
    result = CliRunner().invoke(app, arguments)
    if result.exception:
        raise result.exception
    return result.output


def test_what_is_no_speech_and_how_a_recording_begins() -> None:
    augment = Augmenter(torch.Generator().manual_seed(3))
    nothing = augment.nothing(64, 8000)
    assert nothing.shape == (64, 8000) and torch.isfinite(nothing).all() and nothing.abs().max() < 1
    silent = (nothing == 0).all(dim=1).float().mean()
    assert 0.1 < silent < 0.5
    held = augment.hold_edge(torch.randn(16, 8000))
    counts = (held == held[:, :1]).sum(dim=1)
    assert counts.min() >= 800 and counts.max() <= 7300


def test_positions_are_drawn_and_the_first_is_what_inference_takes(corpus: Path, tmp_path: Path) -> None:
    run = trainer(corpus, tmp_path / "run")
    model = run.model.eval()
    features = model.log_mel(torch.randn(2, 16000) * 0.1)
    with torch.no_grad():
        assert torch.equal(model.frames(features), model.frames(features, 0))
        last = run._positions(16000) - 1
        assert model.frames(features, last).shape == model.frames(features).shape
        assert not torch.equal(model.frames(features, last), model.frames(features))


@pytest.mark.parametrize("random", [True, False])
def test_crops_stand_where_they_will_in_use_if_the_recipe_says_so(corpus: Path, tmp_path: Path, random: bool) -> None:
    run = trainer(corpus, tmp_path / "run")
    run.recipe = replace(run.recipe, random_positions=random)
    firsts = []
    pooled = run.model.pooled

    def remembered(features: torch.Tensor, first: int = 0, **more: bool) -> tuple[torch.Tensor, ...]:
        firsts.append(first)
        return pooled(features, first, **more)

    run.begin_epoch(0, 0)
    run.model.pooled = remembered
    for _ in range(3):
        run.step()
    assert len(firsts) == 3 and any(firsts) == random


@pytest.mark.slow
def test_a_small_network_learns_and_says_how_sure_it_is(corpus: Path, tmp_path: Path) -> None:
    """Learnt: silence and noise are nothing to be sure about."""
    run = trainer(corpus, tmp_path / "run", 60)
    for epoch in range(60):
        train_epoch(run, epoch)
    model = run.averaged()
    clips = read_acted_clips(corpus / "manifest.csv")
    signals = decode(clips, tmp_path / "run" / "signals.npz")
    with torch.no_grad():
        speech = torch.cat([model(torch.from_numpy(signals[k])[None, :16000])[2] for k in range(10)])
        nothing = model(Augmenter(torch.Generator().manual_seed(9)).nothing(10, 16000))[2]
    assert speech.shape == (10, 3) and ((speech > 0) & (speech < 1)).all()
    assert speech.mean() > nothing.mean() + 0.1
    figures = held_out_figures(model, clips, signals, held_out(clips))
    assert figures["whole"]["arousal"] > 0.3


@pytest.mark.slow
def test_a_stopped_run_gives_the_same_network(corpus: Path, tmp_path: Path) -> None:
    """To the same bits, wherever it was stopped: four steps an epoch, a state after two and four of them."""
    straight = trainer(corpus, tmp_path / "straight", 4)
    Loop(straight, tmp_path / "straight", {}, 4).run()
    expected, records = straight.averaged().state_dict(), log(tmp_path / "straight")
    assert straight.steps_per_epoch == 4 and [record["epoch"] for record in records] == [1, 2, 3, 4]
    assert records[2]["loss"] < records[0]["loss"]  # from the fourth on there is one part more
    assert "score" not in records[0] and {"ccc", "windows_averaged"} < records[0].keys()
    for stop in (3, 9, 15):
        folder = tmp_path / f"stopped-{stop}"
        with stopped_after(training.LiteTraining, stop):
            Loop(trainer(corpus, folder, 4), folder, {}, 4, checkpoint_steps=2).run()
        resumed = trainer(corpus, folder, 4)
        Loop(resumed, folder, {}, 4, checkpoint_steps=2).run()
        assert log(folder) == records
        assert all(torch.equal(value, expected[name]) for name, value in resumed.averaged().state_dict().items())
    finished = trainer(corpus, folder, 4)  # its state holds what is kept, and no more
    Loop(finished, folder, {}, 4).run()
    assert all(torch.equal(value, expected[name]) for name, value in finished.averaged().state_dict().items())
    assert torch.load(folder / "state.pt", weights_only=True)["task"].keys() == {"average"}


def test_other_statistics_leave_the_scores_as_they_are() -> None:
    torch.manual_seed(1)
    config = LiteConfig(layers=1, width=32, heads=2, intermediate=64, hidden=16, emotions=3, confidence=1)
    model = Lite(config).eval()
    signal = torch.randn(3, 16000) * 0.1
    with torch.no_grad():
        before = model(signal)
        classes = model.emotion(before[0])
        model.restandardise(before[0].mean(dim=0), before[0].var(dim=0) + 0.1)
        after = model(signal)
    assert (after[0] - before[0]).abs().max() > 0.1 and after[0].mean(dim=0).abs().max() < 1e-4
    for one, other in zip(before[1:], after[1:], strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(model.emotion(after[0]), classes)


def test_in_training_a_clip_scores_as_it_will_in_use(corpus: Path, tmp_path: Path) -> None:
    """Whatever else is in its batch: the head learns from what it will be given."""
    run = trainer(corpus, tmp_path / "run")
    run._standardise(run.model)
    run._train_mode()
    run.model.head[0].eval()  # dropout
    features = run.model.log_mel(torch.randn(4, 12000) * 0.1)
    before = run.model.standardise.running_mean.clone()
    with torch.no_grad():
        together, alone = run.model.embed(features), run.model.embed(features[:1])
        torch.testing.assert_close(together[:1], alone)
        run.model.eval()
        torch.testing.assert_close(run.model.embed(features), together)
    assert torch.equal(run.model.standardise.running_mean, before)


def test_frozen_layers_stay_as_they_are(corpus: Path, tmp_path: Path) -> None:
    run = trainer(corpus, tmp_path / "run")
    recipe = replace(run.recipe, frozen_layers=1, weight_decay=0.1)
    model = Lite(LiteConfig(layers=2, width=32, heads=2, intermediate=64, hidden=16, emotions=len(EMOTIONS)))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train_epoch(training.LiteTraining(recipe, model, run.clips, run.signals))
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert not [name for name in changed if name.startswith(("conv", "embed_positions", "layers.0."))]
    assert {"layers.1.fc1.weight", "layer_norm.weight", "head.1.weight"} <= changed


def test_short_clips_are_repeated_or_lie_in_zeros() -> None:
    rng = np.random.default_rng(0)
    signal = np.arange(1, 6, dtype=np.float32)
    assert set(training.crop(signal, 12, rng, 1.0).tolist()) == {1, 2, 3, 4, 5}
    assert (training.crop(signal, 12, rng, 0.0) == 0).sum() == 7
    assert training.crop(np.zeros(0, np.float32), 4, rng, 1.0).tolist() == [0, 0, 0, 0]


@pytest.mark.slow
def test_embeddings_are_standard_over_the_training_crops(corpus: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(training, "STATISTICS_BATCHES", 64)
    run = trainer(corpus, tmp_path / "run")
    train_epoch(run)
    model = run.averaged()
    rng, augment = np.random.default_rng(1), Augmenter(torch.Generator().manual_seed(1))
    with torch.no_grad():
        crops = [augment(run._crops(np.array(run.indices), rng)) for _ in range(8)]
        rows = torch.cat([model.embed(augment.mask_bands(model.log_mel(signal))) for signal in crops])
    assert rows.mean(dim=0).abs().mean() < 0.5
    assert 0.5 < rows.std(dim=0).mean() < 1.5


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_the_command_writes_a_network_that_can_be_packaged(corpus: Path, encoder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    told = train(corpus, encoder, folder, "tensorboard=true")
    assert "epoch 2: loss" in told and "best" not in told
    assert f"next: python -m emow2v.training.lite.package {folder / 'model.pt'}" in told
    assert [event.name[:6] for event in (folder / "tensorboard").iterdir()] == ["events"]
    package.main([str(folder / "model.pt"), "-o", str(tmp_path / "package")])
    card = find(tmp_path / "package")
    assert [one["input"] for one in card.details["expected"]] == ["zeros", "noise", "example"]
    assert all(row.passed for row in verify(card))
    model, stored = load_lite(folder / "model.pt")
    assert model.emotion is None and stored["figures"]["clips"] == 10
    assert stored["recipe"]["epochs"] == 2 and not {"data", "encoder", "threads"} & stored["recipe"].keys()
    with torch.no_grad():
        assert model(torch.zeros(1, 16000))[0].shape == (1, 64)
    # the recipe in the folder is the run's: it goes on with it, and has nothing to do
    result = CliRunner().invoke(app, ["train", str(folder / "recipe.yaml"), "-o", str(folder)])
    assert result.exit_code == 0 and "wrote" in result.output and len(log(folder)) == 2


@pytest.mark.usefixtures("small")
def test_the_command_goes_on_and_refuses_another_run(corpus: Path, encoder: Path, tmp_path: Path) -> None:
    recipe = recipes.read(recipes.find("lite"), [f"data={corpus}", f"encoder={encoder}", *SHORT, "checkpoint_steps=3"])
    recipes.task(recipe)
    chosen, quiet = recipes.parse(LiteRecipe, recipe), Console(quiet=True)
    with stopped_after(training.LiteTraining, 4):
        lite_run.run(chosen, tmp_path / "run", quiet)
    assert not (tmp_path / "run" / "model.pt").exists()
    told = train(corpus, encoder, tmp_path / "run")
    assert "going on after step 3 of 8" in told
    train(corpus, encoder, tmp_path / "whole")
    assert log(tmp_path / "run") == log(tmp_path / "whole")
    found, expected = (torch.load(tmp_path / name / "model.pt")["model"] for name in ("run", "whole"))
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    for change, sentence in (
        ("seed=2", r"another recipe \(seed was 1 and is 2, the first weights was"),
        ("leave_out=nemo", "leave_out was"),
    ):
        with pytest.raises(FormatError, match=sentence):
            train(corpus, encoder, tmp_path / "run", change)
    lines = (corpus / "manifest.csv").read_text().replace(",happiness,", ",surprise,")
    (corpus / "manifest.csv").write_text(lines)
    with pytest.raises(FormatError, match="the corpus was"):
        train(corpus, encoder, tmp_path / "run")


@pytest.fixture
def ratings(corpus: Path) -> Path:
    """Ratings of two speakers in the corpus's manifest, of another corpus."""
    lines = []
    with (corpus / "manifest.csv").open("a", newline="") as file:
        for number, speaker in enumerate(("x", "y", "x", "y", "x")):
            soundfile.write(
                corpus / f"r{number}.wav", np.random.default_rng(number).normal(0, 0.1, 9000 + number), 16000
            )
            csv.writer(file).writerow((f"r{number}.wav", "rated", speaker, "joy", ""))
            lines.append((f"r{number}.wav", 20 + 10 * number, 90 - 7 * number))
    with (corpus / "ratings.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "arousal", "valence"), *lines])
    return corpus / "ratings.csv"


@pytest.mark.usefixtures("small")
def test_peoples_ratings_are_in_the_history_and_change_nothing(
    corpus: Path, ratings: Path, encoder: Path, tmp_path: Path
) -> None:
    train(corpus, encoder, tmp_path / "without", "epochs=1")
    train(corpus, encoder, tmp_path / "with", "epochs=1", f"rated={ratings}")
    (record,), (plain,) = log(tmp_path / "with"), log(tmp_path / "without")
    found = record.pop("rated")
    assert record == plain
    assert found["clips"] == 3 and found["speakers"] == ["x"]  # the other speaker is the card's
    stored, other = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("with", "without"))
    assert stored["figures"]["rated"] == found and "rated" not in other["figures"]
    assert all(torch.equal(value, stored["model"][name]) for name, value in other["model"].items())
    lines = ratings.read_text().replace("r0.wav", "1.wav").replace("r2.wav", "11.wav")  # of ravdess_02
    (corpus / "learnt.csv").write_text(lines)
    with pytest.raises(FormatError, match="ravdess_02 belongs to the training and to the speech that people rated"):
        train(corpus, encoder, tmp_path / "judge", f"rated={corpus / 'learnt.csv'}")


@pytest.mark.usefixtures("small")
def test_a_head_on_a_lower_layer_is_trained_beside_a_finished_network(
    corpus: Path, encoder: Path, tmp_path: Path, monkeypatch
) -> None:
    """Nothing else changes: its share of the scores is new, and the network under it is the one it began with."""
    two = {**SMALL, "layers": 2}
    trunk = ("conv", "embed_positions", "layers", "layer_norm")
    tensors = Lite(LiteConfig(**two)).state_dict()
    tensors = {name: one + 0.01 * torch.randn_like(one) for name, one in tensors.items() if name.startswith(trunk)}
    save_file(tensors, encoder / "model.safetensors")  # a graph stores equal tensors once
    monkeypatch.setattr(lite_run, "LiteConfig", lambda **more: LiteConfig(**{**more, **two}))
    train(corpus, encoder, tmp_path / "first", "epochs=1")
    first = tmp_path / "first" / "model.pt"
    package.main([str(first), "-o", str(tmp_path / "package")])
    for name, start, tolerance in (("second", first, 0.0), ("third", tmp_path / "package", 1e-3)):
        changes = [f"start={start}", "beside=1", "lower_share=[0.5,0.25,1]", "epochs=1", "noises=''"]
        train(corpus, encoder, tmp_path / name, *changes)
        began, ended = (torch.load(tmp_path / one / "model.pt", weights_only=True) for one in ("first", name))
        assert ended["config"]["beside"] == 1 and ended["recipe"]["lower_share"] == (0.5, 0.25, 1.0)
        assert ended["model"]["share"].tolist() == [0.5, 0.25, 1.0]
        for tensor, value in began["model"].items():
            if not tensor.startswith("emotion."):
                torch.testing.assert_close(ended["model"][tensor], value, atol=tolerance, rtol=tolerance)
        assert ended["model"]["lower.head.1.weight"].std() > 0
    package.main([str(tmp_path / "third" / "model.pt"), "-o", str(tmp_path / "beside")])
    card = find(tmp_path / "beside")
    assert all(row.passed for row in verify(card)) and card.version == "2.0"
    assert card.citation == "emow2v lite 2.0, trained on nEMO, RAVDESS and BAVED from the Whisper base encoder"
    with pytest.raises(ModelError, match="beside has a head on a lower layer already; expected a lite with one head"):
        train(corpus, encoder, tmp_path / "none", "beside=1", f"start={tmp_path / 'beside'}")
    with pytest.raises(FormatError, match="'beside' of a recipe is given without 'start'"):
        train(corpus, encoder, tmp_path / "none", "beside=1")
    with pytest.raises(FormatError, match="'beside' of a recipe is 3; expected 0, or 1 to 2"):
        train(corpus, encoder, tmp_path / "none", "beside=3", f"start={first}")
    monkeypatch.setattr(lite_run, "LiteConfig", lambda **more: LiteConfig(**{**more, **two, "width": 64}))
    with pytest.raises(ModelError, match=r"has no conv1.weight of \[64, 80, 3\]; expected a lite of as many layers"):
        train(corpus, encoder, tmp_path / "none", f"start={first}")


@pytest.mark.usefixtures("small")
def test_clips_that_cannot_be_used_are_left_out_and_named(corpus: Path, encoder: Path, tmp_path: Path) -> None:
    soundfile.write(corpus / "1.wav", np.zeros(16000), 16000)
    (corpus / "2.wav").write_bytes(b"nothing of the kind")
    for _ in range(2):  # the second time from what was kept of the first
        assert f"2 clips were left out; {tmp_path / 'run' / 'skipped.csv'}" in train(corpus, encoder, tmp_path / "run")
        with (tmp_path / "run" / "skipped.csv").open() as file:
            why = {Path(row["file"]).name: row["why"] for row in csv.DictReader(file)}
        assert why.keys() == {"1.wav", "2.wav"} and "silence" in why["1.wav"]
    (corpus / "3.wav").unlink()
    with pytest.raises(FormatError, match="1 of 48 files do not exist, such as"):
        train(corpus, encoder, tmp_path / "other")


@pytest.mark.usefixtures("small")
def test_what_cannot_be_trained_is_told_before_the_first_step(corpus: Path, encoder: Path, tmp_path: Path) -> None:
    for change, sentence in (
        ("batch_size=64", "38 clips are there to train on; expected a batch of 64"),
        ("crop_seconds=[2, 1]", "crops last from 2 to 1 s"),
        ("long_seconds=12", "long ones 12 s; expected 0.1 to 9.98 s"),
        ("no_speech=7", "expected two rows with speech"),
        ("device=tpu", "expected auto, cpu or cuda"),
        ("epochs=0", "expected a number above 0"),
        ("threads=-1", "expected 0 or more"),
        (f"data={tmp_path / 'none'}", "does not exist"),
        ("data=''", "names no data"),
        ("task=sleep", "expected fine-tuning, lite, lite-frames or lite-confidence"),
        ("model=x", "A recipe has no 'model'"),
    ):
        with pytest.raises(FormatError if "none" not in change else Emow2vError, match=sentence):
            train(corpus, encoder, tmp_path / "run", change)
    with pytest.raises(ModelError, match="cannot be taken"):
        train(corpus, corpus, tmp_path / "run")
    assert not {path.name for path in (tmp_path / "run").iterdir()} - {"signals.npz"}
    met = (corpus / "manifest.csv").read_text().replace("ravdess_24", "ravdess_05")
    (corpus / "manifest.csv").write_text(met)
    with pytest.raises(FormatError, match="by a held-out speaker"):
        train(corpus, encoder, tmp_path / "run")


def test_the_shipped_recipes() -> None:
    given = recipes.read(recipes.find("lite-2"))
    assert recipes.task(given) == recipes.LITE
    shipped = recipes.parse(LiteRecipe, {**given, "start": "lite"})
    given = recipes.read(recipes.find("lite-2-confidence"))
    recipes.task(given)
    confidence = recipes.parse(ConfidenceRecipe, given)
    card = find("lite").details["recipe"]  # of the network that is shipped
    assert json.loads(json.dumps({**shipped.numbers(), "confidence": confidence.numbers()})) == card


def test_an_epoch_takes_of_each_corpus_its_share(corpus: Path, tmp_path: Path) -> None:
    text = (corpus / "manifest.csv").read_text().splitlines()
    rows = [line.replace("ravdess,", "nemo,") if number % 4 else line for number, line in enumerate(text)]
    (corpus / "manifest.csv").write_text("\n".join(rows) + "\n")
    run = trainer(corpus, tmp_path / "run")
    for shares, expected in (({"nemo": 0.25, "ravdess": 0.75}, 0.25), ({}, 0.75)):
        run.recipe = LiteRecipe(batch_size=8, corpus_shares=shares)
        order = run._order(np.random.default_rng(0))
        assert len(order) == run.steps_per_epoch * 8 and set(order.tolist()) <= set(run.indices)
        share = np.mean([run.clips[index].corpus == "nemo" for index in order])
        assert share == pytest.approx(expected, abs=0.06)
    # all before one comes again
    run.recipe = LiteRecipe(batch_size=8, corpus_shares={"ravdess": 1.0, "nemo": 0.0})
    counts = np.bincount(run._order(np.random.default_rng(0)))
    assert counts[counts > 0].max() - counts[counts > 0].min() <= 1


def test_the_baseline_learns_a_head_and_leaves_the_encoder(corpus: Path, tmp_path: Path, monkeypatch) -> None:
    small = LiteConfig(layers=1, halve_after=0, width=32, heads=2, intermediate=64, hidden=16, emotions=len(EMOTIONS))
    torch.manual_seed(0)
    monkeypatch.setattr(baseline, "LiteConfig", lambda **more: small)
    monkeypatch.setattr(baseline, "source", Path)  # nothing is fetched
    monkeypatch.setattr(baseline, "load_whisper", lambda model, source: None)
    monkeypatch.setattr(baseline, "STEPS", 400)
    kept = []
    frozen = baseline.frozen

    def remembered(encoder: str) -> Lite:
        kept.append(frozen(encoder))
        return kept[0]

    monkeypatch.setattr(baseline, "frozen", remembered)
    baseline.main(["--data", str(corpus), "-o", str(tmp_path / "package")])
    card = find(tmp_path / "package")
    assert card.name == "frozen-encoder" and all(row.passed for row in verify(card))
    torch.manual_seed(0)
    before, after = Lite(small).layers.state_dict(), kept[0].layers.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    clips = read_acted_clips(corpus / "manifest.csv")
    figures = held_out_figures(kept[0], clips, decode(clips, tmp_path / "signals.npz"), held_out(clips))
    assert figures["whole"]["arousal"] > 0.1


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_memory_is_kept() -> None:
    code = "from emow2v.training.lite.memory import keep_memory as keep; a = keep(); b = bytearray(1 << 27); del b; print(a)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() in ("True", "False")
