"""tuspy, a client that others wrote, uploads to a real server; connections are cut, and the server is killed."""

import base64
import functools
import http.client
import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from tusclient.client import TusClient
from tusclient.exceptions import TusUploadFailed
from tusclient.storage.filestorage import FileStorage

from cut_lines import cutting
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from waiting import HANG_S, until

# tuspy leaves the files open that it reads
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

TUS = {"Tus-Resumable": "1.0.0"}
BODY = {"Content-Type": "application/offset+octet-stream"}
CONTENT = np.random.default_rng(0).bytes(3_000_000)


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, trust_env=False, timeout=HANG_S) as asking:
        yield asking


def create(client: httpx.Client, length: int) -> str:
    made = client.post("/v1/uploads", headers=TUS | {"Upload-Length": str(length)})
    assert made.status_code == 201, made.text
    return str(made.request.url.join(made.headers["location"]))


def offset(client: httpx.Client, address: str) -> int:
    return int(client.head(address, headers=TUS).headers["upload-offset"])


def whole(work: Path, address: str) -> bytes:
    """The content of a finished upload."""
    return (work / "uploads" / address.rpartition("/")[2]).read_bytes()


def patch(client: httpx.Client, address: str, begin: int, content: bytes, **more: str) -> httpx.Response:
    return client.patch(address, content=content, headers=TUS | BODY | {"Upload-Offset": str(begin)} | more)


def half_sent(address: str, begin: int, stated: int, content: bytes) -> socket.socket:
    """A connection on which a part of a body was sent."""
    url = httpx.URL(address)
    line = socket.create_connection((url.host, url.port))
    head = [f"PATCH {url.path} HTTP/1.1", f"Host: {url.host}", "Tus-Resumable: 1.0.0", f"Upload-Offset: {begin}"]
    head += [f"Content-Type: {BODY['Content-Type']}", f"Content-Length: {stated}", "", ""]
    line.sendall("\r\n".join(head).encode() + content)
    return line


def test_tuspy_goes_on_with_an_interrupted_upload(url: str, client: httpx.Client, lite: Model, tmp_path: Path) -> None:
    """In another process, say: it finds the address in its storage, and asks for the offset."""
    storage = FileStorage(str(tmp_path / "urls.json"))
    options = {
        "chunk_size": 50_000,
        "store_url": True,
        "url_storage": storage,
        "metadata": {"filename": "Gespräch 😀.wav"},
    }
    first = TusClient(f"{url}/v1/uploads").uploader(str(EXAMPLE), **options)
    first.upload(stop_at=100_000)
    second = TusClient(f"{url}/v1/uploads").uploader(str(EXAMPLE), upload_checksum=True, **options)
    assert second.url == first.url and second.offset == 100_000
    second.upload()
    storage.close()
    posted = client.post("/v1/predictions", data={"upload": second.url.rpartition("/")[2], "unit": "files"})
    assert posted.status_code == 200, posted.text
    (row,) = posted.json()["rows"]
    assert posted.json()["file"] == "Gespräch 😀.wav"
    np.testing.assert_allclose(row[2:5], lite.predict(EXAMPLE, unit="files").scores[0], atol=2e-6)


def test_tuspy_goes_on_by_itself_where_its_line_is_cut(url: str, client: httpx.Client, work: Path) -> None:
    with cutting(url, [1_000_000, 700_000, 300_000]) as line:
        made = TusClient(f"{line}/v1/uploads/").uploader(file_stream=io.BytesIO(CONTENT), retries=200, retry_delay=0.1)
        made.upload()
    path = httpx.URL(made.url).path
    assert offset(client, path) == len(CONTENT)
    assert whole(work, path) == CONTENT


def test_tuspy_sends_a_piece_again_whose_checksum_is_wrong(url: str, client: httpx.Client, work: Path) -> None:
    made = TusClient(f"{url}/v1/uploads").uploader(
        file_stream=io.BytesIO(CONTENT), chunk_size=1_000_000, upload_checksum=True
    )
    made.upload(stop_at=1_000_000)
    sha1 = base64.b64encode(bytes(20)).decode()
    assert patch(client, made.url, 1_000_000, b"noise", **{"Upload-Checksum": f"sha1 {sha1}"}).status_code == 460
    made.upload()
    assert whole(work, made.url) == CONTENT


def test_bytes_that_came_before_a_cut_are_kept(client: httpx.Client, work: Path) -> None:
    address = create(client, len(CONTENT))
    line = half_sent(address, 0, len(CONTENT), CONTENT[:1_777_777])
    until(lambda: offset(client, address) >= 1 << 20)
    line.close()
    until(
        lambda: address.endswith(tuple(one["id"] for one in client.get("/v1/uploads").json() if not one["receiving"]))
    )
    kept = offset(client, address)
    assert 1 << 20 <= kept <= 1_777_777
    assert patch(client, address, kept, CONTENT[kept:]).status_code == 204
    assert whole(work, address) == CONTENT


