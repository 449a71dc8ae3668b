"""Results over HTTP: every format, whole and in part; downloads that go on, and results that change meanwhile."""

import asyncio
import functools
import io
import itertools
import json
import shutil
import socket
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
import soundfile
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.types import Message

from commands import run
from emow2v.discover.places import Places
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.server.jobs.store import Store
from emow2v.server.resources import file_answer
from emow2v.server.routes import turns, views
from emow2v.storage import marks
from servers import app, form
from waiting import until

duckdb = pytest.importorskip("duckdb")
pq = pytest.importorskip("pyarrow.parquet")

FORMATS = ("json", "csv", "ndjson", "csvw", "annotation", "npz", "stream", "parquet")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, str, Path, Starlette]]:
    """A server with a job that kept its embeddings, whose tables have a few hundred rows."""
    import emow2v

    lite = emow2v.load("lite")
    folder = tmp_path_factory.mktemp("results")
    data = folder / "data"
    data.mkdir()
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write(data / "ein Gespräch.wav", np.resize(signal, 12 * rate), rate)
    made = app(lite.card, [data], folder / "work", lambda name: lite)
    with TestClient(made) as client:
        form = {"path": "ein Gespräch.wav", "speech": "true", "embeddings": "true", "wait": "false"}
        name = client.post("/v1/predictions", data=form).json()["id"]
        until(lambda: client.get(f"/v1/jobs/{name}").json()["state"] == "finished")
        yield client, name, folder / "work", made


def address(name: str, file_format: str) -> str:
    return f"/v1/jobs/{name}/result?format={file_format}"


@pytest.mark.parametrize("file_format", [*FORMATS, "zip"])
def test_every_format_has_a_tag_and_ranges(served: tuple[TestClient, str, Path, Starlette], file_format: str) -> None:
    client, name, work, _ = served
    at = f"/v1/results?jobs={name}&format=parquet" if file_format == "zip" else address(name, file_format)
    whole = client.get(at)
    tag = whole.headers["etag"]
    assert whole.status_code == 200 and tag.startswith('"') and whole.headers["accept-ranges"] == "bytes"
    assert client.get(at).content == whole.content  # the same bytes again, or no download could go on
    head = client.head(at)
    assert head.status_code == 200 and head.content == b""
    same = ("etag", "content-length", "content-type", "content-disposition", "accept-ranges", "cache-control")
    assert [head.headers[one] for one in same] == [whole.headers[one] for one in same]
    assert client.head(at, headers={"Range": "bytes=0-1"}).status_code == 200  # ranges are for GET
    part = client.get(at, headers={"Range": "bytes=5-14", "If-Range": tag})
    assert part.status_code == 206 and part.content == whole.content[5:15]
    assert part.headers["content-range"] == f"bytes 5-14/{len(whole.content)}" and part.headers["etag"] == tag
    other = client.get(at, headers={"Range": "bytes=5-14", "If-Range": '"other"'})
    assert other.status_code == 200 and other.content == whole.content
    behind = client.get(at, headers={"Range": f"bytes={len(whole.content)}-"})
    assert behind.status_code == 416 and behind.headers["content-range"] == f"bytes */{len(whole.content)}"
    assert "behind the end" in behind.json()["error"]
    known = client.get(at, headers={"If-None-Match": f'"x", W/{tag}'})
    assert known.status_code == 304 and known.content == b"" and known.headers["etag"] == tag
    assert client.head(at, headers={"If-None-Match": "*"}).status_code == 304
    wrong = client.get(at, headers={"If-Match": '"x"'})
    assert wrong.status_code == 412 and "If-Match" in wrong.json()["error"] and wrong.headers["etag"] == tag
    assert client.get(at, headers={"If-Match": tag}).status_code == 200
    until(lambda: not [one for one in Places([], work).results("").parent.iterdir() if "." in one.name])


def test_no_two_formats_share_a_tag(served: tuple[TestClient, str, Path, Starlette]) -> None:
    client, name, _, _ = served
    tags = {client.head(address(name, one)).headers["etag"] for one in FORMATS}
    assert len(tags) == len(FORMATS)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_parts_of_any_sizes_join_to_the_result(
    served: tuple[TestClient, str, Path, Starlette], data: st.DataObject
) -> None:
    client, name, _, _ = served
    at = address(name, data.draw(st.sampled_from(("json", "npz"))))
    whole = client.get(at)
    begin = data.draw(st.integers(0, len(whole.content) - 1))
    end = data.draw(st.one_of(st.none(), st.integers(begin, len(whole.content) + 9)))
    asked = f"bytes={begin}-{'' if end is None else end}"
    part = client.get(at, headers={"Range": asked, "If-Range": whole.headers["etag"]})
    assert part.status_code == 206 and part.content == whole.content[begin : None if end is None else end + 1]
    last = data.draw(st.integers(1, len(whole.content)))
    assert client.get(at, headers={"Range": f"bytes=-{last}"}).content == whole.content[-last:]


