"""Decoding, judged by soundfile and soxr, and what happens with everything that is no proper recording."""

import io
import os
import random
import threading
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from emow2v.audio import recording as audio
from emow2v.errors import AudioError
from sounds import add_pictures, encoded, noise, refusal, tone, wav_bytes

pytestmark = pytest.mark.quick

# --- what a decoder must give ---------------------------------------------------------------------------


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_wav_equals_soundfile_and_channels_are_averaged(tmp_path, subtype, channels):
    file = tmp_path / "noise.wav"
    soundfile.write(file, noise(20_001, channels), 16000, subtype=subtype)
    judged, _ = soundfile.read(file, dtype="float64", always_2d=True)
    signal, rate = audio.read(file)
    assert (signal.dtype, rate) == (np.float32, 16000)
    np.testing.assert_array_equal(signal, judged.mean(axis=1).astype(np.float32))


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64"])
def test_other_containers_equal_soundfile(tmp_path, kind):
    file = tmp_path / "tone"
    soundfile.write(file, tone(16000, 1.5), 16000, format=kind)
    judged, _ = soundfile.read(file, dtype="float32")
    signal, _ = audio.read(file)
    assert len(signal) == len(judged)
    np.testing.assert_allclose(signal, judged, atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("samples", [0, 1, 7777])
def test_resampled_length_is_the_floor_of_the_duration(tmp_path, rate, samples):
    file = tmp_path / "tone.wav"
    source = tone(rate, 1.2)[: rate + samples]
    soundfile.write(file, source, rate, subtype="FLOAT")
    recording = audio.open_recording(file)
    signal = np.concatenate(list(recording))
    assert recording.duration == Fraction(len(source), rate)
    assert len(signal) == len(source) * 16000 // rate
    whole = soxr.resample(source, rate, 16000)
    shared = min(len(whole), len(signal))
    np.testing.assert_allclose(signal[: shared - 1], whole[: shared - 1], atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "codec", "rate"),
    [
        ("mp4", "aac", 44100),
        ("ipod", "aac", 48000),
        ("ipod", "alac", 44100),
        ("mp3", "libmp3lame", 44100),
        ("mp3", "libmp3lame", 16000),
        ("flac", "flac", 44100),
        ("ogg", "libopus", 48000),
        ("webm", "libopus", 48000),
        ("matroska", "ac3", 44100),
        ("avi", "pcm_s16le", 22050),
        ("mpegts", "aac", 44100),
        ("wav", "pcm_mulaw", 8000),
    ],
)
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_every_common_encoding_keeps_the_sound_in_its_place(kind, codec, rate, layout):
    signal, _ = audio.read(io.BytesIO(encoded(kind, codec, rate, 2.0, layout=layout)))
    # codecs without a stated length pad their last frame, and transport streams their first
    assert 32000 <= len(signal) <= 32000 + 0.08 * 16000
    period = 16000 / 220
    match = [np.dot(signal[k : k + 30000], tone(16000, 30000 / 16000)) for k in range(73)]
    assert max(match) > 0.9 * 0.125 * 30000  # the tone, as loud as it was; LAME makes it a little softer
    if kind not in ("mpegts", "matroska"):  # these do not say how much silence an encoder put before
        assert min(np.argmax(match), period - np.argmax(match)) < 3
        assert np.argmax(np.abs(signal) > 0.1) < 20


@pytest.mark.parametrize(("kind", "codec"), [("mp4", "aac"), ("ipod", "alac"), ("ogg", "libopus"), ("mov", "aac")])
def test_containers_that_state_their_length_give_exactly_that(kind, codec):
    recording = audio.open_recording(io.BytesIO(encoded(kind, codec, 48000, 1.01)))
    assert sum(block.size for block in recording) == 16160
    assert recording.duration == Fraction(101, 100)


def test_pictures_beside_the_sound_do_not_matter():
    signal, _ = audio.read(io.BytesIO(encoded("mp4", "aac", 48000, 1.0, video=1.0)))
    assert len(signal) == 16000


@pytest.mark.parametrize("kind", ["mp4", "matroska", "mov"])
def test_sound_that_starts_after_its_pictures_keeps_true_time(kind):
    codec = "aac" if kind == "mp4" else "pcm_s16le"
    recording = audio.open_recording(io.BytesIO(encoded(kind, codec, 16000, 1.0, video=2.0, start=0.5)))
    signal = np.concatenate(list(recording))
    assert not signal[: 6900 if kind == "mp4" else 8000].any()  # an AAC frame comes before the tone
    onset = np.argmax(np.abs(signal) > 0.1) / 16000
    assert onset == pytest.approx(0.5, abs=0.005)
    assert float(recording.duration) == pytest.approx(1.5, abs=0.001)