def test_two_requests_at_once_do_not_mix(client: httpx.Client, work: Path) -> None:
    """The second is refused as long as the first gets bytes, and takes its place when it gets none."""
    address = create(client, len(CONTENT))
    line = half_sent(address, 0, len(CONTENT), CONTENT[:1_200_000])
    (_,) = until(lambda: [one for one in client.get("/v1/uploads").json() if one["receiving"]])
    until(lambda: offset(client, address) > 0)
    assert patch(client, address, 0, CONTENT).status_code in (409, 423)
    statuses = set()

    def goes_on() -> bool:
        answer = patch(client, address, offset(client, address), CONTENT[offset(client, address) :])
        statuses.add(answer.status_code)
        return answer.status_code == 204

    until(goes_on)
    assert statuses <= {204, 423, 409}
    answer = http.client.HTTPResponse(line)
    answer.begin()
    assert answer.status == 409 and b"newer request" in answer.read()
    line.close()
    assert whole(work, address) == CONTENT


def test_many_requests_at_once_give_one_file(url: str, client: httpx.Client, work: Path) -> None:
    address = create(client, len(CONTENT))
    statuses: list[int] = []

    def send() -> None:
        with httpx.Client(base_url=url, trust_env=False, timeout=HANG_S) as own:
            while (begin := offset(own, address)) < len(CONTENT):
                statuses.append(patch(own, address, begin, CONTENT[begin : begin + 200_000]).status_code)

    threads = [threading.Thread(target=send) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert set(statuses) <= {204, 409, 423} and 204 in statuses  # 409 also where a slow request was taken over
    assert whole(work, address) == CONTENT


def test_an_upload_is_removed_while_it_is_sent(client: httpx.Client) -> None:
    address = create(client, len(CONTENT))
    line = half_sent(address, 0, len(CONTENT), CONTENT[:100_000])
    until(lambda: [one for one in client.get("/v1/uploads").json() if one["receiving"]])
    assert client.delete(address, headers=TUS).status_code == 204
    assert b" 409 " in line.recv(1000).partition(b"\r\n")[0]
    line.close()
    assert client.head(address, headers=TUS).status_code == 404


def test_a_broken_client_fails_with_a_sentence(url: str) -> None:
    made = TusClient(f"{url}/v1/uploads").uploader(file_stream=io.BytesIO(CONTENT), chunk_size=1_000_000)
    made.upload(stop_at=1_000_000)
    made.offset = 5
    with pytest.raises(TusUploadFailed) as failed:
        made.upload_chunk()
    assert failed.value.status_code == 409 and b"1000000 bytes" in failed.value.response_content


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills by a signal")
def test_a_killed_server_keeps_what_it_has_told(tmp_path: Path) -> None:
    work, size = tmp_path / "work", len(CONTENT)
    command = [sys.executable, "-m", "emow2v", "serve", "--port", "0", "--threads", "1", "--work-dir", str(work)]
    told, path = 0, ""
    lines: list[socket.socket] = []
    for goes_on in (True, True, True, False):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path)
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found
        with httpx.Client(base_url=found[0], trust_env=False, timeout=HANG_S) as client:
            path = path or httpx.URL(create(client, size)).path
            now = offset(client, path)
            assert told <= now <= size
            if goes_on:
                told = int(patch(client, path, now, CONTENT[now : now + 150_000]).headers["upload-offset"])
                lines.append(half_sent(found[0] + path, told, size - told, CONTENT[told : told + 700_000]))
                until(functools.partial(_is_beyond, client, path, told))
                os.kill(process.pid, signal.SIGKILL)
            else:
                TusClient(f"{found[0]}/v1/uploads").uploader(
                    file_stream=io.BytesIO(CONTENT), url=found[0] + path
                ).upload()
                assert whole(work, path) == CONTENT
                process.terminate()
        process.communicate(timeout=HANG_S)
    for line in lines:
        line.close()


def _is_beyond(client: httpx.Client, path: str, told: int) -> bool:
    return offset(client, path) > told


def test_soundfile_can_read_what_came(client: httpx.Client, tmp_path: Path) -> None:
    """Another reader takes the recording that comes back for the one that was sent."""
    sent = EXAMPLE.read_bytes()
    address = create(client, len(sent))
    for begin in range(0, len(sent), 70_000):
        assert patch(client, address, begin, sent[begin : begin + 70_000]).status_code == 204
    posted = client.post(
        "/v1/predictions", data={"upload": address.rpartition("/")[2], "unit": "files", "wait": "false"}
    )
    (tmp_path / "back.wav").write_bytes(client.get(f"/v1/jobs/{posted.json()['id']}/audio").content)
    np.testing.assert_array_equal(soundfile.read(tmp_path / "back.wav")[0], soundfile.read(EXAMPLE)[0])
