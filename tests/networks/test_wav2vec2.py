"""The network against Transformers' own encoder and the head written out in float64; and what is no such checkpoint."""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from safetensors.torch import load_file, save_file

from checkpoints import NEW, OLD, PUBLISHED, SMALL, Judge, random_model, write_checkpoint
from emow2v import cards
from emow2v.engines import choose
from emow2v.errors import ModelError
from emow2v.networks import wav2vec2

TENSORS = Path(__file__).resolve().parents[3] / "shared" / "spec" / "msp-dim-tensors.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("small") / "checkpoint")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.02, 0.1, samples).astype(np.float32)


@pytest.mark.parametrize("samples", [400, 719, 720, 16000, 160000])
def test_the_network_is_transformers_own(folder: Path, samples: int) -> None:
    engine = choose(cards.find(folder), "torch")
    hidden, logits, confidence = engine.run(noise(samples)[None])
    expected_hidden, expected_logits = Judge(folder)(noise(samples))
    np.testing.assert_allclose(hidden[0], expected_hidden, atol=2e-5)
    np.testing.assert_allclose(logits[0], expected_logits, atol=2e-5)
    assert confidence is None


def test_clips_of_different_lengths_get_what_they_get_alone(folder: Path) -> None:
    engine = choose(cards.find(folder), "torch")
    lengths = np.array([8000, 16000, 43200, 176000])  # 0.5, 1, 2.7 and 11 s
    batch = np.full((4, 176000), 9.75, np.float32)  # what stands in the padding must not matter
    batch[1, 16000:] = np.nan
    for k, n in enumerate(lengths):
        batch[k, :n] = noise(n, k)
    hidden, logits, _ = engine.run(batch, lengths)
    for k, n in enumerate(lengths):
        alone_hidden, alone_logits, _ = engine.run(batch[k : k + 1, :n])
        np.testing.assert_allclose(hidden[k], alone_hidden[0], atol=1e-5)
        np.testing.assert_allclose(logits[k], alone_logits[0], atol=1e-5)


def test_lengths_that_do_not_fit_are_refused(folder: Path) -> None:
    engine = choose(cards.find(folder), "torch")
    for lengths in ([16000], [399, 16000], [16000, 16001]):
        with pytest.raises(ModelError, match="from 400 to 16000"):
            engine.run(np.zeros((2, 16000), np.float32), np.array(lengths))


def test_a_network_that_normalises_over_time_refuses_lengths(tmp_path: Path) -> None:
    config = {**SMALL, "feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False}
    engine = choose(cards.find(write_checkpoint(tmp_path / "group", config)), "torch")
    assert np.isfinite(engine.run(noise(16000)[None])[1]).all()
    with pytest.raises(ModelError, match="cannot mask"):
        engine.run(np.zeros((2, 16000), np.float32), np.array([8000, 16000]))


def test_loudness_and_offset_do_not_matter(folder: Path) -> None:
    """Normalisation is inside: nobody can forget it."""
    engine = choose(cards.find(folder), "torch")
    plain = engine.run(noise(16000)[None])[1]
    np.testing.assert_allclose(engine.run(3 * noise(16000)[None] + 0.5)[1], plain, atol=1e-4)


def test_windows_shorter_than_a_frame_are_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "wide", {**SMALL, "conv_kernel": [10, 3, 3, 3, 3, 2, 4]})
    card = cards.find(folder)
    assert card.min_samples == 720
    engine = choose(card, "torch")
    assert np.isfinite(engine.run(noise(720)[None])[1]).all()
    for signal in (noise(719)[None], np.zeros((0, 16000), np.float32), np.zeros((1, 0), np.float32)):
        with pytest.raises(ModelError, match="one or more windows of at least 720 samples"):
            engine.run(signal)


@pytest.mark.parametrize("change", [{"do_normalize": "false"}, {"sampling_rate": 8000}])
def test_a_feature_extractor_that_asks_for_something_else_is_refused(copy: Path, change: dict) -> None:
    (copy / "preprocessor_config.json").write_text(json.dumps(change))
    with pytest.raises(ModelError, match="expected 16000 Hz and true or false"):
        wav2vec2.load(copy)


