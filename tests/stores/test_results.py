"""A run from a store into a store: its results are those of a run here, byte for byte, however often it is killed."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import soundfile

from commands import predictor
from emow2v.errors import FormatError, PlaceTaken, StoreError
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.stores import results
from emow2v.stores.results import StoredResults
from object_stores import ObjectStore
from waiting import until
from webs import give, serving

pytest.importorskip("s3fs", reason="the extra cloud is not installed")

Predict = Callable[..., Any]
OPTIONS = ("--format", "csv,annotation", "--unit", "windows", "--frame-step", "100ms")
MARKED = "journal.sqlite"


@pytest.fixture
def predict(lite: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Predict:
    monkeypatch.chdir(tmp_path)
    return predictor(monkeypatch, lite)


def fill(store: ObjectStore, folder: Path, number: int) -> None:
    """Clips in the store and here."""
    sound, rate = soundfile.read(EXAMPLE, dtype="float32")
    for clip in range(number):
        file = io.BytesIO()
        begin = rate + clip * rate // 50
        soundfile.write(file, sound[begin : begin + 8000 + 10 * clip], rate, format="WAV")
        name = f"{'b/' if clip % 2 else ''}t{clip:03}.wav"
        store.put(f"in/{name}", file.getvalue())
        (folder / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "in" / name).write_bytes(file.getvalue())


def there(store: ObjectStore, prefix: str = "out/") -> dict[str, bytes]:
    return {key.removeprefix(prefix): store.get(key) for key in store.keys(prefix)}


def here(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and ".emow2v" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def without_places(files: dict[str, bytes]) -> dict[str, bytes]:
    """Files as they would be here: without the store in names of recordings, and files with marks, which follow, empty."""
    return {
        name: b"" if name.endswith(("json", ".annotation")) else content.replace(b"s3://study/", b"")
        for name, content in files.items()
    }


def test_one_recording_goes_to_an_address(store: ObjectStore, predict: Predict, home: Path) -> None:
    predict(str(EXAMPLE), "-o", "here")
    predict(str(EXAMPLE), "-o", "s3://study/out/")
    assert there(store) == here(Path("here"))
    assert not any(path.is_file() for path in home.rglob("*"))


def test_a_run_from_a_store_into_a_store(store: ObjectStore, predict: Predict, tmp_path: Path) -> None:
    fill(store, tmp_path, 4)
    store.put("in/bad.wav", b"no sound")
    (tmp_path / "in" / "bad.wav").write_bytes(b"no sound")
    table = ("--table", "s3://study/tables/all.csv")
    predict("in", "-o", "here", "--table", "all.csv", *OPTIONS, code=1)
    predict("s3://study/in", "-o", "s3://study/out", *table, *OPTIONS, code=1)
    found = there(store)
    assert len(found) == 4 * (2 + 3 * 2) + 1
    assert without_places(found) | {"failures.csv": b""} == without_places(here(Path("here"))) | {"failures.csv": b""}
    rows = list(csv.reader(io.StringIO(found["failures.csv"].decode())))
    assert [row[0] for row in rows] == ["file", "s3://study/in/bad.wav"]
    text = store.get("tables/all.csv").decode()
    assert text.replace("s3://study/", "") == Path("all.csv").read_text()
    assert store.keys("tables/") == ["tables/all.csv", "tables/all.csv-metadata.json"]

    done = predict("s3://study/in", "-o", "s3://study/out", *table, *OPTIONS, code=1)
    assert "4 of 5 recordings done (4 of them earlier), 1 failed" in done.output and there(store) == found
    # what was removed, or has changed, is done again, and nothing else
    client = store.client()
    client.delete_object(Bucket="study", Key="out/b/t001.csv")
    store.put("in/bad.wav", (tmp_path / "in" / "t000.wav").read_bytes())
    done = predict("s3://study/in", "-o", "s3://study/out", *table, *OPTIONS)
    assert "5 of 5 recordings done (3 of them earlier)" in done.output
    assert there(store)["b/t001.csv"] == found["b/t001.csv"] and "failures.csv" not in there(store)
    assert "bad.wav" in store.get("tables/all.csv").decode()


def test_secrets_in_addresses_are_written_nowhere(predict: Predict, tmp_path: Path, home: Path) -> None:
    """Signatures and passwords of a list's addresses: not in results, tables, journals, failures or messages."""
    pytest.importorskip("aiohttp")

    def reply(handler: Any) -> None:
        give(handler, Path(EXAMPLE).read_bytes() if "talk" in handler.path else b"no sound")

    with serving(reply) as site:
        rows = [
            f"http://anna:hush-1@{site.host}/{name}.wav?X-Signature=hush-2" for name in ("talk", "bad", "none/talk")
        ]
        (tmp_path / "list.txt").write_text("\n".join(rows))
        done = predict("list.txt", "-o", "out", "--table", "all.csv", "--format", "csv,json", "--unit", "files", code=1)
    shutil.rmtree(home, ignore_errors=True)
    (tmp_path / "list.txt").unlink()
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"all.csv", "failures.csv", "journal.sqlite"} <= {path.name for path in written}
    assert [path for path, content in written.items() if b"hush" in content] == []
    assert "hush" not in done.output and f"http://{site.host}/bad.wav" in done.output
    assert f"http://{site.host}/talk.wav" in (tmp_path / "all.csv").read_text()


