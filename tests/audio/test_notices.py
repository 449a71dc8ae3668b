"""What was not all there in a recording is told: specimens made here, and those of the field where they lie beside."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emow2v.audio import excerpts
from emow2v.audio import recording as audio
from emow2v.audio.channels import parse_channel
from emow2v.errors import AudioError
from sounds import add_tone, encoded, noise, refusal, tone, wav_bytes

CASES = Path(__file__).parents[3] / "shared" / "cases" / "sound"


def heard(source, **options):
    recording = audio.open_recording(source, **options)
    signal = np.concatenate([np.zeros(0, np.float32), *recording])
    return signal, recording


def case(name):
    path = CASES / name
    if not path.exists():
        pytest.skip("the cases of the field are not beside this checkout")
    return path


@pytest.mark.parametrize(
    ("kind", "codec"),
    [("wav", "pcm_s16le"), ("mp4", "aac"), ("mp3", "libmp3lame"), ("flac", "flac"), ("ogg", "libopus"), ("webm", "libopus"),
     ("matroska", "aac"), ("mpegts", "aac"), ("ipod", "alac"), ("aiff", "pcm_s16be"), ("w64", "pcm_s16le"),
     ("caf", "pcm_s16le"), ("au", "pcm_s16be"), ("avi", "pcm_s16le"), ("adts", "aac"), ("rf64", "pcm_s16le")],
)  # fmt: skip
def test_a_clean_recording_gives_no_notice(kind, codec):
    if kind == "rf64":
        pytest.importorskip("soundfile")
        buffer = io.BytesIO()
        soundfile.write(buffer, tone(16000, 2.0), 16000, format="RF64")
        data = buffer.getvalue()
    else:
        data = encoded(kind, codec, 48000, 3.0)
    _, recording = heard(io.BytesIO(data))
    assert recording.notices == []
    assert (recording.facts["channels"], recording.facts["track"], recording.facts["tracks"]) == (1, 1, 1)


# --- sizes in headers, and ends that are missing --------------------------------------------------------


def test_the_wrong_data_size_of_the_field():
    signal, recording = heard(case("hdr_short.wav"))
    assert len(signal) == 205_784 and "states 0.5 s, but it lasts 12.9 s" in recording.notices[0]


@pytest.mark.parametrize("size", [2, 16_000, 48_000, 63_000, 0, 0xFFFFFFFF, 0x7FFFF000, 0x80000000])
@pytest.mark.parametrize("kind", ["RIFF", "RF64"])
def test_all_samples_are_read_whatever_size_a_header_states(size, kind):
    data = bytearray(wav_bytes(tone(16000, 2.0)))
    if kind == "RF64":
        buffer = io.BytesIO()
        soundfile.write(buffer, tone(16000, 2.0), 16000, format="RF64", subtype="PCM_16")
        data = bytearray(buffer.getvalue())
        if size > 64_000 or not size:
            pytest.skip("of 64 bits here")
        at = data.index(b"ds64") + 16
        data[at : at + 8] = size.to_bytes(8, "little")
    else:
        at = data.index(b"data") + 4
        data[at : at + 4] = size.to_bytes(4, "little")
    signal, recording = heard(io.BytesIO(data))
    np.testing.assert_allclose(signal, tone(16000, 2.0), atol=1e-4)
    assert bool(recording.notices) == (0 < size < 63_000)


@pytest.mark.parametrize(("kind", "at"), [("AIFF", b"SSND"), ("CAF", b"data")])
def test_all_samples_are_read_in_other_containers_too(kind, at):
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(16000, 2.0), 16000, format=kind, subtype="PCM_16")
    data = bytearray(buffer.getvalue())
    begin = data.index(at) + 4
    width = 8 if kind == "CAF" else 4
    data[begin : begin + width] = (16_000).to_bytes(width, "big")
    signal, _ = heard(io.BytesIO(data))
    assert len(signal) == 32_000


def test_chunks_behind_the_samples_are_no_samples():
    data = wav_bytes(tone(16000, 1.0))
    for more in (b"LIST" + (5000).to_bytes(4, "little") + bytes(range(1, 251)) * 20, bytes(4096), b"id3 \x02\0\0\0ab"):
        signal, recording = heard(io.BytesIO(data + more))
        assert len(signal) == 16_000 and recording.notices == []


@pytest.mark.parametrize(
    ("kind", "codec"),
    [("mp3", "libmp3lame"), ("flac", "flac"), ("wav", "pcm_s16le"), ("matroska", "libopus"), ("matroska", "aac"),
     ("webm", "libopus"), ("ogg", "libopus"), ("ogg", "flac"), ("avi", "pcm_s16le"), ("aiff", "pcm_s16be"),
     ("w64", "pcm_s16le"), ("caf", "pcm_s16le")],
)  # fmt: skip
@pytest.mark.parametrize("share", [0.4, 0.83])
def test_what_is_cut_off_is_told(kind, codec, share):
    data = encoded(kind, codec, 48000, 6.0)
    signal, recording = heard(io.BytesIO(data[: int(len(data) * share)]))
    assert 0.2 * 96_000 < len(signal) < 0.95 * 96_000
    assert [one for one in recording.notices if "cut off" in one or "no end mark" in one], recording.facts


def test_an_mp4_without_its_index(tmp_path):
    data = encoded("ipod", "aac", 44100, 5.0)
    (tmp_path / "a.m4a").write_bytes(data[: data.index(b"moov") - 4])
    assert "incomplete" in refusal(tmp_path / "a.m4a")
    assert "incomplete" in refusal(case("cut.m4a"))


def test_an_mp4_whose_index_comes_last_through_a_pipe():
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

        def seek(self, *_):
            raise io.UnsupportedOperation

    assert "index at its end" in refusal(Pipe(encoded("ipod", "aac", 44100, 20.0)))


def test_the_cut_mp3_of_the_field():
    _, recording = heard(case("cut.mp3"))
    assert recording.notices == ["It is cut off: it ends at 7.7 s of the 12.9 s that its header states."]


# --- damage and encryption ------------------------------------------------------------------------------


def test_the_damaged_recording_of_the_field():
    signal, recording = heard(case("zeros.m4a"))
    assert recording.facts["damaged_packets"] == 176 and recording.facts["packets"] == 555
    assert recording.facts["missing_s"] == pytest.approx(4.1, abs=0.1) and len(signal) > 205_000
    assert len(recording.notices) == 1


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_damage_is_told_and_its_time_kept(share):
    data = bytearray(encoded("mp4", "aac", 48000, 8.0))
    begin = data.index(b"mdat") + 4 + 3000
    data[begin : begin + int(share * (len(data) - begin))] = bytes(int(share * (len(data) - begin)))
    signal, recording = heard(io.BytesIO(data))
    assert recording.damaged and "damaged" in recording.notices[0]
    assert len(signal) == pytest.approx(128_000, abs=2500) or "stated_s" in recording.facts


def test_where_nearly_nothing_decodes_it_is_refused():
    assert "is encrypted" in refusal(case("encrypted.mp4"))
    data = bytearray(encoded("mp4", "aac", 48000, 8.0))
    begin = data.index(b"mdat") + 4 + 600
    data[begin : data.index(b"moov")] = bytes(data.index(b"moov") - begin)
    assert "damaged or encrypted" in refusal(io.BytesIO(data))


# --- clocks ---------------------------------------------------------------------------------------------


def test_the_jump_of_the_field():
    signal, recording = heard(case("jump1000.ts"))
    assert len(signal) == pytest.approx(8.192 * 16000, abs=20)
    assert recording.facts["clock_jumps"] == 1 and "clock jumps once" in recording.notices[0]


def jumping(kind, codec, starts):
    """Seconds of a tone, each at its own time of the clock."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind) as container:
        track = container.add_stream(codec, rate=48000, layout="mono")
        for start in starts[:1]:
            add_tone(container, track, 2.0, start=start)
    with av.open(io.BytesIO(buffer.getvalue())) as source:
        packets = [bytes(packet) for packet in source.demux(audio=0) if packet.size]
        out = io.BytesIO()
        with av.open(out, "w", format=kind) as target:
            stream = target.add_stream_from_template(source.streams.audio[0])
            length = 960 if codec == "libopus" else 1024
            for start in starts:
                for k, data in enumerate(packets):
                    packet = av.Packet(data)
                    packet.time_base = (av.time_base and stream.time_base) or stream.time_base
                    packet.pts = packet.dts = round((start + k * length / 48000) / stream.time_base)
                    packet.stream = stream
                    target.mux(packet)
    return out.getvalue()


