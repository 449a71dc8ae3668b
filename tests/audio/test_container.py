"""What FFmpeg may open on behalf of a file, and how it is asked to."""

import io
import shutil
import signal
import subprocess
import sys
import wave

import av
import numpy as np
import pytest
import soundfile

from emow2v.audio import container, recording
from sounds import encoded, id3, refusal, riff_tags

pytestmark = pytest.mark.quick

PLAYLISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\n{wav}\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile '{wav}'\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "mpd": (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S">'
        '<Period><AdaptationSet mimeType="audio/mp4"><Representation id="1" bandwidth="9"><BaseURL>{wav}</BaseURL>'
        "</Representation></AdaptationSet></Period></MPD>"
    ),
    "m3u": "{wav}\n",
}


@pytest.mark.parametrize("kind", sorted(PLAYLISTS))
@pytest.mark.parametrize("named", ["own", "wav", "mp4"])
@pytest.mark.parametrize("absolute", [False, True])
def test_a_playlist_opens_no_other_file(tmp_path, wav, kind, named, absolute):
    sound = tmp_path / "secret.wav"
    sound.write_bytes(wav.read_bytes())
    playlist = tmp_path / f"list.{kind if named == 'own' else named}"
    playlist.write_text(PLAYLISTS[kind].format(wav=sound if absolute else sound.name))
    refusal(playlist)
    with playlist.open("rb") as file:
        refusal(file)


@pytest.mark.parametrize("kind", ["ffconcat", "m3u8", "mpd"])
def test_even_a_demuxer_that_is_not_on_the_list_can_open_nothing(tmp_path, wav, kind, monkeypatch):
    """Two locks: were a referring format forgotten, no protocol is there to open a file with."""
    monkeypatch.setattr(container, "_REFERRING_DEMUXERS", set())
    container._allowed_demuxers.cache_clear()
    try:
        playlist = tmp_path / f"list.{kind}"
        playlist.write_text(PLAYLISTS[kind].format(wav=wav.name))
        refusal(playlist)
    finally:
        container._allowed_demuxers.cache_clear()


def test_every_referring_format_of_this_ffmpeg_is_shut_out():
    allowed = set(container._allowed_demuxers().split(","))
    assert {"wav", "mp3", "flac", "ogg", "aac", "matroska", "mov"} <= allowed
    assert not allowed & {"concat", "hls", "dash", "sdp", "rtsp", "rtp", "image2", "imf"}


# Latin-1, a lone surrogate, a sequence cut off, an overlong zero, Windows-1252 and Shift-JIS: no UTF-8 among them
TAGS = (b"M\xfcller", b"\xed\xb2\x80", b"\xe3\x81", b"\xc0\x80", b"\x93quoted\x94", b"\x83e\x83X\x83g")


@pytest.mark.parametrize("tag", TAGS)
def test_tags_that_are_no_text_do_not_matter(wav, tag):
    """PyAV 18 raises where it decodes them strictly, PyAV 19 gives surrogates; both are tried, by two Pythons."""
    plain = wav.read_bytes()
    signal = recording.read(io.BytesIO(riff_tags(plain, tag)))[0]
    np.testing.assert_array_equal(signal, recording.read(io.BytesIO(plain))[0])
    data = encoded("mp3", "libmp3lame", 44100, 0.5)
    tagged = recording.read(io.BytesIO(id3(data, tag, tag, tag)))[0]
    np.testing.assert_array_equal(tagged, recording.read(io.BytesIO(data))[0])


def test_each_pyav_is_asked_in_its_own_words():
    assert container._tags("14.0.0") == container._tags("18.1.0") == {"metadata_errors": "replace"}
    assert container._tags("19.0.2") == container._tags("20.0.0rc1") == {}


def test_mistakes_of_our_own_come_through(wav, monkeypatch):
    """A call that PyAV does not know is no undecodable recording."""
    monkeypatch.setattr(container, "_tags", lambda version: {"no_such_argument": "x"})
    with pytest.raises(TypeError, match="no_such_argument"):
        recording.read(wav)


