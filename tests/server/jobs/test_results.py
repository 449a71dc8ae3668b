"""What a job has to show, whoever asked for it."""

import json
import secrets
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emow2v.discover.places import Places
from emow2v.errors import FormatError, RequestError
from emow2v.formats.ssi_read import read_annotation
from emow2v.formats.table_read import read_table
from emow2v.server.jobs import predictions, results
from emow2v.server.jobs.store import Job, Store

TRAINER = r"modules\emow2v\emow2v.trainer"
COLUMNS = ["start", "end", "arousal", "dominance", "valence", "confidence"]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / "data").mkdir()
    found = Places([tmp_path / "data"], tmp_path / "work")
    found.uploads.mkdir(parents=True)
    return found


def job(places: Places, form: dict[str, str], kind: str = "prediction") -> Job:
    submitted = Store(places.work_dir / "jobs.sqlite").submit(form.get("jobID", secrets.token_hex(4)), form, kind=kind)
    return replace(submitted, provenance={"model": "lite", "licence": "none"})


def with_table(places: Places, **form: str) -> tuple[Job, np.ndarray]:
    """A prediction that has finished, and its values."""
    one = job(places, {"format": "json", **form})
    ends = 0.04 * np.arange(1, 11)
    rows = np.column_stack([ends - 0.04, ends, np.random.default_rng(0).uniform(-0.1, 1.1, (10, 3)), np.ones(10)])
    rows = rows.round(6)
    path = results.stored(one, places)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"file": "a", "columns": COLUMNS, "rows": rows.tolist()}))
    return one, rows


def test_names_of_jobs_and_of_files_to_save(places: Places) -> None:
    assert results.name(job(places, {"name": "talk.wav"})) == "talk.wav"
    assert results.name(job(places, {"path": "a/b.wav"})) == "a/b.wav"
    nova = job(places, {"jobID": "nova", "sessions": '["s1", "s2"]'}, "process")
    assert results.name(nova) == "nova" and results.sessions(nova) == ["s1", "s2"]
    assert results.stem(nova, 1) == "nova s2"
    evil = results.stem(job(places, {"name": '../..\\<img src="x">\n.wav'}), 0)
    assert not set(evil) & set('/\\<>"\n') and not evil.startswith(".")
    with pytest.raises(RequestError, match="expected 0 to 1"):
        results.stem(nova, 2)


def test_recordings_come_from_where_the_job_had_them(places: Places, tmp_path: Path) -> None:
    upload = places.uploads / "1234.wav"
    upload.write_bytes(b"sound")
    sent = job(places, {"upload": "../uploads/1234.wav", "name": "a.wav"})
    assert results.recording(sent, 0, places) == upload and results.uploads(sent, places) == {upload}
    own = tmp_path / "data" / "b.wav"
    own.write_bytes(b"sound")
    named = job(places, {"path": "b.wav"})
    assert results.recording(named, 0, places) == own and results.uploads(named, places) == set()
    own.unlink()
    with pytest.raises(RequestError, match=r"b\.wav"):
        results.recording(named, 0, places)
    upload.unlink()
    with pytest.raises(RequestError, match="gone; only its values"):
        results.recording(sent, 0, places)
    with pytest.raises(RequestError, match="outside the data folders"):
        results.recording(job(places, {"path": "../secret.wav"}), 0, places)


def test_every_export_has_the_same_values(places: Places, tmp_path: Path) -> None:
    one, rows = with_table(places, name="my talk.wav")
    for wanted in results.EXPORTS:
        folder = tmp_path / wanted
        folder.mkdir()
        made = results.export(one, 0, places, wanted, folder)
        if wanted == "annotation":
            with zipfile.ZipFile(made) as packed:
                packed.extractall(folder)
                assert sorted(packed.namelist())[0] == "my talk.arousal.annotation"
            for column, name in enumerate(("arousal", "dominance", "valence"), 2):
                curve = read_annotation(folder / f"my talk.{name}.annotation")
                np.testing.assert_allclose(curve.scores, rows[:, column].clip(0, 1), atol=1e-6)
        else:
            ((name, table),) = read_table(made).items()
            assert name == "my talk.wav"
            np.testing.assert_allclose(table.scores, rows[:, 2:5], atol=1e-6)
            np.testing.assert_allclose(table.starts, rows[:, 0], atol=1e-6)
    assert set(results.EXPORTS) == {*predictions.FORMATS, "annotation"}


def test_a_table_can_be_had_with_its_provenance(places: Places, tmp_path: Path) -> None:
    one, rows = with_table(places, name="talk.wav")
    (tmp_path / "out").mkdir()
    made = results.export(one, 0, places, "csvw", tmp_path / "out")
    with zipfile.ZipFile(made) as packed:
        assert sorted(packed.namelist()) == ["talk.csv", "talk.csv-metadata.json"]
        described = json.loads(packed.read("talk.csv-metadata.json"))
        assert described["emow2v:provenance"] == {"model": "lite", "licence": "none"}
        assert described["url"] == "talk.csv" and packed.read("talk.csv").count(b"\n") == 1 + len(rows)


def test_what_is_gone_is_told(places: Places) -> None:
    one, _ = with_table(places, name="a.wav")
    results.remove(one, places)
    with pytest.raises(FormatError, match="gone; post the recording again"):
        results.table(one, 0, places)
    results.remove(one, places)  # nothing there any more
    data = [
        {"src": "file:stream:audio", "type": "input", "id": "audio", "uri": "a.wav"},
        {"src": "file:stream:SSIStream", "type": "output", "id": "embedding", "uri": "a.stream"},
    ]
    nova = job(places, {"jobID": "n", "data": json.dumps(data), "trainerFilePath": TRAINER}, "process")
    with pytest.raises(RequestError, match="wrote no annotations"):
        results.table(nova, 0, places)
    data[1] = {"src": "file:annotation:continuous", "type": "output", "id": "valence", "uri": "v.annotation"}
    nova = job(places, {"jobID": "m", "data": json.dumps(data), "trainerFilePath": TRAINER}, "process")
    with pytest.raises(FormatError, match=r"v\.annotation"):
        results.table(nova, 0, places)
    assert results.uploads(job(places, {"jobID": "o", "data": "[]", "sessions": "{"}, "process"), places) == set()