@pytest.mark.parametrize("jump", [100.0, 1000.0, 36_000.0])
def test_a_clock_that_jumps_makes_no_silence(jump):
    data = jumping("matroska", "libopus", [0.0, 2.0 + jump])
    signal, recording = heard(io.BytesIO(data))
    assert len(signal) == pytest.approx(4 * 16000, abs=2000)
    assert recording.facts["clock_jumps"] == 1 and recording.facts["clock_jump_s"] == pytest.approx(jump, abs=0.5)


@pytest.mark.parametrize("kind", ["adts", "mpegts"])
def test_pieces_joined_backwards_are_told_once(kind):
    data = encoded(kind, "aac", 48000, 5.0)
    signal, recording = heard(io.BytesIO(data * 3))
    assert len(signal) == pytest.approx(15 * 16000, abs=4000)
    assert len(recording.notices) == (kind == "mpegts")


def test_a_step_back_is_told_as_one():
    data = jumping("mpegts", "aac", [500.0]) + jumping("mpegts", "aac", [1.0])
    _, recording = heard(io.BytesIO(data))
    assert -502 < recording.facts["clock_jump_s"] < -499 and "by -50" in recording.notices[0]


def ogg(subtype, rate, channels, seconds=2.0):
    buffer = io.BytesIO()
    signal = np.stack([tone(rate, seconds)] * channels, 1)
    soundfile.write(buffer, signal, rate, format="OGG", subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("OPUS", 48000, 1), ("OPUS", 48000, 2)),
        (("VORBIS", 22050, 1), ("VORBIS", 8000, 1)),
        (("VORBIS", 44100, 2), ("VORBIS", 44100, 1)),
        (("OPUS", 16000, 2), ("OPUS", 16000, 1)),
        (("VORBIS", 16000, 1), ("VORBIS", 48000, 2)),
    ],
)
def test_a_chained_recording_whose_encoding_changes_gives_values_and_is_told(first, second):
    signal, recording = heard(io.BytesIO(ogg(*first) + ogg(*second)))
    assert len(signal) == pytest.approx(2 * 16000, abs=400) and np.abs(signal[8000:24000]).max() > 0.1
    assert recording.facts["changes_at_s"] == pytest.approx(2.0, abs=0.03)
    assert len(recording.notices) == 1 and "the sound after that was not read" in recording.notices[0]