def test_a_checkpoint_without_normalisation_stays_without(copy: Path) -> None:
    (copy / "preprocessor_config.json").write_text('{"do_normalize": false}')
    without = choose(cards.find(copy), "torch").run(noise(16000)[None])[1]
    (copy / "preprocessor_config.json").unlink()
    assert np.abs(choose(cards.find(copy), "torch").run(noise(16000)[None])[1] - without).max() > 0.01


@pytest.mark.parametrize("spelling", ["old", "new", "folded"])
@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_every_spelling_of_the_positional_weights_loads(folder: Path, copy: Path, spelling: str, kind: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    if spelling == "new":
        tensors = {NEW.get(name, name): value for name, value in tensors.items()}
    elif spelling == "folded":
        gain, direction = (tensors.pop(name) for name in NEW)
        tensors["wav2vec2.encoder.pos_conv_embed.conv.weight"] = (
            direction * gain / direction.norm(dim=(0, 1), keepdim=True)
        )
    (copy / "model.safetensors").unlink()
    if kind == "safetensors":
        save_file(tensors, copy / "model.safetensors")
    else:
        torch.save(tensors, copy / "pytorch_model.bin")
    given = torch.from_numpy(noise(16000)[None])
    with torch.no_grad():
        expected, found = (wav2vec2.load(place).model(given)[0] for place in (folder, copy))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_half_precision_checkpoints_run_in_float32(folder: Path, copy: Path) -> None:
    tensors = {name: value.half() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(tensors, copy / "model.safetensors")
    model = wav2vec2.load(copy).model
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}


def test_scores_come_in_our_order_whatever_the_labels_order(folder: Path, copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["id2label"] = {"0": "valence", "1": "arousal", "2": "dominance"}
    (copy / "config.json").write_text(json.dumps(config))
    given = torch.from_numpy(noise(16000)[None])
    with torch.no_grad():
        plain, ordered = (wav2vec2.load(place).model(given)[1][0] for place in (folder, copy))
    np.testing.assert_allclose(ordered, plain[[1, 2, 0]], atol=1e-6)


def test_missing_tensors_are_named_and_refused(copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    removed = ["classifier.dense.weight", "wav2vec2.encoder.layers.1.attention.k_proj.bias"]
    save_file({name: value for name, value in tensors.items() if name not in removed}, copy / "model.safetensors")
    with pytest.raises(ModelError, match=r"lacks 2 of \d+ tensors") as error:
        wav2vec2.load(copy)
    assert all(name in str(error.value) for name in removed)


def test_left_over_tensors_are_named_and_let_go(copy: Path, caplog) -> None:
    tensors = load_file(copy / "model.safetensors")
    save_file({**tensors, "quantizer.codevectors": torch.zeros(1, 4, 8)}, copy / "model.safetensors")
    with caplog.at_level(logging.WARNING):
        assert wav2vec2.load(copy).left_over == ("quantizer.codevectors",)
    assert "1 tensors were not used (quantizer.codevectors)" in caplog.text


def test_a_pickle_that_would_run_code_is_not_opened(copy: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    (copy / "model.safetensors").unlink()
    torch.save({"wav2vec2.masked_spec_embed": Evil()}, copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pickle that would run code.* was not opened"):
        wav2vec2.load(copy)
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps({"x": Evil()}))
    with pytest.raises(ModelError, match=r"pytorch_model\.bin"):
        wav2vec2.load(copy)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_weights_that_were_cut_off_are_refused(tmp_path: Path, kind: str, share: float) -> None:
    folder = write_checkpoint(tmp_path / "cut", kind=kind)
    path = next(path for path in folder.iterdir() if path.name in cards.WEIGHT_FILES)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match="is damaged or cut off"):
        wav2vec2.load(folder)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model_type": "bert"}, "type 'bert'; expected wav2vec2, hubert, wavlm"),
        ({"model_type": "hubert"}, r"lacks \d+ of \d+ tensors"),
        ({"model_type": None}, "type 'None'; expected wav2vec2"),
        ({"id2label": {"0": "angry", "1": "happy"}}, "names the labels angry, happy; expected id2label with arousal"),
        ({"id2label": {}}, "names the labels none"),
        ({"hidden_size": "many"}, "is not a wav2vec2 configuration"),
        ({"hidden_size": 32}, r"with the shape \[.*\]; its config.json asks for"),
        ({"num_hidden_layers": 3}, r"lacks \d+ of \d+ tensors"),
        ({"add_adapter": True}, "uses an adapter"),
        ({"num_hidden_layers": 1}, r"holds \d+ tensors that its config\.json has no place for"),
        ({"num_hidden_layers": 10**9}, "too few for the 1000000000 layers"),
        ({"feat_extract_norm": "group"}, "has no place for"),
        ({"conv_bias": False}, "has no place for"),
        ({"conv_stride": [0] * 7}, "size or stride 0"),
        ({"num_attention_heads": 5}, "is not a wav2vec2 configuration"),
        ({"num_conv_pos_embedding_groups": 3}, "is not a wav2vec2 configuration"),
        ({"hidden_act": "none of these"}, "is not a wav2vec2 configuration"),
        ({"final_dropout": 2}, "is not a wav2vec2 configuration"),
        ({"id2label": ["arousal", "dominance", "valence"]}, "names the labels none"),
        ({"pooling_mode": "max"}, "pools over time by 'max'; expected the mean"),
        ({"use_weighted_layer_sum": True}, "weighted sum of its layers"),
    ],
)
def test_another_architecture_is_refused_in_a_sentence(copy: Path, change: dict, sentence: str) -> None:
    config = {**json.loads((copy / "config.json").read_text()), **change}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=sentence):
        wav2vec2.load(copy)


