"""Made impulse responses."""

import numpy as np


def room(seconds: float, before: int = 0) -> np.ndarray:
    """Noise that falls by 60 dB in that time, behind a direct sound."""
    rng = np.random.default_rng(0)
    time = np.arange(int(1.5 * seconds * 16000)) / 16000
    tail = rng.normal(size=time.size) * 10 ** (-3 * time / seconds) * 0.05
    tail[0] = 0.9
    return np.concatenate([np.zeros(before), tail]).astype(np.float32)
