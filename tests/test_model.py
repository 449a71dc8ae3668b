import io
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

import emow2v
from emow2v.audio import recording
from emow2v.errors import AudioError, Closed, FramingError
from emow2v.formats.ssi_read import read_annotation
from emow2v.framing import Framing
from emow2v.model import Context, Model
from emow2v.modelstore.verify import EXAMPLE


@pytest.fixture(scope="module")
def example() -> np.ndarray:
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    assert rate == 16000
    return signal


def test_values_in_the_middle_of_their_window_are_those_of_later_steps(lite: Model, tmp_path: Path) -> None:
    plain = lite.predict(EXAMPLE).load()
    centred = lite.predict(EXAMPLE, framing=Framing(align="centre")).load()
    np.testing.assert_array_equal(centred.starts, plain.starts)
    inner = slice(24, len(plain) - 12)  # those whose window lies in the recording either way
    np.testing.assert_allclose(centred.scores[12:-24], plain.scores[inner], atol=1e-5)
    assert abs(centred.scores - plain.scores).max() > 0.01
    centred.save(tmp_path / "talk.valence.annotation")
    rows = read_annotation(tmp_path / "talk.valence.annotation")
    np.testing.assert_allclose(rows.values, centred.scores[:, 2].clip(0, 1), atol=1e-6)
    assert rows.sampling_rate == 25


def test_a_recording_of_d_milliseconds_has_floor_d_by_40_values(lite: Model, example: np.ndarray) -> None:
    for samples in (640, 1279, 1280, 16000 + 639):
        trajectory = lite.predict(example[:samples], 16000)
        assert len(trajectory.starts) == samples // 640
    np.testing.assert_allclose(trajectory.ends, 0.04 * np.arange(1, len(trajectory) + 1))
    np.testing.assert_allclose(trajectory.starts, trajectory.ends - 0.04)


def test_scores_differ_along_the_example_and_embeddings_are_of_order_one(lite: Model) -> None:
    trajectory = lite.predict(EXAMPLE)
    assert trajectory.scores.shape == (321, 3)
    assert (trajectory.scores.std(axis=0) > 0.02).all()
    assert trajectory.embeddings.shape == (321, 1024)
    assert 0.2 < np.abs(trajectory.embeddings).mean() < 5


@pytest.mark.quick
def test_one_window_one_answer(windows: Model, example: np.ndarray) -> None:
    whole = windows.predict(example, 16000)
    for index in (24, 100, 320):
        window = example[640 * (index + 1) - 16000 : 640 * (index + 1)]
        alone = windows(window, 16000)
        np.testing.assert_allclose(alone["logits"][0], whole.scores[index], atol=1e-5)
        distance = np.linalg.norm(alone["hidden_states"][0] - whole.embeddings[index])
        assert distance <= 1e-5 * np.linalg.norm(whole.embeddings[index])


@pytest.fixture(scope="module")
def whole(lite: Model) -> emow2v.Trajectory:
    """The example in batches as they come, computed once."""
    trajectory = lite.predict(EXAMPLE)
    trajectory.starts  # noqa: B018 (which computes and keeps the rows)
    return trajectory


@pytest.mark.parametrize("batch_size", [1, 7, 250])
def test_the_batch_size_does_not_show(lite: Model, whole: emow2v.Trajectory, batch_size: int) -> None:
    expected = whole
    got = lite.predict(EXAMPLE, batch_size=batch_size)
    np.testing.assert_allclose(got.scores, expected.scores, atol=1e-5)
    norm = np.linalg.norm(expected.embeddings, axis=1)
    assert (np.linalg.norm(got.embeddings - expected.embeddings, axis=1) <= 1e-5 * norm).all()


@pytest.mark.quick
def on_time(model: emow2v.Model, values: int, received: int) -> bool:
    """Whether so many values every 40 ms have come after so many samples: of a model of frames `delay` frames later, which
    computes two frames or more at a time."""
    due = received // 640 - model.card.delay
    return values == due if not model.card.one_pass else max(0, due - 1) <= values <= max(0, due)


