"""Rows of a job that runs: read while they are written, gone when it ends."""

import os
from pathlib import Path

import numpy as np
import pytest

from emow2v.formats import record
from emow2v.formats.table import JSONWriter
from emow2v.framing import Framing
from emow2v.server.jobs import partial_rows
from emow2v.server.jobs.partial_rows import PartialRowsWriter
from emow2v.trajectory import Block, Info, Trajectory

INFO = Info("a.wav", Framing(), {})


def block(first: int, rows: int) -> Block:
    rng = np.random.default_rng(first)
    ends = 0.04 * np.arange(first + 1, first + rows + 1)
    values = [rng.random((rows, 3), np.float32) for _ in range(2)]
    return Block(first, ends - 0.04, ends, np.zeros((rows, 0), np.float32), *values)


def test_rows_are_there_as_soon_as_they_are_added(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "a"
    assert partial_rows.read(folder, 0).run == ""  # nothing grows
    writer = PartialRowsWriter(folder)
    writer.open(INFO)
    begun = partial_rows.read(folder, 0)
    assert begun.run and begun.rows.shape == (0, 6)
    blocks = [block(0, 3), block(3, 2)]
    for one in blocks:
        writer.add(one)
    seen = partial_rows.read(folder, 1, begun.run)
    assert seen.run == begun.run and seen.rows.shape == (4, 6)
    every = np.vstack([partial_rows.as_rows(one) for one in blocks])
    np.testing.assert_array_equal(seen.rows, every[1:])
    np.testing.assert_array_equal(every[:3, 5], blocks[0].confidence.min(axis=1))
    writer.close()
    assert not folder.exists()


def test_who_saw_an_earlier_run_gets_all_of_the_new_one(tmp_path: Path) -> None:
    first = PartialRowsWriter(tmp_path / "a")
    first.open(INFO)
    first.add(block(0, 5))
    run = partial_rows.read(tmp_path / "a", 0).run
    first.staged.discard()  # the worker died, and its files were removed
    second = PartialRowsWriter(tmp_path / "a")
    second.open(INFO)
    second.add(block(0, 2))
    seen = partial_rows.read(tmp_path / "a", 5, run)
    assert seen.run != run and len(seen.rows) == 2
    second.close()


def test_a_row_that_is_half_written_waits(tmp_path: Path) -> None:
    writer = PartialRowsWriter(tmp_path / "a")
    writer.open(INFO)
    writer.add(block(0, 2))
    (part,) = (tmp_path / "a").glob(".rows.*.part")
    with part.open("ab") as file:
        file.write(b"half")
    assert len(partial_rows.read(tmp_path / "a", 0).rows) == 2
    writer.close()


def test_results_in_the_folder_stay_when_it_ends(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    json = JSONWriter(folder / "result.json")
    record(Trajectory(INFO, lambda: iter([block(0, 2)])), [json, PartialRowsWriter(folder)])
    assert [path.name for path in folder.iterdir()] == ["result.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is not here")
def test_a_full_disk_stops_the_watching_and_not_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = PartialRowsWriter(tmp_path / "a")
    writer.open(INFO)
    assert writer._file is not None
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, writer._file.fileno())
    os.close(full)
    writer.add(block(0, 2))
    writer.add(block(2, 2))
    writer.close()
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    nowhere = PartialRowsWriter(blocked / "a")
    nowhere.open(INFO)
    nowhere.add(block(0, 2))
    nowhere.close()