def remuxed(data, kind, keep):
    """The packets of a file for which `keep(index)` is true, in a new one with their own times."""
    buffer = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(buffer, "w", format=kind) as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for index, packet in enumerate(source.demux(source.streams.audio[0])):
            if packet.dts is not None and keep(index):
                packet.stream = stream
                target.mux(packet)
    return buffer.getvalue()


def test_lost_packets_become_silence():
    data = remuxed(encoded("matroska", "libopus", 48000, 3.0), "matroska", lambda k: not 50 <= k < 100)
    signal, _ = audio.read(io.BytesIO(data))
    assert len(signal) == pytest.approx(48000, abs=500)
    assert not signal[17600:31000].any()  # 1.0 to 2.0 s, less the codec's own transitions
    assert signal[33000:].any()


@pytest.mark.parametrize(
    ("kind", "codec"), [("mp4", "aac"), ("adts", "aac"), ("mp3", "libmp3lame"), ("ogg", "libopus")]
)
def test_damage_in_the_middle_keeps_the_length_about_right(kind, codec):
    data = bytearray(encoded(kind, codec, 48000, 3.0))
    middle = len(data) // 2
    data[middle : middle + 400] = b"\0" * 400
    recording = audio.open_recording(io.BytesIO(data))
    signal = np.concatenate(list(recording))
    assert len(signal) == pytest.approx(48000, abs=2500)
    assert np.abs(signal[-12000:-2000]).max() > 0.4


def test_each_undecodable_packet_is_counted_and_its_time_kept(monkeypatch):
    """Single packets are shorter than the tolerance for gaps; many of them must not add up."""
    data = encoded("matroska", "flac", 16000, 4.0)
    with av.open(io.BytesIO(data)) as container:
        packets = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    assert len(packets) > 10
    broken = bytearray(data)
    for packet in packets[2:-1:3]:
        at = data.index(packet)
        broken[at : at + 4] = b"\0\0\0\0"  # no frame header
    recording = audio.open_recording(io.BytesIO(broken))
    signal = np.concatenate(list(recording))
    assert recording.damaged >= len(packets[2:-1:3])
    assert len(signal) == pytest.approx(64000, abs=100)


def test_a_stream_that_appears_on_the_way_does_not_disturb():
    first = encoded("mpegts", "aac", 44100, 1.0)
    more = encoded("mpegts", "aac", 44100, 1.0, more_tracks=["mp2"])
    signal, _ = audio.read(io.BytesIO(first * 20 + more))
    assert len(signal) > 20 * 16000


def test_a_rate_that_changes_on_the_way_is_followed():
    data = encoded("adts", "aac", 44100, 1.0) + encoded("adts", "aac", 22050, 1.0)
    for target in (16000, None):
        recording = audio.open_recording(io.BytesIO(data), target_rate=target)
        samples = sum(block.size for block in recording)
        assert float(recording.duration) == pytest.approx(2.0, abs=0.15)
        assert samples == pytest.approx(recording.sampling_rate * float(recording.duration), abs=2)


def test_target_rate_none_keeps_the_rate_of_the_file(tmp_path):
    file = tmp_path / "tone.wav"
    soundfile.write(file, tone(22050, 1.0), 22050)
    signal, rate = audio.read(file, target_rate=None)
    assert (len(signal), rate) == (22050, 22050)


def test_expected_duration_is_what_the_container_states(wav):
    recording = audio.open_recording(wav)
    assert recording.expected_duration == pytest.approx(1.0)
    assert recording.duration == 0
    recording.close()


# --- arrays ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.int64, np.float16, np.float32, np.float64])
def test_arrays_of_any_number_type(dtype):
    wave = tone(16000, 0.1)
    info = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else None
    if info is None:
        values, step = wave.astype(dtype), 1e-3
    else:
        half = (float(info.max) - info.min + 1) / 2
        values = (np.float64(wave) * half + (half if info.min == 0 else 0)).astype(dtype)
        step = 1 / half + 1e-7
    signal, _ = audio.read(values, 16000)
    np.testing.assert_allclose(signal, wave, atol=step)