def test_a_live_stream_in_odd_chunks_equals_the_file(lite: Model, example: np.ndarray) -> None:
    clip = example[:40000]
    expected = lite.predict(clip, 16000, speech=True)
    session = lite.stream(speech=True)
    blocks = []
    for begin in range(0, clip.size, 777):
        blocks += session.add(clip[begin : begin + 777], flush=True)
        received = min(begin + 777, clip.size)
        assert on_time(lite, sum(map(len, blocks)), received)  # every value as soon as its audio is there
    blocks += session.finish()
    np.testing.assert_allclose(np.concatenate([block.scores for block in blocks]), expected.scores, atol=1e-5)
    np.testing.assert_allclose(np.concatenate([block.speech for block in blocks]), expected.speech, atol=1e-5)
    assert all(block.speech is None for block in lite.stream().add(clip))


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_a_live_stream_of_any_rate_equals_its_file(lite: Model, tmp_path: Path, rate: int) -> None:
    rng = np.random.default_rng(rate)
    signal = (0.1 * rng.standard_normal(int(1.7 * rate))).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", signal, rate, subtype="FLOAT")
    framing = Framing(frame_step_ms=200)
    expected = lite.predict(tmp_path / "a.wav", framing=framing, speech=True)
    session = lite.stream(framing, sampling_rate=rate, speech=True)
    blocks, position = [], 0
    while position < signal.size:
        size = int(rng.integers(1, 5000))
        blocks += session.add(signal[position : position + size], flush=bool(rng.integers(2)))
        position += size
    blocks += session.finish()
    np.testing.assert_allclose(np.concatenate([one.scores for one in blocks]), expected.scores, atol=1e-5)
    assert np.concatenate([one.starts for one in blocks]).tolist() == expected.starts.tolist()
    np.testing.assert_allclose(np.concatenate([one.speech for one in blocks]), expected.speech, atol=1e-4)
    with pytest.raises(FramingError, match="expected 1000 to 768000 Hz"):
        lite.stream(sampling_rate=10)


def test_the_first_windows_repeat_the_first_sample(windows: Model, example: np.ndarray) -> None:
    clip = example[5000:9000]
    edge = np.concatenate([np.full(15360, clip[0], np.float32), clip[:640]])
    zeros = np.concatenate([np.zeros(15360, np.float32), clip[:640]])
    np.testing.assert_allclose(windows.predict(clip, 16000).scores[0], windows(edge, 16000)["logits"][0], atol=1e-5)
    padded = windows.predict(clip, 16000, framing=Framing(padding="zeros"))
    np.testing.assert_allclose(padded.scores[0], windows(zeros, 16000)["logits"][0], atol=1e-5)


def test_one_value_for_a_file(lite: Model, example: np.ndarray) -> None:
    trajectory = lite.predict(example[:50000], 16000, unit="files")
    assert len(trajectory.starts) == len(trajectory) == 1
    assert (trajectory.starts[0], trajectory.ends[0]) == (0, 50000 / 16000)
    np.testing.assert_allclose(trajectory.scores, lite(example[:50000], 16000)["logits"], atol=1e-6)


def test_a_long_file_is_the_mean_of_its_pieces_by_the_audio_each_adds(windows: Model, example: np.ndarray) -> None:
    longest = windows.card.max_samples
    signal = np.resize(example, 2 * longest + 40000)
    pieces = [signal[:longest], signal[longest : 2 * longest], signal[-longest:]]
    weights = np.array([longest, longest, 40000])
    outputs = [windows.engine.run(piece[None]) for piece in pieces]
    expected = np.average([scores[0] for _, scores, _ in outputs], axis=0, weights=weights)
    trajectory = windows.predict(signal, 16000, unit="files")
    np.testing.assert_allclose(trajectory.scores[0], expected, atol=1e-5)
    assert "averaged" in str(trajectory.provenance["long_windows"])
    # a window as long as the recording is cut in the same way
    window = Framing(frame_step_ms=signal.size / 16, left_context_ms=0)
    np.testing.assert_allclose(windows.predict(signal, 16000, framing=window).scores[0], expected, atol=1e-5)


def test_start_and_end_leave_the_remaining_values_as_they_are(lite: Model) -> None:
    everything = lite.predict(EXAMPLE)
    part = lite.predict(EXAMPLE, framing=Framing(start_ms=1010, end_ms=3000))
    blocks = list(part)
    assert blocks[0].first == 26
    np.testing.assert_allclose(part.scores, everything.scores[26:75], atol=1e-5)
    assert part.starts[0] == pytest.approx(1.04)


def test_the_whole_between_start_and_end(windows: Model, example: np.ndarray) -> None:
    part = windows.predict(example, 16000, framing=Framing.files(start_ms=1000, end_ms=3000))
    assert (part.starts[0], part.ends[0]) == (1.0, 3.0)
    np.testing.assert_allclose(part.scores, windows(example[16000:48000], 16000)["logits"], atol=1e-6)


def test_audonnx_words(lite: Model, example: np.ndarray) -> None:
    result = lite(example[:32000], 16000)
    assert {name: value.shape for name, value in result.items()} == {"hidden_states": (1, 1024), "logits": (1, 3)}
    stereo = np.stack([example[:32000], example[:32000]])
    np.testing.assert_allclose(lite(stereo, 16000)["logits"], result["logits"], atol=1e-6)


