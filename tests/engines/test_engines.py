import json
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import emow2v
from emow2v import cards
from emow2v.engines import choose, engines_for, overlapped, precisions
from emow2v.errors import ModelError

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module", params=["openvino", "onnxruntime"])
def engine(request):
    return choose(cards.find("lite"), request.param)


def test_engines_agree(engine) -> None:
    reference = choose(cards.find("lite"), "onnxruntime")
    rng = np.random.default_rng(0)
    for samples in (400, 16000, 31234, 160000):
        signal = rng.normal(0, 0.1, (2, samples)).astype(np.float32)
        embeddings, scores, _ = engine.run(signal)
        expected, expected_scores, _ = reference.run(signal)
        np.testing.assert_allclose(scores, expected_scores, atol=1e-4)
        np.testing.assert_allclose(embeddings, expected, atol=1e-3)


def test_no_shape_spoils_a_later_one(engine) -> None:
    """OpenVINO 2026.4 kept wrong numbers when it saw a window of one frame first."""
    rng = np.random.default_rng(1)
    signals = [
        rng.normal(0, 0.1, (batch, n)).astype(np.float32) for batch, n in [(1, 400), (2, 16000), (3, 720), (1, 8000)]
    ]
    forward = [engine.run(signal)[1] for signal in signals]
    fresh = choose(cards.find("lite"), engine.name.split()[0])
    backward = [fresh.run(signal)[1] for signal in reversed(signals)][::-1]
    for first, second in zip(forward, backward, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-5)


def test_gain_hardly_matters(engine) -> None:
    signal = np.random.default_rng(2).normal(0, 0.1, (1, 16000)).astype(np.float32)
    np.testing.assert_allclose(engine.run(signal)[1], engine.run(signal * 0.1)[1], atol=0.02)


def test_silence_and_constant_signals_give_finite_values(engine) -> None:
    for signal in (np.zeros((1, 16000), np.float32), np.ones((1, 16000), np.float32)):
        embeddings, scores, confidence = engine.run(signal)
        assert np.isfinite(embeddings).all() and np.isfinite(scores).all()
        assert confidence.shape == (1, 3) and ((confidence >= 0) & (confidence < 0.2)).all()  # nobody speaks


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_lengths_are_refused_where_nothing_can_be_masked(windows, name: str) -> None:
    engine = choose(windows.card, name)
    signal = np.zeros((2, 16000), np.float32)
    engine.run(signal, np.array([16000, 16000]))
    with pytest.raises(ModelError, match="one length"):
        engine.run(signal, np.array([16000, 8000]))


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ModelError, match="unknown; expected auto, openvino, onnxruntime or torch"):
        choose(cards.find("lite"), "tensorrt")


def test_each_model_names_the_engines_that_can_run_it(checkpoint, package) -> None:
    for name in ("lite", "lite-frames"):
        assert engines_for(cards.find(name)) == ["openvino", "onnxruntime", "torch"]
    unnamed = replace(cards.find("lite"), network={})  # a package of graphs alone
    assert engines_for(unnamed) == ["openvino", "onnxruntime"]
    assert engines_for(cards.find(checkpoint)) == ["torch"]
    assert engines_for(cards.find(package)) == ["openvino", "onnxruntime", "torch"]
    with pytest.raises(
        ModelError, match="lite holds no weights for PyTorch; choose the engine openvino or onnxruntime"
    ):
        choose(unnamed, "torch")
    with pytest.raises(ModelError, match="emow2v export --model"):
        choose(cards.find(checkpoint), "openvino")


@pytest.mark.parametrize("name", ["openvino", "onnxruntime", "torch"])
@pytest.mark.parametrize("samples", [400, 16000, 160000])
def test_wav2vec2_is_the_same_on_every_engine(package, checkpoint, name, samples) -> None:
    """Against Transformers in float64, alone and in a batch, the shortest window first."""
    engine = choose(cards.find(package), name)
    from checkpoints import Judge

    judge = Judge(checkpoint)
    rng = np.random.default_rng(4)
    batch = rng.normal(0.01, 0.1, (3, samples)).astype(np.float32)
    alone = engine.run(batch[:1])
    hidden, logits, _ = engine.run(batch)
    for k, clip in enumerate(batch):
        expected_hidden, expected_logits = judge(clip)
        np.testing.assert_allclose(hidden[k], expected_hidden, atol=1e-4)
        np.testing.assert_allclose(logits[k], expected_logits, atol=1e-4)
    np.testing.assert_allclose(alone[0][0], hidden[0], atol=1e-5 * np.linalg.norm(hidden[0]))
    np.testing.assert_allclose(alone[1][0], logits[0], atol=1e-5)