def test_an_array_is_one_row_a_channel_and_resampled_like_a_file(tmp_path):
    stereo = noise(44100, 2)
    file = tmp_path / "noise.wav"
    soundfile.write(file, stereo, 44100, subtype="FLOAT")
    of_array, _ = audio.read(stereo.T, 44100)
    of_file, _ = audio.read(file)
    np.testing.assert_allclose(of_array, of_file, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "rate", "told"),
    [
        (np.zeros(10), None, "sampling rate"),
        (np.zeros(10), 0, "sampling rate"),
        (np.zeros(10), float("nan"), "sampling rate"),
        (np.zeros(10), 1, "expected 1000 to"),
        (np.zeros((16000, 2)), 16000, "transpose"),
        (np.zeros((2, 2, 2)), 16000, "transpose"),
        (np.zeros((0, 5)), 16000, "no channels"),
        (np.array([0.0, np.nan]), 16000, "NaN"),
        (np.array([[np.inf], [-np.inf]]), 16000, "NaN"),
        (np.array([1e300]), 16000, "NaN"),
        (np.zeros(10, complex), 16000, "complex"),
        (np.array(["a"]), 16000, "floats or integers"),
        ([0, 1], 16000, "whole numbers"),  # lists of numbers with a decimal point are arrays now
        (None, 16000, "got NoneType"),
    ],
)
def test_arrays_that_are_no_sound_are_refused(values, rate, told):
    with pytest.raises(AudioError, match=told):
        audio.read(values, rate)


def test_an_empty_array_is_an_empty_recording():
    assert audio.read(np.zeros(0), 16000)[0].size == 0


# --- paths, file objects, pipes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["with space.wav", "Gespräch – ä.wav", "10:30.wav", "http:x.wav", "%d 01.wav", "-", "x"]
)
def test_names_of_files_mean_nothing(tmp_path, wav, name):
    if os.name == "nt" and ":" in name:
        pytest.skip("no colons in names on Windows")
    file = tmp_path / name
    file.write_bytes(wav.read_bytes())
    np.testing.assert_array_equal(audio.read(str(file))[0], audio.read(wav)[0])


def test_a_name_that_is_no_text(tmp_path, wav):
    file = os.fsencode(tmp_path) + b"/\xff.wav"
    try:
        with open(file, "wb") as target:  # noqa: PTH123
            target.write(wav.read_bytes())
    except OSError:
        pytest.skip("this file system takes only names that are text")
    assert audio.read(os.fsdecode(file))[0].size == 16000


def test_file_objects_are_read_and_left_open(wav):
    buffer = io.BytesIO(wav.read_bytes())
    first, _ = audio.read(buffer)
    buffer.seek(0)
    second, _ = audio.read(buffer)
    with wav.open("rb") as file:
        third, _ = audio.read(file)
        assert not file.closed
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, third)


@pytest.mark.parametrize(("kind", "codec"), [("wav", "pcm_s16le"), ("mp3", "libmp3lame"), ("webm", "libopus")])
def test_pipes_that_cannot_seek(kind, codec):
    data = encoded(kind, codec, 48000, 2.0)
    reading, writing = os.pipe()

    def feed():
        with os.fdopen(writing, "wb") as pipe, suppress(BrokenPipeError):
            pipe.write(data)

    feeder = threading.Thread(target=feed)
    feeder.start()
    with os.fdopen(reading, "rb") as pipe:
        signal, _ = audio.read(pipe)
    feeder.join()
    assert len(signal) == pytest.approx(32000, abs=1100)


class Faulty(io.RawIOBase):
    def __init__(self, answer):
        self.answer = answer

    def readable(self):
        return True

    def read(self, size=-1):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("answer", [ConnectionResetError("gone"), "text", None, b"x" * 1_000_000])
def test_file_objects_that_misbehave(answer):
    with pytest.raises(AudioError, match="cannot be read"):
        audio.read(Faulty(answer))


def test_a_recording_closed_early_leaves_nothing_open_and_gives_nothing_more(wav):
    recording = audio.open_recording(wav)
    blocks = iter(recording)
    assert next(blocks).size
    recording.close()
    assert list(blocks) == []
    recording.close()
    unread = audio.open_recording(wav)
    unread.close()
    assert list(unread) == []
    descriptors = Path("/proc/self/fd")
    if descriptors.exists():
        for entry in descriptors.iterdir():
            with suppress(OSError):  # another thread has closed it since
                assert not entry.samefile(wav)


# --- what is no recording -------------------------------------------------------------------------------


def test_files_that_are_no_recordings_are_told_in_one_sentence(tmp_path, wav):
    (tmp_path / "text.wav").write_text("It was a dark and stormy night.\n" * 30)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "header.wav").write_bytes(wav.read_bytes()[:44])
    (tmp_path / "half a header.wav").write_bytes(wav.read_bytes()[:30])
    (tmp_path / "noise.mp3").write_bytes(random.Random(3).randbytes(5000))
    assert "not a recording" in refusal(tmp_path / "text.wav")
    assert "0 bytes" in refusal(tmp_path / "empty.wav")
    assert "no sound" in refusal(tmp_path / "header.wav")
    assert "not a recording" in refusal(tmp_path / "half a header.wav")
    assert "expected" in refusal(tmp_path / "noise.mp3")
    assert "folder" in refusal(tmp_path)
    assert "does not exist" in refusal(tmp_path / "missing.wav")
    assert "cannot be read" in refusal(wav / "below a file.wav")
    assert "cannot be read" in refusal("a\0b.wav")
    assert "cannot be read" in refusal("a" * 5000)
    assert "0 bytes" in refusal(io.BytesIO())


