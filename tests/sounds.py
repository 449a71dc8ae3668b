"""Recordings of every kind, made in memory: tones and noises, their encodings by PyAV; and what refuses them."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

from emow2v.audio import recording
from emow2v.errors import AudioError


def tone(rate, seconds, frequency=220.0):
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def noise(samples, channels=1):
    return np.random.default_rng(7).uniform(-0.9, 0.9, (samples, channels)).astype(np.float32)


def add_tone(container, stream, seconds, *, start=0.0):
    """A tone into an open container, its first timestamp at `start` seconds."""
    rate, layout = stream.rate, stream.layout
    frame = av.AudioFrame.from_ndarray(np.tile(tone(rate, seconds), (layout.nb_channels, 1)), "fltp", layout.name)
    frame.sample_rate, frame.pts = rate, None
    size = stream.codec_context.frame_size or 1024
    resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate, frame_size=size)
    at = round(start * rate)
    for piece in resampler.resample(frame) + resampler.resample(None):
        piece.pts, piece.time_base = at, Fraction(1, rate)
        at += piece.samples
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))


def add_pictures(container, stream, seconds):
    stream.width = stream.height = 32
    stream.pix_fmt = "yuv420p"
    for k in range(round(25 * seconds)):
        picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), k, np.uint8), format="rgb24")
        picture.pts = k
        container.mux(stream.encode(picture))
    container.mux(stream.encode(None))


def encoded(kind, codec, rate=44100, seconds=1.0, *, layout="mono", video=0.0, start=0.0, more_tracks=()):
    """The bytes of a file; `video` seconds of pictures beside the tone."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind) as container:
        pictures = container.add_stream("mpeg4", rate=25) if video else None
        tracks = [container.add_stream(name, rate=rate, layout=layout) for name in (codec, *more_tracks)]
        if pictures:
            add_pictures(container, pictures, video)
        for track in tracks:
            add_tone(container, track, seconds, start=start)
    return buffer.getvalue()


def wav_bytes(signal, rate=16000, subtype="PCM_16"):
    buffer = io.BytesIO()
    soundfile.write(buffer, signal, rate, subtype=subtype, format="WAV")
    return buffer.getvalue()


def refusal(source):
    with pytest.raises(AudioError) as caught:
        recording.read(source)
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence
    return sentence


def id3(data, *texts):
    """An mp3 file behind tags whose bytes are taken as they stand: frame by frame, title, artist, comment ..."""
    frames = b"".join(
        name + (len(text) + 1).to_bytes(4, "big") + b"\0\0" + b"\3" + text
        for name, text in zip((b"TIT2", b"TPE1", b"TALB", b"TCON", b"TCOM"), texts, strict=False)
    )
    size = bytes(len(frames) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + size + frames + data


def riff_tags(data, text):
    """A wav file with a title of these bytes behind its samples."""
    text += b"\0" * (2 - len(text) % 2)
    chunk = b"LIST" + (12 + len(text)).to_bytes(4, "little") + b"INFOINAM" + len(text).to_bytes(4, "little") + text
    return data[:4] + (len(data) + len(chunk) - 8).to_bytes(4, "little") + data[8:] + chunk