def test_batches_beside_each_other_come_in_order_and_are_the_same(windows, package) -> None:
    rng = np.random.default_rng(5)
    for card in (windows.card, cards.find(package)):
        engine = choose(card, "openvino", threads=3)
        assert engine.parallel_batches == 3
        signals = [
            rng.normal(0, 0.1, (batch, n)).astype(np.float32)
            for batch, n in [(1, 400), (1, 16000), (4, 16000), (2, 720), (3, 8000), (1, 48000), (5, 16000), (1, 400)]
        ]
        found = list(overlapped(engine, enumerate(signals), engine.run_parallel))
        assert [number for number, _ in found] == list(range(len(signals)))
        for signal, (_, outputs) in zip(signals, found, strict=True):
            expected = engine.run(signal)
            np.testing.assert_allclose(outputs[1], expected[1], atol=1e-5)
            np.testing.assert_allclose(outputs[0], expected[0], atol=1e-5 * np.linalg.norm(expected[0], axis=1).max())


class Counting:
    """An engine that notes how many batches were begun."""

    name, precision, parallel_batches = "counting", "fp32", 2

    def __init__(self) -> None:
        self.begun = 0

    def run(self, signal, lengths=None):
        self.begun += 1
        if signal.shape[1] == 13:
            raise ModelError("thirteen")
        return signal, signal, None

    run_parallel = run


def test_batches_are_asked_for_as_they_are_needed() -> None:
    engine, asked = Counting(), []

    def batches():
        for number in range(100):
            asked.append(number)
            yield number, np.zeros((1, number + 20), np.float32)

    found = overlapped(engine, batches(), engine.run_parallel)
    assert next(found)[0] == 0
    assert len(asked) <= engine.parallel_batches + 2  # not the whole recording in memory
    found.close()
    assert engine.begun <= engine.parallel_batches + 2


def test_an_error_in_one_batch_ends_the_work() -> None:
    engine = Counting()
    found = overlapped(engine, ((n, np.zeros((1, n), np.float32)) for n in range(10, 100)), engine.run_parallel)
    with pytest.raises(ModelError, match="thirteen"):
        list(found)
    assert engine.begun < 10


def test_lower_precision_is_near_and_its_front_end_exact(windows, package) -> None:
    from emow2v.engines.openvino import has_bf16

    if not has_bf16():
        with pytest.raises(ModelError, match="This processor has no bf16"):
            choose(windows.card, precision="bf16")
        pytest.skip("this processor has no bf16; that it says so was tested")
    rng = np.random.default_rng(6)
    for card in (windows.card, cards.find(package)):
        exact, engine = choose(card), choose(card, precision="bf16")
        assert (engine.precision, exact.precision) == ("bf16", "fp32")
        for n in (400, 16000, 100000):
            signal = (rng.normal(0, 0.1, (3, n)) + 20).astype(np.float32)  # in bf16 the offset would swallow the sound
            for run in (engine.run, engine.run_parallel):
                difference = np.abs(run(signal)[1] - exact.run(signal)[1]).max()
                assert 0 < difference < 0.05, (card.name, n)


