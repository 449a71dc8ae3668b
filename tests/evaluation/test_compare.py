import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from emow2v.agreement import agreement, ccc, relative_distance
from emow2v.cli import main
from emow2v.errors import Emow2vError, FormatError
from emow2v.evaluation.compare import compare, figures
from emow2v.formats import write
from emow2v.formats.table_read import read_table
from emow2v.framing import Framing
from emow2v.trajectory import DIMENSIONS, Block, Info, Trajectory
from refusals import refuse_folder


def trajectory(
    scores: np.ndarray, embeddings: np.ndarray | None = None, *, first: int = 0, name: str = "talk.wav"
) -> Trajectory:
    scores = np.asarray(scores, np.float32)
    rows = len(scores)
    starts = 0.04 * np.arange(first, first + rows)
    if embeddings is None:
        embeddings = np.ones((rows, 1024), np.float32)
    block = Block(first, starts, starts + 0.04, embeddings.astype(np.float32), scores, np.ones_like(scores))
    return Trajectory(Info(name, Framing(), {"model": "made"}), lambda: iter([block]))


@pytest.fixture
def scores() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.1, 0.9, (50, 3))


def test_ccc_is_lins() -> None:
    x = np.random.default_rng(1).normal(size=100)
    y = 0.7 * x + 0.2
    expected = 2 * np.corrcoef(x, y)[0, 1] * x.std() * y.std() / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    assert ccc(x, y) == pytest.approx(expected)
    assert ccc(x, x) == pytest.approx(1) and ccc(x, -x) < 0
    assert np.isnan(ccc([1.0], [1.0])) and np.isnan(ccc([2.0, 2.0], [2.0, 2.0]))


def test_agreement_by_hand() -> None:
    first = np.array([[0.0, 0.5, 0.5], [1.0, 0.5, 0.5], [0.5, 0.5, np.nan]])
    second = first + np.array([0.1, 0.0, 0.2])
    arousal, dominance, valence = agreement(first, second)
    assert (arousal.rows, valence.rows) == (3, 2)
    assert (arousal.mean, arousal.largest, arousal.correlation) == pytest.approx((0.1, 0.1, 1.0))
    assert dominance.mean == 0 and np.isnan(dominance.correlation)
    assert dominance.figures()["correlation"] is None
    np.testing.assert_allclose(relative_distance(np.array([[3.0, 4.0]]), np.array([[3.0, 4.5]])), [0.1])


@pytest.mark.parametrize("ending", ["csv", "json", "stream", "annotation"])
def test_results_of_every_format(tmp_path, scores: np.ndarray, ending: str) -> None:
    embeddings = np.random.default_rng(2).normal(size=(50, 1024))
    for folder, change in (("a", 0.0), ("b", 0.05)):
        (tmp_path / folder).mkdir()
        write(trajectory(scores + change, embeddings * (1 + change)), tmp_path / folder / f"talk.{ending}")
    found = compare(tmp_path / "a", tmp_path / "b")
    names = ["embeddings"] if ending == "stream" else list(DIMENSIONS)
    assert [one.name for one in found.overall] == names
    for one in found.overall:
        assert one.rows == 50
        assert one.mean == pytest.approx(0.05, abs=1e-5) and one.correlation == pytest.approx(1, abs=1e-6)
    assert found.unmatched == ()


def test_two_files_of_any_name_and_only_the_times_they_share(tmp_path, scores: np.ndarray) -> None:
    write(trajectory(scores), tmp_path / "one.csv")
    write(trajectory(scores[10:] + 0.1, first=10, name="other.wav"), tmp_path / "two.json")
    (row, *_) = compare(tmp_path / "one.csv", tmp_path / "two.json").overall
    assert row.rows == 40 and row.mean == pytest.approx(0.1, abs=1e-5)


def test_folders_are_matched_by_name(tmp_path, scores: np.ndarray) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder / "sub").mkdir(parents=True)
        write(trajectory(scores), tmp_path / folder / "sub" / "talk.csv")
    write(trajectory(scores), tmp_path / "a" / "more.csv")
    (tmp_path / "b" / "notes.txt").write_text("nothing of ours")
    found = compare(tmp_path / "a", tmp_path / "b")
    assert found.unmatched == ("more.csv",) and list(found.by_recording) == [
        "sub/talk.csv".replace("/", __import__("os").sep)
    ]
    assert found.overall[0].largest == 0 and found.overall[0].ccc == pytest.approx(1)


