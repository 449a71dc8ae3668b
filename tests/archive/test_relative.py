"""Relative values are those that pandas computes from the absolute ones."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from commands import predictor
from emow2v.archive.relative import COLUMNS, ENOUGH_S, Relative
from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.rows import DIMENSIONS, Block, Info, TurnRows

TURNS = {
    "a": [(0.2, 1.1, "Ana"), (1.2, 2.0, "Ben"), (2.0, 2.9, "Ana"), (3.0, 3.9, "")],
    "b": [(0.1, 1.0, "Ana"), (1.5, 2.9, "Cleo"), (3.0, 3.8, "Ben")],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """Two recordings of 4 s with turns of three speakers, one of whom speaks once."""
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    (tmp_path / "in").mkdir()
    for number, (name, turns) in enumerate(TURNS.items()):
        soundfile.write(tmp_path / "in" / f"{name}.wav", signal[4 * number * rate : 4 * (number + 1) * rate], rate)
        with (tmp_path / "in" / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("start", "end", "speaker"), *turns])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def predict(lite: Model, monkeypatch):
    return predictor(monkeypatch, lite)


def expected(table: pd.DataFrame, by: str) -> pd.DataFrame:
    groups = table.groupby(by)[list(DIMENSIONS)]
    return (table[list(DIMENSIONS)] - groups.transform("mean")) / groups.transform("std")


def test_relative_to_a_speaker_over_all_recordings(folder: Path, predict) -> None:
    result = predict("in", "--segments", "in", "--table", "all.csv", "-o", "out", "--relative", "speaker")
    table = pd.read_csv("all.csv")
    np.testing.assert_allclose(table[list(COLUMNS)], expected(table, "speaker"), atol=2e-4)
    assert table.set_index("speaker").loc["Cleo", "arousal_relative"] != table.arousal_relative[0]  # NaN: one turn
    assert table[list(COLUMNS)].isna().all(axis=1).tolist() == [False, False, False, True, False, True, False]
    assert "3 speakers have less than 30 s of speech" in result.output
    described = json.loads(Path("all.csv-metadata.json").read_text())
    assert described["relative"]["to"] == "speaker" and set(described["relative"]["of"]) == {"Ana", "Ben", "Cleo"}
    ana = described["relative"]["of"]["Ana"]
    assert ana["values"] == 3 and ana["seconds"] == pytest.approx(2.7)
    assert ana["arousal"]["mean"] == pytest.approx(table[table.speaker == "Ana"].arousal.mean(), abs=1e-5)
    assert "deviation of the speaker" in described["columns"]["valence_relative"]


def test_relative_to_a_file_and_a_table_made_anew_for_the_other(folder: Path, predict) -> None:
    predict("in", "--table", "all.csv", "-o", "out", "--relative", "file", "--frame-step", "200ms")
    table = pd.read_csv("all.csv")
    np.testing.assert_allclose(table[list(COLUMNS)], expected(table, "file"), atol=2e-3)
    assert table.groupby("file").arousal_relative.std().to_numpy() == pytest.approx(1, abs=1e-3)
    predict(
        "in", "--table", "all.csv", "-o", "out", "--frame-step", "200ms"
    )  # nothing is computed, the table is another
    assert "arousal_relative" not in pd.read_csv("all.csv").columns


def test_numbered_speakers_of_several_recordings_get_a_warning(folder: Path, predict) -> None:
    for name in ("a", "b"):
        path = folder / "in" / f"{name}.csv"
        path.write_text(path.read_text().replace("Ana", "SPEAKER_00"))
    result = predict("in", "--segments", "in", "--table", "all.csv", "-o", "out", "--relative", "speaker")
    assert "Speakers such as 'SPEAKER_00' are in several recordings" in result.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("in", "-o", "out", "--relative", "file"), "expected --table"),
        (("in", "-o", "out", "--table", "a.csv", "--relative", "speaker"), "takes turns"),
        (("in/a.wav", "--table", "a.csv", "--relative", "file"), "and -o DIR"),
    ],
)
def test_what_cannot_be_relative_is_refused_before_any_work(
    folder: Path, predict, arguments: tuple[str, ...], sentence: str
) -> None:
    result = predict(*arguments, code=1)
    assert sentence in str(result.exception)
    assert not Path("out").exists() and not Path("a.csv").exists()


def test_many_blocks_give_the_moments_of_all_rows() -> None:
    generator = np.random.default_rng(0)
    relative = Relative("speaker")
    values = generator.normal(0.5, 0.1, (90, 3)).astype(np.float32)
    values[7] = np.nan
    names = generator.choice(["x", "y", ""], 90)
    blocks = []
    for begin in range(0, 90, 30):
        rows = slice(begin, begin + 30)
        turns = TurnRows(tuple(names[rows]), ("",) * 30, ("",) * 30, (1,) * 30)
        times = np.arange(begin, begin + 30, dtype=np.float64)
        block = Block(0, times, times + 1, np.zeros((30, 0), np.float32), values[rows], values[rows], None, turns)
        blocks.append(block)
        relative.gather(Info("talk.wav", Framing(), {}, turns=True), block)
    found = np.concatenate(
        [
            np.stack(list(relative.columns(Info("talk.wav", Framing(), {}, turns=True), block).values()), axis=1)
            for block in blocks
        ]
    )
    table = pd.DataFrame(values, columns=list(DIMENSIONS)).assign(speaker=names)
    wanted = expected(table, "speaker").where(table.speaker != "")
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert sum(len(table[table.speaker == one].dropna()) >= ENOUGH_S for one in "xy") == 2 - len(
        list(relative.warnings())
    )
