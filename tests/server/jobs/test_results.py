"""The results of jobs of both kinds."""

import json
import secrets
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from emow2v.discover.places import Places
from emow2v.errors import FormatError, RequestError
from emow2v.formats.ssi_read import read_annotation
from emow2v.formats.table_read import read_table
from emow2v.server.jobs import results
from emow2v.server.jobs.prediction_form import FORMATS
from emow2v.server.jobs.store import Store
from emow2v.server.jobs.store.job import Kind
from emow2v.server.jobs.task import Task, task_of

TRAINER = r"modules\emow2v\emow2v.trainer"
PROVENANCE = {"model": "lite", "licence": "none"}
COLUMNS = ["start", "end", "arousal", "dominance", "valence", "confidence"]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / "data").mkdir()
    found = Places([tmp_path / "data"], tmp_path / "work")
    found.uploads.mkdir(parents=True)
    return found


def task(places: Places, form: dict[str, str], kind: Kind = "prediction") -> Task:
    job_id = form.get("jobID", secrets.token_hex(4))
    return task_of(Store(places.work_dir / "jobs.sqlite").submit(job_id, form, kind=kind), places)


def with_table(places: Places, **form: str) -> tuple[Task, np.ndarray]:
    """A prediction that has finished, and its values."""
    one = task(places, {"format": "json", **form})
    ends = 0.04 * np.arange(1, 11)
    rows = np.column_stack([ends - 0.04, ends, np.random.default_rng(0).uniform(-0.1, 1.1, (10, 3)), np.ones(10)])
    rows = rows.round(6)
    path = places.results(one.job_id) / "result.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"file": "a", "columns": COLUMNS, "rows": rows.tolist()}))
    return one, rows


def test_names_of_jobs_and_of_files_to_save(places: Places) -> None:
    assert task(places, {"name": "talk.wav"}).name == "talk.wav"
    assert task(places, {"path": "a/b.wav"}).name == "a/b.wav"
    nova = task(places, {"jobID": "nova", "sessions": '["s1", "s2"]'}, "process")
    assert nova.name == "nova" and nova.sessions == ["s1", "s2"]
    assert nova.stem(1) == "nova s2"
    evil = task(places, {"name": '../..\\<img src="x">\n.wav'}).stem(0)
    assert not set(evil) & set('/\\<>"\n') and not evil.startswith(".")
    with pytest.raises(RequestError, match="expected 0 to 1"):
        nova.stem(2)


def test_recordings_come_from_where_the_job_had_them(places: Places, tmp_path: Path) -> None:
    upload = places.uploads / "1234.wav"
    upload.write_bytes(b"sound")
    sent = task(places, {"upload": "../uploads/1234.wav", "name": "a.wav"})
    assert results.recording(sent, 0) == upload and sent.uploads() == {upload}
    own = tmp_path / "data" / "b.wav"
    own.write_bytes(b"sound")
    named = task(places, {"path": "b.wav"})
    assert results.recording(named, 0) == own and named.uploads() == set()
    own.unlink()
    with pytest.raises(RequestError, match=r"b\.wav"):
        results.recording(named, 0)
    upload.unlink()
    with pytest.raises(RequestError, match="gone; only its values"):
        results.recording(sent, 0)
    with pytest.raises(RequestError, match="outside the data folders"):
        results.recording(task(places, {"path": "../secret.wav"}), 0)


def test_every_export_has_the_same_values(places: Places, tmp_path: Path) -> None:
    one, rows = with_table(places, name="my talk.wav")
    for wanted in results.EXPORTS:
        folder = tmp_path / wanted
        folder.mkdir()
        made = results.export(one, PROVENANCE, 0, wanted, folder)
        if wanted == "annotation":
            with zipfile.ZipFile(made) as packed:
                packed.extractall(folder)
                assert sorted(packed.namelist())[0] == "my talk.arousal.annotation"
            for column, name in enumerate(("arousal", "dominance", "valence"), 2):
                curve = read_annotation(folder / f"my talk.{name}.annotation")
                np.testing.assert_allclose(curve.scores, rows[:, column].clip(0, 1), atol=1e-6)
        elif wanted == "parquet":
            pq = pytest.importorskip("pyarrow.parquet")
            table = pq.read_table(made)
            assert {*table["file"].to_pylist()} == {"my talk.wav"} and "embedding" not in table.column_names
            for column, name in enumerate(("start", "end", "arousal", "dominance", "valence", "confidence")):
                np.testing.assert_allclose(table[name].to_numpy(), rows[:, column], atol=1e-6)
        else:
            ((name, table),) = read_table(made).items()
            assert name == "my talk.wav"
            np.testing.assert_allclose(table.scores, rows[:, 2:5], atol=1e-6)
            np.testing.assert_allclose(table.starts, rows[:, 0], atol=1e-6)
    assert set(results.EXPORTS) == {*FORMATS, "annotation"}


def test_a_table_can_be_had_with_its_provenance(places: Places, tmp_path: Path) -> None:
    one, rows = with_table(places, name="talk.wav")
    (tmp_path / "out").mkdir()
    made = results.export(one, PROVENANCE, 0, "csvw", tmp_path / "out")
    with zipfile.ZipFile(made) as packed:
        assert sorted(packed.namelist()) == ["talk.csv", "talk.csv-metadata.json"]
        described = json.loads(packed.read("talk.csv-metadata.json"))
        assert described["emow2v:provenance"] == PROVENANCE
        assert described["url"] == "talk.csv" and packed.read("talk.csv").count(b"\n") == 1 + len(rows)


def test_what_is_gone_is_told(places: Places) -> None:
    one, _ = with_table(places, name="a.wav")
    shutil.rmtree(places.results(one.job_id))
    with pytest.raises(FormatError, match="gone; post the recording again"):
        one.table(0)
    with pytest.raises(FormatError, match="gone; post the recording again"):
        one.stored("csv")
    data = [
        {"src": "file:stream:audio", "type": "input", "id": "audio", "uri": "a.wav"},
        {"src": "file:stream:SSIStream", "type": "output", "id": "embedding", "uri": "a.stream"},
    ]
    nova = task(places, {"jobID": "n", "data": json.dumps(data), "trainerFilePath": TRAINER}, "process")
    with pytest.raises(RequestError, match="wrote no annotations"):
        nova.table(0)
    data[1] = {"src": "file:annotation:continuous", "type": "output", "id": "valence", "uri": "v.annotation"}
    nova = task(places, {"jobID": "m", "data": json.dumps(data), "trainerFilePath": TRAINER}, "process")
    with pytest.raises(FormatError, match=r"v\.annotation"):
        nova.table(0)
    assert task(places, {"jobID": "o", "data": "[]", "sessions": "{"}, "process").uploads() == set()