def test_a_short_gap_is_silence_and_told():
    data = jumping("matroska", "libopus", [0.0, 5.0])
    signal, recording = heard(io.BytesIO(data))
    assert len(signal) == pytest.approx(7 * 16000, abs=2000) and "gaps" in recording.notices[0]


# --- tracks and channels --------------------------------------------------------------------------------


def test_the_tracks_of_the_field():
    path = case("obs_two_tracks.mkv")
    signal, recording = heard(path)
    assert np.abs(signal).max() > 0.1 and (recording.facts["track"], recording.facts["tracks"]) == (2, 2)
    assert "2 tracks" in recording.notices[0] and "default" in recording.notices[0]
    silent, first = heard(path, track=1)
    assert not silent.any() and any("silence" in one for one in first.notices)


@pytest.mark.parametrize("channel", [2, 4, "right"])
def test_a_silent_channel_makes_no_silent_recording(tmp_path, channel):
    path = tmp_path / "four.wav"
    soundfile.write(path, np.stack([tone(16000, 1.0), np.zeros(16000), tone(16000, 1.0), np.zeros(16000)], 1), 16000)
    _, recording = heard(path, channel=channel)
    assert recording.notices == [
        f"Channel {channel}, which was read, holds nothing but silence; the option channel chooses another."
    ]