@pytest.mark.parametrize(
    "change",
    [{"return_dict": False}, {"attn_implementation": "foo"}, {"output_attentions": True}, {"torchscript": True}],
)
def test_how_a_checkpoint_was_run_does_not_matter(folder: Path, copy: Path, change: dict) -> None:
    config = {**json.loads((copy / "config.json").read_text()), **change}
    (copy / "config.json").write_text(json.dumps(config))
    found, expected = (choose(cards.find(place), "torch").run(noise(16000)[None]) for place in (copy, folder))
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("kind", ["nan", "int8"])
def test_weights_that_are_no_trained_numbers_are_refused(copy: Path, kind: str) -> None:
    tensors = load_file(copy / "model.safetensors")
    name = "classifier.dense.weight"
    tensors[name] = tensors[name].to(torch.int8) if kind == "int8" else torch.full_like(tensors[name], float("nan"))
    save_file(tensors, copy / "model.safetensors")
    with pytest.raises(ModelError, match=r"holds no finite numbers in classifier\.dense\.weight"):
        wav2vec2.load(copy)


@pytest.mark.parametrize("text", ["", "[]", "{nonsense", "\udcff"])
def test_a_config_that_is_none_is_refused(copy: Path, text: str) -> None:
    (copy / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError, match=r"config\.json is not a configuration"):
        wav2vec2.load(copy)


def test_the_frames_are_those_of_the_convolutions() -> None:
    model = random_model()
    assert model.min_samples == 400
    counted = [int(model.frames(torch.tensor(n))) for n in (400, 719, 720, 16000, 160000)]
    made = [model.wav2vec2(torch.zeros(1, n)).last_hidden_state.shape[1] for n in (400, 719, 720, 16000, 160000)]
    assert counted == made == [1, 1, 2, 49, 499]


@pytest.mark.skipif(not TENSORS.exists(), reason="../shared/spec with the published tensors' names is not here")
def test_the_full_size_has_the_published_tensors() -> None:
    with torch.device("meta"):
        known = {name: value for name, value in PUBLISHED.items() if value is not None}
        from transformers import Wav2Vec2Config

        own = wav2vec2.Wav2Vec2Emotion(Wav2Vec2Config.from_dict(known)).state_dict()
    found = {OLD.get(name, name): list(value.shape) for name, value in own.items()}
    assert found == json.loads(TENSORS.read_text())
    assert sum(value.numel() for value in own.values()) == 165_336_707
