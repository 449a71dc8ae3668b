"""The same frames in one piece, in overlapping pieces, in chunks and in graphs; with random weights."""

from itertools import cycle

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch")
import torch

from emow2v.engines import installed
from emow2v.engines.openvino import import_openvino
from emow2v.modelstore.verify import EXAMPLE
from emow2v.networks.lite import HOP, Lite, LiteConfig
from emow2v.networks.lite_frames import FRAME, FramesConfig, LiteFrames
from emow2v.networks.trace import trace_readout, trace_step

SIZES = {"width": 64, "heads": 2, "intermediate": 128, "hidden": 16}
SHORT = FramesConfig(**SIZES, back=(7, 3, 4), ahead=(5, 2, 1), level_back=30)
EARLY = FramesConfig(
    **SIZES, back=(5, 3, 4), ahead=(4, 0, 2), level_back=40, level_ahead=8, floor=-6.0
)  # an even look-ahead
LOWER = FramesConfig(**SIZES, layers=2, back=(6, 3), ahead=(0, 0), level_back=1, floor=-6.0)


def network(config: FramesConfig) -> LiteFrames:
    torch.manual_seed(0)
    model = LiteFrames(config)
    for layer in model.layers:
        torch.nn.init.normal_(layer.distant_keys)
        torch.nn.init.normal_(layer.distant_values)
    torch.nn.init.normal_(model.position)
    return model.eval()


@pytest.fixture(scope="module")
def speech() -> torch.Tensor:
    signal, _ = soundfile.read(EXAMPLE, dtype="float32")
    return torch.from_numpy(signal[8000:72123])[None]  # 4 s, no whole number of frames


