"""Comparison of two sets of results of the same recordings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emow2v import storage
from emow2v.agreement import Agreement, Floats, agreement_of, relative_distance
from emow2v.errors import FormatError
from emow2v.formats.ssi_read import read_annotation, read_stream
from emow2v.formats.table_read import read_table
from emow2v.trajectory import DIMENSIONS

ENDINGS = (".csv", ".json", ".annotation", ".stream")
EMBEDDINGS = "embeddings"


@dataclass(frozen=True)
class Series:
    """Results of one recording: seconds at which each row begins, and values [rows, columns] by dimension."""

    starts: npt.NDArray[np.float64]
    values: Mapping[str, Floats]


@dataclass(frozen=True)
class Comparison:
    """The agreement of two sets of results.

    Attributes:
        overall: one agreement a dimension, over all recordings
        by_recording: the same for each recording, by its name
        unmatched: names of results that only one of the two sets has
    """

    overall: tuple[Agreement, ...]
    by_recording: Mapping[str, tuple[Agreement, ...]]
    unmatched: tuple[str, ...]


def compare(first: Path, second: Path) -> Comparison:
    """Compare two result files, or two folders with results of the same names.

    Raises:
        FormatError: a file that cannot be read, or no recording that both have
    """
    these, those = _results(first), _results(second)
    single = len(these) == len(those) == 1  # the same recording, whatever the files are called
    if single:
        pairs = {next(iter(these)): (next(iter(these.values())), next(iter(those.values())))}
    else:
        pairs = {name: (these[name], those[name]) for name in these if name in those}
    if not pairs:
        raise FormatError(
            f"{first} and {second} hold no results of the same name; expected the same recordings in both."
        )
    aligned = {name: _aligned(name, *pair) for name, pair in pairs.items()}
    each = {name: tuple(_agreements(values)) for name, values in aligned.items()}
    names = dict.fromkeys(dimension for values in aligned.values() for dimension in values)
    everything = {dimension: (_joined(aligned, dimension, 0), _joined(aligned, dimension, 1)) for dimension in names}
    unmatched = () if single else tuple(sorted(these.keys() ^ those.keys()))
    return Comparison(tuple(_agreements(everything)), each, unmatched)


def figures(comparison: Comparison) -> dict[str, object]:
    """The figures of a comparison for JSON: "together" (overall), "each" (by recording), "alone" (unmatched)."""
    return {
        "together": {one.name: one.figures() for one in comparison.overall},
        "each": {name: {one.name: one.figures() for one in rows} for name, rows in comparison.by_recording.items()},
        "alone": list(comparison.unmatched),
    }


def _joined(aligned: Mapping[str, Mapping[str, tuple[Floats, Floats]]], dimension: str, side: int) -> Floats:
    return np.concatenate([values[dimension][side] for values in aligned.values() if dimension in values])


def _agreements(values: Mapping[str, tuple[Floats, Floats]]) -> list[Agreement]:
    order = [*DIMENSIONS, EMBEDDINGS]
    return [
        agreement_of(
            name, values[name][0], values[name][1], relative_distance(*values[name]) if name == EMBEDDINGS else None
        )
        for name in sorted(values, key=order.index)
    ]


def _results(path: Path) -> dict[str, Series]:
    """The results in a file or a folder, by the path below the folder."""
    if not storage.is_folder(path):
        return _read(path, "")
    results: dict[str, Series] = {}
    for file in sorted(_below(path)):
        described = file.name.endswith("-metadata.json")  # what stands beside a CSV
        if file.suffix.lower() in ENDINGS and storage.is_file(file) and not described:
            results |= _read(file, str(file.relative_to(path)))
    if not results:
        raise FormatError(f"{path} holds no results; expected {', '.join(ENDINGS)} files of emow2v.")
    return results


def _below(folder: Path) -> Iterator[Path]:
    """Files in a folder and below it."""

    def refuse(error: OSError) -> None:
        raise storage.unreadable(error.filename or folder, error)

    for place, _, names in os.walk(folder, onerror=refuse):
        yield from (Path(place) / name for name in names)


def _read(path: Path, name: str) -> dict[str, Series]:
    ending = path.suffix.lower()
    if ending in (".csv", ".json"):
        tables = read_table(path)
        several = len(tables) > 1
        return {
            f"{name}: {file}" if several else name: Series(table.starts, _columns(table.scores))
            for file, table in tables.items()
        }
    if ending == ".annotation":
        read = read_annotation(path)
        dimension = next((one for one in DIMENSIONS if one in (read.name.lower(), Path(path.stem).suffix[1:])), None)
        if dimension is None or read.values.dtype.kind != "f":
            raise FormatError(f"{path} is no annotation of {', '.join(DIMENSIONS)}; expected a result of emow2v.")
        low, high = read.minimum, read.maximum
        if low is None or high is None or not low < high:
            raise FormatError(f"{path} has a scheme without its range; expected min and max in its header.")
        return {name: Series(read.starts, {dimension: (read.values - low) / (high - low)})}
    if ending == ".stream":
        stream = read_stream(path)
        return {name: Series(stream.times, {EMBEDDINGS: np.asarray(stream.data, np.float64)})}
    raise FormatError(f"{path} is no result that can be compared; expected {', '.join(ENDINGS)}, or a folder of them.")


def _columns(scores: Floats) -> dict[str, Floats]:
    return {name: scores[:, k] for k, name in enumerate(DIMENSIONS)}


def _aligned(name: str, first: Series, second: Series) -> dict[str, tuple[Floats, Floats]]:
    """Values of both at the times they share."""
    mine, yours = (np.round(one.starts * 1e4).astype(np.int64) for one in (first, second))  # 0.1 ms
    _, here, there = np.intersect1d(mine, yours, return_indices=True)
    shared = [dimension for dimension in first.values if dimension in second.values]
    where = f"{name} " if name else ""
    if not here.size:
        raise FormatError(
            f"The two results {where}have no times in common; expected the same step over the same recording."
        )
    if not shared:
        raise FormatError(f"The two results {where}hold different dimensions; expected the same in both.")
    values = {dimension: (first.values[dimension][here], second.values[dimension][there]) for dimension in shared}
    if any(one.shape != other.shape for one, other in values.values()):
        raise FormatError(f"The two results {where}have embeddings of different sizes; expected the same model.")
    return values
