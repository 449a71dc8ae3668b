"""A run over a folder continues where it was stopped: by a kill, by a full disk, by hand. Its results are those of an
undisturbed run, byte for byte."""

from __future__ import annotations

import csv
import errno
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from commands import predictor
from emow2v.model import Model, load
from emow2v.modelstore.verify import EXAMPLE
from emow2v.storage import locks
from waiting import until

Predict = Callable[..., Any]
FORMATS = ("--format", "csv,annotation", "--unit", "files", "--table", "all.csv")
TABLE = ("--unit", "files", "--table", "all.csv")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four short clips in two folders, and a text file that is called .wav."""
    clips(tmp_path / "in", 4)
    (tmp_path / "in" / "bad.wav").write_text("no sound")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def predict(lite: Model, monkeypatch: pytest.MonkeyPatch) -> Predict:
    return predictor(monkeypatch, lite)


def clips(folder: Path, number: int) -> None:
    signal_, rate = soundfile.read(EXAMPLE, dtype="float32")
    (folder / "b").mkdir(parents=True)
    for clip in range(number):
        begin = rate + clip * rate // 50  # somebody speaks
        place = folder / "b" if clip % 2 else folder
        soundfile.write(place / f"t{clip:03}.wav", signal_[begin : begin + 4000 + 10 * clip], rate)


def results(folder: Path) -> dict[str, bytes]:
    """All files but the journal, which has times of day."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("journal.sqlite", "journal.sqlite-wal", "lock")
    }


def undisturbed(predict: Predict, folder: Path, *options: str) -> dict[str, bytes]:
    """The results of one run without any disturbance, whose folder is then removed."""
    predict("in", "-o", "out", *options, code=1)
    found = results(folder)
    shutil.rmtree(folder / "out")
    for path in folder.glob("all*"):
        path.unlink()
    return found


def worked_on(folder: Path) -> list[str]:
    """The recordings that the last run worked on, by its journal, which nobody has open."""
    with closing(sqlite3.connect(folder / ".emow2v" / "journal.sqlite")) as database:
        query = (
            "SELECT key FROM recordings WHERE attempt = (SELECT value FROM facts WHERE name = 'attempt') ORDER BY key"
        )
        return [key for (key,) in database.execute(query)]


