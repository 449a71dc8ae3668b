"""Batches of clips of similar length, whose signals are decoded while the batch before is computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from emow2v.corpora.clip import Clip
from emow2v.corpora.contents import is_silent
from emow2v.corpora.read import load
from emow2v.errors import AudioError
from emow2v.framing import SAMPLING_RATE, Signal

GROUP = 50  # batches among which clips are sorted by length: padding is rare, and neighbours differ from epoch to epoch
# Groups of an epoch, at least: a small corpus sorted as a whole, in which slow speech is the calm one, gives batches of one
# label each, from which the loss of a correlation learns nothing
GROUPS = 4

Indices = npt.NDArray[np.int64]


def draws(*numbers: int) -> np.random.Generator:
    """Random numbers that depend on a seed and a place (epoch, step, ...) only, not on earlier draws."""
    return np.random.default_rng(list(numbers))


def order(durations: npt.NDArray[np.float64], batch_size: int, *, seed: int, epoch: int) -> list[Indices]:
    """The batches of an epoch in random order: every clip once, in batches of similar length unless they are few.

    Clips beyond the last whole batch are left out of the epoch; where there are fewer clips than a batch has, they are
    the batch.
    """
    rng = draws(seed, epoch)
    shuffled = rng.permutation(len(durations))
    if len(durations) < batch_size:
        return [shuffled]
    shuffled = shuffled[: len(durations) // batch_size * batch_size]
    size = min(GROUP, max(1, len(shuffled) // batch_size // GROUPS)) * batch_size
    batches: list[Indices] = []
    for begin in range(0, len(shuffled), size):
        group = shuffled[begin : begin + size]
        group = group[np.argsort(-durations[group], kind="stable")]
        batches += np.split(group, len(group) // batch_size)
    return [batches[k] for k in rng.permutation(len(batches))]


def padded(signals: Sequence[Signal]) -> tuple[Tensor, Tensor]:
    """Signals in one tensor [clips, samples], zeros behind the shorter ones, and their lengths [clips]."""
    lengths = np.array([signal.size for signal in signals], np.int64)
    batch = np.zeros((len(signals), int(lengths.max())), np.float32)
    for row, signal in zip(batch, signals, strict=True):
        row[: signal.size] = signal
    return torch.from_numpy(batch), torch.from_numpy(lengths)


class ClipSignals:
    """The signals of clips, decoded a few batches before they are needed.

    Args:
        shortest: samples that a signal must have
        longest: samples after which a clip is cut: a random stretch in training, the middle in evaluation
        workers: clips that are decoded at a time

    Attributes:
        skipped: clips that could not be used, by their number, with the sentence why
    """

    def __init__(self, clips: Sequence[Clip], *, shortest: int, longest: int, workers: int = 2) -> None:
        self._clips = clips
        self._shortest, self._longest = shortest, longest
        self._workers = max(1, workers)
        self.skipped: dict[int, str] = {}

    def read(self, index: int, rng: np.random.Generator | None = None) -> Signal | None:
        """One signal [samples], or None where it cannot be used."""
        clip = self._clips[index]
        try:
            signal = load(clip)
        except AudioError as error:
            self.skipped[index] = str(error)
            return None
        if signal.size < self._shortest:
            self.skipped[index] = f"{clip.file} has {signal.size / SAMPLING_RATE:.2f} s there, too few."
            return None
        if is_silent(signal):
            self.skipped[index] = f"{clip.file} is silent there."
            return None
        spare = signal.size - self._longest
        if spare > 0:
            begin = int(rng.integers(spare + 1)) if rng is not None else spare // 2
            signal = signal[begin : begin + self._longest]
        return signal

    def ahead(self, batches: Iterable[Sequence[int]], *place: int) -> Iterator[list[Signal | None]]:
        """The signals of one batch after the other.

        Args:
            place: seed and epoch of the stretches that are cut from long clips; none for their middle
        """
        pool = ThreadPoolExecutor(self._workers)
        waiting: deque[list[Future[Signal | None]]] = deque()
        try:
            for batch in batches:
                # a clip's stretch follows from its number, not from who else is in its batch
                waiting.append(
                    [pool.submit(self.read, int(k), draws(*place, int(k)) if place else None) for k in batch]
                )
                if len(waiting) > 2:
                    yield [future.result() for future in waiting.popleft()]
            while waiting:
                yield [future.result() for future in waiting.popleft()]
        finally:
            pool.shutdown(cancel_futures=True)
