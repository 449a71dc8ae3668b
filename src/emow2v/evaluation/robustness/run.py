"""The share of scores that stay the same when recordings change in ways that should not matter; needs no labels.

The share of unchanged predictions is that of Derington et al. (arXiv 2312.06270): of those that move by less than 0.05,
for each dimension by itself. Every file is one prediction.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emow2v.errors import AudioError, Emow2vError
from emow2v.evaluation.robustness.changes import GROUPS, Change, changes, versions
from emow2v.evaluation.robustness.noises import beginning
from emow2v.evaluation.robustness.transmission import Unfit
from emow2v.formats.plot import COLOURS, picture, save
from emow2v.framing import SAMPLING_RATE, Signal
from emow2v.model import Model
from emow2v.trajectory import DIMENSIONS

LIMIT = 0.05
LONGEST_S = 30  # of a file only so much is used
VOICES = 8  # files of the run that are kept in memory for babble

_Three = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ChangeResult:
    """The predictions of all files after one change, compared with those before.

    Attributes:
        files: number of files that were changed
        left_out: number of files that were not, by the sentence that says why
        unchanged: share of predictions that changed by less than the limit, [arousal, dominance, valence]; NaN without
            files
        mean_change: mean absolute change of the predictions, likewise
    """

    change: Change
    files: int
    left_out: Mapping[str, int]
    unchanged: tuple[float, ...]
    mean_change: tuple[float, ...]

    @property
    def passed(self) -> tuple[bool, ...]:
        """Whether more than the threshold are unchanged, by dimension."""
        return tuple(share > self.change.threshold for share in self.unchanged)

    def figures(self) -> dict[str, object]:
        """For JSON; None where there is no figure."""
        return {
            "group": self.change.group,
            "test": self.change.name,
            "does": self.change.does,
            "published": self.change.published,
            "sound": self.change.sound or None,
            "threshold": self.change.threshold,
            "files": self.files,
            "left_out": dict(self.left_out),
            "unchanged": _by_dimension(self.unchanged),
            "mean_change": _by_dimension(self.mean_change),
            "passed": dict(zip(DIMENSIONS, self.passed, strict=True)) if self.files else None,
        }


@dataclass(frozen=True)
class Robustness:
    """The stability of a model.

    Attributes:
        model, version, weights_sha256: of the model that was tested
        limit: a prediction that changes by less counts as unchanged
        files, seconds: of the recordings that were used
        shortened: number of files that are longer than `LONGEST_S`, of which only so much was used
        skipped: files that cannot be read, each with the sentence that says why
        software: versions of the libraries that make the changes
        notices: by file, sentences about missing or unusual parts
    """

    model: str
    version: str
    weights_sha256: str
    limit: float
    seed: int
    files: int
    seconds: float
    shortened: int
    skipped: Mapping[str, str]
    results: tuple[ChangeResult, ...]
    software: Mapping[str, str]
    notices: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def groups(self) -> dict[str, tuple[float, ...]]:
        """Mean share of unchanged predictions by group of tests, [arousal, dominance, valence]; without tests of no files."""
        means = {}
        for group in GROUPS:
            shares = [one.unchanged for one in self.results if one.change.group == group and one.files]
            if shares:
                means[group] = tuple(np.mean(shares, axis=0).tolist())
        return means

    def figures(self) -> dict[str, object]:
        """For JSON; None where there is no figure."""
        return {
            "model": self.model,
            "version": self.version,
            "weights_sha256": self.weights_sha256,
            "limit": self.limit,
            "seed": self.seed,
            "files": self.files,
            "seconds": round(self.seconds, 3),
            "longest_seconds": LONGEST_S,
            "shortened": self.shortened,
            "skipped": dict(self.skipped),
            "notices": {name: list(sentences) for name, sentences in self.notices.items()},
            "software": dict(self.software),
            "groups": {
                group: {
                    "unchanged": _by_dimension(shares),
                    "lowest": round(min(shares), 4),
                    "passed": self._passed(group),
                }
                for group, shares in self.groups().items()
            },
            "tests": [one.figures() for one in self.results],
        }

    def markdown(self) -> str:
        """A section of a report."""
        libraries = ", ".join(f"{name} {version}" for name, version in self.software.items())
        lines = [
            "## Robustness",
            "",
            f"Share of predictions, in %, that move by less than {self.limit:g} when the recording is changed, after "
            "Derington et al. (arXiv 2312.06270); a test is passed when more than its threshold stay. "
            f"{self.files} files, {self.seconds / 60:.1f} minutes, seed {self.seed}; {libraries}.",
            "",
            f"| group | test | {' | '.join(DIMENSIONS)} | threshold | passed |",
            "|---|---|--:|--:|--:|--:|---|",
        ]
        means = self.groups()
        for group in GROUPS:
            lines += [_row(one) for one in self.results if one.change.group == group]
            if group in means:
                shares = " | ".join(map(_percent, means[group]))
                lines.append(f"| **{group}** | **mean** | {shares} | | {self._passed(group)} |")
        return "\n".join([*lines, "", *(f"* {note}" for note in self._notes()), ""])

    def _passed(self, group: str) -> str:
        tried = [one for one in self.results if one.change.group == group and one.files]
        return f"{sum(all(one.passed) for one in tried)} of {len(tried)}"

    def _notes(self) -> list[str]:
        notes = []
        for sound, what in (
            ("synthetic", "Made by the program"),
            ("recorded", "Recordings (where the folder of noises has no babble, other files of this run talk)"),
        ):
            names = [one.change.name for one in self.results if one.change.sound == sound]
            if names:
                notes.append(f"{what}: {', '.join(names)}.")
        own = [one.change.name for one in self.results if not one.change.published]
        if own:
            notes.append(f"Neither tests nor thresholds of the paper: {', '.join(own)}.")
        if self.shortened:
            notes.append(f"Of longer files the first {LONGEST_S} s were used: {self.shortened} of {self.files}.")
        for one in self.results:
            left_out = one.left_out.items()
            notes += [f"{one.change.name}: left out for {count} of {self.files}. {why}" for why, count in left_out]
        if self.notices:
            what = "Something was missing or unusual in"
            notes.append(
                f"{what} {len(self.notices)} of {self.files} recordings; the JSON file says what, under notices."
            )
        return notes + [f"Skipped {name}: {sentence}" for name, sentence in self.skipped.items()]


def robustness(
    model: Model,
    files: Sequence[str | Path],
    *,
    noises: str | Path | None = None,
    rooms: str | Path | None = None,
    only: Collection[str] = (),
    limit: float = LIMIT,
    seed: int = 0,
    on_file: Callable[[str], None] = lambda name: None,
) -> Robustness:
    """Score every file as it is and after every change, and count the scores that stay the same.

    A change is left out for a file that is too short or too silent for it. Files are read one after the other; memory
    holds one of them with all its changes, which are computed together, and up to `VOICES` others for babble.

    Args:
        files: recordings of any length; of long ones the first `LONGEST_S` seconds are used
        noises: folder with recordings in folders music, coughs, sneezes, environment or babble, in place of synthetic
            sounds
        rooms: folder with measured impulse responses, for one more test
        only: names of the tests that are made; none for all
        limit: a score that changes by less counts as unchanged
        seed: of all random choices; the same seed and files give the same changes
        on_file: called with the name of every file that is done; may raise to stop

    Raises:
        FormatError: a folder of noises or rooms without any
        AudioError: none of the noises of a kind can be read
        Emow2vError: no file that can be read, a limit or seed out of range, a library that is not installed
    """
    if not 0 < limit < math.inf or seed < 0:
        raise Emow2vError(f"limit is {limit:g} and seed {seed}; expected a limit above 0 and a seed of 0 or more.")
    tests = tuple(one for one in changes(noises, rooms) if not only or one.name in only)
    software = versions()  # a library that is missing is an error before any work
    counts = [_Count() for _ in tests]
    voices = _voices(files, seed)
    skipped: dict[str, str] = {}
    notices: dict[str, list[str]] = {}
    used, seconds, shortened = 0, 0.0, 0

    def predicted(signals: list[Signal]) -> list[_Three | None]:
        try:
            computed = model.predict_batch(signals, SAMPLING_RATE, unit="files")
        except AudioError:  # of one of them
            return [None] if len(signals) == 1 else [scores for one in signals for scores in predicted([one])]
        return [np.asarray(one.scores[0], np.float64) for one in computed]

    for number, file in enumerate(files):
        try:
            sentences: list[str] = []
            signal, goes_on = beginning(file, LONGEST_S, sentences.extend)
            plain = np.asarray(model.predict(signal, SAMPLING_RATE, unit="files").scores[0], np.float64)
        except AudioError as error:
            skipped[str(file)] = str(error)
            on_file(str(file))
            continue
        if sentences:
            notices[str(file)] = sentences
        used, seconds, shortened = used + 1, seconds + signal.size / SAMPLING_RATE, shortened + goes_on
        others = [voice for index, voice in voices.items() if index != number]
        changed: list[tuple[_Count, bool]] = []  # and whether a reference takes the place of the file as it is
        signals: list[Signal] = []
        for test, count in zip(tests, counts, strict=True):
            rng = np.random.default_rng([seed, number, zlib.crc32(f"{test.group}: {test.name}".encode())])
            try:
                pair = [test.apply(signal, rng, others), *([test.reference(signal)] if test.reference else [])]
            except Unfit as error:
                count.leave_out(str(error))
                continue
            signals += pair
            changed.append((count, len(pair) == 2))
        scores = iter(predicted(signals) if signals else [])
        for count, has_reference in changed:
            after, before = next(scores), next(scores) if has_reference else plain
            if after is None or before is None:
                count.leave_out("What it leaves is too short for the model.")
            else:
                count.add(np.abs(after - before), limit)
        on_file(str(file))
    if not used:
        first = next(iter(skipped.values()), "there is none.")
        raise Emow2vError(f"None of {len(files)} files can be read; expected recordings of speech. The first: {first}")
    results = tuple(count.result(test) for test, count in zip(tests, counts, strict=True))
    about = (model.name, model.card.version, model.card.sha256)
    return Robustness(*about, limit, seed, used, seconds, shortened, skipped, results, software, notices)


def plot(result: Robustness, path: str | Path, *, overwrite: bool = False) -> None:
    """Shares of unchanged predictions as bars, with the threshold of every test; .png, .svg or .pdf.

    Raises:
        FormatError: matplotlib is not installed, another ending, or a place that cannot be written
    """
    path = Path(path)
    shown = [one for one in result.results if one.files]
    figure = picture(path, 8, 1.2 + 0.34 * len(shown))
    axes = figure.subplots()
    places = np.arange(len(shown), dtype=np.float64)
    for k, name in enumerate(DIMENSIONS):
        shares = [100 * one.unchanged[k] for one in shown]
        axes.barh(places + 0.26 * (k - 1), shares, height=0.26, label=name, color=COLOURS[name])
    thresholds = [100 * one.change.threshold for one in shown]
    axes.vlines(thresholds, places - 0.45, places + 0.45, color="black", linewidth=1.6, label="threshold")
    axes.set_yticks(places, [f"{one.change.group}: {one.change.name}" for one in shown])
    axes.set(xlabel=f"predictions that move by less than {result.limit:g} (%)", xlim=(0, 100))
    axes.set_title(f"{result.model} {result.version}, {result.files} files")
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.grid(axis="x", alpha=0.25)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    save(figure, path, overwrite=overwrite)


class _Count:
    """Sums over the predictions of one test."""

    def __init__(self) -> None:
        self._files = 0
        self._unchanged = np.zeros(len(DIMENSIONS))
        self._moved = np.zeros(len(DIMENSIONS))
        self._left_out: dict[str, int] = {}

    def add(self, moved: _Three, limit: float) -> None:
        self._files += 1
        self._unchanged += moved < limit
        self._moved += moved

    def leave_out(self, why: str) -> None:
        self._left_out[why] = self._left_out.get(why, 0) + 1

    def result(self, change: Change) -> ChangeResult:
        share, moved = ((total / (self._files or math.nan)).tolist() for total in (self._unchanged, self._moved))
        return ChangeResult(change, self._files, self._left_out, tuple(share), tuple(moved))


def _voices(files: Sequence[str | Path], seed: int) -> dict[int, Signal]:
    """Some files at random, by their number."""
    voices: dict[int, Signal] = {}
    for number in np.random.default_rng(seed).permutation(len(files)).tolist():
        if len(voices) == VOICES:
            break
        try:
            signal, _ = beginning(files[number], LONGEST_S)
        except AudioError:  # reported when its turn comes
            continue
        if signal.any():
            voices[number] = signal
    return voices


def _by_dimension(values: Sequence[float]) -> dict[str, float | None]:
    return {name: round(x, 4) if math.isfinite(x) else None for name, x in zip(DIMENSIONS, values, strict=True)}


def _percent(share: float) -> str:
    return f"{100 * share:.1f}" if math.isfinite(share) else "-"


def _row(one: ChangeResult) -> str:
    failed = [name for name, passed in zip(DIMENSIONS, one.passed, strict=True) if not passed]
    mark = ("yes" if not failed else f"no: {', '.join(failed)}") if one.files else "-"
    shares = " | ".join(map(_percent, one.unchanged))
    return f"| {one.change.group} | {one.change.name} | {shares} | {100 * one.change.threshold:g} | {mark} |"
