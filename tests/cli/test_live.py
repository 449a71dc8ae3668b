"""Live speech on this machine, from a pipe; the microphone is imitated."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emow2v.audio.microphone import microphone, pipe, samples
from emow2v.cli.live import WIDTH, _line, stream_rows
from emow2v.errors import AudioError
from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE


def test_a_pipe_gives_what_its_file_gives(lite: Model, tmp_path: Path) -> None:
    signal = soundfile.read(EXAMPLE, dtype="int16")[0][16000:40000]
    soundfile.write(tmp_path / "a.wav", signal, 16000, subtype="PCM_16")
    framing = Framing(frame_step_ms=200, left_context_ms=800)
    expected = lite.predict(tmp_path / "a.wav", framing=framing, speech=True)
    blocks = list(
        stream_rows(lite, pipe(io.BytesIO(signal.tobytes() + b"x"), "s16le"), 16000, framing)
    )  # half a sample at the end
    np.testing.assert_allclose(np.concatenate([block.scores for block in blocks]), expected.scores, atol=1e-5)
    np.testing.assert_array_equal(np.concatenate([block.speech for block in blocks]), expected.speech)


def test_bars_are_empty_where_nobody_speaks() -> None:
    spoken, silent = (_line(("0.0", "0.2", "0.5", "null", "1.2", "1.0", speech)) for speech in ("0.9", "0.4"))
    assert spoken.count("█") == WIDTH // 2 + WIDTH and spoken.count("–") == 1 and "0.50" in spoken
    assert silent.count("█") == 0 and silent.count("–") == 3


def test_samples() -> None:
    assert samples(np.array([-32768, 16384], "<i2").tobytes(), "s16le").tolist() == [-1.0, 0.5]
    assert samples(np.array([0.25], "<f4").tobytes(), "f32le").tolist() == [0.25]
    with pytest.raises(AudioError, match="NaN or infinity"):
        samples(np.array([np.inf], "<f4").tobytes(), "f32le")


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "AIFF", "AU", "RF64"])
def test_a_recording_with_a_header_is_not_taken_for_samples(kind: str) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(16000), 16000, format=kind)
    with pytest.raises(AudioError, match="use emow2v predict -, or convert it"):
        list(pipe(io.BytesIO(buffer.getvalue()), "s16le"))


@pytest.mark.parametrize(
    "head",
    [b"Creative Voice File\x1a", b"NIST_1A\n   1024\n", b"PK\3\4\x14\0\0\0\x08\0", b" paf\0\0\0\0\0\0\0\0",
     b"\xff\xfb\x50\xc4" + bytes(32) + b"Info", b"\xff\xf3\x40\xc4" + bytes(9) + b"Xing",
     (b"G" + bytes(187)) * 3, b"<!DOCTYPE html><html>", b"version https://git-lfs.github.com"],
)  # fmt: skip
def test_other_headers_are_no_samples_either(head: bytes) -> None:
    with pytest.raises(AudioError, match="not raw samples"):
        list(pipe(io.BytesIO(head + bytes(64)), "s16le"))


def test_few_samples_arrive_too() -> None:
    assert [block.size for block in pipe(io.BytesIO(bytes(8)), "s16le")] == [4]


def test_an_unknown_microphone_names_its_own_option(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nobody:
        PortAudioError = OSError

        def query_devices(self, *_: object) -> None:
            raise ValueError("no such device")

    monkeypatch.setitem(sys.modules, "sounddevice", Nobody())
    with pytest.raises(AudioError, match="choose one with --microphone"):
        microphone(device="nothing")


def test_without_a_microphone_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(AudioError, match=r"emow2v\[live\].*emow2v live -"):
        microphone()


def test_the_command_in_a_pipe() -> None:
    data = soundfile.read(EXAMPLE, dtype="int16")[0][16000:32000].tobytes()
    command = [sys.executable, "-m", "emow2v", "live", "-", "--frame-step", "500ms", "--left-context", "500ms"]
    result = subprocess.run(command, input=data, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr.decode()
    rows = [json.loads(line) for line in result.stdout.decode().splitlines()]
    assert [row["end"] for row in rows] == [0.5, 1.0] and 0 < rows[0]["arousal"] < 1
    assert list(rows[0])[-1] == "speech" and 0 <= rows[0]["speech"] <= 1
    result = subprocess.run([*command[:4], "talk.wav"], capture_output=True, check=False)
    assert result.returncode == 1 and b"emow2v predict" in result.stderr
    for few in (b"", b"x", bytes(998), bytes(15_998)):
        result = subprocess.run(command, input=few, capture_output=True, check=False)
        assert result.returncode == 1 and not result.stdout
        assert result.stderr.decode() == (
            "The sound ended before the first value; expected 500 ms of samples or more (s16le, mono, 16000 Hz).\n"
        )
    result = subprocess.run([*command, "--encoding", "mp3"], input=b"", capture_output=True, check=False)
    assert result.returncode == 1 and b"expected s16le or f32le" in result.stderr