def test_rows_are_lazy_repeatable_and_indexed_as_audformat_does(lite: Model, tmp_path) -> None:
    trajectory = lite.predict(EXAMPLE, framing=Framing(frame_step_ms=1000, left_context_ms=0))
    assert "not computed" in repr(trajectory)
    first = np.concatenate([block.scores for block in trajectory])
    again = np.concatenate([block.scores for block in trajectory])
    np.testing.assert_array_equal(first, again)
    frame = trajectory.to_frame()
    assert frame.index.names == ["file", "start", "end"]
    assert list(frame.columns) == ["arousal", "dominance", "valence", "confidence"]
    assert frame.attrs["model"] == "lite"
    assert trajectory.to_frame(embeddings=True).shape == (len(frame), 4 + 1024)
    np.testing.assert_array_equal(frame["arousal"], first[:, 0])


def test_a_stream_can_be_read_once(lite: Model) -> None:
    trajectory = lite.predict(io.BytesIO(EXAMPLE.read_bytes()))
    assert sum(len(block) for block in trajectory) == 321
    with pytest.raises(AudioError, match="only once"):
        next(iter(trajectory))


def test_provenance_says_how_to_compute_the_same_again(lite: Model) -> None:
    facts = lite.predict(EXAMPLE).provenance
    assert facts["weights_sha256"] == lite.card.sha256
    assert facts["software"] == f"emow2v {emow2v.__version__}"
    assert (facts["frame_step_ms"], facts["left_context_ms"], facts["padding"]) == (40, 960, "edge")
    assert facts["precision"] == "fp32"
    assert all(isinstance(value, str | int | float) for value in facts.values())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"unit": "clips"}, "expected windows or files"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"framing": Framing(frame_step_ms=10, left_context_ms=0)}, "too short for lite"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(lite: Model, arguments, sentence) -> None:
    with pytest.raises(FramingError, match=sentence):
        lite.predict(EXAMPLE, **arguments)


@pytest.mark.parametrize(
    "name", ["a" * 300, "ü" * 200 + ".wav", "x/" * 3000 + "a.wav", "a\0b.wav", str(EXAMPLE) + "/below.wav"]
)
def test_a_path_that_no_system_takes_is_one_sentence(lite: Model, name: str) -> None:
    for call in (lite.predict, lite.predict_channels):
        with pytest.raises(AudioError, match=r"cannot be read \(.*\); check"):
            call(name)


def test_a_recording_without_a_frame_is_one_sentence(lite: Model) -> None:
    with pytest.raises(AudioError, match="too short: it lasts 30 ms, expected at least 40 ms"):
        _ = lite.predict(np.zeros(480, np.float32), 16000).scores
    with pytest.raises(AudioError, match="too short"):
        _ = lite.predict(np.zeros(300, np.float32), 16000, unit="files").scores
    with pytest.raises(AudioError, match="nothing lies after start"):
        _ = lite.predict(np.zeros(32000, np.float32), 16000, framing=Framing(start_ms=5000)).scores