@pytest.mark.parametrize("kind", [int, np.int64, np.int32, np.uint8, np.int16])
def test_whole_numbers_of_numpy_are_numbers(tmp_path, kind):
    path = tmp_path / "two.wav"
    soundfile.write(path, np.stack([tone(16000, 1.0), tone(16000, 1.0, 500.0)], 1), 16000)
    signal, recording = heard(path, track=kind(1), channel=kind(2))
    assert np.array_equal(signal, heard(path, channel="right")[0])
    json.dumps(recording.facts)  # plain numbers, as the provenance has them


@pytest.mark.parametrize("track", ["1", 1.0, True, [1], np.float32(1)])
def test_what_is_no_number_of_a_track_is_refused(track):
    with pytest.raises(AudioError, match=r"The track is .*; expected its number, from 1\."):
        audio.open_recording(io.BytesIO(wav_bytes(tone(16000, 1.0))), track=track)


@pytest.mark.parametrize("rate", ["16000", [16000], None, b"8000", (1,)])
def test_what_is_no_sampling_rate_is_refused(rate):
    with pytest.raises(AudioError, match="sampling rate"):
        audio.open_recording(np.zeros(100), rate)
    if rate is not None:
        with pytest.raises(AudioError, match=r"sampling rate is .*; expected a number of Hz"):
            audio.open_recording(io.BytesIO(wav_bytes(tone(16000, 1.0))), rate)


class Pipe(io.BytesIO):
    def seekable(self):
        return False


def test_files_that_give_no_bytes_are_told_as_what_they_are(tmp_path):
    assert refusal(io.BytesIO()) == "stream is empty (0 bytes); expected a recording."
    assert refusal(Pipe()) == "stream is empty (0 bytes); expected a recording."
    closed = io.BytesIO(b"RIFF")
    closed.close()
    assert refusal(closed) == "stream is closed; expected an open file; open it again."
    assert 'open it with mode "rb"' in refusal(io.StringIO("RIFF"))
    path = tmp_path / "talk.wav"
    path.write_bytes(wav_bytes(tone(16000, 1.0)))
    with path.open(encoding="latin-1") as text:
        assert 'open it with mode "rb"' in refusal(text)
    assert "io.BytesIO makes a file" in refusal(path.read_bytes())


