"""Shared context against its definition: Transformers' hidden states of a stretch, pooled by hand."""

from fractions import Fraction

import numpy as np
import pytest

import emow2v
from emow2v import cards
from emow2v.engines import CutPoints, choose, onnx_graph, open_graph
from emow2v.engines import shared_context as context
from emow2v.engines.shared_context import LAST_STRETCH_MS, MARGIN_MS, STRETCH_MS
from emow2v.errors import FramingError, ModelError
from emow2v.framing import Framing
from emow2v.framing.windows import Stretches
from emow2v.model import Model

ENGINES = ("openvino", "onnxruntime", "torch")


def speech_like(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise whose loudness changes, so that normalising a stretch and a window differ."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * 16000)
    marks = np.arange(0, samples + 8000, 8000)
    loudness = np.interp(np.arange(samples), marks, rng.uniform(0.02, 0.3, marks.size))
    return (rng.normal(size=samples) * loudness).astype(np.float32)


@pytest.fixture(scope="module", params=ENGINES)
def small(request, package) -> Model:
    return emow2v.load(package, engine=request.param)


def test_a_windows_frames_pooled_are_the_window(small: Model, windows: Model) -> None:
    for model in (small, windows):
        windows = np.stack([speech_like(1, seed) for seed in range(3)])
        embeddings, scores, _ = model.engine.run(windows)
        states = model.engine.frames(windows)
        assert states.shape[:2] == (3, (16000 - model.card.min_samples) // model.card.frame_hop + 1)
        pooled, pooled_scores, _ = model.engine.pooled(states)
        np.testing.assert_allclose(pooled_scores, scores, atol=1e-5)
        assert np.linalg.norm(pooled - embeddings) <= 1e-5 * np.linalg.norm(embeddings)


def test_onnxruntime_cuts_the_embedded_model_too(windows: Model) -> None:
    model = emow2v.load(windows.card.folder, engine="onnxruntime")
    signal = speech_like(3)
    expected = emow2v.load(windows.card.folder, engine="openvino").predict(signal, 16000, context="shared")
    np.testing.assert_allclose(model.predict(signal, 16000, context="shared").scores, expected.scores, atol=1e-4)


@pytest.mark.parametrize("seconds", [2.0, 21.3])
def test_shared_context_is_what_it_says(small: Model, checkpoint, seconds: float) -> None:
    """Each window: the mean of the 49 hidden states that lie in it, of the stretch that it lies in."""
    from checkpoints import Judge

    judge = Judge(checkpoint)
    signal = speech_like(seconds)
    found = small.predict(signal, 16000, context="shared")
    stretches = Stretches(Framing(), 16000, STRETCH_MS * 16, LAST_STRETCH_MS * 16, MARGIN_MS * 16)
    given = [*stretches.add(signal), *stretches.finish(Fraction(len(signal), 16000))]
    assert len(given) == (1 if seconds == 2 else 3)
    rows = [row for one in given for row in naive_rows(judge, one)]
    assert len(found.starts) == len(rows) == int(seconds * 25)
    np.testing.assert_allclose(found.scores, [scores for _, scores in rows], atol=1e-4)
    np.testing.assert_allclose(found.embeddings, [hidden for hidden, _ in rows], atol=1e-4)
    np.testing.assert_allclose(found.ends, 0.04 * np.arange(1, len(rows) + 1))


def naive_rows(judge, stretch) -> list[tuple[np.ndarray, np.ndarray]]:
    import torch

    normal = (stretch.signal - stretch.signal.mean(dtype=np.float64)) / np.sqrt(
        stretch.signal.var(dtype=np.float64) + 1e-7
    )
    with torch.no_grad():
        hidden = judge.encoder(torch.from_numpy(normal[None]).to(judge.dtype)).last_hidden_state[0].numpy()
    rows = []
    for begin in stretch.begins:
        assert begin % 320 == 0  # steps of 40 ms fall on frames
        pooled = hidden[begin // 320 : begin // 320 + 49].mean(axis=0)
        head = {name.removeprefix("classifier."): value.numpy() for name, value in judge.head.items()}
        inner = np.tanh(pooled @ head["dense.weight"].T + head["dense.bias"])
        rows.append((pooled, inner @ head["out_proj.weight"].T + head["out_proj.bias"]))
    return rows


def test_far_fewer_samples_are_computed(windows: Model, monkeypatch) -> None:
    computed = []
    frames = windows.engine.frames_parallel
    monkeypatch.setattr(
        windows.engine, "frames_parallel", lambda signal: computed.append(signal.size) or frames(signal)
    )
    trajectory = windows.predict(speech_like(60), 16000, context="shared")
    assert len(trajectory.starts) == 1500
    assert 1500 * 16000 / sum(computed) > 15  # samples of its windows, by samples computed


def test_start_and_end_choose_rows(windows: Model) -> None:
    signal = speech_like(12)
    part = windows.predict(signal, 16000, context="shared", framing=Framing(start_ms=4000, end_ms=5000))
    whole = windows.predict(signal, 16000, context="shared")
    assert len(part.starts) == 25
    np.testing.assert_allclose(part.starts, whole.starts[100:125])
    np.testing.assert_allclose(part.ends, whole.ends[100:125])


def test_steps_shorter_than_a_frame_see_the_same_frames(windows: Model) -> None:
    fine = windows.predict(
        speech_like(3), 16000, context="shared", framing=Framing(frame_step_ms=10, left_context_ms=990)
    )
    assert len(fine.starts) == 300
    distinct = len(np.unique(fine.scores, axis=0))
    frames = 48_000 // windows.card.frame_hop
    assert frames - 5 <= distinct <= frames + 5


@pytest.mark.parametrize("step", [33.333, 1000, 7000])
def test_any_step_and_any_blocks(windows: Model, step: float) -> None:
    framing = Framing(frame_step_ms=step, frame_size_ms=40)
    signal = speech_like(16)
    found = windows.predict(signal, 16000, context="shared", framing=framing)
    assert len(found.starts) == framing.count(Fraction(16))
    assert np.isfinite(found.scores).all()


def test_provenance_says_which(windows: Model) -> None:
    signal = speech_like(1)
    assert windows.predict(signal, 16000).provenance["context"] == "window"
    facts = windows.predict(signal, 16000, context="shared").provenance
    assert facts["context"] == "shared" and "stretches of 8 s" in str(facts["shared_context"])


def test_what_cannot_share_is_refused(windows: Model, package) -> None:
    signal = speech_like(1)
    with pytest.raises(FramingError, match="One value for a whole recording shares no context"):
        windows.predict(signal, 16000, unit="files", context="shared")
    with pytest.raises(FramingError, match=r"Windows of 7.04 s are too long .* at most 7 s"):
        windows.predict(signal, 16000, context="shared", framing=Framing(left_context_ms=7000))
    with pytest.raises(FramingError, match="context is 'other'; expected window or shared"):
        windows.predict(signal, 16000, context="other")  # type: ignore[arg-type]
    import dataclasses

    unknown = dataclasses.replace(cards.find(package), frames="", frame_hop=0)
    with pytest.raises(ModelError, match="does not name its frames"):
        context.check_shared(unknown, Framing())
    engine = choose(dataclasses.replace(cards.find(package), frames=""), "openvino")
    with pytest.raises(ModelError, match="does not name its frames"):
        engine.frames(signal[None])
    for name in ("openvino", "onnxruntime"):
        wrong = open_graph(name, package / onnx_graph.BATCHED, cuts=CutPoints(frames="nothing of that name"))
        with pytest.raises(ModelError, match="again"):
            wrong.frames(signal[None])


def test_lower_precision_shares_too(package) -> None:
    from emow2v.engines.openvino import has_bf16

    if not has_bf16():
        pytest.skip("this processor has no bf16")
    signal = speech_like(9)
    exact, low = (
        emow2v.load(package, precision=one).predict(signal, 16000, context="shared").scores for one in ("fp32", "bf16")
    )
    assert 0 < np.abs(exact - low).max() < 0.03
