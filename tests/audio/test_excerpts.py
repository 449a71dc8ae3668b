"""Parts of recordings are what the whole has there, and header's durations what decoding finds."""

import io

import numpy as np
import pytest
import soundfile
import soxr

from emow2v.audio import container, excerpts
from emow2v.audio import recording as audio
from emow2v.errors import AudioError
from sounds import encoded, noise

STRETCHES = ((0.0, 0.5), (3.21, 5.0), (12.345, 14.0), (21.0004, 21.1), (28.5, None), (29.99, 31.0), (40.0, 41.0))


@pytest.mark.parametrize(
    ("kind", "codec", "rate"),
    [("flac", "flac", 44100), ("mp3", "libmp3lame", 44100), ("mp4", "aac", 22050), ("ogg", "libopus", 48000),
     ("matroska", "aac", 44100), ("mpegts", "aac", 48000), ("adts", "aac", 16000)],
)  # fmt: skip
def test_stretches_are_what_the_whole_has_there(tmp_path, kind, codec, rate):
    path = tmp_path / "long"
    path.write_bytes(encoded(kind, codec, rate, 30.0))
    whole, _ = audio.read(path)
    for start, end in STRETCHES:
        part = whole[round(16000 * start) : None if end is None else round(16000 * end)]
        np.testing.assert_allclose(excerpts.read_stretch(path, start, end), part, atol=1e-5)


@pytest.mark.parametrize("rate", [16000, 44100, 11025])
def test_a_stretch_of_a_long_file_is_read_without_the_rest(tmp_path, monkeypatch, rate):
    """All but its neighbourhood stays on the disk; samples fall where soxr puts them in the whole."""
    signal = noise(60 * rate)[:, 0]
    soundfile.write(tmp_path / "long.wav", signal, rate, subtype="FLOAT")
    whole = soxr.resample(signal, rate, 16000) if rate != 16000 else signal
    taken = []

    class Watched(io.FileIO):
        def read(self, size=-1):
            taken.append(data := super().read(size))
            return data

    monkeypatch.setattr(container, "open_file", lambda path: Watched(path))
    monkeypatch.setattr(container, "search_options", lambda file: {})
    for start, end in ((50.123, 51.0), (2.0, 3.0)):
        taken.clear()
        part = excerpts.read_stretch(tmp_path / "long.wav", start, end)
        np.testing.assert_allclose(part, whole[round(16000 * start) : round(16000 * end)], atol=1e-5)
        assert sum(map(len, taken)) < 0.2 * signal.nbytes


def test_what_cannot_seek_is_heard_from_its_beginning():
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

        def seek(self, *_):
            raise io.UnsupportedOperation

    data = encoded("wav", "pcm_s16le", 16000, 20.0)
    piped, entered = (audio.open_recording(kind(data), start=15.0) for kind in (Pipe, io.BytesIO))
    assert sum(block.size for block in piped) == 20 * 16000 and piped.begin == 0
    assert sum(block.size for block in entered) == round((20 - entered.begin) * 16000) and entered.begin > 10


def test_stretches_of_files_that_are_none(tmp_path):
    with pytest.raises(AudioError, match="does not exist"):
        excerpts.read_stretch(tmp_path / "none.wav", 1, 2)
    (tmp_path / "text.wav").write_text("no sound " * 1000)
    with pytest.raises(AudioError, match="not a recording"):
        excerpts.read_stretch(tmp_path / "text.wav", 20, 21)


@pytest.mark.parametrize(
    ("kind", "codec", "rate"),
    [("wav", "pcm_s16le", 44100), ("flac", "flac", 16000), ("mp3", "libmp3lame", 44100), ("mp4", "aac", 22050),
     ("ogg", "libopus", 48000), ("matroska", "aac", 44100), ("mpegts", "aac", 48000)],
)  # fmt: skip
def test_stated_durations_are_near_the_decoded_ones(tmp_path, kind, codec, rate):
    path = tmp_path / "tone"
    path.write_bytes(encoded(kind, codec, rate, 7.3))
    recording = audio.open_recording(path)
    assert sum(block.size for block in recording)
    assert excerpts.stated_duration(path) == pytest.approx(float(recording.duration), abs=0.05)


def test_durations_behind_large_tags_are_found(tmp_path):
    """A cover picture of a megabyte comes before the sound."""
    size = 1 << 20
    tag = b"ID3\x04\x00\x00" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) + bytes(size)
    (tmp_path / "a.mp3").write_bytes(tag + encoded("mp3", "libmp3lame", 44100, 5.0))
    assert excerpts.stated_duration(tmp_path / "a.mp3") == pytest.approx(5.0, abs=0.1)


def test_durations_of_files_that_are_none(tmp_path):
    for content, sentence in ((b"", "is empty"), (b"no sound " * 100, "not a recording")):
        (tmp_path / "a.wav").write_bytes(content)
        with pytest.raises(AudioError, match=sentence):
            excerpts.stated_duration(tmp_path / "a.wav")