def test_lower_precision_where_it_cannot_be_had(package, checkpoint, tmp_path, monkeypatch) -> None:
    with pytest.raises(ModelError, match="onnxruntime does not compute in bf16; choose the engine openvino or torch"):
        choose(cards.find("lite"), "onnxruntime", precision="bf16")
    with pytest.raises(ModelError, match=r"PyTorch does not compute in bf16 on cpu; expected fp32.*emow2v export"):
        choose(cards.find(checkpoint), precision="bf16", device="cpu")
    with pytest.raises(ModelError, match="Model lite holds no weights for PyTorch, which alone computes in fp16"):
        choose(replace(cards.find("lite"), network={}), precision="fp16")
    with pytest.raises(ModelError, match="PyTorch does not compute in fp16 on cpu; expected fp32"):
        choose(cards.find("lite"), precision="fp16", device="cpu")
    with pytest.raises(ModelError, match="Precision 'fp8' is unknown; expected fp32, bf16, fp16, int8"):
        choose(cards.find("lite"), precision="fp8")
    if "bf16" not in precisions(cards.find("lite"), "openvino"):
        return
    for change, sentence in [
        ({"features": ""}, "does not name the end of its front end"),
        ({"features": "x"}, "no tensor 'x'"),
    ]:
        folder = shutil.copytree(package, tmp_path / sentence[:5])
        content = json.loads((folder / "card.json").read_text())
        (folder / "card.json").write_text(json.dumps({**content, **change}))
        with pytest.raises(ModelError, match=sentence):
            choose(cards.find(folder), precision="bf16")


def test_half_precision_of_pytorch_keeps_front_and_head_in_float32(checkpoint, monkeypatch) -> None:
    """What a GPU computes, tried on the processor, which only imitates it: so it is refused to users."""
    from emow2v.engines import torch as module

    monkeypatch.setattr(module, "device_precisions", lambda device: ["fp32", "bf16", "fp16"])
    card = cards.find(checkpoint)
    signal = np.random.default_rng(3).normal(0, 0.1, (3, 16000)).astype(np.float32)
    exact = choose(card, "torch", device="cpu")
    for precision, limit in (("bf16", 0.03), ("fp16", 0.005)):
        engine = choose(card, "torch", precision=precision, device="cpu")
        assert engine.precision == precision
        apart = np.abs(engine.run(signal)[1] - exact.run(signal)[1]).max()
        assert 0 < apart < limit
        loud = engine.run(signal * 1000)[1]  # normalised before anything is rounded
        np.testing.assert_allclose(loud, engine.run(signal)[1], atol=0.1 * limit)
        states = engine.frames(signal)
        assert states.dtype == np.float32
        np.testing.assert_allclose(engine.pooled(states)[1], engine.run(signal)[1], atol=1e-5)


def test_values_too_large_for_fp16_are_told(checkpoint, tmp_path, monkeypatch) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    from emow2v.engines import torch as module

    monkeypatch.setattr(module, "device_precisions", lambda device: ["fp32", "fp16"])
    folder = shutil.copytree(checkpoint, tmp_path / "large")
    tensors = load_file(folder / "model.safetensors")
    name = next(one for one in tensors if one.endswith("layers.0.feed_forward.output_dense.bias"))
    save_file({**tensors, name: torch.full_like(tensors[name], 70_000)}, folder / "model.safetensors")
    with pytest.raises(ModelError, match="too large for fp16; choose bf16 or fp32"):
        choose(cards.find(folder), "torch", precision="fp16", device="cpu").run(np.ones((1, 16000), np.float32))


def test_a_batch_too_large_for_the_memory_is_halved(checkpoint, monkeypatch) -> None:
    import torch

    engine = choose(cards.find(checkpoint), "torch", device="cpu")
    signal = np.random.default_rng(4).normal(0, 0.1, (7, 8000)).astype(np.float32)
    expected = engine.run(signal)
    repeated, sizes = engine._repeated, []

    def short(given):
        sizes.append(len(given))
        if len(given) > 2:
            raise torch.OutOfMemoryError("no more")
        return repeated(given)

    short.forget = repeated.forget
    monkeypatch.setattr(engine, "_repeated", short)
    found = engine.run(signal)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-5)
    assert max(sizes[1:]) < 7 and sizes.count(2) == 3
    lengths = np.array([8000, 8000, 4000, 8000, 400, 8000, 8000])
    np.testing.assert_allclose(engine.run(signal, lengths)[1][4], engine.run(signal[4:5, :400])[1][0], atol=1e-5)
    monkeypatch.setattr(engine, "_repeated", lambda given: (_ for _ in ()).throw(torch.OutOfMemoryError("none")))
    with pytest.raises(ModelError, match="cpu has no memory for a window of 8000 samples"):
        engine.run(signal[:1])


