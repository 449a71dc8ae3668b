"""Where somebody speaks, as the detector of a model says: that of silero, or a model of frames itself."""

from pathlib import Path

import numpy as np

from emow2v.audio.recording import open_recording
from emow2v.model import Model
from emow2v.prediction.one_pass import speech_of
from emow2v.prediction.speech import speech_frame_ms
from emow2v.speech.activity import probabilities


def speech_frames(model: Model, path: Path, channel: str = "mix") -> np.ndarray:
    """float32 [frames]: the probability of speech in each frame."""
    recording = open_recording(path, channel=channel)
    if not model.card.one_pass:
        return probabilities(recording)
    return speech_of(model.card, model.engine, recording, lambda: None)  # test_one_pass.py judges it


def frame_s(model: Model) -> float:
    """Seconds of a frame."""
    return speech_frame_ms(model.card) / 1000