def test_recordings_that_only_their_query_tells_apart(predict: Predict, tmp_path: Path, home: Path) -> None:
    """Nothing but the sound tells them apart, where a server gives no ETag: queries may be signatures, and are not kept."""
    pytest.importorskip("aiohttp")
    sound, rate = soundfile.read(EXAMPLE, dtype="float32")
    bodies = []
    for clip in range(2):
        soundfile.write(file := io.BytesIO(), sound[rate * clip : rate * (clip + 1)], rate, format="WAV")
        bodies.append(file.getvalue())

    def reply(handler: BaseHTTPRequestHandler) -> None:
        give(handler, bodies["id=letmein1" in handler.path], ETag="")

    with serving(reply) as site:
        for numbers in ("0", "1", "1", "10"):
            Path("list.txt").write_text("".join(f"{site.url('/get.wav')}?id=letmein{one}\n" for one in numbers))
            predict("list.txt", "-o", "out", "--unit", "files")
            for number in numbers:
                Path(f"{number}.wav").write_bytes(bodies[int(number)])
                predict(f"{number}.wav", "-o", "alone", "--unit", "files")
            alone = [Path("alone", f"{number}.csv") for number in numbers]
            found, expected = (
                sorted(path.read_text().rpartition(".wav,")[2] for path in paths)
                for paths in (Path("out").glob("*.csv"), alone)
            )
            assert found == expected
        kept = [path.read_bytes() for path in Path("out").rglob("*") if path.is_file()]
        assert not any(b"letmein" in content for content in kept)


