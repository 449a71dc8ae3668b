"""Makes the speech example of the package: python scripts/make_example.py

Needs the program espeak-ng (made with 1.51) and the packages soundfile and soxr; the same versions give
the same samples.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

RATE = 16000
PEAK = 0.7  # of the loudest sentence; the others keep their distance to it
PAUSE_SECONDS = 0.35
FADE_SECONDS = 0.005
OUTPUT = Path(__file__).parents[1] / "src" / "emow2v" / "data" / "example.flac"


@dataclass(frozen=True)
class Sentence:
    manner: str
    text: str
    voice: str
    words_per_minute: int
    pitch: int  # 0..99
    amplitude: int  # 0..200; above 130 some voices clip


SENTENCES = (
    Sentence("calm, slow", "The harbour is quiet this morning.", "en", 120, 35, 65),
    Sentence("neutral", "Mara reads the tide table to the crew.", "en+f3", 160, 50, 80),
    Sentence("excited, fast", "Look, look! The boats are coming home, all seven of them!", "en+f3", 215, 90, 120),
    Sentence("low, tired", "I waited all night. Now I can sleep.", "en-us+m2", 115, 15, 55),
)


def speak(sentence: Sentence, folder: Path) -> npt.NDArray[np.float32]:
    """One sentence at 16 kHz, without the silence around it, faded at both ends."""
    file = folder / "sentence.wav"
    options = {"-v": sentence.voice, "-s": sentence.words_per_minute, "-p": sentence.pitch, "-a": sentence.amplitude}
    command = [str(part) for option in options.items() for part in option]
    subprocess.run(["espeak-ng", "-z", *command, "-w", str(file), sentence.text], check=True)
    spoken, rate = soundfile.read(file, dtype="float32")
    if np.max(np.abs(spoken)) > 0.999:
        raise SystemExit(f"'{sentence.text}' clips at amplitude {sentence.amplitude}; lower its amplitude.")
    signal: npt.NDArray[np.float32] = soxr.resample(spoken, rate, RATE, "VHQ")
    loud = np.flatnonzero(np.abs(signal) > 1e-3)
    signal = signal[loud[0] : loud[-1] + 1]
    ramp = np.linspace(0, 1, int(FADE_SECONDS * RATE), dtype=np.float32)
    signal[: ramp.size] *= ramp
    signal[-ramp.size :] *= ramp[::-1]
    return signal


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Make the speech example of the package.")
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    if shutil.which("espeak-ng") is None:
        raise SystemExit("espeak-ng is not on the path; install it (Debian: apt-get install espeak-ng).")
    pause = np.zeros(int(PAUSE_SECONDS * RATE), np.float32)
    pieces = [pause]
    with tempfile.TemporaryDirectory() as folder:
        for sentence in SENTENCES:
            begin = sum(piece.size for piece in pieces) / RATE
            pieces += [speak(sentence, Path(folder)), pause]
            level = 20 * np.log10(np.sqrt(np.mean(pieces[-2] ** 2)))
            print(f"{begin:6.2f} s  {pieces[-2].size / RATE:5.2f} s  {level:6.1f} dB  {sentence.manner}")
    signal = np.concatenate(pieces)
    signal *= PEAK / np.max(np.abs(signal))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with soundfile.SoundFile(options.output, "w", RATE, 1, "PCM_16", format="FLAC") as file:
        file.title = "emow2v speech example"
        file.comment = "made with espeak-ng by scripts/make_example.py"
        file.license = "Apache-2.0"
        file.write(signal)
    print(f"wrote {options.output}: {signal.size / RATE:.2f} s, {options.output.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
