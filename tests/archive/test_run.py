"""Many recordings, one after the other: one bad one costs a sentence, the others are done, and nothing is left behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from commands import caller
from emow2v.archive import run as batch
from emow2v.cli import main
from emow2v.errors import FormatError
from emow2v.formats.table_read import read_table
from emow2v.inputs.expand import expand
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from waiting import until


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    sound, rate = soundfile.read(EXAMPLE, dtype="float32")
    path = tmp_path / "in" / "talk.wav"
    path.parent.mkdir()
    soundfile.write(path, sound[rate : rate + rate // 5], rate)
    return path


@pytest.fixture
def invoke(lite: Model, monkeypatch: pytest.MonkeyPatch):
    return caller(monkeypatch, lite, "predict")


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ("x" * 300 + ".wav", "255 bytes"),
        ("談" * 90 + ".wav", "255 bytes"),
        ("a.wav\nb.wav\n" * 200, "separate several names by spaces"),
        ("none.wav", "does not exist"),
        ("*.ogg", "matches nothing"),
        ("dangling.wav", "git annex get"),
    ],
)
def test_one_bad_name_costs_one_sentence(
    invoke, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dangling.wav").symlink_to("elsewhere")
    result = invoke(bad, clip, "-o", tmp_path / "out")
    lines = result.stderr.splitlines()
    assert result.exit_code == 1 and len(lines) == 2 and sentence in lines[0]
    assert lines[1] == f"1 of 2 recordings done, 1 failed; results are in {tmp_path / 'out'}."
    assert (tmp_path / "out" / "talk.csv").exists()


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ENXIO, errno.ETIMEDOUT, errno.EACCES])
def test_a_share_that_goes_at_a_recordings_turn(
    lite: Model, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    gone = tmp_path / "in" / "gone.wav"
    gone.write_bytes(clip.read_bytes())
    found, _ = expand([str(tmp_path / "in")])
    stat = Path.stat

    def refuse(path: Path, **options: bool) -> os.stat_result:
        if path.name == "gone.wav":
            raise OSError(number, os.strerror(number), str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    outcomes = list(batch.predict(lite, found, tmp_path / "out"))
    assert os.strerror(number) in outcomes[0].error and outcomes[1].rows == 5


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.EACCES])
def test_a_place_of_results_that_goes_between_recordings(
    lite: Model, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (tmp_path / "in" / "b").mkdir()
    (tmp_path / "in" / "b" / "gone.wav").write_bytes(clip.read_bytes())
    found, _ = expand([str(tmp_path / "in")])
    stat = Path.stat

    def refuse(path: Path, **options: bool) -> os.stat_result:
        if path.parts[-2:-1] == ("b",) and "out" in path.parts:
            raise OSError(number, os.strerror(number), str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    outcomes = list(batch.predict(lite, found, tmp_path / "out"))
    assert os.strerror(number) in outcomes[0].error and outcomes[1].rows == 5


@pytest.mark.parametrize(
    "title",
    ["談" * 82, "x" * 238, "é" * 119 + "ab", "a" * 245, "\U0001f600" * 61],
)
@pytest.mark.parametrize("names", ["csv", "annotation,stream", "json"])
def test_long_titles_have_results_that_fit(invoke, clip: Path, tmp_path: Path, title: str, names: str) -> None:
    """Whatever 255 bytes take as a recording has results; where its name must be cut, that is told, and no two meet."""
    for ending in (title, title[:-1] + "Z" if len(title[:-1].encode()) < 250 else title):
        clip.with_name(f"{ending}.wav").write_bytes(clip.read_bytes())
    clip.unlink()
    count = len(list((tmp_path / "in").iterdir()))
    result = invoke(tmp_path / "in", "-o", tmp_path / "out", "--format", names)
    assert result.exit_code == 0, result.output
    expected = {"csv": 2, "annotation,stream": 8, "json": 1}[names] * count
    made = [path for path in (tmp_path / "out").iterdir() if path.name != ".emow2v"]
    assert len(made) == expected
    for path in made:
        if path.suffix == ".csv":
            table = next(iter(read_table(path).values()))
            assert len(table.starts) == 5
    assert result.stderr.splitlines()[-1].startswith(f"{count} of {count} recording")


@pytest.mark.parametrize("text", ["CSV", "csv,CSV", " .csv ", "Csv,", ".CSV,csv"])
def test_formats_in_letters_of_any_case(text: str) -> None:
    assert batch.format_names(text, printed=False) == ["csv"]


@pytest.mark.parametrize(
    ("text", "printed", "sentence"),
    [
        ("", False, "is empty"),
        (" , ", False, "is empty"),
        ("xlsx", False, "Format 'xlsx' is unknown"),
        ("csv;json", False, "is unknown"),
        ("csv,json", True, "takes csv or json"),
        ("Stream", True, "takes csv or json"),
    ],
)
def test_formats_that_are_none(text: str, printed: bool, sentence: str) -> None:
    with pytest.raises(FormatError, match=sentence):
        batch.format_names(text, printed=printed)


@pytest.mark.parametrize(
    "arguments", [["*.xyz"], ["none.wav"], ["talk.wav", "--format", "xls"], ["talk.wav", "-o", "talk.wav"]]
)
def test_what_cannot_be_done_loads_no_model(clip: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.chdir(clip.parent)

    def load(name: str, **options: object) -> Model:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("emow2v.model.load", load)
    result = CliRunner().invoke(main.app, ["predict", *arguments])
    assert result.exit_code == 1 and not isinstance(result.exception, AssertionError)


def test_folders_of_results_stay_only_with_results(lite: Model, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "b").mkdir()
    (tmp_path / "in" / "b" / "text.wav").write_text("no sound")
    found, _ = expand([str(tmp_path / "in")])
    outcomes = list(batch.predict(lite, found, tmp_path / "new" / "out"))
    assert [bool(one.error) for one in outcomes] == [True, False]
    assert not (tmp_path / "new" / "out" / "b").exists() and (tmp_path / "new" / "out" / "talk.csv").exists()
    clip.unlink()
    found, _ = expand([str(tmp_path / "in")])
    assert all(one.error for one in batch.predict(lite, found, tmp_path / "other" / "out"))
    assert not (tmp_path / "other").exists()


def test_our_own_mistakes_come_through(
    lite: Model, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(*arguments: object, **options: object) -> None:
        raise TypeError("a mistake of ours")

    monkeypatch.setattr(Model, "predict", mistaken)
    found, _ = expand([str(clip)])
    with pytest.raises(TypeError, match="a mistake of ours"):
        list(batch.predict(lite, found, tmp_path / "out"))


@pytest.mark.skipif(not hasattr(os, "setuid") or os.geteuid() != 0, reason="needs a user to become another one")
def test_results_where_one_may_not_write(clip: Path, tmp_path: Path) -> None:
    """By a user who is not allowed: refused before any work, in a sentence."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and not folder.stat().st_mode & 1:
            folder.chmod(folder.stat().st_mode | 0o5)
    (tmp_path / "shut").mkdir(mode=0o700)
    code = """
import contextlib, os, sys
import emow2v.archive.run, emow2v.model, emow2v.progress
from emow2v.cli.main import main
asked, sys.argv = sys.argv, ["emow2v", "predict", "none.wav"]  # what is imported before need not be readable
with contextlib.suppress(SystemExit), open(os.devnull, "w") as null, contextlib.redirect_stderr(null):
    main()
os.setgid(65534)
os.setuid(65534)
sys.argv = asked
main()
"""
    for place in (tmp_path / "out", tmp_path / "shut" / "out", tmp_path / "shut"):
        command = [sys.executable, "-c", code, "predict", str(clip), "-o", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "Permission denied" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="signals as a terminal or an administrator sends them")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_stopped_run_says_what_was_done(clip: Path, tmp_path: Path, name: str) -> None:
    sound, rate = soundfile.read(EXAMPLE, dtype="float32")
    (tmp_path / "in" / "z").mkdir()
    soundfile.write(tmp_path / "in" / "z" / "long.wav", np.tile(sound, 40), rate)
    soundfile.write(tmp_path / "in" / "z" / "next.wav", sound, rate)
    out = tmp_path / "out"
    clip.rename(clip.with_name("a.wav"))
    command = [
        sys.executable,
        "-m",
        "emow2v",
        "predict",
        str(tmp_path / "in" / "a.wav"),
        str(tmp_path / "in"),
        "-o",
        str(out),
    ]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )
    until((out / "z").exists, alive=lambda: process.poll() is None)
    process.send_signal(getattr(signal, name))
    _, said = process.communicate(timeout=300)
    assert process.returncode == 128 + getattr(signal, name) and b"Traceback" not in said
    assert f"1 of 3 recordings done, 2 not done; results are in {out}." in said.decode().splitlines()
    assert sorted(path.name for path in out.iterdir()) == [".emow2v", "a.csv", "a.csv-metadata.json"]


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("talk.csv", "csv"),
        ("talk.json", "json"),
        ("talk.csv-metadata.json", "csv"),
        ("talk.arousal.annotation", "annotation"),
        ("talk.embeddings.stream~", "stream"),
        ("talk.ndjson", "csv,ndjson"),
    ],
)
def test_what_people_wrote_makes_way_only_when_asked(invoke, clip: Path, tmp_path: Path, name: str, names: str) -> None:
    other = clip.with_name("other.wav")
    other.write_bytes(clip.read_bytes())
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("labels typed for hours")
    result = invoke(clip, other, "-o", out, "--format", names)
    assert result.exit_code == 1 and "--overwrite" in result.stderr.splitlines()[0]
    assert (out / name).read_text() == "labels typed for hours"
    assert list(out.glob("other.*")) and len(list(out.glob("talk.*"))) == 1
    for options in (["--overwrite"], []):  # then it is ours
        result = invoke(clip, "-o", out, "--format", names, *options)
        assert result.exit_code == 0, result.output
        assert (out / name).read_bytes() != b"labels typed for hours"


