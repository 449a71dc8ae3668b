"""Tables that are read hold what was written, speech and turns included."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emow2v import formats
from emow2v.errors import FormatError
from emow2v.formats.table_read import read_provenance, read_table
from emow2v.framing import Framing
from emow2v.rows import Block, Info, TurnRows
from emow2v.trajectory import Trajectory
from segmentations import LABELS

pytestmark = pytest.mark.quick

FORMATS = ("csv", "json", "ndjson")
ROW = {"start": 0.0, "end": 1.0, "arousal": 0.1, "dominance": 0.2, "valence": 0.3, "confidence": 1.0}


def written(folder: Path, name: str, block: Block) -> Path:
    info = Info(
        "talk.wav", Framing(), {"model": "lite"}, speech=block.speech is not None, turns=block.turns is not None
    )
    formats.write(Trajectory(info, lambda: iter([block])), folder / f"talk.{name}", overwrite=True)
    return folder / f"talk.{name}"


def block(rows: int, speech: list[float] | None, turns: TurnRows | None = None) -> Block:
    scores = np.random.default_rng(rows).random((rows, 3), np.float32)
    return Block(
        0, *Framing().times(0, rows), np.zeros((rows, 1024), np.float32), scores, np.ones((rows, 3), np.float32),
        None if speech is None else np.array(speech, np.float32), turns,
    )  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_speech_and_empty_scores(tmp_path: Path, name: str) -> None:
    one = block(3, [0.75, 0.25, 0.5])
    (table,) = read_table(written(tmp_path, name, one)).values()
    assert table.speech is not None and table.turns is None
    np.testing.assert_allclose(table.speech, [0.75, 0.25, 0.5])
    np.testing.assert_allclose(table.scores[[0, 2]], one.scores[[0, 2]], atol=1e-6)
    assert np.isnan(table.scores[1]).all()
    (plain,) = read_table(written(tmp_path, name, block(3, None))).values()
    assert plain.speech is None and np.isfinite(plain.scores).all()


@given(labels=st.lists(LABELS, min_size=1, max_size=4), name=st.sampled_from(FORMATS))
def test_turns_come_back_whatever_is_written_in_them(tmp_path_factory, labels: list[str], name: str) -> None:  # type: ignore[no-untyped-def]
    turns = TurnRows(tuple(labels), tuple(reversed(labels)), tuple(labels), tuple(range(len(labels))))
    path = written(tmp_path_factory.mktemp("t"), name, block(len(labels), [0.1] * len(labels), turns))
    (table,) = read_table(path).values()
    assert table.turns == turns and np.isfinite(table.scores).all()  # silence removes no score of a turn


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"n": 1.5}, "a number of values is '1.5'"), ({"n": None}, "a number of values is 'None'"), ({"label": 7}, "a name is '7'"),
     ({"speech": "often"}, "a value is 'often'")],
)  # fmt: skip
def test_columns_that_hold_something_else(tmp_path: Path, change: dict[str, object], reason: str) -> None:
    row = ROW | {"speaker": "A", "tier": "", "label": "x", "n": 1, "speech": 0.5} | change
    (tmp_path / "a.ndjson").write_text(json.dumps({"file": "a"}) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(FormatError, match="is no table of scores") as raised:
        read_table(tmp_path / "a.ndjson")
    assert reason in str(raised.value)


def test_rows_of_which_only_some_have_speech(tmp_path: Path) -> None:
    rows = [ROW | {"speech": 0.5}, ROW]
    (tmp_path / "a.ndjson").write_text("\n".join(map(json.dumps, [{"file": "a"}, *rows])))
    assert read_table(tmp_path / "a.ndjson")["a"].speech is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"start": math.nan}, "a time is missing"), ({"end": math.inf}, "a time is 'inf'"), ({"end": None}, "a time is missing"),
        ({"start": -math.inf}, "a time is '-inf'"), ({"end": 1e308}, "a time is '1e+308'"),
        ({"start": 2.0}, "a row ends at 1 s, before it starts at 2 s"), ({"valence": 1e308}, "a value of valence is '1e+308'"),
        ({"arousal": -math.inf}, "a value of arousal is '-inf'"), ({"confidence": 1e12}, "a value of confidence is"),
        ({"speech": math.inf}, "a value of speech is 'inf'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", FORMATS)
def test_times_and_scores_that_nothing_can_draw(
    tmp_path: Path, change: dict[str, float | None], reason: str, kind: str
) -> None:
    """The second row is wrong; each format says so in the same words."""
    rows = [ROW | {"speech": 0.5}, ROW | {"speech": 0.5} | change]
    path = tmp_path / f"a.{kind}"
    if kind == "csv":
        cells = [["a", *("null" if value is None else value for value in row.values())] for row in rows]
        path.write_text("\n".join(",".join(map(str, line)) for line in [["file", *rows[0]], *cells]) + "\n")
    elif kind == "json":
        path.write_text(json.dumps({"file": "a", "columns": list(rows[0]), "rows": [[*row.values()] for row in rows]}))
    else:
        path.write_text("\n".join(map(json.dumps, [{"file": "a"}, *rows])))
    with pytest.raises(FormatError, match="is no table of scores") as raised:
        read_table(path)
    assert f"({reason}" in str(raised.value)


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    for read in (read_table, read_provenance):
        with pytest.raises(FormatError, match=r"is a folder; name the tables in it\.$"):
            read(tmp_path)


@pytest.mark.parametrize("name", ["talk.json", "talk.ndjson"])
def test_a_number_with_more_digits_than_python_takes(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("1" * 5000)
    with pytest.raises(FormatError, match="is no table of scores"):
        read_table(tmp_path / name)
    with pytest.raises(FormatError, match="A number has 5000 digits"):
        read_provenance(tmp_path / name)
