"""The client against a server that runs as a user starts it."""

import asyncio
import contextlib
import io
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from emow2v.client import (
    AsyncClient,
    Client,
    ClientError,
    Conflict,
    Invalid,
    Job,
    JobFailed,
    NotFound,
    TimedOut,
    Unauthorized,
    Unreachable,
    Value,
)
from emow2v.errors import PlaceTaken
from emow2v.formats.table_read import read_table
from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from processes import serving

TOKEN = "correct horse"
RATE = 16000


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds in which somebody speaks, with a name that is hard to send."""
    path = tmp_path_factory.mktemp("data") / 'ein "Gespräch" 1.wav'
    soundfile.write(path, soundfile.read(EXAMPLE, dtype="float32")[0][6 * RATE : 8 * RATE], RATE)
    return path


@pytest.fixture(scope="module")
def address(talk: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    arguments = ("--data-dir", str(talk.parent), "--token", TOKEN)
    with serving(*arguments, work=tmp_path_factory.mktemp("served") / "work") as url:
        yield url


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address, token=TOKEN) as one:
        yield one


def test_a_recording_has_the_values_of_the_library(client: Client, talk: Path, lite: Model) -> None:
    seen: list[Job] = []
    result = client.predict(talk, frame_step=0.1, embeddings=True, speech=True, on_progress=seen.append)
    expected = lite.predict(talk, framing=Framing(frame_step_ms=100), speech=True)
    assert result.scores.shape == (len(result), 3) and result.job.has_ended and result.job.progress == 1
    speaks = expected.speech >= 0.5 if expected.speech is not None else None
    np.testing.assert_allclose(result.scores[speaks], expected.scores[speaks], atol=2e-6)
    np.testing.assert_allclose(result.starts, expected.starts)
    assert result.embeddings is not None and expected.embeddings is not None
    np.testing.assert_allclose(result.embeddings, expected.embeddings, atol=1e-4)
    assert result.speech is not None and result.turns is None
    assert result.name == talk.name and result.provenance["model"] == "lite"
    assert seen[-1].state == "finished" and seen[-1].rows == len(result) and len({*seen}) == len(seen)
    frame = result.to_frame()
    pd.testing.assert_series_equal(frame["arousal"], pd.Series(result.arousal, name="arousal"))
    assert [*frame] == ["start", "end", "arousal", "dominance", "valence", "confidence", "speech"]


@pytest.mark.parametrize("source", ["path", "bytes", "file", "stream", "data folder"])
def test_every_kind_of_recording(client: Client, talk: Path, source: str) -> None:
    if source == "data folder":
        result = client.predict(path=talk.name, unit="files")
    else:
        sources = {
            "path": str(talk),
            "bytes": talk.read_bytes(),
            "file": talk.open("rb"),
            "stream": Once(talk.read_bytes()),
        }
        result = client.predict(sources[source], unit="files", name="a.wav")  # type: ignore[arg-type]
        assert result.name == "a.wav"
        sources["file"].close()  # type: ignore[union-attr]
    assert len(result) == 1 and result.embeddings is None


class Once(io.BytesIO):
    """A stream that cannot be read twice."""

    def seekable(self) -> bool:
        return False


def test_turns_of_a_file(client: Client, talk: Path, tmp_path: Path) -> None:
    turns = tmp_path / "turns.csv"
    turns.write_text("start,end,speaker,label\n0.2,0.9,Anna,well\n1.0,1.8,Bert,yes\n", encoding="utf-8")
    result = client.predict(talk, unit="turns", segments=turns)
    assert result.turns is not None and result.turns.speakers == ("Anna", "Bert")
    assert result.turns.labels == ("well", "yes") and result.turns.counts == (1, 1)
    assert [*result.to_frame()[["speaker", "n"]].itertuples(index=False, name=None)] == [("Anna", 1), ("Bert", 1)]


def test_files_appear_whole_and_replace_nothing(client: Client, talk: Path, tmp_path: Path) -> None:
    job = client.wait(client.post(talk, frame_step="100ms"))
    result = client.result(job)
    for file_format in ("csv", "json", "ndjson"):
        path = client.download(job, tmp_path / f"talk.{file_format}", format=file_format)
        ((name, table),) = read_table(path).items()
        np.testing.assert_allclose(table.scores, result.scores)
        assert name == talk.name and client.content(job, format=file_format) == path.read_bytes()
    with pytest.raises(PlaceTaken, match="exists already"):
        client.download(job, tmp_path / "talk.csv")
    client.download(job, tmp_path / "talk.csv", format="csv", overwrite=True)
    named = client.download(job, tmp_path)
    assert named.parent == tmp_path and named.suffix == ".json" and "Gespr" in named.name
    made = [client.download(job, f"{tmp_path}/new/folder/", format=name) for name in ("csv", "json")]
    assert [path.suffix for path in made] == [".csv", ".json"] and {path.parent.name for path in made} == {"folder"}
    with pytest.raises(ClientError, match="cannot be written"):
        client.download(job, f"{tmp_path}/talk.csv/")
    with pytest.raises(NotFound, match="embeddings=true"):
        client.download(job, tmp_path / "none.npz", format="npz")
    with pytest.raises(ClientError, match="cannot be written"):
        client.download(job, tmp_path / "nowhere" / "a.csv")
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.is_file()) == [".csv", ".json", ".json", ".ndjson"]


def test_a_download_through_a_line_that_breaks(address: str, talk: Path, client: Client, tmp_path: Path) -> None:
    job = client.wait(client.post(talk, embeddings=True))
    whole = client.content(job, format="npz")
    assert len(whole) > 150_000
    with cut_line(address, 100_000) as (url, connections), Client(url, token=TOKEN) as behind:
        path = behind.download(job, tmp_path / "talk.npz", format="npz")
    assert path.read_bytes() == whole and len(connections) == 2
    assert connections[1] < len(whole) - 50_000  # the rest alone came


@contextlib.contextmanager
def cut_line(address: str, after: int) -> Iterator[tuple[str, list[int]]]:
    """A line to a server, whose first connection breaks after so many bytes of answers; and the bytes of each connection."""
    host, port = address.removeprefix("http://").split(":")
    listener = socket.create_server(("127.0.0.1", 0))
    came: list[int] = []
    threads: list[threading.Thread] = []
    sockets = [listener]

    def pump(source: socket.socket, target: socket.socket, counted: int | None) -> None:
        most = after if counted == 0 else float("inf")
        with contextlib.suppress(OSError):
            while (piece := source.recv(8192)) and (counted is None or came[counted] < most):
                target.sendall(piece)
                if counted is not None:
                    came[counted] += len(piece)
        shut(source, target)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                sockets.extend((listener.accept()[0], socket.create_connection((host, int(port)))))
                came.append(0)
                begin(pump, sockets[-2], sockets[-1], None)
                begin(pump, sockets[-1], sockets[-2], len(came) - 1)

    def begin(work: Callable[..., None], *arguments: object) -> None:
        threads.append(threading.Thread(target=work, args=arguments))
        threads[-1].start()

    def shut(*some: socket.socket) -> None:
        for one in some:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    begin(accept)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", came
    finally:
        shut(*sockets)
        for thread in threads:
            thread.join()
        for one in sockets:
            one.close()


def test_jobs_are_listed_cancelled_and_erased(client: Client, talk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for job in client.jobs():
        client.erase(job)
    posted = [client.post(talk, unit="files", name=f"{number}.wav") for number in range(5)]
    for job in posted:
        client.wait(job)
    monkeypatch.setattr("emow2v.client.flows.PAGE", "2")
    assert [job.id for job in client.jobs()] == [job.id for job in reversed(posted)]
    assert [job.name for job in client.jobs(name="3.w", state="finished", since="2026-01-01")] == ["3.wav"]
    with pytest.raises(Conflict, match="finished already"):
        client.cancel(posted[0])
    assert client.erase(posted[0].id).state == "finished"
    with pytest.raises(NotFound, match="is known"):
        client.job(posted[0])
    with pytest.raises(NotFound):
        client.wait(posted[0])
    assert client.log(posted[1]).endswith("INFO finished\n") and "lite" in client.citation(posted[1]).methods
    assert client.predict(talk, unit="files", keep=False).job.id not in {job.id for job in client.jobs()}


def test_a_long_job_is_awaited_for_a_while_and_cancelled(client: Client, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.resize(soundfile.read(EXAMPLE, dtype="float32")[0], RATE * 600), RATE)
    job = client.post(tmp_path / "long.wav")
    with pytest.raises(TimedOut, match=r"after 1 s; wait for it again"):
        client.wait(job, timeout_s=1)
    with pytest.raises(Conflict, match="Wait for it"):
        client.result(job)
    assert client.cancel(job).state == "canceled" == client.wait(job).state
    with pytest.raises(JobFailed, match="was cancelled") as failed:
        client.result(job)
    assert failed.value.job.id == job.id


def test_refusals_have_the_sentence_of_the_server(client: Client, address: str, talk: Path, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"no sound")
    with pytest.raises(Invalid, match=r"a\.wav is not a recording that can be decoded") as refused:
        client.predict(tmp_path / "a.wav")
    assert refused.value.status == 400
    with pytest.raises(Invalid, match="frame_step is 'soon'"):
        client.post(talk, frame_step="soon")
    with pytest.raises(Invalid, match="unit is 'words'"):
        client.post(talk, unit="words")  # type: ignore[arg-type]
    with pytest.raises(ClientError, match="There are 0 recordings; expected one"):
        client.post()
    with pytest.raises(ClientError, match="There are 2 recordings"):
        client.post(talk, path="talk.wav")
    with pytest.raises(ClientError, match="no file here"):
        client.post(tmp_path / "none.wav")
    for token in ("", "wrong"):
        with Client(address, token=token) as stranger, pytest.raises(Unauthorized, match="missing or wrong") as denied:
            stranger.models()
        assert denied.value.status == 401 and TOKEN not in repr(stranger)


def test_the_token_of_the_environment(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOW2V_TOKEN", TOKEN)
    with Client(f"{address}/v1/") as client:
        assert {model.name for model in client.models() if model.served} == {"lite"}
        assert TOKEN not in repr(client) and TOKEN not in str(vars(client._server))


def test_without_threads(address: str, talk: Path, tmp_path: Path, client: Client) -> None:
    told: list[str] = []

    async def tell(job: Job) -> None:
        told.append(job.state)

    async def work() -> None:
        async with AsyncClient(address, token=TOKEN) as one:
            job = await one.post(talk, unit="files")
            results = await asyncio.gather(*(one.predict(talk, unit="files", on_progress=tell) for _ in range(4)))
            await one.wait(job)
            assert (await one.result(job)).scores.tolist() == results[0].scores.tolist()
            path = await one.download(job, tmp_path, format="csv")
            assert path.read_bytes() == await one.content(job, format="csv") == client.content(job, format="csv")
            assert job.id in [each.id async for each in one.jobs()]
            assert (await one.models())[0] == client.models()[0] and await one.citation(job) == client.citation(job)
            assert (await one.job(job)) == client.job(job) and await one.log(job) == client.log(job)
            with pytest.raises(Conflict):
                await one.cancel(job)
            await one.erase(job)
            with pytest.raises(NotFound):
                await one.result(job)

    asyncio.run(work())
    assert told.count("finished") == 4


def test_live_speech_has_the_values_of_a_file(client: Client, address: str, talk: Path, lite: Model) -> None:
    signal, _ = soundfile.read(talk, dtype="float32")
    expected = lite.predict(talk, framing=Framing(frame_step_ms=100)).scores
    with client.stream(frame_step=0.1) as live:
        assert live.provenance["model"] == "lite"
        values = [value for begin in range(0, len(signal), 1000) for value in live.send(signal[begin : begin + 1000])]
        values += live.finish()
    np.testing.assert_allclose([[one.arousal, one.dominance, one.valence] for one in values], expected, atol=2e-6)
    assert [one.index for one in values] == [*range(len(expected))]

    async def work() -> list[Value]:
        async with AsyncClient(address, token=TOKEN) as one, one.stream(frame_step="100ms") as live:
            await live.send(signal)
            await live.finish()
            return [value async for value in live]

    assert asyncio.run(work()) == values
    with client.stream(frame_step=0.1, model="lite", embeddings=True) as live:
        kept = live.send(signal) + live.finish()
    assert kept == values
    embeddings = lite.predict(talk, framing=Framing(frame_step_ms=100)).embeddings
    np.testing.assert_allclose([one.embedding for one in kept], embeddings, atol=1e-4)


def test_live_streams_that_are_refused(client: Client, address: str) -> None:
    for options, sentence in (
        ({"frame_step": "soon"}, "frame_step is 'soon'"),
        ({"sampling_rate": 5}, "expected 1000 to"),
    ):
        with pytest.raises(Invalid, match=sentence), client.stream(**options):  # type: ignore[arg-type]
            pass
    with Client(address, token="wrong") as stranger, pytest.raises(Unauthorized, match="missing or wrong"):
        stranger.stream().__enter__()
    with client.stream() as live, pytest.raises(ClientError, match="expected those of one channel"):
        live.send(np.zeros((2, 100)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = Client(f"http://127.0.0.1:{free.getsockname()[1]}")
        with nobody, pytest.raises(Unreachable, match="cannot be reached"):
            nobody.stream().__enter__()


def test_both_clients_have_the_same_methods() -> None:
    methods = [{name for name in vars(one) if name[0] != "_"} for one in (Client, AsyncClient)]
    assert methods[0] == methods[1]


def test_importing_it_loads_neither_models_nor_the_server() -> None:
    code = "import sys, emow2v.client; print([m for m in sys.modules if m.startswith('emow2v.')]); print([m for m in ('numpy', 'pandas', 'openvino', 'av', 'fastapi', 'starlette') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[1] == "[]"
    loaded = {name.split(".")[1] for name in eval(said[0])}
    assert loaded == {"client", "errors", "storage", "_version"}