def test_overwriting_never_takes_the_recording(invoke, clip: Path, tmp_path: Path) -> None:
    for name in ("talk.csv", "b.csv-metadata.json"):
        (tmp_path / name).write_bytes(clip.read_bytes())
    result = invoke(tmp_path / "talk.csv", "-o", tmp_path, "--overwrite")
    assert result.exit_code == 1 and "is the recording itself" in result.stderr
    assert (tmp_path / "talk.csv").read_bytes() == clip.read_bytes()


@pytest.mark.parametrize(
    ("options", "endings"),
    [
        (["--format", "csv", "--format", "json"], {".csv", ".csv-metadata.json", ".json"}),
        (["--format", "json", "--format", "csv"], {".csv", ".csv-metadata.json", ".json"}),
        (["--format", "ndjson,json", "--format", "JSON"], {".ndjson", ".json"}),
        (["--format", "json", "--format", "json"], {".json"}),
        ([], {".csv", ".csv-metadata.json"}),
    ],
)
def test_formats_that_are_asked_for_one_by_one_are_all_written(
    invoke, clip: Path, tmp_path: Path, options: list[str], endings: set[str]
) -> None:
    assert invoke(clip, "-o", tmp_path / "out", *options).exit_code == 0
    assert {one.name.removeprefix("talk") for one in (tmp_path / "out").iterdir()} == endings
