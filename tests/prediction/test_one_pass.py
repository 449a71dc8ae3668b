from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch")
import torch

import emow2v
from emow2v import cards
from emow2v.errors import AudioError, ModelError
from emow2v.modelstore.verify import EXAMPLE
from emow2v.speech.segments import Segment, Segmentation
from emow2v.speech.turns import turns as turns_of
from frames_package import frames_model, frames_network, write_frames_package

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Iterator[emow2v.Model]:
    yield frames_model(tmp_path_factory.mktemp("frames"))


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return soundfile.read(EXAMPLE, dtype="float32")[0]


def test_values_are_those_of_the_networks_frames(model: emow2v.Model, speech: np.ndarray) -> None:
    network = frames_network()
    trajectory = model.predict(EXAMPLE)
    with torch.no_grad():
        frames = network.frames(torch.from_numpy(speech)[None])
        for row in (0, 3, 24, 25, 100, 320):
            first = max(0, row - 24)
            embeddings, scores, confidence = network.read(network.pooled(frames[:, first : row + 1]))
            np.testing.assert_allclose(trajectory.scores[row], scores[0], atol=TOLERANCE)
            np.testing.assert_allclose(trajectory.confidence[row], confidence[0], atol=TOLERANCE)
            np.testing.assert_allclose(trajectory.embeddings[row], embeddings[0], atol=1e-3, rtol=TOLERANCE)
        whole = network.read(network.pooled(frames))[1][0]
    np.testing.assert_allclose(model.predict(EXAMPLE, unit="files").scores[0], whole, atol=TOLERANCE)
    np.testing.assert_allclose(model.run(speech[None])[1][0], whole, atol=TOLERANCE)
    assert len(trajectory.starts) == 321 and "pooled over each window" in str(trajectory.provenance["one_pass"])


@pytest.mark.parametrize(
    "framing", [emow2v.Framing(), emow2v.Framing(frame_step_ms=30, left_context_ms=500, right_context_ms=200)]
)
def test_a_stream_in_odd_chunks_gives_the_values_of_the_file(model: emow2v.Model, speech: np.ndarray, framing) -> None:
    expected = model.predict(EXAMPLE, framing=framing)
    random = np.random.default_rng(0)
    cuts = np.unique([0, *random.integers(0, len(speech), 40), len(speech)])
    with model.stream(framing) as stream:
        blocks = [
            block
            for begin, end in pairwise(cuts)
            for block in stream.add(speech[begin:end], flush=bool(random.integers(2)))
        ]
        blocks += stream.finish()
    assert [block.first for block in blocks[1:]] == [block.first + len(block) for block in blocks[:-1]]
    np.testing.assert_allclose(np.concatenate([block.scores for block in blocks]), expected.scores, atol=TOLERANCE)
    np.testing.assert_array_equal(np.concatenate([block.ends for block in blocks]), expected.ends)


def test_a_value_comes_as_late_as_the_card_says(model: emow2v.Model) -> None:
    hop = model.card.frame_hop
    stream, came = model.stream(), []
    for number in range(50):
        for block in stream.add(np.full(hop, 0.01, np.float32), flush=True):
            came += [(number + 1) * hop - round(end * 16000) for end in block.ends]
    late = model.card.delay * hop
    assert came and min(came) == late and max(came) <= late + hop  # two frames are computed at a time
    assert model.card.look_ahead <= late


def test_an_excerpt_has_the_values_of_the_whole_recording(model: emow2v.Model) -> None:
    whole = model.predict(EXAMPLE)
    part = model.predict(EXAMPLE, framing=emow2v.Framing(start_ms=2000, end_ms=4000))
    rows = slice(50, 100)
    np.testing.assert_array_equal(part.ends, whole.ends[rows])
    np.testing.assert_allclose(part.scores, whole.scores[rows], atol=TOLERANCE)


def test_many_recordings_and_lengths_share_a_batch(model: emow2v.Model, speech: np.ndarray) -> None:
    signal = np.zeros((3, 40_000), np.float32)
    lengths = np.array([40_000, 700, 12_345])
    for row, length in zip(signal, lengths, strict=True):
        row[:length] = speech[5000 : 5000 + length]
    _, scores, _ = model.engine.run(signal, lengths)
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(scores[row], model.run(signal[row : row + 1, :length])[1][0], atol=TOLERANCE)


def test_long_recordings_take_no_more_memory_and_give_the_same_values(model: emow2v.Model, speech: np.ndarray) -> None:
    long = np.tile(speech, 3)
    once = model.predict(long, 16000, unit="files").scores
    assert np.isfinite(once).all()
    with torch.no_grad():
        network = frames_network()
        expected = network.read(network.pooled(network.frames(torch.from_numpy(long)[None])))[1]
    np.testing.assert_allclose(once, expected, atol=TOLERANCE)


