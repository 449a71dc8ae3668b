"""int8 packages: made once, by the real NNCF, and asked what is promised of them."""

import json
import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import emow2v
from emow2v import cards
from emow2v.agreement import ccc
from emow2v.cli import main
from emow2v.engines import choose, engines_for
from emow2v.engines import openvino as engine_module
from emow2v.errors import AudioError, FormatError, ModelError
from emow2v.modelstore import quantize, verify

# not by importing it, which would wake its telemetry
pytestmark = pytest.mark.skipif(find_spec("nncf") is None, reason="NNCF is not installed (extra quantize)")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The embedded model in int8, calibrated on the shipped example."""
    if not engine_module.has_int8():
        pytest.skip("this processor has no 8-bit products for int8")
    return quantize.quantize(cards.find("lite"), tmp_path_factory.mktemp("int8") / "lite-int8")


def test_the_card_says_what_it_is_and_what_it_costs(made) -> None:
    lite = cards.find("lite")
    assert (made.name, made.precision, made.version) == ("lite-int8", "int8", lite.version)
    assert (made.licence, made.citation) == (lite.licence, lite.citation)
    assert made.details["quantized_from"]["sha256"] == lite.sha256
    assert made.size < 0.6 * lite.size
    error = made.details["error_against_fp32"]
    assert error["windows"] >= 10
    for name in ("arousal", "dominance", "valence"):
        # on the made voice scores of lite 1.0 hardly vary, which lowers CCC: measured .86 for arousal
        assert 0 < error[name]["mean"] < error[name]["largest"] < 0.15 and error[name]["ccc"] > 0.8


def test_scores_are_near_and_provenance_says_int8(made, lite) -> None:
    low = emow2v.load(made.folder)
    found, exact = (model.predict(quantize.EXAMPLE) for model in (low, lite))
    for k in range(3):
        assert ccc(exact.scores[:, k], found.scores[:, k]) > 0.97
    assert found.provenance["precision"] == "int8" and found.provenance["model"] == "lite-int8"
    shared = low.predict(quantize.EXAMPLE, context="shared")
    assert len(shared.starts) == len(found.starts)


def test_one_window_one_answer_in_int8_too(made) -> None:
    engine = choose(made)
    windows = np.random.default_rng(0).normal(0, 0.1, (5, 16000)).astype(np.float32)
    together = engine.run(windows)[1]
    for k in range(5):
        np.testing.assert_allclose(engine.run(windows[k : k + 1])[1][0], together[k], atol=1e-5)


def test_the_front_end_stays_in_float32(made) -> None:
    core = engine_module.openvino_core()
    model = core.read_model(str(made.folder / made.graph))
    names = quantize._front_end(engine_module.find_port(model, cards.find("lite").features, made.folder))
    kinds = {one.get_friendly_name(): one.get_type_name() for one in model.get_ordered_ops()}
    assert "Convolution" in {kinds[name] for name in names}  # the DFT
    assert "FakeQuantize" not in {kinds[name] for name in names} and "FakeQuantize" in kinds.values()


def test_a_wav2vec2_with_transposed_weights_is_quantised_whole(package, tmp_path) -> None:
    if not engine_module.has_int8():
        pytest.skip("this processor has no 8-bit products for int8")
    source = cards.find(package)
    card = quantize.quantize(source, tmp_path / "new")
    core = engine_module.openvino_core()
    model = core.read_model(str(card.folder / card.graph))
    large = [
        one.get_element_type().get_type_name() for one in model.get_ordered_ops()
        if one.get_type_name() == "Constant" and len(one.get_output_shape(0)) == 2 and min(one.get_output_shape(0)) > 32
    ]  # fmt: skip
    layers = 2 * 6  # four projections and two of the feed-forward net
    assert large.count("i8") >= layers
    exact, low = (choose(one).run(verify.signal("example", 16000, 32000)) for one in (source, card))
    assert np.abs(exact[1] - low[1]).max() < 0.05
    assert engines_for(card) == ["openvino"] and all(row.passed for row in verify.verify(card))


def test_the_precision_finds_its_package_by_name(made, home, monkeypatch) -> None:
    with pytest.raises(ModelError, match="no int8 package of lite here; run: emow2v models quantize lite"):
        emow2v.load("lite", precision="int8")
    place = quantize.default_place(cards.find("lite"))
    place.parent.mkdir(parents=True)
    place.symlink_to(made.folder)
    model = emow2v.load("lite", precision="int8")
    assert (model.name, model.engine.precision) == ("lite-int8", "int8")
    assert emow2v.load("lite-int8").engine.precision == "int8"
    with pytest.raises(ModelError, match="Model lite-int8 is made for int8, not fp32"):
        emow2v.load("lite-int8", precision="fp32")
    with pytest.raises(ModelError, match="only the engine openvino runs"):
        emow2v.load("lite-int8", engine="onnxruntime")


def test_a_package_of_other_weights_is_not_taken(made, home, tmp_path) -> None:
    place = quantize.default_place(cards.find("lite"))
    place.mkdir(parents=True)
    for name in made.files:
        (place / name).write_bytes((made.folder / name).read_bytes())
    content = json.loads((made.folder / cards.CARD_FILE).read_text())
    content["quantized_from"]["sha256"] = "0" * 64
    cards.update_card(place, content)
    with pytest.raises(ModelError, match="made of other weights; run: emow2v models quantize lite --force"):
        emow2v.load("lite", precision="int8")


def test_a_processor_that_cannot_is_told(made, monkeypatch) -> None:
    monkeypatch.setattr(engine_module, "has_int8", lambda: False)
    with pytest.raises(ModelError, match=r"cannot add 8-bit products into 32 bits \(VNNI\)"):
        choose(made)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="of x86 processors")
def test_the_trial_finds_processors_whose_products_overflow() -> None:
    """OpenVINO's own switch makes this processor behave like one without VNNI."""
    code = "from emow2v.engines.openvino import has_int8; print(has_int8())"
    limited = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    result = subprocess.run([sys.executable, "-c", code], env=limited, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


@pytest.mark.slow
def test_the_command(home, tmp_path, monkeypatch) -> None:
    if not engine_module.has_int8():
        pytest.skip("this processor has no 8-bit products for int8")
    speech = tmp_path / "Sprache"
    speech.mkdir()
    signal, rate = soundfile.read(quantize.EXAMPLE, dtype="float32")
    soundfile.write(speech / "äh.wav", signal[: 6 * rate], rate)
    runner = CliRunner()
    result = runner.invoke(main.app, ["models", "quantize", "lite", "--speech", str(speech)])
    assert result.exit_code == 0, result.output
    assert "arousal" in result.output and "lite-int8" in result.output
    assert "int8" in runner.invoke(main.app, ["models", "list"]).output
    again = runner.invoke(main.app, ["models", "quantize", "lite"])
    assert isinstance(again.exception, FormatError) and "there already" in str(again.exception)
    assert runner.invoke(main.app, ["models", "remove", "lite-int8"]).exit_code == 0


def test_what_cannot_be_quantised(made, checkpoint, tmp_path, monkeypatch) -> None:
    with pytest.raises(ModelError, match="is in int8 already"):
        quantize.quantize(made, tmp_path / "again")
    with pytest.raises(ModelError, match="run: emow2v export"):
        quantize.quantize(cards.find(checkpoint), tmp_path / "bare")
    short = tmp_path / "short.wav"
    soundfile.write(short, np.zeros(16000), 16000)
    with pytest.raises(AudioError, match="too short to calibrate on; expected one of 3 s or more"):
        quantize.quantize(cards.find("lite"), tmp_path / "short", speech=[short])
    text = tmp_path / "text.wav"
    text.write_text("no sound")
    with pytest.raises(AudioError):
        quantize.quantize(cards.find("lite"), tmp_path / "text", speech=[text])
    monkeypatch.setattr(quantize, "installed", lambda name: False)
    with pytest.raises(ModelError, match=r"pip install 'emow2v\[quantize\]'"):
        quantize.quantize(cards.find("lite"), tmp_path / "none")
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    "before", ["", "import openvino_telemetry", "import openvino_telemetry.main as m; m.Telemetry"]
)
def test_nothing_is_left_in_the_home_folder_by_telemetry(tmp_path, before) -> None:
    """OpenVINO and NNCF write an identifier there when they report their use, whoever imported their client before."""
    code = f"{before}\nfrom emow2v.engines.openvino import import_openvino, import_silent as s; import_openvino(); s('nncf')"
    environment = {key: value for key, value in os.environ.items() if key not in ("CI", "TF_BUILD", "JENKINS_URL")}
    environment |= {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert sorted(Path(tmp_path).rglob("*")) == []