def test_one_table_of_several_recordings(tmp_path, scores: np.ndarray) -> None:
    for name, change in (("a", 0.0), ("b", 0.2)):
        for k in range(2):
            write(trajectory(scores + change, name=f"{k}.wav"), tmp_path / f"{name}{k}.json")
        lines = [(tmp_path / f"{name}{k}.json").read_text() for k in range(2)]
        (tmp_path / f"{name}.json").write_text("\n".join(lines))
    assert list(read_table(tmp_path / "a.json")) == ["0.wav", "1.wav"]
    found = compare(tmp_path / "a.json", tmp_path / "b.json")
    assert len(found.by_recording) == 2 and found.overall[0].rows == 100


def test_missing_values_are_left_out(tmp_path, scores: np.ndarray) -> None:
    scores[3, 1] = np.nan
    write(trajectory(scores), tmp_path / "one.csv")
    write(trajectory(scores), tmp_path / "two.csv")
    assert [one.rows for one in compare(tmp_path / "one.csv", tmp_path / "two.csv").overall] == [50, 49, 50]


def refusals(folder, scores):
    write(trajectory(scores), folder / "good.csv")
    write(trajectory(scores, first=5000), folder / "later.csv")
    write(trajectory(scores, np.ones((50, 1024))), folder / "good.stream")
    (folder / "text.csv").write_text("a,b\n1,2\n")
    (folder / "cut.json").write_text((folder / "good.csv").read_text()[:50])
    (folder / "short.csv").write_text((folder / "good.csv").read_text()[:90])
    (folder / "empty.csv").write_text("")
    (folder / "rows.csv").write_text("file,start,end,arousal,dominance,valence,confidence\n")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / "folder").mkdir()
    return [
        ("later.csv", "no times in common"), ("good.stream", "hold different dimensions"), ("text.csv", "its columns are a, b"),
        ("cut.json", "no table of scores"), ("short.csv", "no table of scores"), ("empty.csv", "its columns are none"),
        ("rows.csv", "holds no rows"), ("picture.png", "no result that can be compared"), ("missing.csv", "cannot be read"),
        ("folder", "holds no results"),
    ]  # fmt: skip


def test_what_cannot_be_compared_is_told_in_one_sentence(tmp_path, scores: np.ndarray) -> None:
    for name, sentence in refusals(tmp_path, scores):
        with pytest.raises(FormatError, match=sentence):
            compare(tmp_path / "good.csv", tmp_path / name)


def test_the_command(tmp_path, scores: np.ndarray) -> None:
    write(trajectory(scores), tmp_path / "one.csv")
    write(trajectory(scores + 0.25), tmp_path / "two.csv")
    result = CliRunner().invoke(
        main.app,
        ["compare", str(tmp_path / "one.csv"), str(tmp_path / "two.csv"), "--json", str(tmp_path / "figures.json")],
    )
    assert result.exit_code == 0 and "arousal" in result.output and "0.2500" in result.output
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written.pop("mark").startswith("emow2v:sha256:")
    assert written == json.loads(json.dumps(figures(compare(tmp_path / "one.csv", tmp_path / "two.csv"))))
    assert written["together"]["valence"]["largest"] == pytest.approx(0.25, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("x" * 300, "255 bytes"),
        ("a\nb.csv\n" * 90, "separate several names"),
        ("none.csv", "cannot be read"),
        ("a\0", "null"),
    ],
)
def test_paths_that_an_operating_system_refuses(tmp_path: Path, name: str, sentence: str) -> None:
    with pytest.raises(Emow2vError, match=sentence) as caught:
        compare(tmp_path / name, tmp_path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.EACCES])
def test_a_share_that_goes_while_results_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (tmp_path / "b").mkdir()
    refuse_folder(monkeypatch, "b", number)
    with pytest.raises(Emow2vError, match=os.strerror(number)):
        compare(tmp_path, tmp_path)


def test_annotations_are_compared_on_the_scale_of_their_schemes(tmp_path: Path, scores: np.ndarray) -> None:
    write(trajectory(scores), tmp_path / "a" / "talk.arousal.annotation")
    write(trajectory(scores), tmp_path / "b" / "talk.arousal.annotation")
    header, data = (tmp_path / "b" / f"talk.arousal.annotation{end}" for end in ("", "~"))
    header.write_text(header.read_text().replace('min="0', 'min="-1').replace("BINARY", "ASCII"))
    data.write_text("".join(f"{2 * value - 1:.7f};1.0\n" for value in scores[:, 0]))
    (found,) = compare(tmp_path / "a", tmp_path / "b").overall
    assert found.rows == 50 and found.largest == pytest.approx(0, abs=1e-6) and found.ccc == pytest.approx(1)
    text = header.read_text()
    header.write_text(text.replace(' min="-1', ' least="-1'))
    with pytest.raises(FormatError, match="a scheme without its range"):
        compare(tmp_path / "a", tmp_path / "b")