def test_shards_of_an_older_table_are_removed(store: ObjectStore, predict: Predict, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow.parquet

    fill(store, tmp_path, 2)
    predict("s3://study/in", "--table", "s3://study/values/", "-o", "s3://study/out", "--unit", "files")
    keys = store.keys("values")
    assert keys == ["values-metadata.json", "values/part-00000.parquet"]
    table = pyarrow.parquet.read_table(io.BytesIO(store.get("values/part-00000.parquet")))
    assert sorted(set(table["file"].to_pylist())) == ["s3://study/in/b/t001.wav", "s3://study/in/t000.wav"]
    fill(store, tmp_path, 3)
    predict("s3://study/in", "--table", "s3://study/values/", "-o", "s3://study/out", "--unit", "files")
    assert store.keys("values") == keys
    store.put("values/other.parquet", b"x")
    fill(store, tmp_path, 4)
    refused = predict(
        "s3://study/in", "--table", "s3://study/values/", "-o", "s3://study/out", "--unit", "files", code=1
    )
    assert "other.parquet" in str(refused.exception)


def test_nothing_that_somebody_else_put_there_is_replaced(store: ObjectStore, predict: Predict) -> None:
    store.put("out/example.csv", b"mine")
    refused = predict(str(EXAMPLE), "-o", "s3://study/out", code=1)
    assert "s3://study/out/example.csv is there already, and nothing in it shows that emow2v wrote it" in refused.output
    assert store.get("out/example.csv") == b"mine" and store.keys("out/") == ["out/example.csv"]
    predict(str(EXAMPLE), "-o", "s3://study/out", "--overwrite")
    predict(str(EXAMPLE), "-o", "s3://study/out")  # its own
    store.put("out/example.csv", store.get("out/example.csv") + b"1,2\n")
    refused = predict(str(EXAMPLE), "-o", "s3://study/out", code=1)
    assert "was changed since emow2v wrote it" in refused.output
    store.put("tables/all.csv", b"mine")
    refused = predict(str(EXAMPLE), "--table", "s3://study/tables/all.csv", code=1)
    assert "s3://study/tables/all.csv is there already" in str(refused.exception)


def test_what_a_killed_run_left_replaces_nothing_of_others(store: ObjectStore, predict: Predict, home: Path) -> None:
    predict(str(EXAMPLE), "-o", "here", "--format", "csv,annotation")
    expected, address = here(Path("here")), "s3://study/out"
    folder = results.folder_of_run(address)
    shutil.copytree("here", folder)
    for name in sorted(expected)[::2]:  # a kill came between files that belong together
        store.put(f"out/{name}", expected[name])
    StoredResults(address, folder).finish()
    assert there(store) == expected and not here(folder)

    shutil.copytree("here", folder, dirs_exist_ok=True)
    for name in expected:
        store.put(f"out/{name}", b"of others")
        with pytest.raises(PlaceTaken, match=re.escape(f"{address}/{name} ")):
            StoredResults(address, folder).finish()
        assert store.get(f"out/{name}") == b"of others" and here(folder) == expected
        store.put(f"out/{name}", expected[name])
    store.put(f"out/{name}", b"of others")
    StoredResults(address, folder, overwrite=True).finish()
    assert there(store) == expected and not here(folder)


@pytest.mark.parametrize(
    "address", ["https://host/out", "zip://out::a.zip", "s3://nowhere/out"], ids=["web", "zip", "no-bucket"]
)
def test_places_that_take_no_results_are_refused_before_the_work(
    store: ObjectStore, predict: Predict, address: str
) -> None:
    refused = predict(str(EXAMPLE), "-o", address, code=1)
    assert isinstance(refused.exception, FormatError)
    expected = "its bucket does not exist" if "nowhere" in address else "takes no results"
    assert expected in str(refused.exception)


def test_a_store_that_fails_ends_the_run_which_then_continues(
    store: ObjectStore, predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, tmp_path, 3)
    command = ("s3://study/in", "-o", "s3://study/out", "--unit", "files")
    put = StoredResults._put

    def refuse(self: StoredResults, path: Path, name: str) -> None:
        if name.startswith("t002"):
            raise PermissionError("no")
        put(self, path, name)

    with monkeypatch.context() as patch:
        patch.setattr(StoredResults, "_put", refuse)
        ended = predict(*command, code=1)
    assert isinstance(ended.exception, StoreError) and "refuses access" in str(ended.exception)
    assert "out/b/t001.csv" in store.keys("out/") and "out/t002.csv" not in store.keys("out/")
    continued = predict(*command)
    assert "3 of 3 recordings done" in continued.output
    assert len(store.keys("out/")) == 6


def test_other_schemes_get_files_under_hidden_names_first(tmp_path: Path) -> None:
    """In memory, the one place without a server that is no object store."""
    import fsspec

    memory = fsspec.filesystem("memory")
    moved: list[tuple[str, str]] = []
    stored = StoredResults("memory://out", tmp_path)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a.csv").write_bytes(b"1")
    mv = type(memory).mv
    try:
        type(memory).mv = lambda self, one, other, **options: (moved.append((one, other)), mv(self, one, other))[1]
        assert stored.put([tmp_path / "b" / "a.csv"]) == ("memory://out/b/a.csv",)
    finally:
        type(memory).mv = mv
    assert memory.cat_file("/out/b/a.csv") == b"1" and memory.find("/out") == ["/out/b/a.csv"]
    assert moved[0][0].startswith("/out/b/.a.csv.") and moved[0][1] == "/out/b/a.csv"
    memory.rm("/out", recursive=True)


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again(store: ObjectStore, tmp_path: Path, home: Path) -> None:
    """Killed at any moment, the same command continues; at the end everything is as in an undisturbed run."""
    fill(store, tmp_path, 24)
    environment = {
        **os.environ, **store.environment, "EMOW2V_HOME": str(home),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }  # fmt: skip

    def command(out: str) -> list[str]:
        words = ["predict", "s3://study/in", "-o", f"s3://study/{out}", "--table", f"s3://study/{out}-tables/all.csv"]
        return [sys.executable, "-m", "emow2v", *words, *OPTIONS]

    subprocess.run(command("calm"), env=environment, check=True, capture_output=True)
    rng, kills = random.Random(1), 0
    while kills < 6:
        process = subprocess.Popen(command("out"), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        before = len(store.keys("out/"))
        until(lambda: len(store.keys("out/")) > before + 1 or process.poll() is not None)  # noqa: B023
        time.sleep(rng.uniform(0, 0.3))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        _, said = process.communicate()
        assert b"Traceback" not in said, said
        if process.returncode == 0:
            break
    assert kills
    done = subprocess.run(command("out"), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "24 of 24 recordings done" in done.stderr
    assert there(store, "out/") == there(store, "calm/")
    assert store.get("out-tables/all.csv") == store.get("calm-tables/all.csv")
    with contextlib.suppress(StopIteration):
        left = next(path for path in (home / "runs").rglob("*") if path.is_file() and ".emow2v" not in path.parts)
        raise AssertionError(left)


def test_a_folder_of_a_run_has_no_secret_in_its_name(home: Path) -> None:
    place = results.folder_of_run("s3://user:secret@study/out/")
    assert place == results.folder_of_run("s3://study/out") and place.is_relative_to(home / "runs")
    assert place.name == "out"


def test_turns_at_an_address_are_refused_before_the_work(predict: Predict) -> None:
    refused = predict(str(EXAMPLE), "--segments", "s3://study/talk.eaf", code=1)
    assert "--segments s3://study/talk.eaf is an address; expected a file or a folder here" in str(refused.exception)


@pytest.mark.parametrize("places", [("s3:/study/x", ""), (None, "s3:/study/x.csv")])
def test_a_place_that_lost_a_slash_is_no_folder_here(places: tuple[str | None, str]) -> None:
    with pytest.raises(FormatError, match=r"s3:/study/x\S* has one slash; expected an address with two: s3://study/x"):
        results.Outputs(*places)