def test_parquet_has_the_rows_of_json_and_the_embeddings_of_npz(
    served: tuple[TestClient, str, Path, Starlette], tmp_path: Path
) -> None:
    client, name, _, _ = served
    path = tmp_path / "result.parquet"
    answer = client.get(address(name, "parquet"))
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    assert "ein%20Gespr%C3%A4ch.parquet" in answer.headers["content-disposition"]
    path.write_bytes(answer.content)
    table, told = pq.read_table(path), client.get(address(name, "json")).json()
    names = ["start", "end", "arousal", "dominance", "valence", "confidence", "speech"]
    assert table.column_names == ["file", *names, "embedding"] and told["columns"] == names
    assert {*table["file"].to_pylist()} == {"ein Gespräch.wav"}
    rows = [list(row) for row in zip(*(table[one].to_pylist() for one in names), strict=True)]
    assert len(rows) == len(told["rows"]) > 250
    assert any(row[2] is None for row in rows), "the recording has a pause"
    for row, expected in zip(rows, told["rows"], strict=True):
        assert row[2:5] == [None] * 3 if expected[2] is None else np.allclose(row[2:5], expected[2:5], atol=5e-7)
        np.testing.assert_allclose([*row[:2], *row[5:]], [*expected[:2], *expected[5:]], atol=5e-7)
    with np.load(io.BytesIO(client.get(address(name, "npz")).content)) as arrays:
        kept = arrays["embeddings"]
    list_type = table.schema.field("embedding").type
    assert list_type.list_size == 1024 and str(list_type.value_type) == "float"
    np.testing.assert_array_equal(np.array(table["embedding"].to_pylist(), np.float32), kept)
    frame = pd.read_parquet(path)
    np.testing.assert_array_equal(np.stack(list(frame["embedding"])), kept)
    (counted,) = duckdb.sql(f"SELECT count(*), avg(arousal), len(any_value(embedding)) FROM '{path}'").fetchall()
    assert counted[0] == len(rows) and counted[2] == 1024
    assert counted[1] == pytest.approx(np.nanmean([np.nan if row[2] is None else row[2] for row in rows]), abs=1e-6)
    facts = json.loads(table.schema.metadata[b"emow2v:provenance"])
    assert facts["file"] == "ein Gespräch.wav" and facts["model"] == "lite"
    assert facts["frame_step_ms"] == told["provenance"]["frame_step_ms"]


def test_parquet_of_the_server_and_of_a_run_agree(
    served: tuple[TestClient, str, Path, Starlette], tmp_path: Path
) -> None:
    """Columns, types and values are those of `emow2v predict --table ALL.parquet`."""
    client, name, work, _ = served
    recording, path = work.parent / "data" / "ein Gespräch.wav", tmp_path / "all.parquet"
    done = run("predict", recording, "--speech", "--embeddings", "--table", path)
    assert done.returncode == 0, done.stderr
    of_run, of_server = pq.read_table(path), pq.read_table(io.BytesIO(client.get(address(name, "parquet")).content))
    assert of_server.schema.equals(of_run.schema)
    for column in of_run.column_names[1:-1]:
        ours, theirs = of_server[column].to_numpy(), of_run[column].to_numpy()
        np.testing.assert_allclose(ours, theirs, atol=2e-6)
    close = np.array(of_server["embedding"].to_pylist()) - np.array(of_run["embedding"].to_pylist())
    assert np.abs(close).max() < 1e-4


@pytest.mark.parametrize("unit", ["files", "turns"])
def test_a_prediction_as_parquet(served: tuple[TestClient, str, Path, Starlette], unit: str, tmp_path: Path) -> None:
    client, _, _, _ = served
    answer = client.post("/v1/predictions", data={"path": "ein Gespräch.wav", "format": "parquet", "unit": unit})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    frame, at = pd.read_parquet(io.BytesIO(answer.content)), f"/v1/{answer.headers['content-location']}"
    again = client.get(at)  # Content-Location names the result; its default format is that of the request
    assert again.content == answer.content and again.headers["etag"] == answer.headers["etag"]
    told = client.get(f"{at}?format=json").json()
    assert list(frame.columns) == ["file", *told["columns"]] and len(frame) == len(told["rows"]) > 0
    np.testing.assert_allclose(
        frame["arousal"], [row[told["columns"].index("arousal")] for row in told["rows"]], atol=5e-7
    )
    if unit == "turns":
        assert frame["n"].dtype == np.int64 and frame["label"].isna().sum() == 0