def test_links_to_nowhere_are_listed_one_by_one(folder: Path, predict: Predict) -> None:
    """As git-annex leaves recordings whose content is elsewhere."""
    for name in ("away1.wav", "away2.wav"):
        (folder / "in" / name).symlink_to(f".git/annex/{name}")
    result = predict("in", "-o", "out", *FORMATS, code=1)
    assert "4 of 7 recordings done, 3 failed" in result.output
    with (folder / "out" / "failures.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["file"]: row["error"] for row in csv.DictReader(file)}
    assert list(rows) == ["in/away1.wav", "in/away2.wav", "in/bad.wav"]
    assert rows["in/away1.wav"].startswith("in/away1.wav is a link to a file that is not there; fetch the content")


def test_a_second_run_does_nothing_again(folder: Path, predict: Predict) -> None:
    predict("in", "-o", "out", *FORMATS, code=1)
    before = {name: (folder / name).stat().st_mtime_ns for name in results(folder) if not name.startswith("in/")}
    assert len(worked_on(folder / "out")) == 5
    result = predict("in", "-o", "out", *FORMATS, code=1)
    assert worked_on(folder / "out") == []
    assert result.output.splitlines() == [
        "out/failures.csv says why recordings failed; 1 of them failed earlier, and --retry-failed tries them again.",
        "4 of 5 recordings done (4 of them earlier), 1 failed; results are in out; the table is all.csv.",
    ]
    after = {name: (folder / name).stat().st_mtime_ns for name in before}
    del before["out/failures.csv"], after["out/failures.csv"]
    assert after == before


def test_only_what_is_missing_changed_or_new_is_done(folder: Path, predict: Predict) -> None:
    predict("in", "-o", "out", *FORMATS, code=1)
    (folder / "out" / "t000.csv").unlink()
    sound, rate = soundfile.read(folder / "in" / "b" / "t001.wav", dtype="float32")
    soundfile.write(folder / "in" / "b" / "t001.wav", sound * 0.5, rate)
    os.utime(folder / "in" / "t002.wav", (1, 1))  # another time, the same sound
    shutil.copy(EXAMPLE, folder / "in" / "new.wav")
    result = predict("in", "-o", "out", *FORMATS, code=1)
    assert worked_on(folder / "out") == ["b/t001.wav", "new.wav", "t000.wav"]
    assert result.output.splitlines()[-1].startswith("5 of 6 recordings done (2 of them earlier), 1 failed")
    resumed = results(folder)
    predict("in", "-o", "out", *FORMATS, code=1)
    assert worked_on(folder / "out") == []  # the new time is remembered
    shutil.rmtree(folder / "out")
    predict("in", "-o", "out", *FORMATS, code=1)
    assert results(folder) == resumed


def test_contents_are_compared_when_asked(folder: Path, predict: Predict) -> None:
    predict("in", "-o", "out", "--unit", "files", code=1)
    path = folder / "in" / "t000.wav"
    status = path.stat()
    sound, rate = soundfile.read(path, dtype="int16")
    sound[100] ^= 1
    soundfile.write(path, sound, rate)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    predict("in", "-o", "out", "--unit", "files", code=1)
    assert worked_on(folder / "out") == []
    predict("in", "-o", "out", "--unit", "files", "--check", "content", code=1)
    assert worked_on(folder / "out") == ["t000.wav"]


def test_each_missing_recording_of_a_list_has_its_own_sentence(folder: Path, predict: Predict) -> None:
    (folder / "l.txt").write_text("in/t000.wav\nnope/1.wav\nnope/2.wav\n")
    result = predict("l.txt", "-o", "out", "--unit", "files", code=1)
    assert result.output.startswith("l.txt: 2 of 3 recordings do not exist (nope/1.wav, nope/2.wav); expected names")
    with (folder / "out" / "failures.csv").open(newline="", encoding="utf-8") as file:
        assert [(row["file"], row["error"]) for row in csv.DictReader(file)] == [
            (name, f"{name} does not exist; expected a name relative to the folder of l.txt, or a whole path.")
            for name in ("nope/1.wav", "nope/2.wav")
        ]


def test_failures_are_listed_and_tried_again_when_asked(folder: Path, predict: Predict) -> None:
    predict("in", "none.wav", "-o", "out", "--unit", "files", code=1)
    with (folder / "out" / "failures.csv").open(newline="", encoding="utf-8") as file:
        assert [(row["file"], row["error"].split(";")[0]) for row in csv.DictReader(file)] == [
            ("none.wav", "none.wav does not exist"),
            ("in/bad.wav", "in/bad.wav is not a recording that can be decoded"),
        ]
    predict("in", "-o", "out", "--unit", "files", "--retry-failed", code=1)
    assert worked_on(folder / "out") == ["bad.wav"]
    assert len((folder / "out" / "failures.csv").read_text("utf-8").splitlines()) == 2
    shutil.copy(EXAMPLE, folder / "in" / "bad.wav")  # a file that has changed is tried unasked
    result = predict("in", "-o", "out", "--unit", "files")
    assert worked_on(folder / "out") == ["bad.wav"] and not (folder / "out" / "failures.csv").exists()
    assert result.output.splitlines()[-1] == "5 of 5 recordings done (4 of them earlier); results are in out."


def test_a_list_of_failures_that_is_not_ours_stays(folder: Path, predict: Predict) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "failures.csv").write_text("typed for hours")
    result = predict("in", "-o", "out", "--unit", "files", code=1)
    assert "out/failures.csv is not the list of this run; move it; failures were not listed." in result.output
    assert (folder / "out" / "failures.csv").read_text() == "typed for hours"