def test_what_cannot_be_read_from_a_pipe_says_so():
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(16000, 1.0), 16000, format="CAF")
    data = buffer.getvalue()
    assert heard(io.BytesIO(data))[1].notices == []
    assert "save it first" in refusal(Pipe(data))
    assert "pipe" not in refusal(io.BytesIO(b"no sound at all" * 100))


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16"), ("FLAC", "PCM_16")],
)
def test_what_is_cut_off_is_told_through_a_pipe_too(kind, subtype):
    buffer = io.BytesIO()
    soundfile.write(buffer, noise(32000), 16000, format=kind, subtype=subtype)
    data = buffer.getvalue()
    assert heard(Pipe(data))[1].notices == []
    signal, recording = heard(Pipe(data[: len(data) // 2]))
    assert recording.facts["stated_s"] == 2.0 and recording.facts["ends_s"] == pytest.approx(1.0, abs=0.26)
    assert "It is cut off" in recording.notices[0]
    assert len(signal) == pytest.approx(16000, abs=4200)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x7FFFF000, 0xFFFFFFFF - 44])
def test_a_pipe_that_did_not_know_its_length_is_not_cut_off(size):
    data = bytearray(wav_bytes(tone(16000, 1.0)))
    data[40:44] = size.to_bytes(4, "little")
    signal, recording = heard(Pipe(bytes(data)))
    assert len(signal) == 16000 and recording.notices == []


@pytest.mark.parametrize("stated", [2000, 16000, 30000])
@pytest.mark.parametrize("width", [2, 4])
def test_more_than_a_header_states_is_told_through_a_pipe(stated, width):
    """From a file all of it is read; a pipe leads nowhere but onwards, and what follows may be other chunks."""
    buffer = io.BytesIO()
    soundfile.write(buffer, noise(32000), 16000, format="WAV", subtype="PCM_16" if width == 2 else "FLOAT")
    data = bytearray(buffer.getvalue())
    at = data.index(b"data") + 4
    data[at : at + 4] = (stated * width).to_bytes(4, "little")
    signal, recording = heard(Pipe(bytes(data)))
    assert len(signal) == stated and recording.facts["unread_behind_s"] == stated / 16000
    assert "more sound follows, which cannot be read through a pipe" in recording.notices[0]
    assert len(heard(io.BytesIO(bytes(data)))[0]) == 32000


@pytest.mark.parametrize(
    "behind",
    [b"", b"LIST\x04\0\0\0INFO", b"bext" + (5000).to_bytes(4, "little") + bytes(5000), bytes(3000), b"\1" * 100],
)
def test_chunks_behind_the_samples_in_a_pipe_are_no_sound(behind):
    signal, recording = heard(Pipe(wav_bytes(noise(32000)) + behind))
    assert len(signal) == 32000 and recording.notices == []


def test_a_track_is_chosen_by_its_number():
    data = encoded("matroska", "pcm_s16le", 16000, 1.0, more_tracks=["flac", "aac"])
    for track in (1, 2, 3):
        assert heard(io.BytesIO(data), track=track)[1].facts["track"] == track
    with pytest.raises(AudioError, match="has 3 tracks of sound; track 4"):
        heard(io.BytesIO(data), track=4)
    with pytest.raises(AudioError, match="no tracks"):
        audio.open_recording(np.zeros(100), 16000, track=2)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "DOUBLE"])
def test_a_channel_is_what_soundfile_has_there(tmp_path, subtype):
    path = tmp_path / "six.wav"
    soundfile.write(path, noise(20_000, 6), 16000, subtype=subtype)
    judged, _ = soundfile.read(path, dtype="float32")
    for number in (1, 4, 6):
        np.testing.assert_array_equal(heard(path, channel=number)[0], judged[:, number - 1])
    np.testing.assert_array_equal(heard(path, channel="right")[0], judged[:, 1])
    np.testing.assert_array_equal(audio.read(judged.T, 16000, channel=3)[0], judged[:, 2])
    with pytest.raises(AudioError, match="has 6 channels; channel 7"):
        heard(path, channel=7)


@pytest.mark.parametrize("text", ["", "centre", "0", "-1", "1.5", "9" * 5000, "\u0662"])
def test_what_is_no_channel_is_refused(text):
    with pytest.raises(AudioError, match="expected mix, left, right, a number from 1, or each"):
        parse_channel(text)
    with pytest.raises(AudioError, match="expected mix, left, right or a number"):
        audio.open_recording(np.zeros(100), 16000, channel=text)


def test_what_is_a_channel():
    assert [parse_channel(text) for text in ("mix", " Left", "RIGHT", "3", "Each ")] == [
        "mix",
        "left",
        "right",
        3,
        "each",
    ]


