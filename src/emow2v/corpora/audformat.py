"""Reader of audformat databases, as audb and others publish them. Needs the package audformat (extra of the same name)."""

from __future__ import annotations

import lzma
import math
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emow2v import storage
from emow2v.corpora.clip import Clip
from emow2v.corpora.partitions import DEVELOPMENT, TEST, TRAIN
from emow2v.corpora.scales import Scale, Scales, parse_scales
from emow2v.errors import FormatError
from emow2v.trajectory import DIMENSIONS

_SPLITS = {"train": TRAIN, "dev": DEVELOPMENT, "test": TEST}
_PARTS = ("attachments", "media", "misc_tables", "raters", "schemes", "splits", "tables")  # mappings of a header
_Key = tuple[str, float, float | None]  # file, start, end


def read_audformat(
    path: Path, *, tables: str | Sequence[str] | None = None, scale: Scales | None = None, speaker: str = "speaker"
) -> list[Clip]:
    """A database (the folder with its db.yaml) whose columns or their schemes are named arousal, dominance and valence.

    Several columns of one scheme, as of several raters, are averaged. The split of a table is the partition of its clips.

    Args:
        tables: names of the tables to read; None for every table with such columns
        scale: lowest and highest rating where a scheme does not state them; written as for a CSV file
        speaker: scheme or column that names speakers, in any table

    Raises:
        FormatError: audformat is not installed, no database there, no such columns, no scale, contradictions
    """
    try:
        import audformat
    except ImportError:
        raise FormatError("audformat databases need its package; run: pip install 'emow2v[audformat]'") from None
    database = _load(audformat, path)
    names = [tables] if isinstance(tables, str) else list(database.tables) if tables is None else list(tables)
    unknown = [name for name in names if name not in database.tables]
    if unknown:
        raise FormatError(f"{path} has no table {unknown[0]}; it has {', '.join(database.tables)}.")
    scales = parse_scales(scale) if scale is not None else {}
    ratings: dict[_Key, list[float]] = {}
    partitions: dict[_Key, str] = {}
    for name in names:
        table = database.tables[name]
        columns = {dimension: _columns(table, dimension) for dimension in DIMENSIONS}
        if not any(columns.values()):
            continue
        frame = _frame(path, name, table)
        split = table.split_id and _SPLITS.get(database.splits[table.split_id].type, "")
        keys = _keys(audformat.utils.to_segmented_index(frame.index))
        for key in keys:
            ratings.setdefault(key, [math.nan] * len(DIMENSIONS))
            if split and partitions.setdefault(key, split) != split:
                raise FormatError(
                    f"{path}: {key[0]} is in {partitions[key]} and, by the table {name}, in {split}; "
                    "expected one of them; choose tables."
                )
        for place, (dimension, rated) in enumerate(columns.items()):
            if rated:
                low, high = _scale(database, table, rated[0], dimension, scales)
                means = _means(f"{path}, table {name}", frame, rated)
                for key, value in zip(keys, ((means - low) / (high - low)).tolist(), strict=True):
                    if not math.isnan(value):
                        ratings[key][place] = value
    if not ratings:
        raise FormatError(
            f"{path} has no column or scheme named arousal, dominance or valence in {', '.join(names) or 'any table'}; "
            "name other tables."
        )
    speakers = _speakers(audformat, database, speaker)
    return [
        Clip(
            file=path / key[0],
            name=key[0],
            start=key[1],
            end=key[2],
            speaker=speakers.get(key) or speakers.get((key[0], 0.0, None), ""),
            ratings=(values[0], values[1], values[2]),
            partition=partitions.get(key, ""),
        )
        for key, values in ratings.items()
    ]


def _load(audformat: Any, path: Path) -> Any:
    """A database; its tables are read when they are used."""
    import yaml  # comes with audformat

    file = path / "db.yaml"
    if not storage.is_file(file):
        raise FormatError(f"{storage.shown(path)} has no db.yaml; expected the folder of an audformat database.")
    try:
        header = yaml.safe_load(file.read_text(encoding="utf-8"))
        parts = [header.get(part) for part in _PARTS] if isinstance(header, dict) else [()]
        whole = isinstance(header, dict) and {"name", "source", "usage"} <= header.keys()
        if not whole or not all(part is None or isinstance(part, dict) for part in parts):
            raise FormatError(
                f"{file} is no header of an audformat database that can be read; expected name, source, usage."
            )
        return audformat.Database.load(path)
    except (OSError, ValueError, KeyError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise FormatError(
            f"{path} is no audformat database that can be read ({reason}); expected one that audformat wrote."
        ) from None


def _frame(path: Path, name: str, table: Any) -> Any:
    """The rows of a table, which audformat reads from CSV, Parquet or pickle files."""
    try:
        return table.df
    except (OSError, EOFError, ValueError, KeyError, lzma.LZMAError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FormatError(
            f"{path}: the table {name} cannot be read ({reason}); expected one that audformat wrote; "
            "fetch the database again."
        ) from None


def _means(where: str, frame: Any, columns: Sequence[str]) -> npt.NDArray[np.float64]:
    """Mean of each row over columns."""
    try:
        means: npt.NDArray[np.float64] = frame[columns].astype(float).mean(axis=1).to_numpy(np.float64)
    except ValueError as error:  # words where numbers are expected
        raise FormatError(f"{where}: {', '.join(columns)} holds no numbers ({error}); expected ratings.") from None
    return means


def _columns(table: Any, dimension: str) -> list[str]:
    """Columns of a table with ratings of a dimension: the column of its name, or else all columns of its scheme."""
    named = [name for name in table.columns if name.lower() == dimension]
    return named or [name for name, column in table.columns.items() if (column.scheme_id or "").lower() == dimension]


def _scale(database: Any, table: Any, column: str, dimension: str, scales: dict[str, Scale]) -> Scale:
    scheme = database.schemes.get(table.columns[column].scheme_id)
    if scheme is not None and scheme.minimum is not None and scheme.maximum is not None:
        return float(scheme.minimum), float(scheme.maximum)
    if dimension not in scales:
        raise FormatError(
            f"The scheme of {column} does not say its lowest and highest value; expected a minimum and a maximum; "
            f'give them as scale, such as "{dimension}=1:7".'
        )
    return scales[dimension]


def _keys(index: Any) -> list[_Key]:
    """File, start and end of each entry of a segmented index; end is None for the end of the file."""
    starts = index.get_level_values("start").total_seconds()
    ends = index.get_level_values("end").total_seconds()
    files = index.get_level_values("file")
    return [
        (str(file), float(start), None if math.isnan(end) else float(end))
        for file, start, end in zip(files, starts, ends, strict=True)
    ]


def _speakers(audformat: Any, database: Any, scheme: str) -> dict[_Key, str]:
    """Speakers of files and of stretches of files, as far as a table names them."""
    try:
        frame = database.get(scheme)
    except ValueError as error:
        raise FormatError(f"The database contradicts itself about who speaks ({error}); mend its tables.") from None
    if frame.empty:
        return {}
    keys = _keys(audformat.utils.to_segmented_index(frame.index))
    names = frame[scheme]
    return {key: str(name) for key, name, is_known in zip(keys, names, names.notna(), strict=True) if is_known}