@pytest.fixture
def gpu():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return torch


def test_a_gpu_in_every_precision_and_by_graphs(gpu, checkpoint) -> None:
    card = cards.find(checkpoint)
    rng = np.random.default_rng(6)
    batches = [rng.normal(0, 0.1, (batch, n)).astype(np.float32)
               for batch, n in [(4, 16000)] * 6 + [(2, 16000), (4, 16000), (1, 400)] + [(3, 8000)] * 5]  # fmt: skip
    reference = choose(card, "torch", device="cpu")
    for precision in precisions(card, "torch"):
        engine = choose(card, device="cuda", precision=precision)
        assert engine.batch_samples and engine.batch_samples >= 16000
        for batch in batches:
            apart = np.abs(engine.run(batch)[1] - reference.run(batch)[1]).max()
            assert apart < {"fp32": 1e-4, "bf16": 0.03, "fp16": 0.005}[precision]


def test_silence_and_quiet_speech_on_a_loud_offset_are_the_same_everywhere(package, checkpoint) -> None:
    """The mean of an offset is rounded in float32; what is left of it must not be taken for sound."""
    rng = np.random.default_rng(8)
    quiet = rng.normal(0, 1e-3, 16000)
    signals = [np.full(16000, 0.1), np.full(16000, 0.3), quiet + 0.1, quiet / 10 + 0.5]
    batch = np.stack(signals).astype(np.float32)
    engines = [choose(cards.find(package), name) for name in ("openvino", "onnxruntime", "torch")]
    found = [engine.run(batch)[1] for engine in engines]
    zeros = engines[0].run(np.zeros((1, 16000), np.float32))[1][0]
    for scores in found:
        np.testing.assert_allclose(scores, found[0], atol=1e-4)
        np.testing.assert_allclose(scores[:2], np.stack([zeros, zeros]), atol=1e-3)


def test_a_device_that_is_not_there_is_refused(checkpoint) -> None:
    for device in ("tpu9", "cuda:77", "nonsense"):
        with pytest.raises(ModelError, match=r"This computer has no device .* expected auto, cpu, or cuda or mps"):
            choose(cards.find(checkpoint), "torch", device=device)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_device_belongs_to_the_engine_torch(engine: str) -> None:
    for device in ("cuda", "banana"):
        with pytest.raises(ModelError, match=f"The device {device} belongs to the engine torch; expected"):
            emow2v.load("lite", engine=engine, device=device)
    for device in ("auto", "cpu"):
        assert emow2v.load("lite", engine=engine, device=device).name == "lite"


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_int8_names_its_engine(engine: str) -> None:
    with pytest.raises(ModelError, match=f"Engine {engine} does not compute in int8; choose the engine openvino"):
        emow2v.load("lite", engine=engine, precision="int8")


def test_a_precision_that_is_not_offered_is_refused() -> None:
    with pytest.raises(ModelError, match="Precision 'int3' is unknown; expected fp32, bf16"):
        choose(cards.find("lite"), precision="int3")


def test_a_missing_engine_says_how_to_get_it(monkeypatch) -> None:
    monkeypatch.setattr("emow2v.engines.installed", lambda name: False)
    with pytest.raises(ModelError, match=r"pip install 'emow2v\[onnxruntime\]'"):
        choose(cards.find("lite"), "onnxruntime")


_WATCHED = """
import atexit, json, pathlib, socket, sys
asked = []
@atexit.register  # asked first, it speaks last: after threads of telemetry have sent what they were given
def tell():
    print(json.dumps({"asked": asked, "telemetry": "openvino_telemetry.main" in sys.modules,
                      "left": sorted(str(p) for p in pathlib.Path.home().iterdir())}))
def refuse(*arguments, **options):
    asked.append(repr(arguments)[:100])
    raise OSError("no network")
socket.getaddrinfo = refuse
socket.socket.connect = refuse
socket.create_connection = refuse
import emow2v, numpy
emow2v.load("lite", engine="openvino")(numpy.zeros(16000, "float32"), 16000)
"""