def test_a_file_without_permission(tmp_path, wav, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(wav), "open", refuse)
    assert "Permission denied" in refusal(wav)


def test_pictures_without_sound(tmp_path):
    file = tmp_path / "silent film.mp4"
    with av.open(str(file), "w") as container:
        add_pictures(container, container.add_stream("mpeg4", rate=25), 1.0)
    assert "no sound" in refusal(file)


def test_a_codec_nobody_knows():
    data = encoded("mov", "pcm_s16le", 44100).replace(b"sowt", b"zzzz")
    assert "unknown encoding" in refusal(io.BytesIO(data))


def test_a_truncated_wav_gives_what_is_there(tmp_path, wav):
    file = tmp_path / "truncated.wav"
    file.write_bytes(wav.read_bytes()[: 44 + 2 * 5000])
    recording = audio.open_recording(file)
    assert sum(block.size for block in recording) == 5000
    assert recording.duration == Fraction(5000, 16000)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_samples_that_are_no_numbers_are_refused(tmp_path, value):
    file = tmp_path / "nan.wav"
    stereo = np.zeros((30_000, 2))
    stereo[20_000] = value, -value
    soundfile.write(file, stereo, 16000, subtype="DOUBLE")
    if value == 1e300:
        assert not audio.read(file)[0].any()  # the mean is 0, and finite
        soundfile.write(file, stereo[:, :1], 16000, subtype="DOUBLE")
    assert "NaN or infinity" in refusal(file)


@pytest.mark.parametrize("rate", [1, 999, 2_000_000_000])
def test_absurd_sampling_rates_are_refused(rate):
    data = bytearray(wav_bytes(tone(16000, 0.1)))
    data[24:28] = rate.to_bytes(4, "little")
    assert refusal(io.BytesIO(data))


# --- anything at all ------------------------------------------------------------------------------------

REAL = {
    "wav": wav_bytes(noise(2000)),
    "stereo wav": wav_bytes(noise(2000, 2), 44100, "FLOAT"),
    "mp3": encoded("mp3", "libmp3lame", 44100, 0.3),
    "ogg": encoded("ogg", "libopus", 48000, 0.3),
    "mp4": encoded("mp4", "aac", 44100, 0.3),
    "webm": encoded("webm", "libopus", 48000, 0.3),
    "flac": encoded("flac", "flac", 16000, 0.3),
    "ts": encoded("mpegts", "aac", 44100, 0.3),
}


def finite_sound_or_audio_error(data):
    try:
        recording = audio.open_recording(io.BytesIO(data))
        samples = 0
        for block in recording:
            assert block.dtype == np.float32 and np.isfinite(block).all()
            samples += block.size
            if samples > 16000 * 60:  # a damaged timestamp: hours of silence, not wrong but not needed here
                recording.close()
                return
        assert samples == int(recording.duration * 16000)
    except AudioError as error:
        assert str(error).endswith(".")


@pytest.mark.parametrize(
    "head",
    [b"RIFF", b"RF64", b"fLaC", b"FORM", b"caff", b"riff", b"OggS", b"\x1aE\xdf\xa3", b"\0\0\0\1ftyp", b"ID3", b"\xff"],
)
@pytest.mark.parametrize("more", [0, 1, 3, 8])
def test_a_beginning_alone_is_no_recording(head, more):
    assert "stream" in refusal(io.BytesIO(head + bytes(more)))


def test_a_header_with_sound_that_no_decoder_takes():
    data = bytearray(REAL["stereo wav"])
    data[23] = 2  # 514 channels
    assert "opens no decoder for the sound that its header states" in refusal(io.BytesIO(data))


@given(st.binary(max_size=2000))
def test_any_bytes_are_sound_or_one_error(data):
    finite_sound_or_audio_error(data)


@settings(max_examples=500)
@given(
    kind=st.sampled_from(sorted(REAL)),
    changes=st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), max_size=12),
    header=st.booleans(),
    end=st.none() | st.integers(0, 20_000),
)
def test_damaged_files_are_sound_or_one_error(kind, changes, header, end):
    data = bytearray(REAL[kind])
    for at, value in changes:
        data[at % min(len(data), 100 if header else len(data))] = value
    finite_sound_or_audio_error(bytes(data[:end]))
