"""Parquet tables in one file and in shards: DuckDB, pandas and pyarrow.dataset read the same rows from both."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from emow2v.errors import FormatError, PlaceTaken
from emow2v.formats import run_table
from emow2v.formats.parquet import Shards, compact, schema_of, shards_in
from emow2v.storage import marks
from emow2v.storage.files import StagedFiles, publish

pyarrow = pytest.importorskip("pyarrow")
dataset = pytest.importorskip("pyarrow.dataset")
parquet = pytest.importorskip("pyarrow.parquet")

NAMES = ("file", "start", "end", "arousal", "confidence")
SIZE = 16  # of embeddings


def layout(*, half: bool = False, size: int = SIZE) -> run_table.Layout:
    return run_table.Layout(NAMES, {name: f"the {name}" for name in NAMES}, size, half=half)


def parts(count: int, rows: int = 5) -> list[tuple[dict[str, Any], np.ndarray]]:
    """Rows of some recordings."""
    draws = np.random.default_rng(0)
    made = []
    for number in range(count):
        columns = {
            "file": [f"{number:03}.wav"] * rows,
            "start": np.arange(rows) / 25,
            "end": np.arange(1, rows + 1) / 25,
            "arousal": draws.uniform(size=rows).astype(np.float32),
            "confidence": np.ones(rows, np.float32),
        }
        made.append((columns, draws.normal(size=(rows, SIZE)).astype(np.float32)))
    return made


def write(folder: Path, count: int = 40, *, most_bytes: int = 1, half: bool = False) -> list[Path]:
    """A table of shards; each recording makes one where `most_bytes` is 1, as its row group is written at once."""
    staged = StagedFiles()
    for number, part in enumerate(parts(count)):
        shards = run_table.table_of_shards(
            lambda name, number=number: staged.open(folder / f"part-{number:05}.parquet"), layout(half=half)
        )
        shards.add(*part)
        shards.close()
    publish([staged])
    return shards_in(folder)


def expected(count: int = 40) -> pd.DataFrame:
    return pd.concat([pd.DataFrame(columns) for columns, _ in parts(count)], ignore_index=True)


def test_readers_take_shards_for_one_table(tmp_path: Path) -> None:
    paths = write(tmp_path / "all.parquet")
    assert [path.name for path in paths[:2]] == ["part-00000.parquet", "part-00001.parquet"] and len(paths) == 40
    by_pandas = pd.read_parquet(tmp_path / "all.parquet")
    pd.testing.assert_frame_equal(by_pandas[list(NAMES)], expected(), check_dtype=False)
    by_arrow = dataset.dataset(tmp_path / "all.parquet", format="parquet").to_table()
    assert by_arrow.schema.field("embedding").type == pyarrow.list_(pyarrow.float32(), SIZE)
    assert by_arrow.schema.field("arousal").metadata == {b"description": b"the arousal"}
    vectors = np.concatenate([one for _, one in parts(40)])
    np.testing.assert_array_equal(np.stack(by_arrow["embedding"].to_numpy(zero_copy_only=False)), vectors)


def test_duckdb_answers_in_one_line(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    write(tmp_path / "all.parquet")
    question = f"select file, avg(arousal) from '{tmp_path}/all.parquet/*.parquet' group by file order by file"
    answer = dict(duckdb.sql(question).fetchall())
    means = expected().groupby("file")["arousal"].mean()
    assert answer == pytest.approx(means.to_dict(), abs=1e-6)


def test_embeddings_of_16_bit(tmp_path: Path) -> None:
    write(tmp_path / "all.parquet", half=True)
    table = dataset.dataset(tmp_path / "all.parquet", format="parquet").to_table()
    assert table.schema.field("embedding").type == pyarrow.list_(pyarrow.float16(), SIZE)
    vectors = np.concatenate([one for _, one in parts(40)])
    got = np.stack(table["embedding"].to_numpy(zero_copy_only=False)).astype(np.float32)
    np.testing.assert_array_equal(got, vectors.astype(np.float16).astype(np.float32))


def test_recordings_share_row_groups_and_a_shard_ends_at_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emow2v.formats.parquet._GROUP_BYTES", 4000)  # some ten recordings
    staged = StagedFiles()
    shards = Shards(lambda name: staged.open(tmp_path / name), schema_of(layout()), most_bytes=8000)
    from emow2v.formats.parquet import ParquetTable

    table = ParquetTable(shards, layout())
    for part in parts(100):
        table.add(*part)
    table.close()
    publish([staged])
    paths = shards_in(tmp_path)
    assert 1 < len(paths) < 50 and [path.name for path in paths] == shards.names
    sizes = [path.stat().st_size for path in paths]
    assert min(sizes[:-1]) > 8000 and max(sizes) < 8000 + 3 * 4000
    groups = [parquet.ParquetFile(path).metadata for path in paths]
    assert all(one.row_group(0).num_rows > 5 for one in groups)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path)[list(NAMES)], expected(100), check_dtype=False)


def test_a_shard_shows_that_we_wrote_it(tmp_path: Path) -> None:
    first, second = write(tmp_path, 2)
    assert marks.origin_of(first) == marks.Origin.OURS
    content = second.read_bytes()
    second.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    assert marks.origin_of(second) == marks.Origin.CHANGED


def test_the_mark_is_found_behind_many_columns(tmp_path: Path) -> None:
    """PyArrow keeps its own schema, which may be long, before it."""
    names = tuple(f"column_{number}" for number in range(300))
    wide = run_table.Layout(("file", *names), dict.fromkeys(("file", *names), "a long description " * 5))
    staged = StagedFiles()
    table = run_table.table_of_shards(lambda name: staged.open(tmp_path / name), wide)
    table.add({"file": ["a"], **dict.fromkeys(names, np.zeros(1, np.float32))}, np.zeros((1, 0), np.float32))
    table.close()
    publish([staged])
    assert marks.origin_of(tmp_path / "part-00000.parquet") == marks.Origin.OURS


def test_small_shards_are_joined(tmp_path: Path) -> None:
    write(tmp_path)
    before = dataset.dataset(tmp_path, format="parquet").to_table()
    assert compact(tmp_path) == (40, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["part-00000.parquet"]
    after = dataset.dataset(tmp_path, format="parquet").to_table()
    assert after.equals(before) and after.schema.equals(before.schema, check_metadata=False)
    assert after.schema.field("arousal").metadata == {b"description": b"the arousal"}
    assert compact(tmp_path) == (1, 1)
    assert marks.origin_of(tmp_path / "part-00000.parquet") == marks.Origin.OURS


def test_what_cannot_be_joined_stays(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="holds no shards"):
        compact(tmp_path)
    paths = write(tmp_path, 3)
    before = [path.read_bytes() for path in paths]
    parquet.write_table(pyarrow.table({"other": [1]}), tmp_path / "part-00003.parquet")
    with pytest.raises(PlaceTaken, match=r"part-00003.parquet is there already"):
        compact(tmp_path)
    with pytest.raises(FormatError, match=r"has other columns than part-00000.parquet"):
        compact(tmp_path, overwrite=True)
    (tmp_path / "part-00003.parquet").write_bytes(b"no table")
    with pytest.raises(FormatError, match="cannot be read"):
        compact(tmp_path, overwrite=True)
    assert [path.read_bytes() for path in paths] == before
    (tmp_path / "more.parquet").touch()
    with pytest.raises(FormatError, match=r"holds more.parquet, which readers would take for a part"):
        compact(tmp_path)


def test_a_table_of_one_file_has_its_rows(tmp_path: Path) -> None:
    file = io.BytesIO()
    table = run_table.table_file(".parquet", file, layout())
    for part in parts(3):
        table.add(*part)
    table.close()
    metadata = parquet.ParquetFile(io.BytesIO(file.getvalue())).metadata
    assert (metadata.num_rows, metadata.num_row_groups) == (15, 1)


def test_the_command_that_joins_shards(tmp_path: Path) -> None:
    write(tmp_path, 3)
    command = [sys.executable, "-m", "emow2v.formats.parquet", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "3 shards joined to 1.\n" and len(shards_in(tmp_path)) == 1
    failed = subprocess.run([*command[:3], str(tmp_path / "none")], capture_output=True, text=True, check=False)
    assert failed.returncode == 1 and "holds no shards" in failed.stderr
