"""Many recordings, and large ones: against a server that runs as a user starts it."""

import asyncio
import csv
import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

import killed_servers
import webs
from emow2v.client import AsyncClient, Client, Invalid, NotFound, WrongAnswer
from emow2v.client import uploads as module
from emow2v.modelstore.verify import EXAMPLE
from fake_answers import JOB, give
from processes import serving
from waiting import until

RATE = 16000


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    signal = soundfile.read(EXAMPLE, dtype="float32")[0]
    (folder / "study").mkdir()
    for name, begin in (("study/anna.wav", 6), ("study/bert.wav", 7)):
        soundfile.write(folder / name, signal[begin * RATE : (begin + 1) * RATE], RATE)
    (folder / "study" / "broken.wav").write_bytes(b"no sound")
    return folder


@pytest.fixture(scope="module")
def address(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving("--data-dir", str(data), work=tmp_path_factory.mktemp("served") / "work") as url:
        yield url


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address) as one:
        yield one


def test_a_folder_is_one_job(client: Client, data: Path, tmp_path: Path) -> None:
    job = client.wait(client.batch(folder="study", unit="files"))
    assert job.state == "finished" and job.kind == "batch" and job.progress == 1
    assert job.files is not None and (job.files.done, job.files.failed, job.files.all) == (2, 1, 3)
    found = {one.name: one for one in client.recordings(job)}
    assert [one.state for one in found.values()].count("done") == 2
    (failed,) = client.recordings(job, state="failed")
    assert failed.name.endswith("broken.wav") and "decoded" in failed.error
    table = client.content(job, format="csv").decode()
    assert len(list(csv.DictReader(io.StringIO(table)))) == 2
    path = client.download(job, tmp_path / "each.zip", each=True)
    assert "failures.csv" in zipfile.ZipFile(path).namelist()
    anna = next(one for name, one in found.items() if "anna" in name)
    alone = client.predict(data / "study" / "anna.wav", unit="files")
    assert client.result(job, session=anna.number).scores.tolist() == alone.scores.tolist()
    with pytest.raises(NotFound, match="one recording"):
        list(client.recordings(alone.job))


def test_files_of_this_computer_are_one_job(
    client: Client, address: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [data / "study" / "anna.wav", data / "study" / "bert.wav"]
    job = client.wait(client.batch(*files, unit="files"))
    monkeypatch.setattr("emow2v.client.flows.PAGE", "1")
    assert sorted(one.name for one in client.recordings(job)) == ["anna.wav", "bert.wav"]
    with pytest.raises(Invalid, match="There is no recording"):
        client.batch()

    async def work() -> None:
        async with AsyncClient(address) as one:
            both = await one.wait(await one.batch(*files, unit="files"))
            assert [each.state async for each in one.recordings(both)] == ["done", "done"]
            upload = await one.upload(files[0])
            assert (await one.predict(upload=upload, unit="files")).name == "anna.wav"

    asyncio.run(work())


def test_a_recording_in_parts(client: Client, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = data / "study" / "anna.wav"
    monkeypatch.setattr(module, "PART", 10_000)
    whole = client.predict(recording, frame_step="100ms")
    for source in (recording, recording.read_bytes(), recording.open("rb")):
        upload = client.upload(source)
        parts = client.predict(upload=upload, frame_step="100ms")
        assert parts.scores.tolist() == whole.scores.tolist()
    source.close()  # type: ignore[union-attr]
    assert client.upload(b"") != client.upload(b"")
    monkeypatch.setattr("emow2v.client.flows.LARGE", 1)  # so that it is large
    large = client.predict(recording, frame_step="100ms")
    assert large.scores.tolist() == whole.scores.tolist() and large.name == recording.name


@pytest.mark.slow
def test_an_upload_goes_on_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    killed_servers.talk(tmp_path, 60)
    monkeypatch.setattr(module, "PART", 50_000)
    served = killed_servers.Served(tmp_path, port)
    served.start()
    got: list[Any] = []
    seen: list[int] = []
    part = module._part

    def counted(source: Any, offset: int) -> bytes:
        seen.append(offset)
        return part(source, offset)

    monkeypatch.setattr(module, "_part", counted)

    def work() -> None:
        with Client(f"http://127.0.0.1:{port}") as client:
            upload = client.upload(tmp_path / "talk.wav")
            got.append(client.predict(upload=upload, unit="files"))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        until(lambda: len(seen) > 5, alive=thread.is_alive)
        served.kill_server()
        served.start()
        thread.join(timeout=300)
        assert len(got) == 1 and len(got[0]) == 1
        assert seen.count(0) == 1  # what had come was not sent again
    finally:
        served.stop()


def test_servers_without_uploads_get_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def old(handler: Any) -> None:
        give(handler, {"error": "There is no address."}, 404) if "uploads" in handler.path else give(handler, JOB, 202)

    monkeypatch.setattr("emow2v.client.flows.LARGE", 1)
    with webs.serving(old) as site, Client(f"http://{site.host}") as client:
        assert client.post(b"sound").id == "a"
        assert b"sound" in site.posted[1][1]
        with pytest.raises(NotFound):
            client.upload(b"sound")
    with webs.serving(lambda one: give(one, b"", 201)) as site:
        client = Client(f"http://{site.host}")
        with client, pytest.raises(WrongAnswer, match="has no address"):
            client.upload(b"sound")
