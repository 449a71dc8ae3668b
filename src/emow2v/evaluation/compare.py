"""How far apart two ways of computing the same recordings lie: results of one against those of the other."""

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
from emow2v.formats.table import read_table
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
    """Attributes:
    together: one agreement a dimension, over all recordings
    each: the same for every recording, by its name
    alone: names of results that only one side has
    """

    together: tuple[Agreement, ...]
    each: Mapping[str, tuple[Agreement, ...]]
    alone: tuple[str, ...]


def compare(first: Path, second: Path) -> Comparison:
    """Compare two result files, or two folders with results of the same names.

    Raises:
        FormatError: a file that cannot be read, or nothing that both have
    """
    one, other = _results(first), _results(second)
    if len(one) == len(other) == 1:  # the same recording, whatever the files are called
        pairs = {next(iter(one)): (next(iter(one.values())), next(iter(other.values())))}
    else:
        pairs = {name: (one[name], other[name]) for name in one if name in other}
    if not pairs:
        raise FormatError(
            f"{first} and {second} hold no results of the same name; expected the same recordings in both."
        )
    aligned = {name: _aligned(name, *pair) for name, pair in pairs.items()}
    each = {name: tuple(_agreements(values)) for name, values in aligned.items()}
    names = dict.fromkeys(dimension for values in aligned.values() for dimension in values)
    everything = {dimension: (_joined(aligned, dimension, 0), _joined(aligned, dimension, 1)) for dimension in names}
    alone = () if len(pairs) == 1 and len(one) == len(other) == 1 else tuple(sorted(one.keys() ^ other.keys()))
    return Comparison(tuple(_agreements(everything)), each, alone)


def report(found: Comparison) -> dict[str, object]:
    """A comparison's figures, for JSON."""
    return {
        "together": {one.name: one.figures() for one in found.together},
        "each": {name: {one.name: one.figures() for one in rows} for name, rows in found.each.items()},
        "alone": list(found.alone),
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
    """What a file or a folder holds, by the names that both sides share."""
    if not storage.is_folder(path):
        return _read(path, "")
    found: dict[str, Series] = {}
    for file in sorted(_below(path)):
        described = file.name.endswith("-metadata.json")  # what stands beside a CSV
        if file.suffix.lower() in ENDINGS and storage.is_file(file) and not described:
            found |= _read(file, str(file.relative_to(path)))
    if not found:
        raise FormatError(f"{path} holds no results; expected {', '.join(ENDINGS)} files of emow2v.")
    return found


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
        return {name: Series(read.starts, {dimension: read.values})}
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
        raise FormatError(f"The two results {where}hold different things; expected the same dimensions in both.")
    values = {dimension: (first.values[dimension][here], second.values[dimension][there]) for dimension in shared}
    if any(one.shape != other.shape for one, other in values.values()):
        raise FormatError(f"The two results {where}have embeddings of different sizes; expected the same model.")
    return values