def test_what_people_wrote_makes_way_only_when_asked(folder: Path, predict: Predict) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "t000.csv").write_text("typed for hours")
    for _ in range(2):
        predict("in", "-o", "out", "--unit", "files", code=1)
        assert (folder / "out" / "t000.csv").read_text() == "typed for hours"
    assert "--overwrite" in (folder / "out" / "failures.csv").read_text("utf-8")
    predict("in", "-o", "out", "--unit", "files", "--overwrite", code=1)
    assert (folder / "out" / "t000.csv").read_text().startswith("file,start,end")
    (folder / "out" / "t002.csv").write_text("edited since")  # a result that was changed stays
    predict("in", "-o", "out", "--unit", "files", "--overwrite", code=1)
    assert (folder / "out" / "t002.csv").read_text() == "edited since"


def test_another_run_into_the_folder_is_one_sentence(folder: Path, predict: Predict) -> None:
    predict("in", "-o", "out", "--unit", "files", code=1)
    before = results(folder)
    for options, words in {
        ("--unit", "windows"): "unit: files there, windows now",
        ("--unit", "files", "--speech"): "speech: none there, yes now",
        ("--unit", "files", "--format", "json"): "formats: csv there, json now",
        ("--unit", "files", "--channel", "left"): "channel: mix there, left now",
        TABLE: "rows for a table: none there, scores now",
    }.items():
        sentence = str(predict("in", "-o", "out", *options, code=1).exception)
        assert sentence.startswith("out holds a run with other options (") and words in sentence
        assert sentence.endswith("; choose another folder, or remove out/.emow2v to begin anew.")
    assert results(folder) == before


def test_a_run_beside_another_is_refused(folder: Path, predict: Predict) -> None:
    (folder / "out" / ".emow2v").mkdir(parents=True)
    with locks.acquire(folder / "out" / ".emow2v" / "lock", "out is being written"):
        result = predict("in", "-o", "out", code=1)
    assert str(result.exception) == "out is being written by another process; wait for it, or choose another folder."