@pytest.mark.parametrize(("left", "right", "told"), [
    (1.0, -1.0, "opposite phase"), (1.0, -0.7, "opposite phase"), (0.5, 0.5, ""), (1.0, 0.0, "Channel 2 is silent"),
    (0.0, 1.0, "Channel 1 is silent"), (0.0, 0.0, "nothing but silence"),
])  # fmt: skip
def test_channels_that_do_not_go_together_are_told(tmp_path, left, right, told):
    signal = 0.5 * noise(48_000)[:, 0]
    soundfile.write(tmp_path / "a.wav", np.stack([left * signal, right * signal], 1), 16000)
    notices = heard(tmp_path / "a.wav")[1].notices
    assert (len(notices) == 1 and told in notices[0]) if told else not notices


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3", "array"])
def test_what_is_clipped_is_told(kind):
    signal = np.clip(3 * tone(16000, 3.0), -1, 1)
    if kind == "array":
        recording = audio.open_recording(signal, 16000)
    else:
        buffer = io.BytesIO()
        soundfile.write(buffer, signal, 16000, format=kind)
        buffer.seek(0)
        recording = heard(buffer)[1]
    assert any("clipped" in one for one in recording.notices)


def test_integers_in_floats_are_told():
    assert "divide them" in audio.open_recording(32768 * tone(16000, 1.0), 16000).notices[0]


