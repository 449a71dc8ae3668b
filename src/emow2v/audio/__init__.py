"""Any sound to mono float32 at 16 kHz: containers, decoding, channels, resampling, excerpts, and where recordings come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emow2v.audio.recording import SAMPLING_RATE, Recording, mix_down, open_recording, read

__all__ = ["SAMPLING_RATE", "Recording", "mix_down", "open_recording", "read"]


def __getattr__(name: str) -> Any:
    # FFmpeg is loaded with the first recording: the names of files alone do not need it.
    if name in __all__:
        from emow2v.audio import recording

        return getattr(recording, name)
    raise AttributeError(f"module 'emow2v.audio' has no attribute '{name}'")
