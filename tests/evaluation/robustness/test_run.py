"""Changes do what they say, and shares of unchanged predictions are counted right."""

import json
import math
import random
import sys
import wave
from contextlib import suppress
from types import SimpleNamespace

import av
import numpy as np
import pytest
import soundfile

pytest.importorskip("pyroomacoustics")
pytest.importorskip("scipy")

from emow2v.audio import recording
from emow2v.errors import AudioError, Cancelled, Emow2vError, FormatError
from emow2v.evaluation.robustness import changes as module
from emow2v.evaluation.robustness import noises, transmission
from emow2v.evaluation.robustness import run as robustness
from emow2v.evaluation.robustness.changes import GROUPS, Change, changes, mix
from emow2v.evaluation.robustness.run import ChangeResult, _Count
from emow2v.evaluation.robustness.transmission import Codec, Unfit
from emow2v.modelstore.verify import EXAMPLE

RATE = 16000
ALL = changes()
BY_NAME = {(one.group, one.name): one for one in ALL}
IDS = [f"{one.group}: {one.name}" for one in ALL]

# PyAV 19 (Python 3.12 and newer) brings an FFmpeg without it
needs_amr = pytest.mark.skipif(
    "libopencore_amrnb" not in av.codecs_available, reason="PyAV's FFmpeg has no AMR encoder here"
)