def test_a_zip_of_parquet(served: tuple[TestClient, str, Path, Starlette]) -> None:
    client, name, _, _ = served
    answer = client.get(f"/v1/results?jobs={name}&format=parquet")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert packed.testzip() is None and packed.namelist() == ["ein Gespräch.parquet"]
        assert packed.infolist()[0].date_time[0] >= 2026
        content = packed.read("ein Gespräch.parquet")
    assert content == client.get(address(name, "parquet")).content


def test_a_parquet_file_has_its_mark(served: tuple[TestClient, str, Path, Starlette], tmp_path: Path) -> None:
    client, name, _, _ = served
    path = tmp_path / "a.parquet"
    path.write_bytes(client.get(address(name, "parquet")).content)
    assert marks.origin_of(path) is marks.Origin.OURS


@pytest.fixture
def listening(served: tuple[TestClient, str, Path, Starlette]) -> Iterator[str]:
    """The application behind a real socket; its own workers go on."""
    server = uvicorn.Server(uvicorn.Config(served[3], lifespan="off", log_level="warning"))
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [found]})
        thread.start()
        try:
            until(lambda: server.started)
            yield f"http://127.0.0.1:{found.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is the judge")
@pytest.mark.parametrize("file_format", ["npz", "parquet", "csvw"])
def test_curl_goes_on_with_a_download(
    served: tuple[TestClient, str, Path, Starlette], listening: str, tmp_path: Path, file_format: str
) -> None:
    client, name, _, _ = served
    at, path = address(name, file_format), tmp_path / "got"
    whole = client.get(at).content
    path.write_bytes(whole[: len(whole) // 3])  # as a connection that broke has left it
    command = [
        "curl",
        "--silent",
        "--show-error",
        "--fail",
        "-C",
        "-",
        "-o",
        str(path),
        "-w",
        "%{http_code}",
        listening + at,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout == "206" and path.read_bytes() == whole


def test_a_client_goes_on_where_its_connection_was_cut(
    served: tuple[TestClient, str, Path, Starlette], listening: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, name, work, _ = served
    monkeypatch.setattr(file_answer, "_PIECE_BYTES", 1000)
    at, got, tag, tries = listening + address(name, "stream"), b"", "", 0
    with httpx.Client(timeout=120) as other:
        while tries < 100:
            tries += 1
            headers = {"Range": f"bytes={len(got)}-", "If-Range": tag} if tag else {}
            with other.stream("GET", at, headers=headers) as answer:
                assert answer.status_code == (206 if tag else 200)
                tag, size = answer.headers["etag"], len(got)
                for piece in answer.iter_raw(4000):
                    got += piece
                    if len(got) - size > 300_000:
                        break  # leaves the connection in the middle
                else:
                    break
    assert tries > 1 and got == client.get(address(name, "stream")).content
    until(lambda: not [one for one in Places([], work).results("").parent.iterdir() if "." in one.name])


def test_a_result_that_is_erased_meanwhile_is_sent_to_its_end_and_then_gone(
    client: TestClient, lite: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The open file is what is sent: no byte of another one comes into it."""
    form = {"path": "talk.wav", "wait": "false", "embeddings": "true"}
    name = client.post("/v1/predictions", data=form).json()["id"]
    until(lambda: client.get(f"/v1/jobs/{name}").json()["state"] == "finished")
    whole = client.get(address(name, "npz"))
    monkeypatch.setattr(file_answer, "_PIECE_BYTES", 100)
    erased: list[int] = []
    real = file_answer.run_in_threadpool

    async def erase_first(function: object, *arguments: object) -> object:
        if not erased and getattr(function, "__name__", "") == "read":
            erased.append(0)
            erased[0] = (await real(client.delete, f"/v1/jobs/{name}")).status_code
        return await real(function, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(file_answer, "run_in_threadpool", erase_first)
    answer = client.get(address(name, "npz"))
    assert erased == [200] and answer.content == whole.content
    late = client.get(address(name, "npz"), headers={"Range": "bytes=100-", "If-Range": whole.headers["etag"]})
    assert late.status_code == 404


def test_a_job_that_is_posted_anew_has_another_tag(client: TestClient, data: Path, tmp_path: Path) -> None:
    """The same recording, the same id, the same values: a download of the old one does not go on with the new one."""
    store, tags = Store(tmp_path / "work" / "jobs.sqlite"), []
    request = form(data, "again", 1)
    for _ in range(2):
        assert client.post("/process", data=request).status_code == 200
        until(lambda: (job := store.get("again")) is not None and job.status.ended)
        answer = client.get(address("again", "csv"))
        assert answer.status_code == 200, answer.text
        tags.append(answer.headers["etag"])
    store.close()
    assert tags[0] != tags[1]
    late = client.get(address("again", "csv"), headers={"Range": "bytes=10-", "If-Range": tags[0]})
    assert late.status_code == 200 and late.content == answer.content
    assert client.get(address("again", "csv"), headers={"If-Match": tags[0]}).status_code == 412


def test_a_result_that_changes_while_it_is_read_is_tried_again(
    served: tuple[TestClient, str, Path, Starlette], monkeypatch: pytest.MonkeyPatch
) -> None:
    from emow2v.server.jobs import results

    client, name, _, _ = served
    changes = iter([["a"], ["b"], ["c"], ["c"], *([one] for one in range(100))])
    monkeypatch.setattr(results, "identity", lambda task, number: next(changes))
    assert client.get(address(name, "csv")).status_code == 200
    refused = client.get(address(name, "csv"))
    assert refused.status_code == 409 and "changes while it is read" in refused.json()["error"]


@pytest.mark.parametrize("stays", [True, False])
def test_a_file_counts_as_fetched_where_the_client_stayed_to_its_end(
    stays: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server takes pieces for a client that is gone, so that sending them says nothing."""
    monkeypatch.setattr(file_answer, "_PIECE_BYTES", 100)
    (tmp_path / "file").write_bytes(bytes(100_000))
    told: list[str] = []
    pieces: list[bytes] = []
    file = (tmp_path / "file").open("rb")
    answer = file_answer.FileAnswer(
        file,
        media_type="text/plain",
        headers={},
        sent=lambda: told.append("sent"),
        fetched=lambda: told.append("fetched"),
    )

    async def ask() -> None:
        left = asyncio.Event()

        async def receive() -> Message:
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            pieces.append(message.get("body", b""))
            if not stays and len(pieces) == 5:
                left.set()

        await answer({"type": "http", "method": "POST"}, receive, send)

    asyncio.run(ask())
    assert file.closed and "etag" not in answer.headers
    assert told == (["sent", "fetched"] if stays else ["sent"])
    assert (len(b"".join(pieces)) == 100_000) == stays


@pytest.mark.parametrize(
    "rest", ["audio", "turns?format=textgrid", "result?format=csvw", "result?format=csv", "rows", "waveform"]
)
def test_a_job_that_is_erased_while_its_answer_is_made(
    client: TestClient, data: Path, monkeypatch: pytest.MonkeyPatch, rest: str
) -> None:
    """After each of the steps in which the answer looks at the job's files."""
    files = {"file": ("talk.wav", (data / "talk.wav").read_bytes())}
    real, statuses = views.or_404, []
    for last in itertools.count(1):
        name = client.post("/v1/predictions", data={"wait": "false", "speech": "true"}, files=files).json()["id"]
        until(functools.partial(is_finished, client, name))
        assert client.get(f"/v1/jobs/{name}/{rest}").status_code == 200
        steps: list[int] = []

        def step(
            function: Callable[[], object], steps: list[int] = steps, last: int = last, name: str = name
        ) -> object:
            found = real(function)
            steps.append(client.delete(f"/v1/jobs/{name}").status_code if len(steps) + 1 == last else 0)
            return found

        with monkeypatch.context() as patched:
            patched.setattr(turns, "or_404", step)
            patched.setattr(views, "or_404", step)
            answer = client.get(f"/v1/jobs/{name}/{rest}")
        if len(steps) < last:
            break
        statuses.append(answer.status_code)
        assert steps[last - 1] == 200 and answer.status_code in (200, 404), answer.text
        if answer.status_code == 404:
            assert answer.json()["error"].endswith(".") and str(data.parent) not in answer.text
    assert statuses and (404 in statuses or not rest.startswith(("audio", "result")))


def is_finished(client: TestClient, name: str) -> bool:
    return bool(client.get(f"/v1/jobs/{name}").json()["state"] == "finished")