def test_nothing_leaves_the_machine(tmp_path) -> None:
    """OpenVINO sends usage telemetry at import unless it is kept from it; without our care this test fails."""
    import os

    environment = {**os.environ, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    environment.pop("CI", None)  # telemetry stays silent in CI by itself
    done = subprocess.run([sys.executable, "-c", _WATCHED], env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {"asked": [], "telemetry": False, "left": []}


def test_the_watch_above_sees_telemetry(tmp_path) -> None:
    """A check that cannot fail is none: the plain import of OpenVINO is caught by it."""
    import os

    if find_spec("openvino_telemetry") is None:  # importing it here would wake it for every later test
        pytest.skip("openvino_telemetry is not installed")

    environment = {**os.environ, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    for name in list(environment):
        if name in ("CI", "GITHUB_ACTIONS", "TF_BUILD", "JENKINS_URL"):
            environment.pop(name)
    plain = _WATCHED.replace(
        'emow2v.load("lite", engine="openvino")(numpy.zeros(16000, "float32"), 16000)', "import openvino"
    )
    done = subprocess.run([sys.executable, "-c", plain], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1])["telemetry"]


def test_nothing_leaves_the_machine_with_onnxruntime(tmp_path: Path) -> None:
    """ONNX Runtime's Windows builds send usage events unless they are told not to, before the first session."""
    import os

    pytest.importorskip("onnxruntime")
    environment = {**os.environ, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    environment.pop("CI", None)
    watched = _WATCHED.replace(
        'emow2v.load("lite", engine="openvino")',
        """
import onnxruntime
calls = []
off, session = onnxruntime.disable_telemetry_events, onnxruntime.InferenceSession
onnxruntime.disable_telemetry_events = lambda: (calls.append("off"), off())
class Session(session):
    def __init__(self, *arguments, **options):
        calls.append("session")
        super().__init__(*arguments, **options)
onnxruntime.InferenceSession = Session
atexit.register(lambda: print(json.dumps(calls)))
emow2v.load("lite", engine="onnxruntime")""",
    )
    done = subprocess.run([sys.executable, "-c", watched], env=environment, capture_output=True, text=True, check=True)
    calls, found = map(json.loads, done.stdout.splitlines()[-2:])
    assert calls[0] == "off" and "session" in calls
    assert found == {"asked": [], "telemetry": False, "left": []}


@pytest.mark.parametrize("error", [TypeError("ours"), AttributeError("ours"), MemoryError(), KeyError()])
def test_our_own_mistakes_are_no_refusal_of_onnxruntime(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    pytest.importorskip("onnxruntime")
    from emow2v.engines import onnxruntime as engine

    def fail(*arguments: object, **options: object) -> None:
        raise error

    model = emow2v.load("lite", engine="onnxruntime")
    monkeypatch.setattr(engine.np, "ascontiguousarray", fail)
    with pytest.raises(type(error)):
        model.engine.run(np.zeros((1, 16000), np.float32))


def test_what_onnxruntime_refuses_is_a_sentence() -> None:
    runtime = pytest.importorskip("onnxruntime")
    from emow2v.engines.onnxruntime import failures

    assert {one.__name__ for one in failures()} >= {"Fail", "InvalidArgument", "InvalidGraph", "RuntimeException"}
    with pytest.raises(failures()):
        runtime.InferenceSession(b"no graph", providers=["CPUExecutionProvider"])


def test_windows_that_may_not_be_written_into_are_taken_without_a_warning(checkpoint) -> None:
    """PyTorch warns of them once in a process, into the output of whichever command came first."""
    import torch

    signal = np.random.default_rng(0).normal(0, 0.1, (1, 16000)).astype(np.float32)
    engine = choose(cards.find(checkpoint), "torch")
    expected = engine.run(signal)[1]
    signal.flags.writeable = False
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        np.testing.assert_array_equal(engine.run(signal)[1], expected)
    finally:
        torch.set_warn_always(before)