def in_chunks(model: LiteFrames, signal: torch.Tensor, sizes: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames and probabilities of speech of a stream whose chunks have these numbers of frames, again and again."""
    frames, speech, done, state = [], [], 0, model.start(len(signal))
    total = -(-signal.shape[1] // FRAME)
    for size in cycle(sizes):
        chunk = signal[:, done * FRAME : (done + size) * FRAME]
        length = torch.full((len(signal),), chunk.shape[1])
        filled = torch.nn.functional.pad(chunk, (0, size * FRAME - chunk.shape[1]), value=0.3)
        some, probabilities, state = model.step(filled, length, state, block=size)
        frames.append(some)
        speech.append(probabilities)
        done += size
        if done >= total + model.delay:
            break
    wanted = slice(model.delay, model.delay + total)
    return torch.cat(frames, dim=1)[:, wanted], torch.cat(speech, dim=1)[:, wanted]


@torch.no_grad()
@pytest.mark.parametrize("config", [SHORT, EARLY, LOWER], ids=["short", "early", "lower"])
def test_a_stream_has_the_frames_of_the_whole_signal(config: FramesConfig, speech: torch.Tensor) -> None:
    model = network(config)
    frames, probabilities = model(speech)
    assert frames.shape == (1, 101, 128)
    assert probabilities.shape == (1, 101)
    for sizes in ([1], [7, 2, 40]):
        some, said = in_chunks(model, speech, sizes)
        np.testing.assert_allclose(some, frames, atol=1e-5)
        np.testing.assert_allclose(said, probabilities, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("config", [SHORT, EARLY, LOWER], ids=["short", "early", "lower"])
def test_overlapping_pieces_have_the_frames_of_the_whole_signal(config: FramesConfig, speech: torch.Tensor) -> None:
    model = network(config)
    whole = model.frames(speech)
    before, behind = (-(-samples // FRAME) for samples in (model.look_back, model.look_ahead))
    first, last = 65, 75
    piece = speech[:, (first - before) * FRAME : (last + behind) * FRAME]
    np.testing.assert_allclose(model.frames(piece)[:, before : before + 10], whole[:, first:last], atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("config", [SHORT, EARLY, LOWER], ids=["short", "early", "lower"])
def test_a_frame_depends_on_the_samples_within_its_reach_alone(config: FramesConfig) -> None:
    model = network(config).double()  # the outermost samples have little weight
    signal, number = 0.1 * torch.randn(1, 100 * FRAME, dtype=torch.float64), 65
    begin, end = number * FRAME - model.look_back, (number + 1) * FRAME + model.look_ahead
    frame = model.frames(signal)[0, number]
    changed = signal.clone()
    changed[:, :begin], changed[:, end:] = 0.5, -0.5
    np.testing.assert_array_equal(model.frames(changed)[0, number], frame)
    for edge in (slice(begin, begin + 20), slice(end - 20, end)):
        changed = signal.clone()
        changed[:, edge] = 20.0
        assert not torch.equal(model.frames(changed)[0, number], frame)


@torch.no_grad()
def test_rows_of_a_batch_know_nothing_of_each_other(speech: torch.Tensor) -> None:
    model = network(SHORT)
    short = speech[:, :20001]
    batch = torch.cat([speech, torch.nn.functional.pad(short, (0, speech.shape[1] - short.shape[1]), value=0.7)])
    frames, probabilities = model(batch, torch.tensor([speech.shape[1], short.shape[1]]))
    alone, said = model(short)
    np.testing.assert_allclose(frames[1, : alone.shape[1]], alone[0], atol=1e-5)
    np.testing.assert_allclose(probabilities[1, : alone.shape[1]], said[0], atol=1e-5)
    np.testing.assert_allclose(frames[0], model.frames(speech)[0], atol=1e-5)


@torch.no_grad()
def test_loudness_and_a_constant_offset_change_nothing(speech: torch.Tensor) -> None:
    model = network(SHORT)
    inner = slice(-(-model.look_back // FRAME), 90)  # the offset begins and ends with a step
    loud = speech * 3
    np.testing.assert_allclose(model.frames(loud)[:, inner], model.frames(speech)[:, inner], atol=0.05)
    np.testing.assert_allclose(model.frames(loud + 0.25)[:, inner], model.frames(loud)[:, inner], atol=0.05)


@torch.no_grad()
def test_with_all_within_reach_it_is_lite_without_positions(speech: torch.Tensor) -> None:
    """A level over all of the signal, and noise in it that keeps the spectrum above any floor."""
    torch.manual_seed(1)
    lite = Lite(LiteConfig(**SIZES, beside=1, confidence=1)).eval()
    torch.nn.init.zeros_(lite.embed_positions.weight)
    wide = FramesConfig(**SIZES, back=(100,) * 3, ahead=(100,) * 3, level_back=200, level_ahead=200, floor=-9.0)
    model = LiteFrames(wide).eval()
    tensors = {name: tensor for name, tensor in lite.state_dict().items() if name in model.state_dict()}
    missing = model.load_state_dict(tensors, strict=False).missing_keys
    assert all(
        name.startswith("speech.") or name.endswith(("distant_keys", "distant_values", "position")) for name in missing
    )
    signal = speech[:, : 200 * HOP] + 1e-3 * torch.randn(1, 200 * HOP)
    taken: list[torch.Tensor] = []
    model.conv1.register_forward_pre_hook(lambda module, given: taken.extend(given))
    frames = model.frames(signal)
    first = 3 + wide.level_ahead  # two hops stand before the delayed ones
    spectra = taken[0][:, :, first : first + 200]
    np.testing.assert_allclose(frames, lite.frames(spectra), atol=1e-5)
    inner = (slice(None), slice(3, None), slice(2, -2))  # Whisper reflects the ends and does not centre each spectrum
    away = spectra[inner] - lite.log_mel(signal)[inner]
    assert away.abs().mean() < 0.01
    assert away.abs().max() < 0.2


@torch.no_grad()
def test_scores_of_a_span_are_read_from_its_mean_and_deviation(speech: torch.Tensor) -> None:
    model = network(SHORT)
    frames = model.frames(speech)
    lower, last = model.pooled(frames[:, 20:60])
    weight = torch.zeros(1, frames.shape[1])
    weight[:, 20:60] = 1
    for one, other in zip(model.pooled(frames, weight), (lower, last), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    np.testing.assert_allclose(last[:, :64], frames[:, 20:60, 64:].mean(dim=1), atol=1e-6)
    np.testing.assert_allclose(lower[:, 64:], (frames[:, 20:60, :64].var(dim=1, correction=0) + 1e-5).sqrt(), atol=1e-6)
    embeddings, scores, confidence = model.read((lower, last))
    assert (embeddings.shape, scores.shape, confidence.shape) == ((1, 128), (1, 3), (1, 3))
    assert bool(((confidence > 0) & (confidence < 1)).all())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"halve_after": 0}, "halve_after is 0"),
        ({"back": (1, 2)}, "expected a number for each layer"),
        ({"level_ahead": 6}, "a multiple of 4"),
    ],
)
def test_sizes_that_cannot_be_are_refused(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FramesConfig(**changes)
    with pytest.raises(ValueError, match="beside is 0"):
        LiteFrames(FramesConfig(beside=0))


@pytest.mark.slow
@torch.no_grad()
def test_graphs_agree_with_the_network_in_every_engine(speech: torch.Tensor) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if not installed("openvino"):
        pytest.skip("OpenVINO is not installed")
    model = network(SHORT)
    step, read = (graph.SerializeToString() for graph in (trace_step(model, block=8), trace_readout(model)))
    sessions = [onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]) for graph in (step, read)]
    core, exact = import_openvino().Core(), {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = [core.compile_model(core.read_model(graph), "CPU", exact) for graph in (step, read)]
    names = list(model.states())
    for batch, chunk in ((1, 2), (3, 25)):
        signal = speech[:, : chunk * FRAME].repeat(batch, 1)
        length = torch.full((batch,), chunk * FRAME)
        state = model.start(batch)
        for _ in range(3):
            feed = {"signal": signal.numpy(), "length": length.numpy(), **{name: state[name].numpy() for name in names}}
            frames, probabilities, state = model.step(signal, length, state, block=8)
            expected = [frames, probabilities, *(state[name] for name in names)]
            for results in (sessions[0].run(None, feed), compiled[0](feed).values()):
                for result, one in zip(results, expected, strict=True):
                    np.testing.assert_allclose(result, one, atol=1e-5)
        pooled = model.pooled(frames)
        feed = {"mean": frames.mean(dim=1).numpy(), "variance": frames.var(dim=1, unbiased=False).numpy()}
        for results in (sessions[1].run(None, feed), compiled[1](feed).values()):
            for result, one in zip(results, model.read(pooled), strict=True):
                np.testing.assert_allclose(result, one, atol=1e-5)