@pytest.mark.parametrize("framing", [emow2v.Framing(frame_step_ms=200), emow2v.Framing.files(start_ms=100, end_ms=900)])
def test_clips_that_are_computed_together_have_their_own_rows(model: emow2v.Model, speech: np.ndarray, framing) -> None:
    clips = [speech[9000 * number : 9000 * number + size] for number, size in enumerate((16_000, 7_000, 33_333, 7_000))]
    for clip, found in zip(clips, model.predict_batch(clips, 16000, framing=framing), strict=True):
        alone = model.predict(clip, 16000, framing=framing).load()
        np.testing.assert_allclose(found.scores, alone.scores, atol=TOLERANCE)
        np.testing.assert_array_equal(found.ends, alone.ends)
        np.testing.assert_allclose(found.mean(), alone.mean(), atol=TOLERANCE)
    with pytest.raises(AudioError, match=r"signals\[1\]"):
        model.predict_batch([speech[:9000], speech[:300]], 16000, framing=framing)


@pytest.fixture(scope="module")
def said(speech: np.ndarray) -> np.ndarray:
    """What the network says of each frame of the whole recording."""
    with torch.no_grad():
        return frames_network()(torch.from_numpy(speech)[None])[1][0].numpy()


def test_it_says_itself_where_somebody_speaks(model: emow2v.Model, speech: np.ndarray, said: np.ndarray) -> None:
    heard: list[np.ndarray] = []
    trajectory = model.predict(EXAMPLE, speech=True, on_speech=heard.append).load()
    np.testing.assert_allclose(np.concatenate(heard), said, atol=TOLERANCE)
    expected = [said[max(0, row - 24) : row + 1].mean() for row in range(len(trajectory.starts))]
    np.testing.assert_allclose(trajectory.speech, expected, atol=TOLERANCE)
    assert str(trajectory.provenance["speech_detector"]).startswith("frames 0 itself")
    plain = model.predict(EXAMPLE)
    assert plain.speech is None
    np.testing.assert_array_equal(plain.mean(), trajectory.mean())
    with model.stream(speech=True) as stream:
        blocks = [*stream.add(speech, flush=True), *stream.finish()]
    np.testing.assert_allclose(np.concatenate([block.speech for block in blocks]), expected, atol=TOLERANCE)


def test_a_turn_has_all_of_its_frames(model: emow2v.Model, speech: np.ndarray, said: np.ndarray) -> None:
    turns = (Segment(0.5, 2.5), Segment(2.0, 11.0), Segment(2.0, 2.01), Segment(12.8, 99.0), Segment(13.0, 14.0))
    found = model.predict_turns(EXAMPLE, segments=Segmentation(turns, "CSV", source=EXAMPLE))
    network = frames_network()
    with torch.no_grad():
        frames = network.frames(torch.from_numpy(speech)[None])
        for row, (begin, end) in enumerate([(13, 63), (50, 51), (50, 275), (320, 322)]):
            if (begin, end) == (50, 51):  # 10 ms are too few
                assert np.isnan(found.scores[row]).all()
                continue
            expected = network.read(network.pooled(frames[:, begin:end]))[1][0]
            np.testing.assert_allclose(found.scores[row], expected, atol=TOLERANCE)
            assert found.speech[row] == pytest.approx((said[begin:end] >= 0.5).mean(), abs=0.02)
    assert len(found.starts) == 4


def test_its_own_speech_makes_turns(model: emow2v.Model, said: np.ndarray) -> None:
    expected = turns_of(said, frame_ms=40, duration_s=12.8615)
    assert len(expected) > 3
    found = model.predict_turns(EXAMPLE)
    np.testing.assert_allclose(np.stack([found.starts, found.ends], axis=1), expected)


def test_shared_context_is_refused(model: emow2v.Model) -> None:
    with pytest.raises(ModelError, match="frames computes every recording in one pass; choose the context window"):
        model.predict(EXAMPLE, context="shared")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_engines_compute_a_package_alike(model: emow2v.Model, tmp_path_factory, engine: str) -> None:
    from conftest import made_once

    folder = made_once(tmp_path_factory, "frames-package", write_frames_package)
    loaded = emow2v.load(folder, engine=engine)
    assert loaded.engine.name.startswith(engine)
    expected, trajectory = model.predict(EXAMPLE), loaded.predict(EXAMPLE)
    np.testing.assert_allclose(trajectory.scores, expected.scores, atol=TOLERANCE)
    np.testing.assert_allclose(trajectory.embeddings, expected.embeddings, atol=1e-3, rtol=1e-4)
    with pytest.raises(
        ModelError, match=r"The model cannot take signal \[1, 1280\], .*; expected a chunk and the state"
    ):
        loaded.engine.step(np.zeros((1, 1280), np.float32), np.array([1280]), loaded.engine.start(2))
    assert cards.find(folder).one_pass