@pytest.mark.parametrize(
    ("framing", "sentence"),
    [
        (Framing.files(start_ms=100_000), r"signal lasts 2 s: nothing lies after start \(100 s\); expected an earlier one"),
        (Framing.files(start_ms=2000), r"signal lasts 2 s: nothing lies after start \(2 s\)"),
        (Framing.files(start_ms=1995), r"Of signal 5 ms lie between start and end, expected at least 25 ms; choose a longer"),
        (Framing.files(end_ms=10), r"Of signal 10 ms lie between start and end, expected at least 25 ms"),
        (Framing.files(start_ms=500, end_ms=512), r"Of signal 12 ms lie between start and end"),
        (Framing(start_ms=2000), r"signal lasts 2 s: nothing lies after start \(2 s\)"),
        (Framing(start_ms=1990), r"Of signal 10 ms lie between start and end, expected at least 40 ms"),
        (Framing(end_ms=30), r"Of signal 30 ms lie between start and end, expected at least 40 ms"),
        (Framing(start_ms=1000, end_ms=1030), r"Of signal 30 ms lie between start and end"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("context", ["window", "shared"])
def test_a_stretch_without_a_value_is_told_as_what_it_is(
    windows: Model, framing: Framing, sentence: str, context: Context
) -> None:
    if framing.whole and context == "shared":
        pytest.skip("one value for a whole recording shares no context")
    with pytest.raises(AudioError, match=sentence):
        _ = windows.predict(np.zeros(32000, np.float32), 16000, framing=framing, context=context).scores


@pytest.mark.parametrize(
    "framing",
    [Framing(), Framing(start_ms=2000), Framing(start_ms=2010), Framing(end_ms=1000), Framing(start_ms=1000, end_ms=2000),
     Framing(frame_step_ms=33.3, start_ms=500), Framing(frame_step_ms=7, left_context_ms=100, start_ms=2_777), Framing.files(),
     Framing.files(start_ms=2000)],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("source", ["file", "array", "stream"])
def test_as_many_rows_come_as_are_expected(
    lite: Model, example: np.ndarray, tmp_path: Path, framing: Framing, source: str
) -> None:
    signal = example[: 16000 * 3 + 500]
    soundfile.write(tmp_path / "talk.wav", signal, 16000)
    path = tmp_path / "talk.wav"
    given = {"file": path, "array": signal, "stream": io.BytesIO(path.read_bytes())}[source]
    trajectory = lite.predict(given, 16000 if source == "array" else None, framing=framing)
    assert trajectory.info.expected_rows == sum(len(block) for block in trajectory)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("rows", [1, 3, 21, 321])
def test_a_duration_that_ends_with_a_step_is_no_row_short(lite: Model, rate: int, rows: int) -> None:
    """12.84 s are no binary number; the one next to it lies below."""
    expected = lite.predict(np.zeros(rate * rows // 25, np.float32), rate).info.expected_rows
    assert expected == rate * rows // 25 * 25 // rate


def test_nothing_is_expected_behind_the_end(lite: Model) -> None:
    assert lite.predict(EXAMPLE, framing=Framing(start_ms=60_000)).info.expected_rows == 0


def test_a_model_serves_several_threads(lite: Model, example: np.ndarray) -> None:
    """Each gets the numbers that it gets alone, by files, windows, streams and whole recordings."""
    clips = [example[16000 * k : 16000 * (k + 1)] for k in range(4)]
    alone = [(lite.predict(clip, 16000).scores, lite(clip, 16000)["logits"]) for clip in clips]

    def work(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        clip = clips[number % 4]
        with lite.stream() as stream:
            live = [*stream.add(clip), *stream.finish()]
        return (
            lite.predict(clip, 16000).scores,
            lite(clip, 16000)["logits"],
            np.concatenate([block.scores for block in live]),
        )

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(8)))
    for number, (scores, whole, live) in enumerate(results):
        np.testing.assert_allclose(scores, alone[number % 4][0], atol=1e-5)
        np.testing.assert_allclose(live, alone[number % 4][0], atol=1e-5)
        np.testing.assert_allclose(whole, alone[number % 4][1], atol=1e-5)


def test_a_closed_live_stream_takes_nothing_more(lite: Model) -> None:
    with lite.stream() as stream:
        assert on_time(lite, sum(map(len, stream.add(np.zeros(16000, np.float32), flush=True))), 16000)
    for further in (lambda: stream.add(np.zeros(1600, np.float32)), stream.finish):
        with pytest.raises(Closed, match="The stream is closed"):
            list(further())


def test_memory_does_not_grow_with_the_recording(lite: Model) -> None:
    """Blocks are given out while the recording is read, and what was read is let go: a minute needs what 20 s need."""
    read, ahead = 0, []

    class Counting(io.BytesIO):
        def read(self, size: int = -1) -> bytes:
            nonlocal read
            data = super().read(size)
            read += len(data)
            return data

    def peak(seconds: int) -> int:
        nonlocal read
        noise = np.random.default_rng(0).integers(-3000, 3000, 16000 * seconds).astype(np.int16)
        buffer = io.BytesIO()
        soundfile.write(buffer, noise, 16000, format="WAV")
        source, read = Counting(buffer.getvalue()), 0
        tracemalloc.start()
        try:
            for block in lite.predict(source, framing=Framing(frame_step_ms=100)):
                ahead.append(read / 32000 - block.ends[-1])  # seconds read of which no value has come
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(5)  # what is imported and made once
    short, long = peak(20), peak(60)
    assert long < 1.2 * short
    assert max(ahead) < 15  # some batches of windows, however long the recording is


@pytest.mark.quick
def test_resampled_stereo_gives_what_the_resampled_signal_gives(lite: Model, example: np.ndarray, tmp_path) -> None:
    import soxr

    high = soxr.resample(example[:48000], 16000, 44100)
    path = tmp_path / "Aufnahme für Übung.wav"
    soundfile.write(path, np.stack([high, high], axis=1), 44100, subtype="FLOAT")
    signal, _ = recording.read(path)
    assert signal.size == 48000
    np.testing.assert_allclose(lite.predict(path).scores, lite.predict(signal, 16000).scores, atol=1e-5)
