"""NumPy reads what the trajectory holds, without pickle."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from emow2v import formats
from emow2v.errors import PlaceTaken
from emow2v.framing import Framing
from emow2v.rows import TurnRows
from emow2v.trajectory import DIMENSIONS, Block, Info, Trajectory

pytestmark = pytest.mark.quick


def trajectory(count: int = 30, *, turns: bool = False) -> Trajectory:
    """Two blocks of random values; every third row without speech."""
    generator = np.random.default_rng(count)
    blocks = []
    for begin, size in ((0, count // 2), (count // 2, count - count // 2)):
        values = generator.random((size, 6 + 1024)).astype(np.float32)
        speech = np.where(np.arange(begin, begin + size) % 3, 0.9, 0.1).astype(np.float32)
        names = tuple(f"Öz {begin + k}" for k in range(size))
        rows = TurnRows(names, ("",) * size, ("",) * size, tuple(range(size))) if turns else None
        times = Framing().times(begin, size)
        blocks.append(Block(begin, *times, values[:, 6:], values[:, :3], values[:, 3:6], speech, rows))
    info = Info("talk.wav", Framing(), {"model": "lite", "step": 40.0}, speech=True, turns=turns)
    return Trajectory(info, lambda: iter([block for block in blocks if len(block)]))


def test_numpy_reads_every_array(tmp_path: Path) -> None:
    one = trajectory()
    one.save(tmp_path / "talk.npz")
    with np.load(tmp_path / "talk.npz", allow_pickle=False) as arrays:
        assert arrays["names"].tolist() == list(DIMENSIONS)
        np.testing.assert_array_equal(arrays["starts"], one.starts)
        np.testing.assert_array_equal(arrays["ends"], one.ends)
        np.testing.assert_array_equal(arrays["embeddings"], one.embeddings)
        np.testing.assert_array_equal(arrays["confidence"], one.confidence)
        np.testing.assert_array_equal(arrays["speech"], one.speech)
        silent = np.arange(30) % 3 == 0
        np.testing.assert_array_equal(arrays["scores"][~silent], one.scores[~silent])
        assert np.isnan(arrays["scores"][silent]).all()
        assert arrays["embeddings"].dtype == arrays["scores"].dtype == np.float32
        assert json.loads(str(arrays["provenance"])) == {"file": "talk.wav", "model": "lite", "step": 40.0}
    assert zipfile.ZipFile(tmp_path / "talk.npz").testzip() is None


def test_turns_have_their_speakers(tmp_path: Path) -> None:
    one = trajectory(8, turns=True)
    one.save(tmp_path / "talk.npz")
    with np.load(tmp_path / "talk.npz") as arrays:
        assert arrays["speakers"].tolist() == [f"Öz {k}" for k in range(8)]
        assert arrays["counts"].tolist() == [0, 1, 2, 3] * 2
        np.testing.assert_array_equal(arrays["scores"], one.scores)


def test_no_rows(tmp_path: Path) -> None:
    trajectory(0).save(tmp_path / "talk.npz")
    with np.load(tmp_path / "talk.npz") as arrays:
        assert arrays["embeddings"].shape == (0, 1024) and arrays["scores"].shape == (0, 3)


def test_the_same_bytes_and_only_its_own_file_is_replaced(tmp_path: Path) -> None:
    trajectory().save(tmp_path / "a.npz")
    trajectory().save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    trajectory(4).save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        assert len(arrays["starts"]) == 4
    np.savez(tmp_path / "mine.npz", starts=np.zeros(3))
    with pytest.raises(PlaceTaken):
        formats.write(trajectory(), tmp_path / "mine.npz")
    changed = bytearray((tmp_path / "b.npz").read_bytes())
    changed[1000] ^= 1
    (tmp_path / "b.npz").write_bytes(changed)
    with pytest.raises(PlaceTaken):
        trajectory().save(tmp_path / "b.npz")