# In a process of its own: a signal that comes in a moment too late must meet neither pytest nor its workers.
_SIGNALS = """
import io, signal, sys
from emow2v import audio

class Stop(BaseException):
    pass

fired = []

def stop(*_):
    fired.append(True)
    raise Stop

data = sys.stdin.buffer.read()
whole = audio.read(io.BytesIO(data))[0].size
signal.signal(signal.SIGALRM, stop)
stopped = lost = 0
for k in range(60):
    fired.clear()
    size, over = whole, False
    try:
        for action in (
            lambda: signal.setitimer(signal.ITIMER_REAL, 0.001 + 0.0005 * k),
            lambda: audio.read(io.BytesIO(data))[0].size,
            lambda: signal.setitimer(signal.ITIMER_REAL, 0),  # whose own turn the signal may come in
        ):
            try:
                result = None if over else action()
                size = result if isinstance(result, int) else size
            except Stop:
                over = True
    except Stop:  # between two of the three
        over = True
    assert size == whole, (size, whole)  # a signal never shortens what is read
    stopped += over
    lost += bool(fired) and not over
# where Python itself drops an exception (in a finalizer, say), reading goes on to its end
assert lost <= 3, f"{lost} of 60 signals were lost"
print(stopped)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers that send signals")
@pytest.mark.parametrize(("kind", "codec"), [("wav", "pcm_s16le"), ("mp3", "libmp3lame"), ("ogg", "libopus")])
def test_no_signal_is_lost_in_ffmpeg(kind, codec):
    """Signals come mostly while FFmpeg works, and are answered where it calls Python to read on."""
    data = encoded(kind, codec, 44100 if kind != "ogg" else 48000, 20.0)
    done = subprocess.run([sys.executable, "-c", _SIGNALS], input=data, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) > 0  # else nothing was tried


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg, which makes such sound")
@pytest.mark.parametrize(
    "codec, kind, silence", [("ac3", "ac3", 0), ("mp3", "mp3", 0), ("dca", "dts", 0), ("dca", "dts", 20_000)]
)
def test_other_encodings_in_a_wav_file_of_two_channels_are_found(tmp_path, codec, kind, silence):
    """Such files come from CDs with surround sound; as samples they are noise."""
    tone = (8000 * np.sin(np.arange(3 * 44100) / 20)).astype(np.int16)
    soundfile.write(tmp_path / "tone.wav", np.stack([tone, tone], axis=1), 44100)
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "tone.wav", "-strict", "-2", "-c:a", codec]
    subprocess.run([*command, "-f", kind, tmp_path / "coded"], check=True)
    content = bytes(silence) + (tmp_path / "coded").read_bytes()
    with wave.open(str(tmp_path / "coded.wav"), "wb") as file:
        file.setparams((2, 2, 44100, 0, "NONE", ""))
        file.writeframes(content[: len(content) // 4 * 4])
    sound = recording.open_recording(tmp_path / "coded.wav", target_rate=None)
    first = np.concatenate(list(sound))
    again = np.concatenate(list(sound.again()))
    np.testing.assert_array_equal(again, first)
    spectrum = np.abs(np.fft.rfft(first[44100:88200]))
    assert spectrum.argmax() == pytest.approx(44100 / 20 / (2 * np.pi), abs=2)
    assert spectrum.max() ** 2 > 0.9 * (spectrum**2).sum()


def test_a_second_pass_does_not_search_the_samples_again(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "noise.wav", np.random.default_rng(0).uniform(-0.5, 0.5, (48000, 2)), 48000)
    asked = []
    opened = av.open
    monkeypatch.setattr(av, "open", lambda *args, **more: asked.append(more["options"]) or opened(*args, **more))
    sound = recording.open_recording(tmp_path / "noise.wav")
    first = np.concatenate(list(sound))
    second = sound.again()
    np.testing.assert_array_equal(np.concatenate(list(second)), first)
    np.testing.assert_array_equal(np.concatenate(list(second.again())), first)
    assert [options.get("probesize") for options in asked] == [None, "4096", "4096"]
    assert asked[0]["max_probe_packets"] == "8"