@contextmanager
def failing_flush(monkeypatch: pytest.MonkeyPatch, error: BaseException, after: int) -> Iterator[None]:
    """The disk takes so many files, then none."""
    fsync, calls = os.fsync, []

    def fail(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > after:
            raise error
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        yield


def test_a_full_disk_ends_the_run_in_a_sentence(folder: Path, predict: Predict, monkeypatch) -> None:
    expected = undisturbed(predict, folder, *FORMATS)
    with failing_flush(monkeypatch, OSError(errno.ENOSPC, "No space left on device"), 15):
        result = predict("in", "-o", "out", *FORMATS, code=1)
    assert "cannot be written (No space left on device); free some space." in str(result.exception)
    assert len(list((folder / "out").rglob("*.rows"))) == 1 and not (folder / "all.csv").exists()
    assert not [path for path in (folder / "out").rglob(".*") if path.suffix in (".part", ".old")]
    predict("in", "-o", "out", *FORMATS, code=1)
    assert results(folder) == expected


def test_a_stop_by_hand_keeps_what_was_done(folder: Path, predict: Predict, monkeypatch) -> None:
    expected = undisturbed(predict, folder, *FORMATS)
    with failing_flush(monkeypatch, KeyboardInterrupt(), 24):  # within the third recording
        result = predict("in", "-o", "out", *FORMATS, code=130)
    assert "all.csv was not written, because the run was stopped." in result.output
    assert "2 of 5 recordings done, 1 failed, 2 not done; results are in out." in result.output
    assert not (folder / "all.csv").exists()
    predict("in", "-o", "out", *FORMATS, code=1)
    assert results(folder) == expected


# A command that kills itself before it gives a file its final name for the n-th time
_KILLED = """
import os, signal, sys
from pathlib import Path
left, replace = int(sys.argv.pop(1)), Path.replace
def counted(path, target):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(path, target)
Path.replace = counted
from emow2v.cli.main import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(
    "rename", [11, *(pytest.param(one, marks=pytest.mark.slow) for one in (1, 2, 10, 36, 37, 38, 39))]
)
def test_a_kill_between_two_results_of_a_recording(folder: Path, predict: Predict, rename: int) -> None:
    """Nine files belong to each recording; then come the two of the table, and failures.csv."""
    expected = undisturbed(predict, folder, *FORMATS)
    command = [sys.executable, "-c", _KILLED, str(rename), "predict", "in", "-o", "out", *FORMATS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    predict("in", "-o", "out", *FORMATS, code=1)
    assert results(folder) == expected


@pytest.mark.parametrize("left", [["t001.wav"], ["t000.wav", "t002.wav"]])
def test_the_rest_of_a_run_has_the_numbers_of_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: list[str]
) -> None:
    """Clips of people have different lengths, and what is left shares its batches with others than before."""
    monkeypatch.chdir(tmp_path)
    predict = predictor(monkeypatch, load("lite-frames"))
    sound, rate = soundfile.read(EXAMPLE, dtype="float32")
    Path("in").mkdir()
    for clip in range(6):
        soundfile.write(f"in/t{clip:03}.wav", sound[clip * rate : (clip + 1) * rate + 900 * (clip + 1)], rate)
    options = ("--format", "csv", "--table", "all.parquet")
    predict("in", "-o", "out", *options)
    expected = results(tmp_path)
    for name in left:
        Path("out", name).with_suffix(".csv").unlink()
    predict("in", "-o", "out", *options)
    assert worked_on(Path("out")) == left and results(tmp_path) == expected


# A command that kills itself at a random moment after so many results, and does no more than three others until then
_KILLED_SOON = """
import os, random, signal, sys, threading, time
from pathlib import Path
left, replace = int(sys.argv.pop(1)), Path.replace
def kill():
    time.sleep(random.Random(left).uniform(0, 0.1))
    os.kill(os.getpid(), signal.SIGKILL)
def counted(path, target):
    global left
    if target.suffix == ".rows":
        left -= 1
        if left == 0:
            threading.Thread(target=kill, daemon=True).start()
        if left == -3:
            signal.pause()
    return replace(path, target)
Path.replace = counted
from emow2v.cli.main import main
main()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_kills_at_random_moments(tmp_path: Path, predict: Predict, monkeypatch: pytest.MonkeyPatch) -> None:
    """300 short clips; 20 runs are killed when they have done some more of them."""
    monkeypatch.chdir(tmp_path)
    clips(tmp_path / "in", 300)
    (tmp_path / "in" / "bad.wav").write_text("no sound")
    expected = undisturbed(predict, tmp_path, *FORMATS)
    rng = random.Random(18)
    for _ in range(20):  # 183 of them at most
        command = [sys.executable, "-c", _KILLED_SOON, str(rng.randrange(1, 14)), "predict", "in", "-o", "out"]
        done = subprocess.run([*command, *FORMATS], capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
    predict("in", "-o", "out", *FORMATS, code=1)
    assert results(tmp_path) == expected


def test_two_runs_at_once(folder: Path, predict: Predict) -> None:
    """The first, in a process of its own, waits for sound from a pipe in the folder's list."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no pipes with names")
    os.mkfifo(folder / "pipe")
    command = [sys.executable, "-m", "emow2v", "predict", "in", "pipe", "-o", "out", "--unit", "files"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        until((folder / "out" / "t002.csv").exists, alive=lambda: process.poll() is None)
        result = predict("in", "-o", "out", "--unit", "files", code=1)
        assert "out is being written by another process" in str(result.exception)
        with (folder / "pipe").open("wb") as pipe:
            pipe.write(EXAMPLE.read_bytes())
        process.communicate(timeout=120)
        assert process.returncode == 1 and (folder / "out" / "pipe.csv").exists()
    finally:
        process.kill()
        process.communicate()
    result = predict("in", "-o", "out", "--unit", "files", code=1)
    assert "4 of 5 recordings done (4 of them earlier)" in result.output


@pytest.mark.parametrize(
    "ending", ["csv", "parquet", *(pytest.param(one, marks=pytest.mark.slow) for one in ("xlsx", "sav"))]
)
def test_a_table_of_two_runs_is_that_of_one(folder: Path, predict: Predict, ending: str) -> None:
    for name in {"parquet": ["pyarrow"], "xlsx": ["xlsxwriter", "openpyxl"], "sav": ["pyreadstat"]}.get(ending, []):
        pytest.importorskip(name)
    options = ("--channel", "each", "--speech", "--table", f"all.{ending}")
    stereo = np.tile(soundfile.read(EXAMPLE, dtype="float32")[0][:16000, None], 2) * [1, 0.5]
    soundfile.write(folder / "in" / "two.wav", stereo, 16000)
    predict("in", "-o", "whole", *options, code=1)
    path = folder / f"all.{ending}"
    expected = read(path)
    assert set(expected["channel"]) == {"1", "left", "right"} and len(expected) > 4
    path.unlink()
    shutil.move(folder / "in" / "b", folder / "b")
    shutil.move(folder / "in" / "two.wav", folder / "two.wav")
    predict("in", "-o", "out", *options, code=1)
    assert len(read(path)) < len(expected)
    shutil.move(folder / "b", folder / "in" / "b")
    shutil.move(folder / "two.wav", folder / "in" / "two.wav")
    predict("in", "-o", "out", *options, code=1)
    pd.testing.assert_frame_equal(read(path), expected)


def read(path: Path) -> pd.DataFrame:
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype={"channel": str})
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix == ".xlsx":
        return pd.read_excel(path, engine="openpyxl", dtype={"channel": str})
    import pyreadstat

    return pyreadstat.read_sav(path)[0]


def test_other_turns_are_other_results(folder: Path, predict: Predict, lite: Model) -> None:
    (folder / "in" / "bad.wav").unlink()
    for name in ("t000", "b/t001", "t002", "b/t003"):
        (folder / "in" / f"{name}.csv").write_text("start,end,label\n0,0.2,a\n")
    options = ("--segments", "in", "--table", "all.csv")
    predict("in", "-o", "out", *options)
    (folder / "in" / "t000.csv").write_text("start,end,label\n0,0.1,a\n0.1,0.2,b\n")
    result = predict("in", "-o", "out", *options)
    assert "(3 of them earlier)" in result.output
    table = pd.read_csv(folder / "all.csv")
    assert table["label"].tolist() == ["a", "a", "a", "b", "a"] and set(table["n"]) <= {0, 1}


def test_names_that_meet_have_results_of_their_own(folder: Path, predict: Predict) -> None:
    predict("in", "-o", "out", *TABLE, "--format", "json", code=1)
    first = (folder / "out" / "t000.json").read_bytes()
    sound, rate = soundfile.read(folder / "in" / "t000.wav", dtype="float32")
    soundfile.write(folder / "in" / "t000.flac", sound * 0.5, rate)
    predict("in", "-o", "out", *TABLE, "--format", "json", code=1)
    assert (folder / "out" / "t000.json").read_bytes() == first
    assert (folder / "out" / "t000.flac.json").exists()
    shutil.copytree(folder / "in", folder / "more")
    predict("in", "more", "-o", "out", *TABLE, "--format", "json", code=1)
    assert (folder / "out" / "t000.json").read_bytes() == first and len(list((folder / "out").rglob("*.json"))) == 10
    assert len(pd.read_csv(folder / "all.csv")) == 10


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "t000.wav\nb/t001.wav\n\nt002.wav\n"),
        ("manifest.csv", "file;speaker\nt000.wav;A\nb/t001.wav;B\nt002.wav;A\n"),
        ("db.segments.csv", "file,start,end\nt000.wav,0,0.1\nt000.wav,0.1,0.2\nb/t001.wav,0,0.1\nt002.wav,0,NaT\n"),
    ],
)
def test_lists_name_recordings(folder: Path, predict: Predict, name: str, text: str) -> None:
    (folder / "in" / name).write_text(text)
    predict(f"in/{name}", "-o", "out", *TABLE, "--format", "json")
    assert pd.read_csv(folder / "all.csv")["file"].tolist() == ["in/t000.wav", "in/b/t001.wav", "in/t002.wav"]
    assert sorted(path.name for path in (folder / "out").rglob("*.json")) == ["t000.json", "t001.json", "t002.json"]
    result = predict(f"in/{name}", "-o", "out", *TABLE, "--format", "json")
    assert result.output.splitlines()[-1].startswith("3 of 3 recordings done (3 of them earlier)")


def test_lists_with_missing_and_repeated_names_are_one_sentence_each(folder: Path, predict: Predict) -> None:
    rows = ["t000.wav", "x.wav", "t002.wav", "t000.wav", "y.wav"]
    (folder / "in" / "list.txt").write_text("\n".join(rows))
    result = predict("in/list.txt", "-o", "out", "--unit", "files", code=1)
    assert [*result.output.splitlines()[:2], result.output.splitlines()[-1]] == [
        "in/list.txt: 2 of 4 recordings do not exist (x.wav, y.wav); expected names relative to its folder, or whole paths.",
        "in/list.txt: 1 recording stands there more than once (t000.wav); each is done once.",
        "2 of 4 recordings done, 2 failed; results are in out.",
    ]
    with (folder / "out" / "failures.csv").open(newline="", encoding="utf-8") as file:
        assert [row["file"] for row in csv.DictReader(file)] == ["x.wav", "y.wav"]


def test_duckdb_answers_as_the_pages_say(folder: Path, predict: Predict) -> None:
    duckdb = pytest.importorskip("duckdb")
    (folder / "in" / "bad.wav").unlink()
    turns = ["t000.wav,0,0.1,anna", "t000.wav,0.1,0.2,ben", "b/t001.wav,0,0.15,anna", "t002.wav,0,0.2,ben"]
    (folder / "turns.csv").write_text("\n".join(["file,start,end,speaker", *turns, "b/t003.wav,0,0.2,ben"]))
    predict("in", "--segments", "turns.csv", "--table", "values/", "-o", "out")
    table = pd.read_parquet(folder / "values")
    means = table.groupby("speaker")["arousal"].mean()
    assert set(means.index) == {"anna", "ben"} and len(table) == 5
    for page in ("README.md", "docs/archives.md"):
        text = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
        (question,) = re.findall(r'duckdb -c "(.+)"', text)
        assert dict(duckdb.sql(question).fetchall()) == pytest.approx(means.to_dict(), abs=1e-6)


def test_runs_without_a_folder_or_a_list_have_no_journal(folder: Path, predict: Predict) -> None:
    predict("in/t000.wav", "-o", "out", "--unit", "files")
    predict("in", "--unit", "files", code=1)
    assert not list(folder.rglob(".emow2v")) and not list(folder.rglob("failures.csv"))
    for options in (["--retry-failed"], ["--check", "content"]):
        result = predict("in/t000.wav", "-o", "out", *options, code=1)
        assert "a folder or a list; expected one of these as input, and -o DIR." in str(result.exception)


def test_a_folder_of_results_in_the_folder_of_recordings(folder: Path, predict: Predict) -> None:
    for _ in range(2):
        result = predict("in", "-o", "in", "--unit", "files", code=1)
    assert ".emow2v" not in result.output and "4 of 5 recordings done (4 of them earlier)" in result.output