def speech(seed=0, seconds=1.5):
    """Voiced syllables with pauses between them, and breath over all."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    pitch = rng.uniform(100, 220) * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * time))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    voice = sum(np.sin(k * phase) / k for k in range(1, 25))
    syllables = np.clip(np.sin(2 * np.pi * 2.5 * time + rng.uniform(0, 6)), 0, None)
    return (0.1 * syllables * voice + 0.003 * rng.standard_normal(time.size)).astype(np.float32)


SPEECH = speech()
OTHERS = [speech(1), speech(2, 0.8)]


def write(path, signal):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(np.round(np.clip(signal, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def applied(group, name, signal=SPEECH, seed=0, others=OTHERS):
    return BY_NAME[group, name].apply(signal, np.random.default_rng(seed), others)


def decibels(signal):
    return 20 * math.log10(np.sqrt(np.mean(np.square(signal, dtype=np.float64))))


def lag(changed, signal):
    """Samples by which a changed signal is late."""
    size = 2 * max(changed.size, signal.size)
    likeness = np.fft.irfft(np.fft.rfft(signal, size).conj() * np.fft.rfft(changed, size))
    found = int(np.argmax(likeness))
    return found if found < size // 2 else found - size


def snr(mixed, signal):
    """dB of the part of a mixture that is the signal over the part that is not."""
    share = np.dot(mixed, signal) / np.dot(signal, signal)
    return decibels(share * signal) - decibels(mixed - share * signal)


class Fake:
    """A model whose scores are a function of the signal."""

    name = "fake"
    card = SimpleNamespace(version="1", sha256="0" * 64)

    def __init__(self, scores):
        self._scores = scores

    def predict(self, signal, sampling_rate, *, unit):
        assert sampling_rate == RATE and unit == "files"
        return SimpleNamespace(scores=np.array([self._scores(signal)], np.float32))

    def predict_batch(self, signals, sampling_rate, *, unit):
        return [self.predict(signal, sampling_rate, unit=unit) for signal in signals]


CONSTANT = Fake(lambda signal: (0.2, 0.5, 0.9))
LOUDNESS = Fake(lambda signal: (0.1 * decibels(signal), 0.0, 0.5))  # 0.1 a dB


@pytest.fixture
def files(tmp_path):
    return [write(tmp_path / f"talk-{seed}.wav", speech(seed)) for seed in range(3)]


# --- every change ---


@pytest.mark.parametrize(
    "change", [pytest.param(one, marks=needs_amr) if one.group == module.PHONE else one for one in ALL], ids=IDS
)
def test_change_is_finite_repeatable_and_leaves_its_input(change):
    signal = SPEECH.copy()
    signal.flags.writeable = False
    first, again, other = (change.apply(signal, np.random.default_rng(seed), OTHERS) for seed in (3, 3, 4))
    assert np.array_equal(signal, SPEECH)
    assert first.dtype == np.float32 and first.ndim == 1 and first.flags.c_contiguous
    assert np.isfinite(first).all() and np.array_equal(first, again)
    assert not np.array_equal(first, SPEECH)
    steady = change.group in (module.TILT, module.CODECS)
    assert np.array_equal(first, other) == steady or change.group in (module.SMALL, module.CONDITION)
    if "crop" not in change.name and "zeros" not in change.name:
        assert first.size == SPEECH.size
    assert change.group in GROUPS and change.does.endswith(".") and 0 < change.threshold < 1


def test_change_names_are_unique_and_groups_are_whole():
    assert len(BY_NAME) == len(ALL) == 25
    assert {one.group for one in ALL} == set(GROUPS)
    thresholds = {one.group: one.threshold for one in ALL if one.published}
    assert thresholds == {
        "small changes": 0.95,
        "background noise": 0.9,
        "low quality phone": 0.5,
        "recording condition": 0.8,
        "spectral tilt": 0.8,
    }


def test_global_generators_are_left_as_they_were():
    random.seed(1)
    np.random.seed(1)
    python, numpy = random.getstate(), np.random.get_state()
    for change in ALL:
        with suppress(Unfit):  # AMR, where FFmpeg has no encoder of it
            change.apply(SPEECH, np.random.default_rng(0), OTHERS)
    assert random.getstate() == python
    assert np.array_equal(np.random.get_state()[1], numpy[1]) and np.random.get_state()[2] == numpy[2]


def test_missing_library_names_the_extra(monkeypatch, files):
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    transmission.response_of.cache_clear()
    with pytest.raises(Emow2vError, match=r"emow2v\[evaluate\]"):
        applied(module.CONDITION, "simulated room")
    with pytest.raises(Emow2vError, match=r"emow2v\[evaluate\]"):
        robustness.robustness(CONSTANT, files)


# --- small changes ---


def test_gain_is_exact():
    seen = {round(decibels(applied(module.SMALL, "gain", seed=seed)) - decibels(SPEECH), 3) for seed in range(20)}
    assert seen == {-2, -1, 1, 2}


@pytest.mark.parametrize(("name", "sign"), [("crop beginning", -1), ("crop end", -1), ("append zeros", 1), ("prepend zeros", 1)])  # fmt: skip
def test_lengths_are_those_published(name, sign):
    seen = set()
    for seed in range(15):
        changed = applied(module.SMALL, name, seed=seed)
        samples = abs(changed.size - SPEECH.size)
        seen.add(changed.size - SPEECH.size)
        expected = {
            "crop beginning": SPEECH[samples:],
            "crop end": SPEECH[:-samples],
            "append zeros": np.concatenate([SPEECH, np.zeros(samples)]),
            "prepend zeros": np.concatenate([np.zeros(samples), SPEECH]),
        }[name]
        assert np.array_equal(changed, expected)
    assert seen == {100 * sign, 500 * sign, 1000 * sign}


def test_crop_needs_more_than_it_takes():
    with pytest.raises(Unfit, match="no longer than"):
        applied(module.SMALL, "crop end", SPEECH[:100])


@pytest.mark.parametrize(
    ("change", "cutoff", "passing"), [(module._high_pass, 100, 2000), (module._low_pass, 7000, 500)]
)
def test_filters_are_of_first_order(change, cutoff, passing):
    time = np.arange(RATE) / RATE

    def loss(hertz):
        tone = np.sin(2 * np.pi * hertz * time).astype(np.float32)
        middle = slice(4000, 12000)
        return decibels(change(tone, np.random.default_rng(0), cutoff)[middle]) - decibels(tone[middle])

    assert loss(cutoff) == pytest.approx(-3.01, abs=0.05)
    assert loss(passing) == pytest.approx(0, abs=0.05)
    if cutoff == 100:  # 6 dB an octave
        assert loss(25) == pytest.approx(-12.3, abs=0.2)


def test_clip_takes_so_many_samples():
    shares = set()
    for seed in range(12):
        changed = applied(module.SMALL, "clip", seed=seed)
        shares.add(round(1000 * float(np.mean(np.abs(SPEECH) > np.abs(changed).max()))))
        assert np.all(np.abs(changed) <= np.abs(SPEECH))
    assert shares == {1, 2, 3}


def test_tone_is_high_and_soft():
    for seed in range(5):
        tone = applied(module.SMALL, "additive tone", seed=seed) - SPEECH
        spectrum = np.abs(np.fft.rfft(tone))
        assert 5000 <= np.argmax(spectrum) * RATE / tone.size <= 7000
        below = 20 * math.log10(np.abs(SPEECH).max() / np.abs(tone).max())
        assert min(abs(below - expected) for expected in (40, 45, 50)) < 0.1


def test_small_noise_has_its_level():
    for seed in range(5):
        found = snr(applied(module.SMALL, "white noise", seed=seed), SPEECH)
        assert min(abs(found - expected) for expected in (35, 40, 45)) < 0.2


# --- background noise ---


@pytest.mark.parametrize(
    ("name", "expected"),
    [("babble", 20), ("coughs", 10), ("environment", 20), ("music", 20), ("sneezes", 10), ("white noise", 20)],
)
def test_background_noise_has_its_level(name, expected):
    for seed in range(3):
        mixed = applied(module.BACKGROUND, name, seed=seed)
        assert snr(mixed, SPEECH) == pytest.approx(expected, abs=0.4)
        assert decibels(mixed) == pytest.approx(decibels(SPEECH), abs=0.01) or np.abs(mixed).max() == pytest.approx(1)
        assert lag(mixed, SPEECH) == 0


def test_mix_is_exact():
    signal, noise = np.array([1, -1, 1, -1], np.float32) / 4, np.array([7, 7, -7, -7], np.float32)
    mixed = mix(signal, noise, 20)
    assert mixed @ signal / (mixed @ (noise / 28)) == pytest.approx(10, rel=1e-6)
    assert decibels(mixed) == pytest.approx(decibels(signal))


def test_mix_does_not_clip():
    signal = np.zeros(1000, np.float32)
    signal[::2] = 0.99
    mixed = mix(signal, speech()[:1000] + 1, 0)
    assert np.abs(mixed).max() <= 1


@pytest.mark.parametrize("name", ["babble", "coughs", "environment", "music", "sneezes", "white noise"])
def test_silence_has_no_noise(name):
    with pytest.raises(Unfit, match="Silence"):
        applied(module.BACKGROUND, name, np.zeros(RATE, np.float32))


def test_babble_needs_somebody():
    with pytest.raises(Unfit, match="two or more"):
        applied(module.BACKGROUND, "babble", others=[])
    with pytest.raises(Unfit, match="Silence"):
        applied(module.BACKGROUND, "babble", others=[np.zeros(100, np.float32)])


def test_synthetic_sounds_differ_and_fit():
    for kind, background in noises.backgrounds().items():
        assert not background.recorded
        for samples in (100, 40000):
            one, other = (background.sound(np.random.default_rng(seed), samples) for seed in (0, 1))
            assert one.size == other.size == samples and not np.array_equal(one, other), kind
            assert one.any() and np.isfinite(one).all()
    assert np.abs(noises.cough(np.random.default_rng(0))[[0, -1]]).max() < 1e-3  # no clicks


def test_colour_of_noise():
    noise = noises.coloured(np.random.default_rng(0), 1 << 17, 1.0)
    power = np.abs(np.fft.rfft(noise)) ** 2
    hertz = np.fft.rfftfreq(noise.size, 1 / RATE)
    low, high = (power[(hertz > edge) & (hertz < 2 * edge)].mean() for edge in (200, 3200))
    assert 10 * math.log10(low / high) == pytest.approx(12.04, abs=0.7)  # pink: four octaves of 3 dB
    assert np.abs(noise).max() == pytest.approx(1)


def test_recorded_noises_are_used(tmp_path):
    tone = np.sin(2 * np.pi * 3000 * np.arange(4000) / RATE).astype(np.float32)  # loops without a seam
    write(tmp_path / "music" / "deep" / "tone.wav", 0.5 * tone)
    write(tmp_path / "coughs" / "tone.wav", 0.5 * tone)
    write(tmp_path / "babble" / "tone.wav", 0.5 * tone)
    (tmp_path / "music" / "broken.wav").write_bytes(b"nothing")
    (tmp_path / "music" / "notes.txt").write_text("not a recording")
    found = {one.name: one for one in changes(tmp_path) if one.group == module.BACKGROUND}
    assert {name for name, one in found.items() if one.sound == "recorded"} == {"music", "coughs", "babble"}
    for name, expected in (("music", 20), ("babble", 20), ("coughs", 10)):
        for seed in range(3):
            mixed = found[name].apply(SPEECH, np.random.default_rng(seed))
            assert snr(mixed, SPEECH) == pytest.approx(expected, abs=0.3)
            share = mixed @ SPEECH / (SPEECH @ SPEECH)
            noise = np.abs(np.fft.rfft(mixed - share * SPEECH))
            assert np.argmax(noise) * RATE / SPEECH.size == pytest.approx(3000, abs=5)
    assert found["environment"].sound == "synthetic"


def test_noises_that_are_none(tmp_path):
    with pytest.raises(FormatError, match="expected recordings in folders babble, coughs"):
        changes(tmp_path)
    with pytest.raises(FormatError, match="holds no noises"):
        changes(tmp_path / "nowhere")
    write(tmp_path / "music" / "silence.wav", np.zeros(1000))
    music = next(one for one in changes(tmp_path) if one.name == "music")
    with pytest.raises(AudioError, match="not silent"):
        music.apply(SPEECH, np.random.default_rng(0))
    with pytest.raises(AudioError, match="not silent"):
        robustness.robustness(CONSTANT, [write(tmp_path / "talk.wav", SPEECH)], noises=tmp_path)


# --- telephone, codecs, rooms, tilt ---


@pytest.mark.parametrize("name", ["AAC", "G.711", "MP3", "Opus"])
@pytest.mark.parametrize("samples", [SPEECH.size, 7777])
def test_codecs_are_in_time(name, samples):
    signal = SPEECH[:samples]
    coded = applied(module.CODECS, name, signal)
    assert coded.size == samples
    assert lag(coded, signal) == 0
    assert snr(coded, signal) > 5


@needs_amr
def test_telephone_is_in_time():
    real = recording.read(EXAMPLE)[0][16000:48000]  # what is made here repeats itself after each period
    assert lag(transmission.AMR.coded(real), real) == 0
    phone = applied(module.PHONE, "AMR telephone", real)
    assert abs(lag(phone, real)) <= 1
    assert decibels(phone) == pytest.approx(decibels(real), abs=0.01) or np.abs(phone).max() == pytest.approx(1)


@needs_amr
def test_telephone_loses_its_upper_band():
    # hiss stands above 3 kHz in place of the speech that was there
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) / 10
    coded = transmission.AMR.coded(noise)
    power = np.abs(np.fft.rfft(coded)) ** 2
    assert power[4100:].sum() < 1e-3 * power[:3400].sum()


def test_overdriven_curve():
    def rise(level_db):
        tone = 10 ** (level_db / 20) * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32)
        louder = transmission._overdriven(tone)
        assert louder.size == tone.size and np.abs(louder).max() <= 1
        return decibels(louder[8000:]) - decibels(tone[8000:])

    assert rise(-40) == pytest.approx(0, abs=0.01)
    assert rise(-12) == pytest.approx(8 / 0.8 - 8, abs=1.0)  # the envelope of a tone lies a little below its peak


def test_codecs_of_next_to_nothing():
    for change in ALL:
        if change.group == module.CODECS:
            try:
                assert change.apply(SPEECH[8000:8003], np.random.default_rng(0)).size == 3
            except Unfit as error:
                assert "longer" in str(error)


def test_codec_that_is_not_there():
    with pytest.raises(Unfit, match="no_such_codec"):
        Codec("no_such_codec", "wav").coded(SPEECH)


@pytest.mark.parametrize("group", [module.PHONE, module.CONDITION, module.TILT])
def test_silence_has_no_level(group):
    for change in ALL:
        if change.group == group:
            with pytest.raises(Unfit, match="Silence"):
                change.apply(np.zeros(8000, np.float32), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("room", "metres", "seconds"),
    [(*module.BOOTH, 0.12), *((*room, s) for room, s in zip(module.ROOMS, (0.78, 0.23, 0.43), strict=True)), (module.HALL, 1.0, 0.36)],
)  # fmt: skip
def test_rooms_reverberate_as_long_as_they_should(room, metres, seconds):
    import pyroomacoustics

    response, delay = transmission.response_of(room, metres, 0.0)
    assert pyroomacoustics.measure_rt60(response, RATE, decay_db=30) == pytest.approx(seconds, rel=0.15)
    assert abs(int(np.argmax(np.abs(response))) - delay) <= 1


def test_rooms_keep_time_and_fill_the_scale():
    click = np.zeros(8000, np.float32)
    click[2000] = 0.1
    for place in module.POSITIONS:
        heard = module.HALL.reverberated(click, *place)
        assert heard.size == click.size and abs(int(np.argmax(np.abs(heard))) - 2000) <= 1
        assert np.abs(heard).max() == pytest.approx(1)
    seen = {applied(module.CONDITION, "simulated room", seed=seed).tobytes() for seed in range(12)}
    assert len(seen) == 3
    seen = {applied(module.CONDITION, "simulated position", seed=seed).tobytes() for seed in range(60)}
    ahead = BY_NAME[module.CONDITION, "simulated position"].reference(SPEECH)
    assert len(seen) == 8 and ahead.tobytes() not in seen


@pytest.mark.parametrize(("name", "sign"), [("upward tilt", 1), ("downward tilt", -1)])
def test_tilt_is_linear(name, sign):
    click = np.zeros(4096, np.float32)
    click[2048] = 0.1
    tilted = applied(module.TILT, name, click)
    assert np.argmax(np.abs(tilted)) == 2048
    gain = 20 * np.log10(np.abs(np.fft.rfft(tilted)))
    slope, _ = np.polyfit(np.arange(gain.size), gain, 1)
    assert slope * gain.size == pytest.approx(20 * sign, rel=0.02)
    assert lag(applied(module.TILT, name), SPEECH) == 0


# --- counting ---


def change_of(function, name="change", group=module.SMALL, threshold=0.95, **more):
    return Change(name, group, threshold, "Something.", lambda signal, rng, others: function(signal), **more)


def test_share_counts_what_moves_less_than_the_limit():
    count = _Count()
    count.add(np.array([0.04, 0.05, 0.06]), 0.05)
    count.add(np.array([0.0, 0.0, 0.0]), 0.05)
    result = count.result(ALL[0])
    assert result.unchanged == (1.0, 0.5, 0.5) and result.files == 2
    assert result.mean_change == pytest.approx((0.02, 0.025, 0.03))
    assert result.passed == (True, False, False)


def test_more_than_the_threshold_passes():
    def passed(share):
        return ChangeResult(change_of(np.copy), 40, {}, (share,) * 3, (0.0,) * 3).passed

    assert passed(38 / 40) == (False,) * 3
    assert passed(39 / 40) == (True,) * 3
    assert passed(math.nan) == (False,) * 3


@needs_amr
def test_constant_model_is_robust(files):
    found = robustness.robustness(CONSTANT, files)
    assert found.files == 3 and found.seconds == pytest.approx(4.5) and not found.skipped and not found.shortened
    assert [one.change.name for one in found.results] == [one.name for one in ALL]
    for one in found.results:
        assert one.files == 3 and one.unchanged == (1.0,) * 3 and one.mean_change == (0.0,) * 3 and all(one.passed)
    assert set(found.groups().values()) == {(1.0,) * 3}


def test_model_that_hears_loudness(files):
    found = robustness.robustness(LOUDNESS, files)
    by_name = {(one.change.group, one.change.name): one for one in found.results}
    gain = by_name[module.SMALL, "gain"]
    assert gain.unchanged == (0.0, 1.0, 1.0) and gain.passed == (False, True, True)
    assert 0.1 <= gain.mean_change[0] <= 0.2 and gain.mean_change[1:] == (0.0, 0.0)
    for name in ("music", "babble", "white noise"):  # mixed at the level of the signal
        assert by_name[module.BACKGROUND, name].unchanged == (1.0,) * 3
    assert found.groups()[module.TILT] == (1.0,) * 3
    assert "| small changes | gain | 0.0 | 100.0 | 100.0 | 95 | no: arousal |" in found.markdown()


def test_same_seed_same_figures(files):
    hears_everything = Fake(lambda signal: np.abs(np.fft.rfft(signal, 1024))[[5, 50, 200]] / 30)
    first, again, other = (robustness.robustness(hears_everything, files[:2], seed=seed) for seed in (1, 1, 2))
    assert first.figures() == again.figures()
    assert first.figures()["tests"] != other.figures()["tests"]


def test_reference_is_what_it_is_compared_with(files, monkeypatch):
    louder = change_of(lambda signal: 2 * signal, reference=lambda signal: 2 * signal)
    monkeypatch.setattr(robustness, "changes", lambda *_: (louder,))
    found = robustness.robustness(LOUDNESS, files)
    assert found.results[0].unchanged == (1.0,) * 3


def test_limit_is_the_users(files, monkeypatch):
    monkeypatch.setattr(robustness, "changes", lambda *_: (change_of(lambda signal: signal * 10 ** (1 / 20)),))
    assert robustness.robustness(LOUDNESS, files, limit=0.11).results[0].unchanged[0] == 1
    assert robustness.robustness(LOUDNESS, files, limit=0.09).results[0].unchanged[0] == 0
    for bad in (0, -1, math.nan, math.inf):
        with pytest.raises(Emow2vError, match="limit"):
            robustness.robustness(LOUDNESS, files, limit=bad)
    with pytest.raises(Emow2vError, match="seed of 0 or more"):
        robustness.robustness(LOUDNESS, files, seed=-1)


def test_what_was_not_all_there_is_reported(files, tmp_path):
    hum = np.resize([0.1, -0.1], RATE)
    soundfile.write(tmp_path / "half.wav", np.stack([hum, 0 * hum], axis=1), RATE)
    soundfile.write(tmp_path / "opposite.wav", np.stack([hum, -0.9 * hum], axis=1), RATE)
    found = robustness.robustness(CONSTANT, [*files, tmp_path / "half.wav", tmp_path / "opposite.wav"])
    notices = found.figures()["notices"]
    assert list(notices) == [str(tmp_path / "half.wav"), str(tmp_path / "opposite.wav")]
    assert "Channel 2 is silent" in notices[str(tmp_path / "half.wav")][0]
    assert "opposite phase" in notices[str(tmp_path / "opposite.wav")][0]
    assert "Something was missing or unusual in 2 of 5 recordings" in found.markdown()


def test_files_that_cannot_be_heard_are_told(files, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    names = []
    found = robustness.robustness(CONSTANT, [*files, broken, tmp_path / "gone.wav"], on_file=names.append)
    assert found.files == 3 and list(found.skipped) == [str(broken), str(tmp_path / "gone.wav")]
    assert "does not exist" in found.skipped[str(tmp_path / "gone.wav")]
    assert names == [str(path) for path in (*files, broken, tmp_path / "gone.wav")]
    assert f"* Skipped {broken}: " in found.markdown()
    with pytest.raises(Emow2vError, match="None of 1 files can be read; expected recordings"):
        robustness.robustness(CONSTANT, [broken])
    with pytest.raises(Emow2vError, match="None of 0 files"):
        robustness.robustness(CONSTANT, [])


def test_long_files_are_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(robustness, "changes", lambda *_: (change_of(lambda signal: -signal),))
    sizes = []
    long = write(tmp_path / "long.wav", np.full(RATE * 31, 0.1))
    exact = write(tmp_path / "exact.wav", np.full(RATE * 30, 0.1))
    model = Fake(lambda signal: sizes.append(signal.size) or (0, 0, 0))
    found = robustness.robustness(model, [long, exact])
    assert set(sizes) == {30 * RATE} and found.seconds == 60 and found.shortened == 1
    assert "Of longer files the first 30 s were used: 1 of 2." in found.markdown()


def test_what_does_not_fit_is_left_out_and_counted(files, tmp_path):
    short = write(tmp_path / "short.wav", SPEECH[8000:8090])
    silent = write(tmp_path / "silent.wav", np.zeros(8000))
    found = robustness.robustness(CONSTANT, [files[0], short, silent])
    by_name = {(one.change.group, one.change.name): one for one in found.results}
    crop = by_name[module.SMALL, "crop beginning"]
    assert crop.files == 2 and list(crop.left_out.values()) == [1]
    music = by_name[module.BACKGROUND, "music"]
    assert music.files == 2 and "Silence" in next(iter(music.left_out))
    assert by_name[module.SMALL, "gain"].files == 3 and not by_name[module.SMALL, "gain"].left_out
    assert "* crop beginning: left out for 1 of 3. The recording is no longer" in found.markdown()


def test_too_short_for_the_model_is_left_out(files, monkeypatch):
    def scores(signal):
        if signal.size < 1000:
            raise AudioError("signal is too short")
        return (0, 0, 0)

    monkeypatch.setattr(robustness, "changes", lambda *_: (change_of(lambda signal: signal[:500]),))
    found = robustness.robustness(Fake(scores), files)
    assert found.results[0].left_out == {"What it leaves is too short for the model.": 3}
    assert found.figures()["tests"][0]["unchanged"] == {"arousal": None, "dominance": None, "valence": None}
    assert found.figures()["tests"][0]["passed"] is None and found.figures()["groups"] == {}
    assert "| small changes | change | - | - | - | 95 | - |" in found.markdown()


def test_one_file_has_nobody_else(files):
    found = robustness.robustness(CONSTANT, files[:1])
    babble = next(one for one in found.results if one.change.name == "babble")
    assert babble.files == 0 and "two or more" in next(iter(babble.left_out))
    json.dumps(found.figures(), allow_nan=False)


def test_few_files_are_held(tmp_path, monkeypatch):
    many = [write(tmp_path / f"{number}.wav", speech(number, 0.05)) for number in range(20)]
    held = robustness._voices([tmp_path / "gone.wav", *many], 5)
    assert len(held) == robustness.VOICES and 0 not in held
    assert list(held) == list(robustness._voices([tmp_path / "gone.wav", *many], 5))
    assert list(held) != list(robustness._voices([tmp_path / "gone.wav", *many], 6))


def test_nobody_talks_behind_himself(files, monkeypatch):
    heard = []

    def change(signal, rng, others):
        heard.append(any(np.array_equal(signal, other) for other in others) or len(others) != 2)
        return signal

    monkeypatch.setattr(robustness, "changes", lambda *_: (Change("a", module.SMALL, 0.95, "A.", change),))
    robustness.robustness(CONSTANT, files)
    assert heard == [False] * 3


def test_a_run_can_be_stopped(files):
    def stop(name):
        raise Cancelled("Enough.")

    with pytest.raises(Cancelled):
        robustness.robustness(CONSTANT, files, on_file=stop)


# --- the whole run ---


@needs_amr
def test_lite_from_files_to_picture(lite, tmp_path):
    pytest.importorskip("matplotlib")
    short = [write(tmp_path / f"talk-{seed}.wav", speech(seed, 0.8)) for seed in range(3)]
    found = robustness.robustness(lite, short)
    figures = found.figures()
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert figures["model"] == "lite" and figures["files"] == 3 and len(figures["tests"]) == len(ALL)
    assert figures["software"]["pyroomacoustics"] and set(figures["groups"]) == set(GROUPS)
    for test in figures["tests"]:
        assert test["files"] == 3 and all(0 <= share <= 1 for share in test["unchanged"].values())
        assert test["sound"] in ((None,) if test["group"] != module.BACKGROUND else ("synthetic", "recorded"))
    for group, values in figures["groups"].items():
        mine = [test["unchanged"]["valence"] for test in figures["tests"] if test["group"] == group]
        assert values["unchanged"]["valence"] == pytest.approx(np.mean(mine), abs=1e-3)
        assert values["lowest"] == min(values["unchanged"].values())
    text = found.markdown()
    assert text.startswith("## Robustness\n") and text.count("\n| ") == 1 + len(ALL) + len(GROUPS)
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1
    assert "Made by the program: coughs, environment, music, sneezes, white noise." in text
    for ending in (".png", ".SVG"):
        robustness.plot(found, tmp_path / f"robustness{ending}")
        assert (tmp_path / f"robustness{ending}").stat().st_size > 5000
    with pytest.raises(FormatError, match=r"expected \.png, \.svg, \.pdf"):
        robustness.plot(found, tmp_path / "robustness.doc")


def test_picture_without_matplotlib(files, tmp_path, monkeypatch):
    monkeypatch.setattr(robustness, "changes", lambda *_: (change_of(np.negative),))
    found = robustness.robustness(CONSTANT, files)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(FormatError, match=r"emow2v\[plot\]"):
        robustness.plot(found, tmp_path / "robustness.png")


def test_phone_without_amr_is_left_out_with_a_remedy(files, monkeypatch):
    absent = Codec("no_such_codec", "amr", 7400, 8000)
    monkeypatch.setattr(transmission, "AMR", absent)
    found = robustness.robustness(CONSTANT, files)
    phone = next(one for one in found.results if one.change.group == module.PHONE)
    assert phone.files == 0 and any("pip install 'av<19'" in reason for reason in phone.left_out)
    assert json.loads(json.dumps(found.figures(), allow_nan=False))
    assert "AMR telephone" in found.markdown()
