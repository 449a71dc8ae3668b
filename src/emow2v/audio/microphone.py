"""Speech as it comes: blocks of samples from a microphone or from a pipe."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from emow2v.audio.container import HEADS
from emow2v.errors import AudioError
from emow2v.framing import Signal

ENCODINGS: dict[str, np.dtype[Any]] = {"s16le": np.dtype("<i2"), "f32le": np.dtype("<f4")}
BLOCK_MS = 20  # of a microphone


def samples(data: bytes, encoding: str) -> Signal:
    """Mono samples of raw PCM, about -1..1; whole samples only.

    Raises:
        AudioError: NaN or infinity
    """
    values = np.frombuffer(data, ENCODINGS[encoding])
    if encoding == "s16le":
        return values.astype(np.float32) / np.float32(32768)
    if not np.isfinite(values).all():
        raise AudioError("The samples contain NaN or infinity; expected finite ones, about -1..1.")
    return values.astype(np.float32)


class PCMReader:
    """Cuts raw mono PCM that arrives in pieces of any size into whole samples.

    Args:
        encoding: one of `ENCODINGS`
    """

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._rest = b""

    def add(self, data: bytes) -> Signal:
        """The samples that are complete now, about -1..1.

        Raises:
            AudioError: NaN or infinity
        """
        data = self._rest + data
        whole = len(data) - len(data) % ENCODINGS[self._encoding].itemsize
        self._rest = data[whole:]
        return samples(data[:whole], self._encoding)


def pipe(file: IO[bytes], encoding: str) -> Iterator[Signal]:
    """Raw mono PCM from a file that grows, as it comes.

    Raises:
        AudioError: a recording with a header
    """
    reader = PCMReader(encoding)
    head, begun = b"", False
    read = getattr(file, "read1", file.read)  # read1 returns available bytes without waiting for more
    while data := read(1 << 16):
        if not begun:
            data = head = head + data
            if len(head) < 12:
                continue
            begun = True
            _refuse_header(head)
        if (block := reader.add(data)).size:
            yield block
    if not begun and (block := reader.add(head)).size:  # less than a header
        yield block


def _refuse_header(data: bytes) -> None:
    if HEADS.match(data):
        kind = "a wav file" if data[8:12] == b"WAVE" else "a recording with a header"
        raise AudioError(
            f"Standard input is {kind}, not raw samples; use emow2v predict -, or convert it on the way: "
            "ffmpeg -i - -f s16le -ac 1 -ar 16000 - | emow2v live -"
        )


def microphone(sampling_rate: int | None = None, device: str = "") -> tuple[int, Iterator[Signal]]:
    """The rate in Hz, and blocks of the microphone until the caller stops (extra `live`).

    Args:
        sampling_rate: default: the device's own
        device: part of its name, or its number; "" for the system's default

    Raises:
        AudioError: no microphone, or sounddevice is not installed
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: no PortAudio on this system
        raise AudioError(
            f"The microphone needs sounddevice and PortAudio ({error}); run: pip install 'emow2v[live]', or give a pipe: emow2v live -"
        ) from None
    chosen: int | str | None = int(device) if device.isdecimal() else device or None
    try:
        rate = sampling_rate or round(sounddevice.query_devices(chosen, "input")["default_samplerate"])
        blocks: queue.SimpleQueue[Signal] = queue.SimpleQueue()
        stream = sounddevice.InputStream(
            samplerate=rate,
            blocksize=rate * BLOCK_MS // 1000,
            device=chosen,
            channels=1,
            dtype="float32",
            callback=lambda block, count, time, status: blocks.put(block[:, 0].copy()),
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        raise AudioError(f"There is no microphone that can be used ({error}); choose one with --microphone.") from None

    def blocks_of_sound() -> Iterator[Signal]:
        with stream:
            while True:
                yield blocks.get()

    return rate, blocks_of_sound()
