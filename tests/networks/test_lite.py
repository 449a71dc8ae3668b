"""The network against Transformers' Whisper, and the exported graph against the network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch")
import torch

from emow2v.cards import find, write_card
from emow2v.engines import choose
from emow2v.engines.onnx_graph import SINGLE
from emow2v.errors import ModelError
from emow2v.modelstore.verify import EXAMPLE
from emow2v.networks.lite import LEVEL, LEVEL_FLOOR, Lite, LiteConfig, load_whisper
from emow2v.networks.trace import MIN_SAMPLES
from emow2v.training.lite.package import write_graph

WHISPER = Path(__file__).resolve().parents[3] / "shared" / "weights" / "whisper-base-encoder"
SMALL = LiteConfig(layers=2, width=64, heads=2, intermediate=128, hidden=16)


@pytest.fixture(scope="module")
def speech() -> torch.Tensor:
    signal, _ = soundfile.read(EXAMPLE, dtype="float32")
    return torch.from_numpy(signal[16000:64000])[None]


def whisper(config: LiteConfig):
    transformers = pytest.importorskip("transformers")
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    return WhisperEncoder(
        transformers.WhisperConfig(
            d_model=config.width,
            encoder_layers=config.layers,
            encoder_attention_heads=config.heads,
            encoder_ffn_dim=config.intermediate,
            num_mel_bins=80,
            max_source_positions=config.positions,
        )
    ).eval()


def test_log_mel_is_whispers_own_of_the_levelled_signal(speech: torch.Tensor) -> None:
    transformers = pytest.importorskip("transformers")
    signal = speech[0].numpy()
    centred = signal - signal.mean()
    levelled = LEVEL * centred / np.sqrt((centred**2).mean() + LEVEL_FLOOR)
    extractor = transformers.WhisperFeatureExtractor(feature_size=80)
    expected = extractor(levelled, sampling_rate=16000, padding=False, return_tensors="np")["input_features"]
    np.testing.assert_allclose(Lite(SMALL).log_mel(speech).numpy(), expected, atol=5e-5)


def test_the_trunk_is_transformers_whisper_encoder(speech: torch.Tensor, tmp_path: Path) -> None:
    """The same random weights in both, all layers kept and time not halved: the same last hidden states."""
    from safetensors.torch import save_file

    config = LiteConfig(layers=2, halve_after=0, width=64, heads=2, intermediate=128, hidden=16)
    encoder = whisper(config)
    save_file(encoder.state_dict(), tmp_path / "model.safetensors")
    model = Lite(config).eval()
    load_whisper(model, tmp_path)
    with torch.no_grad():
        features = model.log_mel(speech)
        full = torch.nn.functional.pad(features, (0, 2 * config.positions - features.shape[2]))
        hidden = encoder.conv2(torch.nn.functional.gelu(encoder.conv1(features)))
        hidden = torch.nn.functional.gelu(hidden).permute(0, 2, 1)
        hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
        for layer in encoder.layers:
            output = layer(hidden, None)
            hidden = output[0] if isinstance(output, tuple) else output
        assert full.shape[2] == 1000
        np.testing.assert_allclose(model.frames(features), encoder.layer_norm(hidden), atol=1e-5)
        # and at full length, where Transformers' own forward can be asked
        np.testing.assert_allclose(model.frames(full), encoder(full).last_hidden_state, atol=1e-5)


@pytest.mark.skipif(not WHISPER.exists(), reason="../shared/weights with the Whisper encoder is not here")
def test_the_shipped_encoder_loads() -> None:
    model = Lite()
    before = model.layers[2].fc1.weight.clone()
    load_whisper(model, WHISPER)
    assert not torch.equal(before, model.layers[2].fc1.weight)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no model\.safetensors"):
        load_whisper(Lite(SMALL), tmp_path)


def test_a_file_of_all_whisper_gives_its_encoder_and_another_network_is_refused(tmp_path: Path) -> None:
    """As the model hub keeps it; a damaged file, one without our tensors and one of another width are sentences."""
    from safetensors.torch import save_file

    config = LiteConfig(layers=2, halve_after=0, width=64, heads=2, intermediate=128, hidden=16)
    tensors = whisper(config).state_dict()
    save_file({f"model.encoder.{name}": value for name, value in tensors.items()}, tmp_path / "model.safetensors")
    model = Lite(config)
    load_whisper(model, tmp_path)
    assert torch.equal(model.layers[1].fc1.weight, tensors["layers.1.fc1.weight"])
    with pytest.raises(ModelError, match=r"has no .* of \[.*\]; expected that of Whisper base"):
        load_whisper(Lite(replace(config, width=128)), tmp_path)
    save_file({"decoder.weight": torch.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="has no conv1"):
        load_whisper(Lite(config), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(ModelError, match="is damaged or cut off"):
        load_whisper(Lite(config), tmp_path)


def beside(**changes: int) -> Lite:
    """A network with a head on its first layer, whose statistics are those of noise."""
    torch.manual_seed(4)
    model = Lite(replace(SMALL, **{"beside": 1, "confidence": 1, **changes})).eval()
    model.share.copy_(torch.tensor([0.2, 0.5, 1.0]))
    if model.confidence is not None:
        model.confidence.values.copy_(torch.rand(8, 3))
        model.confidence.weight.copy_(torch.tensor([[1.0, 0.5, 9.0], [0.2, 2.0, -1.0], [0.0, 1.0, 4.0]]))
        model.confidence.offset.copy_(torch.tensor([0.3, -0.2, 0.1]))
    with torch.no_grad():
        pooled = model.pooled(model.log_mel(torch.randn(50, 4000) * 0.1))
        model.lower.restandardise(pooled[0].mean(dim=0), pooled[0].var(dim=0))
        model.restandardise(pooled[1].mean(dim=0), pooled[1].var(dim=0))
        model.restandardise_both(*pooled)
    return model


def test_a_head_on_a_lower_layer_takes_its_share_of_the_scores(speech: torch.Tensor) -> None:
    """Against the same network without one, and against a network that ends with the lower layer."""
    model = beside()
    plain, first = Lite(replace(SMALL, confidence=1)).eval(), Lite(replace(SMALL, layers=1)).eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    tensors = {
        name.removeprefix("lower."): value for name, value in model.state_dict().items() if name.startswith("lower.")
    }
    first.load_state_dict(
        {**{name: value for name, value in model.state_dict().items() if name in first.state_dict()}, **tensors}
    )
    torch.nn.init.ones_(first.layer_norm.weight)
    torch.nn.init.zeros_(first.layer_norm.bias)
    with torch.no_grad():
        embeddings, scores, confidence = model(speech)
        (last, of_last, sure), (lower, of_lower) = plain(speech), first(speech)
        np.testing.assert_allclose(scores[0, 2], of_lower[0, 2], atol=1e-5)
        np.testing.assert_allclose(scores[0, 1], (of_lower[0, 1] + of_last[0, 1]) / 2, atol=1e-5)
        np.testing.assert_allclose(scores[0, 0], 0.2 * of_lower[0, 0] + 0.8 * of_last[0, 0], atol=1e-5)
        np.testing.assert_array_equal(confidence, sure)
        mean, deviation = model.both.running_mean, torch.sqrt(model.both.running_var + 1e-5)
        np.testing.assert_allclose(embeddings, (last + lower - mean) / deviation, atol=1e-4)
        np.testing.assert_allclose(model.embed(model.log_mel(speech)), embeddings, atol=1e-5)


def test_other_statistics_of_the_lower_layer_leave_scores_as_they_are(speech: torch.Tensor) -> None:
    model = beside()
    with torch.no_grad():
        before = model(speech)[1]
        model.lower.restandardise(torch.full((128,), 0.3), torch.full((128,), 2.0))
        np.testing.assert_allclose(model(speech)[1], before, atol=1e-4)


def test_a_confidence_of_both_heads_leaves_scores_and_embeddings_as_they_are(speech: torch.Tensor) -> None:
    model = beside(confidence=2)
    plain = Lite(replace(model.config, confidence=1)).eval()
    plain.load_state_dict({name: one for name, one in model.state_dict().items() if not name.startswith("confidence.")})
    with torch.no_grad():
        (embeddings, scores, sure), expected = model(speech), plain(speech)
        np.testing.assert_array_equal(embeddings, expected[0])
        np.testing.assert_array_equal(scores, expected[1])
        assert sure.shape == (1, 3) and not torch.equal(sure, expected[2])
        layers = model.heads(model.pooled(model.log_mel(speech)))[2]
        np.testing.assert_array_equal(
            sure, model.confidence(torch.cat(layers, dim=1), scores, model.certainty(layers[0]))
        )
    with pytest.raises(ValueError, match="confidence is 2 without a layer beside"):
        replace(SMALL, confidence=2)


def test_a_lower_layer_has_the_frames_of_the_last_one() -> None:
    for changes in ({"beside": 2}, {"beside": 1, "halve_after": 2}, {"beside": -1}):
        with pytest.raises(ValueError, match="beside is"):
            replace(SMALL, **changes)


def test_one_item_of_a_batch_does_not_see_the_others(speech: torch.Tensor) -> None:
    model = Lite(SMALL).eval()
    with torch.no_grad():
        together = model(torch.cat([speech, torch.randn_like(speech), speech * 0]))[1]
        np.testing.assert_allclose(model(speech)[1][0], together[0], atol=1e-5)
        assert torch.isfinite(together).all()


@pytest.fixture(scope="module", params=["plain", "beside", "confident"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lite, Path]:
    torch.manual_seed(0)
    model = (
        Lite(SMALL).eval() if request.param == "plain" else beside(confidence=2 if request.param == "confident" else 1)
    )
    folder = tmp_path_factory.mktemp("package")
    write_graph(model, folder / SINGLE, half_weights=False)
    card = {
        "name": "small", "version": "0", "description": "", "licence": "Apache-2.0", "citation": "", "graph": SINGLE,
        "sampling_rate": 16000, "min_samples": MIN_SAMPLES, "max_samples": model.max_samples,
    }  # fmt: skip
    write_card(folder, card)
    return model, folder


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_exported_graph_is_the_network(exported: tuple[Lite, Path], engine: str) -> None:
    model, folder = exported
    ready = choose(find(folder), engine)
    rng = np.random.default_rng(3)
    for batch, samples in [(1, 400), (1, 16000), (5, 16000), (2, 47777), (1, 160000)]:
        signal = rng.normal(0, 0.1, (batch, samples)).astype(np.float32)
        with torch.no_grad():
            embeddings, scores, *confidence = model(torch.from_numpy(signal))
        got, got_scores, got_confidence = ready.run(signal)
        assert len(confidence) == (got_confidence is not None)
        if confidence:
            np.testing.assert_allclose(got_confidence, confidence[0], atol=1e-4)
        np.testing.assert_allclose(got_scores, scores, atol=1e-4)
        np.testing.assert_allclose(got, embeddings, atol=1e-4 * float(embeddings.abs().max()))


def test_half_weights_keep_the_front_end_in_float32(tmp_path: Path) -> None:
    import onnx

    model = Lite(SMALL).eval()
    write_graph(model, tmp_path / "half.onnx")
    graph = onnx.load(tmp_path / "half.onnx").graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert types["log_mel.dft"] == types["log_mel.mel"] == onnx.TensorProto.FLOAT
    assert onnx.TensorProto.FLOAT16 in types.values()


def test_the_shipped_lite_has_a_front_end_in_float32() -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(find("lite").verified_graph()).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert types["log_mel.dft"] == types["log_mel.mel"] == onnx.TensorProto.FLOAT
