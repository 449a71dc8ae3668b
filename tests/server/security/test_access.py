"""Who gets in: tokens, hosts, other sites, sizes."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
from starlette.testclient import TestClient

from emow2v.cards import find
from emow2v.cli.demo import request
from emow2v.errors import Emow2vError
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.server.run import Server
from emow2v.server.security import access as module
from emow2v.server.security.access import check_exposure, host_names, is_loopback
from emow2v.server.security.tls import self_signed
from servers import app
from waiting import until

TOKEN = "correct horse"
FORMS = ["/process", "/job_status", "/log", "/cancel", "/fetch_result", "/upload", "/cml_info"]
OTHERS = ["/", "/job_status_all", "/data", "/log/x", "/api/update_progress"]


def served(tmp_path: Path, **options: Any) -> TestClient:
    def never(name: str):
        raise AssertionError("no job runs here")

    return TestClient(app(find("lite"), [tmp_path], tmp_path / "work", never, **options), raise_server_exceptions=False)


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[TestClient]:
    with served(tmp_path, token=TOKEN) as client:
        yield client


@pytest.mark.parametrize("path", FORMS + OTHERS)
def test_nothing_is_told_without_the_token(locked: TestClient, path: str) -> None:
    ask = locked.get if path in OTHERS[:4] else locked.post
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Cookie": "emow2v-token=x"},
    ):
        answer = ask(path, headers=headers)
        assert answer.status_code == 401 and "token" in answer.json()["error"], (path, headers)
    assert ask(path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code != 401


def test_the_token_in_a_form(locked: TestClient) -> None:
    assert locked.post("/job_status", data={"jobID": "a", "token": TOKEN}).json() == {"known": "false", "status": 0}
    assert locked.post("/job_status", data={"jobID": "a", "token": TOKEN[:-1]}).status_code == 401
    multipart = {"jobID": (None, "a"), "token": (None, TOKEN)}
    assert locked.post("/job_status", files=multipart).status_code == 200
    assert locked.post("/upload", files={"file": ("a.wav", b"x")}, data={"token": TOKEN}).status_code == 200
    assert locked.post("/upload", files={"file": ("a.wav", b"x")}, data={"token": "no"}).status_code == 401
    assert locked.get("/job_status_all?token=correct+horse").status_code == 401  # addresses end up in logs


def test_the_login_page_gives_a_cookie(locked: TestClient) -> None:
    answer = locked.get("/", headers={"Accept": "text/html"}, follow_redirects=False)
    assert answer.status_code == 303 and answer.headers["location"] == "login?next=/"
    assert "password" in locked.get("/login").text
    assert locked.post("/login", data={"token": "no"}).status_code == 401
    answer = locked.post("/login?next=/data", data={"token": TOKEN}, follow_redirects=False)
    cookie = answer.headers["set-cookie"].lower()
    assert answer.headers["location"] == "./data" and "httponly" in cookie and "samesite=strict" in cookie
    assert locked.get("/data").json() == {"data": []}
    for elsewhere in ("//evil.example", "https://evil.example"):
        answer = locked.post("/login", params={"next": elsewhere}, data={"token": TOKEN}, follow_redirects=False)
        assert answer.headers["location"] == "./"


def test_health_is_open(locked: TestClient) -> None:
    assert locked.get("/healthz").json() == {"status": "ok"}
    assert locked.get("/readyz").json()["status"] == "ready"


def test_pages_of_other_sites_change_nothing(tmp_path: Path) -> None:
    with served(tmp_path) as client:
        for headers in (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ):
            answer = client.post("/cancel", data={"jobID": "a"}, headers=headers)
            assert answer.status_code == 403 and "another site" in answer.json()["error"], headers
            assert "proxy_set_header Host" in answer.json()["error"]
        for headers in ({}, {"Origin": "http://testserver"}, {"Sec-Fetch-Site": "same-origin"}):
            assert client.post("/cancel", data={"jobID": "a"}, headers=headers).status_code == 404
        assert client.get("/data", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200  # a link to it


def test_names_the_server_does_not_have(tmp_path: Path) -> None:
    with served(tmp_path, host="127.0.0.1") as client:
        for host in ("localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080", "LOCALHOST"):
            assert client.get("/healthz", headers={"Host": host}).status_code == 200, host
        for host in ("evil.example", "evil.example:8080", "127.0.0.1.evil.example", ""):
            assert client.get("/healthz", headers={"Host": host}).status_code == 421, host
    assert host_names("0.0.0.0") == frozenset() and "lab" in host_names("0.0.0.0", ["Lab"])


def test_bodies_have_an_end(tmp_path: Path) -> None:
    with served(tmp_path, max_upload_mb=0.001) as client:
        assert client.post("/job_status", data={"jobID": "a" * 500}).status_code == 200
        answer = client.post("/upload", files={"file": ("a.wav", bytes(2000))})
        assert answer.status_code == 413 and "--max-upload" in answer.json()["error"]

        def slowly() -> Iterator[bytes]:
            for _ in range(20):
                yield bytes(100)

        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        assert client.post("/job_status", content=slowly(), headers=headers).status_code == 413
        assert not list((tmp_path / "work").glob("uploads/*"))


def test_strangers_send_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FORM", 2000)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with served(tmp_path, token=TOKEN, max_upload_mb=0.01) as client:
        sound = {"file": ("a.wav", bytes(5000))}
        answer = client.post("/upload", files=sound, data={"token": TOKEN})
        assert answer.status_code == 413 and "Authorization: Bearer TOKEN" in answer.json()["error"]
        assert client.post("/upload", files=sound, headers=headers).status_code == 200
        assert client.post("/upload", files={"file": ("a.wav", bytes(500))}, data={"token": TOKEN}).status_code == 200
        for kind in ("application/x-www-form-urlencoded", "text/plain", "", "multipart/form-dataX"):
            answer = client.post("/v1/predictions", content=bytes(5000), headers=headers | {"Content-Type": kind})
            assert answer.status_code == 413 and "as multipart/form-data" in answer.json()["error"], kind


def test_what_is_held_in_memory_of_uploads_is_little(tmp_path: Path) -> None:
    with served(tmp_path) as client:
        for route in ("/upload", "/v1/predictions"):
            for fields in ({f"{number}": "" for number in range(60)}, {"name": "x" * 100_000}):
                answer = client.post(route, files={"file": ("a.wav", b"")}, data=fields)
                assert answer.status_code == 400 and answer.json()["error"], route
        twice = [("file", ("a.wav", b"")), ("file", ("b.wav", b""))]
        assert client.post("/v1/predictions", files=twice).status_code == 422  # a recording, and two files with turns
        assert client.post("/v1/predictions", files=[*twice, *twice]).status_code == 400
        assert not list((tmp_path / "work").glob("uploads/*"))


def test_recordings_have_an_end(lite: Model, tmp_path: Path) -> None:
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    sound = io.BytesIO()
    soundfile.write(sound, signal[: 3 * rate], rate, format="flac")
    said = bytearray(sound.getvalue())
    said[21:26] = bytes([said[21] & 0xF0]) + (rate // 10).to_bytes(4, "big")  # its header says a tenth of a second
    honest, lying = tmp_path / "honest.flac", tmp_path / "lying.flac"
    honest.write_bytes(sound.getvalue())
    lying.write_bytes(said)
    with TestClient(
        app(lite.card, [tmp_path], tmp_path / "work", lambda name: lite, max_duration_h=2 / 3600)
    ) as client:
        for path, status in ((honest, 413), (lying, 200)):
            form = request(tmp_path, path) | {"jobID": path.stem}
            answer = client.post("/process", data=form)
            assert answer.status_code == status, answer.text
        sentence = "lasts longer than the 2 s that are allowed; cut it into parts"
        told = until(lambda: (now := client.post("/job_status", data={"jobID": "lying"}).json())["status"] > 1 and now)
        assert told["status"] == 3 and sentence in told["error"]
        for path, status in ((honest, 413), (lying, 400)):  # found out by the worker, which knows no HTTP
            for unit in ("windows", "files"):
                files = {"file": ("a b.flac", path.read_bytes())}
                answer = client.post("/v1/predictions", files=files, data={"unit": unit})
                assert (answer.status_code, answer.json()["error"]) == (status, f"a b.flac {sentence}.")
        assert len(list((tmp_path / "work" / "uploads").iterdir())) == 2  # of what was refused at once nothing is kept
        # what counts is what is asked for
        form = {"path": "honest.flac", "end": "1s", "unit": "files"}
        assert client.post("/v1/predictions", data=form).status_code == 200


def test_an_open_server_needs_a_token() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "[::1]", "127.8.0.1"):
        assert is_loopback(host)
        check_exposure(host, "", insecure=False)
    for host in ("0.0.0.0", "::", "192.168.1.2", "lab.example"):
        with pytest.raises(Emow2vError, match="Give --token"):
            check_exposure(host, "", insecure=False)
        check_exposure(host, "t", insecure=False)
        check_exposure(host, "", insecure=True)
    for token in ("gehäim", "a\nb", " a", "a\t", "\x7f"):
        with pytest.raises(Emow2vError, match="no header can"):
            check_exposure("127.0.0.1", token, insecure=True)


def test_a_certificate_of_its_own(tmp_path: Path) -> None:
    x509 = pytest.importorskip("cryptography.x509")
    certificate, key = self_signed(tmp_path / "work", "192.168.1.2")
    read = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    assert "192.168.1.2" in map(str, names.get_values_for_type(x509.IPAddress))
    assert sys.platform == "win32" or key.stat().st_mode & 0o077 == 0
    before = certificate.read_bytes()
    assert self_signed(tmp_path / "work") == (certificate, key) and certificate.read_bytes() == before
    certificate.write_text("no certificate")
    assert self_signed(tmp_path / "work") == (certificate, key)
    assert x509.load_pem_x509_certificate(certificate.read_bytes())  # made anew


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"tls_cert": "a.pem"}, "belong together"),
        ({"tls_cert": "a.pem", "tls_key": "b.pem"}, "are no certificate with its key"),
        ({"tls_cert": "a.pem", "tls_key": "b.pem", "tls_self_signed": True}, "makes its own"),
        ({"host": "0.0.0.0"}, "Give --token"),
    ],
)
def test_servers_that_do_not_start(tmp_path: Path, options: dict[str, object], sentence: str) -> None:
    (tmp_path / "a.pem").write_text("a")
    (tmp_path / "b.pem").write_text("b")
    given = {name: tmp_path / value if str(value).endswith(".pem") else value for name, value in options.items()}
    with pytest.raises(Emow2vError, match=sentence):
        Server(port=0, data_dirs=[tmp_path], work_dir=tmp_path / "work", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "host, origin",
    [
        ("127.0.0.1:8080", "https://emow2v.example.org"),  # nginx as it comes
        ("emow2v", "https://emow2v.example.org"),  # the name of an upstream or a container
        ("emow2v.example.org:8080", "https://emow2v.example.org"),  # $host:$server_port
        ("localhost", "http://localhost:8080"),
        ("10.0.0.7:8080", "http://192.168.1.5"),
    ],
)
def test_a_proxy_that_rewrites_the_host_is_told_what_to_pass_on(tmp_path: Path, host: str, origin: str) -> None:
    with served(tmp_path) as client:
        answer = client.post("/cancel", data={"jobID": "a"}, headers={"Host": host, "Origin": origin})
        said = answer.json()["error"]
        assert answer.status_code == 403 and "nginx: proxy_set_header Host $http_host;" in said
        assert origin.partition("//")[2] in said and host in said
        passed = {"Host": origin.partition("//")[2], "Origin": origin}
        assert client.post("/cancel", data={"jobID": "a"}, headers=passed).status_code == 404


def test_a_missing_token_names_only_what_an_address_takes(locked: TestClient) -> None:
    for route in ("/job_status", "/process", "/cancel", "/fetch_result", "/cml_info"):  # as NOVA asks, without headers
        assert "or a form field token" in locked.post(route, data={"jobID": "a"}).json()["error"]
    for answer in (
        locked.post("/v1/predictions", data={"path": "talk.wav", "token": "wrong"}),
        locked.get("/v1/jobs?token=x"),
        locked.get("/job_status_all"),
        locked.get("/metrics"),
        locked.delete("/v1/jobs/a"),
    ):
        assert answer.status_code == 401 and "'Authorization: Bearer TOKEN'" in answer.json()["error"]
        assert "form field" not in answer.json()["error"], answer.text