# --- samples without a header ---------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["sw", "s16", "raw", "pcm", "ub", "u8", "sb", "f32", "s24le", "SW"])
def test_bare_samples_are_refused(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    path.write_bytes((32767 * tone(16000, 2.0)).astype("<i2").tobytes())
    assert "no header" in refusal(path) and "ffmpeg" in refusal(path)
    path.write_bytes(wav_bytes(tone(16000, 1.0)))
    assert len(audio.read(path)[0]) == 16_000  # a header by whatever name


@pytest.mark.parametrize(("ending", "codec"), [("ul", "pcm_mulaw"), ("al", "pcm_alaw"), ("ulaw", "pcm_mulaw")])
def test_telephone_samples_have_8000_a_second(tmp_path, ending, codec):
    data = encoded("wav", codec, 8000, 2.0)
    path = tmp_path / f"a.{ending}"
    path.write_bytes(data[data.index(b"data") + 8 :][:16_000])
    signal, recording = heard(path)
    assert len(signal) == 32_000 and "8000 Hz" in recording.notices[0]
    np.testing.assert_allclose(signal[500:-500], audio.read(io.BytesIO(data))[0][500:31_500], atol=1e-4)


# --- what is asked for ----------------------------------------------------------------------------------


def test_the_rate_of_a_file_is_its_own(wav):
    with pytest.raises(AudioError, match="leave the rate out"):
        audio.open_recording(wav, 8000)
    assert audio.read(wav, 16000)[0].size == 16_000
    with pytest.raises(AudioError, match="whole Hz"):
        audio.read(np.zeros(100), 22050.5)


@pytest.mark.parametrize(
    "address", ["https://a.b/talk.wav", "http://a", "s3://bucket/talk.wav", "zip://x.wav::/y.zip", "file:///a"]
)
def test_an_address_names_the_extra_that_reads_it(address, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)  # as if it was not installed
    assert f"{address} is an address; install what reads it: pip install 'emow2v[cloud]'." in refusal(address)


def test_an_address_of_a_file_here_is_called_one():
    pytest.importorskip("fsspec")
    assert refusal("file:///a") == "file:///a is an address; expected a path, such as /a."


def test_an_array_is_taken_as_it_was(lite):
    signal = 0.5 * noise(32_000)[:, 0]
    trajectory = lite.predict(signal, 16000, unit="files")
    signal[:] = 0
    assert trajectory.scores.std() > 0 and trajectory.notices == []


# --- Ctrl+C ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", [3, 5, 8])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
@pytest.mark.parametrize(
    ("kind", "codec"), [("wav", "pcm_s16le"), ("flac", "flac"), ("ogg", "libopus"), ("mp3", "libmp3lame")]
)
def test_an_exception_of_a_read_comes_through(kind, codec, error, when):
    class Interrupted(io.BytesIO):
        calls = 0

        def read(self, size=-1):
            self.calls += 1
            if self.calls == when:
                raise error
            return super().read(size)

    source = Interrupted(encoded(kind, codec, 48000, 20.0))
    with pytest.raises(error):
        audio.read(source)


# --- stretches ------------------------------------------------------------------------------------------


def test_stretches_of_the_field_are_what_the_whole_has_there():
    for name, spans in (("chained.ogg", [(2.0, 3.0), (5.0, 7.0)]), ("ima.wav", [(60.0, 64.0), (30.0, 31.0)])):
        whole, _ = audio.read(case(name))
        for start, end in spans:
            part = excerpts.read_stretch(case(name), start, end)
            np.testing.assert_allclose(part, whole[round(start * 16000) : round(end * 16000)], atol=1e-6)


@pytest.mark.parametrize("share", [0.25, 0.5, 2, 3])
def test_a_wrong_byte_rate_moves_no_stretch(tmp_path, share):
    data = bytearray(wav_bytes(noise(30 * 16000)[:, 0]))
    data[28:32] = int(32_000 * share).to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    whole, _ = audio.read(tmp_path / "a.wav")
    part = excerpts.read_stretch(tmp_path / "a.wav", 20.0, 21.0)
    np.testing.assert_array_equal(part, whole[320_000:336_000])
    assert len(whole) == 480_000


@pytest.mark.parametrize(
    ("kind", "codec"), [("ogg", "libopus"), ("mp3", "libmp3lame"), ("mpegts", "aac"), ("adts", "aac")]
)
def test_stretches_of_joined_recordings(tmp_path, kind, codec):
    path = tmp_path / "joined"
    path.write_bytes(encoded(kind, codec, 48000, 14.0) + encoded(kind, codec, 48000, 14.0))
    whole, _ = audio.read(path)
    for start, end in ((11.0, 12.0), (16.5, 18.0), (26.0, 27.0)):
        part = excerpts.read_stretch(path, start, end)
        np.testing.assert_allclose(part, whole[round(start * 16000) : round(end * 16000)], atol=1e-5)


# --- where it is told -----------------------------------------------------------------------------------


def test_notices_stand_in_every_result(lite, tmp_path):
    from emow2v import formats

    signal = 0.3 * noise(32_000)[:, 0]
    soundfile.write(tmp_path / "a.wav", np.stack([signal, -signal], 1), 16000)
    for ending in ("csv", "json", "ndjson", "arousal.annotation"):
        trajectory = lite.predict(tmp_path / "a.wav", unit="files")
        formats.write(trajectory, tmp_path / f"out.{ending}")
        assert "opposite phase" in trajectory.notices[0]
    assert "opposite phase" in trajectory.provenance["notices"] and trajectory.provenance["channels"] == 2
    about = json.loads((tmp_path / "out.csv-metadata.json").read_text())["emow2v:provenance"]
    assert about["opposite_phase"] == "yes" and "opposite phase" in about["notices"]
    assert json.loads((tmp_path / "out.json").read_text())["provenance"]["notices"] == about["notices"]
    assert "opposite phase" in (tmp_path / "out.ndjson").read_text() + (tmp_path / "out.arousal.annotation").read_text()


def test_each_channel_has_a_result_of_its_own(lite, tmp_path):
    from emow2v.archive import run
    from emow2v.inputs.expand import expand

    signal = 0.3 * noise(32_000, 2)
    soundfile.write(tmp_path / "a.wav", signal, 16000)
    inputs, _ = expand([str(tmp_path / "a.wav")])
    (outcome,) = run.predict(lite, inputs, tmp_path / "out", channel="each")
    assert not outcome.error and {path.name for path in outcome.files} == {"a.left.csv", "a.right.csv"}
    lines = (tmp_path / "out" / "a.right.csv").read_text().splitlines()
    assert lines[0].endswith(",channel") and lines[1].endswith(",right")
    left, right = lite.predict_channels(tmp_path / "a.wav", unit="files")
    judged, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    np.testing.assert_allclose(right.scores, lite.predict(judged[:, 1], 16000, unit="files").scores, atol=1e-5)
    assert (left.info.channel, right.provenance["channel"]) == ("left", 2)
