"""Networks rebuilt from the graphs of their packages; judged by the networks that were packaged."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from emow2v.engines.onnx_graph import weights_of
from emow2v.errors import ModelError
from emow2v.networks.lite import Lite, LiteConfig
from emow2v.networks.packaged import Windows, network
from emow2v.training.frames.package import write_graphs
from emow2v.training.lite.package import write_graph
from frames_package import CONFIG, frames_network, randomise

SMALL = LiteConfig(layers=2, width=64, heads=2, intermediate=128, hidden=16, beside=1, confidence=2)


@pytest.fixture(scope="module")
def lite() -> Lite:
    torch.manual_seed(3)
    model = Lite(SMALL).eval()
    randomise(model)
    with torch.no_grad():
        model.share.copy_(torch.tensor([0.2, 0.5, 0.7]))
    return model


def test_weights_come_back_by_name(lite: Lite, tmp_path: Path) -> None:
    write_graph(lite, tmp_path / "model.onnx", half_weights=False)
    again = network(SMALL.to_dict(), weights_of([tmp_path / "model.onnx"], "model."), frames=False)
    signal = torch.randn(2, 20000) * 0.1
    with torch.no_grad():
        for expected, got in zip(lite(signal), Windows(again, 400)(signal), strict=True):
            torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_half_of_the_weights_are_those_of_the_file(lite: Lite, tmp_path: Path) -> None:
    """Arithmetic is float32 with weights that were rounded once, as in the graph."""
    write_graph(lite, tmp_path / "model.onnx")
    again = network(SMALL.to_dict(), weights_of([tmp_path / "model.onnx"]), frames=False)
    weight = lite.layers[0].fc1.weight
    torch.testing.assert_close(again.layers[0].fc1.weight, weight.half().float(), rtol=0, atol=0)
    assert again.layers[0].fc1.weight.dtype == torch.float32


def test_both_graphs_of_a_model_of_frames_hold_its_weights(tmp_path: Path) -> None:
    model = frames_network()
    write_graphs(model, tmp_path, half_weights=False)
    paths = [tmp_path / "model.onnx", tmp_path / "readout.onnx"]
    sizes = {name: list(value) if isinstance(value, tuple) else value for name, value in CONFIG.to_dict().items()}
    again = network(sizes, weights_of(paths, "model."), frames=True)
    assert again.config == CONFIG
    sizes_of = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes_of["short.onnx"] < sizes_of["model.onnx"] / 10  # its weights are those of the other graph
    signal = torch.randn(2, 20000) * 0.1
    with torch.no_grad():
        for expected, got in zip(model(signal), again(signal), strict=True):
            torch.testing.assert_close(got, expected, rtol=0, atol=0)
    with pytest.raises(ModelError, match=r"The package does not hold the network.*no 'share'"):
        network(sizes, weights_of(paths[:1], "model."), frames=True)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"width": 32}, "size mismatch"),
        ({"depth": 3}, "depth"),
        ({"width": "64"}, "no numbers"),
        ({"beside": 7}, "beside is 7"),
    ],
)
def test_sizes_of_another_network_are_refused(lite: Lite, tmp_path: Path, change: dict[str, int], reason: str) -> None:
    write_graph(lite, tmp_path / "model.onnx")
    with pytest.raises(ModelError, match=f"{tmp_path} does not hold the network that its card describes .*{reason}"):
        network({**SMALL.to_dict(), **change}, weights_of([tmp_path / "model.onnx"]), frames=False, origin=tmp_path)


def test_a_lower_precision_leaves_the_spectrum_alone(lite: Lite) -> None:
    low = Windows(lite, 400)
    low.transformer_to(torch.bfloat16)
    quiet = torch.randn(2, 16000) * 0.01 + 5  # in bfloat16 the offset would swallow the sound
    with torch.no_grad():
        difference = (low(quiet)[1] - lite(quiet)[1]).abs().max()
    assert 0 < difference < 0.05
