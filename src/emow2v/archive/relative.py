"""Scores relative to a speaker's own, or a recording's own, mean and spread, beside the absolute ones."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from emow2v.rows import DIMENSIONS, Block, Info
from emow2v.storage import counted, shown

By = Literal["speaker", "file"]

COLUMNS = tuple(f"{name}_relative" for name in DIMENSIONS)
ENOUGH_S = 30.0  # of speech: with less, mean and spread of a person are little known (docs/formats.md)
_NUMBERED = re.compile(r"(?:speaker|spk|s)?[ _-]?\d+", re.IGNORECASE)  # as programs name those whom they tell apart


class Relative:
    """Means and deviations of scores by speaker or by file, gathered in a first pass; relative values in a second one.

    A value is (score - mean) / deviation, over the rows of the speaker or file that have scores; a deviation is that of a
    sample (n - 1). Where there are fewer than two rows, or all are equal, there is no relative value.

    Args:
        by: "speaker" for the name of the speaker, in whatever recordings; rows of nobody have no value. "file" for all rows of a
            recording, of one channel where each has its own rows
    """

    def __init__(self, by: By) -> None:
        self.by = by
        self._moments: dict[str, npt.NDArray[np.float64]] = defaultdict(lambda: np.zeros((len(DIMENSIONS), 3)))
        self._seconds: dict[str, float] = defaultdict(float)
        self._files: dict[str, set[str]] = defaultdict(set)

    @property
    def descriptions(self) -> dict[str, str]:
        """What the columns hold."""
        whose = "the speaker, over all recordings" if self.by == "speaker" else "the recording"
        text = f"(score - mean) / deviation of {whose}; missing where there are too few values"
        return dict.fromkeys(COLUMNS, text)

    def gather(self, info: Info, block: Block) -> None:
        """Take rows of the first pass."""
        keys, numbers = self._keys(info, block)
        scored = np.isfinite(block.scores).all(axis=1)
        for number, key in enumerate(keys):
            known = scored & (numbers == number)
            if not key or not known.any():
                continue
            values = block.scores[known].astype(np.float64)
            self._moments[key] = _joined(self._moments[key], values)
            self._seconds[key] += _seconds(block, known)
            self._files[key].add(info.source)

    def columns(self, info: Info, block: Block) -> dict[str, npt.NDArray[np.float32]]:
        """The relative values of rows in the second pass, float32 [rows] by column; NaN for none."""
        keys, numbers = self._keys(info, block)
        of_keys = np.array([self._mean_and_spread(key) for key in keys]).reshape(len(keys), len(DIMENSIONS), 2)
        found = of_keys[numbers]
        with np.errstate(invalid="ignore"):
            values = ((block.scores - found[:, :, 0]) / found[:, :, 1]).astype(np.float32)
        return {name: values[:, place] for place, name in enumerate(COLUMNS)}

    def facts(self) -> dict[str, object]:
        """What the values are relative to, for the description of a table: by speaker or file the seconds of speech, the number of
        values, and mean and deviation of each dimension.
        """
        found: dict[str, object] = {}
        for key, moments in self._moments.items():
            pairs = self._mean_and_spread(key)
            found[key] = {"seconds": round(self._seconds[key], 3), "values": int(moments[0, 0])} | {
                name: {"mean": _rounded(mean), "deviation": _rounded(spread)}
                for name, (mean, spread) in zip(DIMENSIONS, pairs.tolist(), strict=True)
            }
        return {"to": self.by, "of": found}

    def warnings(self) -> Iterator[str]:
        """Sentences on speakers or files with too little speech, and on speakers whose names may be those of several people."""
        what = "speaker" if self.by == "speaker" else "recording"
        short = sorted(name for name, seconds in self._seconds.items() if seconds < ENOUGH_S)
        if short:
            verb = "has" if len(short) == 1 else "have"
            some = ", ".join(f"{shown(name)} ({self._seconds[name]:.0f} s)" for name in short[:3])
            yield (
                f"{counted(len(short), what)} {verb} less than {ENOUGH_S:g} s of speech ({some}{', ...' if short[3:] else ''}): "
                "their own mean and spread are little known, and so are relative values."
            )
        numbered = (
            sorted(name for name, files in self._files.items() if len(files) > 1 and _NUMBERED.fullmatch(name))
            if self.by == "speaker"
            else []
        )
        if numbered:
            yield (
                f"Speakers such as '{shown(numbered[0])}' are in several recordings and are taken for one person; if a program "
                "gave these names anew in each recording, use --relative file, or name the speakers."
            )

    def _keys(self, info: Info, block: Block) -> tuple[list[str], npt.NDArray[np.intp]]:
        """The speakers or the file of some rows, and the number of each row's one among them."""
        if self.by == "file":
            name = f"{info.source}, {info.channel}" if info.channel else info.source
            return [name], np.zeros(len(block), np.intp)
        assert block.turns is not None
        names = {name: number for number, name in enumerate(dict.fromkeys(block.turns.speakers))}
        return list(names), np.array([names[name] for name in block.turns.speakers], np.intp)

    def _mean_and_spread(self, key: str) -> npt.NDArray[np.float64]:
        """Mean and deviation of each dimension, float64 [3, 2]; NaN where they are not known."""
        number, mean, squares = self._moments[key].T if key in self._moments else np.zeros((3, len(DIMENSIONS)))
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = np.sqrt(squares / (number - 1))
        known = (number > 1) & (spread > 1e-6)
        return np.stack([np.where(known, mean, np.nan), np.where(known, spread, np.nan)], axis=1)


def _joined(moments: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Number, mean and summed squares about the mean [3, 3] with more values [rows, 3] (Chan, Golub and LeVeque 1979)."""
    number, mean, squares = moments.T
    more, its_mean = float(len(values)), values.mean(axis=0)
    its_squares = ((values - its_mean) ** 2).sum(axis=0)
    total, apart = number + more, its_mean - mean
    return np.stack(
        [total, mean + apart * more / total, squares + its_squares + apart**2 * number * more / total], axis=1
    )


def _seconds(block: Block, rows: npt.NDArray[np.bool_]) -> float:
    return float((block.ends[rows] - block.starts[rows]).sum())


def _rounded(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None
