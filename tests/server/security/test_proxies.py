"""Below a path, behind a proxy: which headers are believed of whom, and where addresses lead then."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from emow2v.cards import find
from emow2v.errors import Emow2vError
from emow2v.server.run import Server
from emow2v.server.security.proxies import check_proxies, usable
from servers import app

TOKEN = "correct horse"
PROXY, STRANGER = ("127.0.0.1", 5000), ("192.0.2.7", 5000)
HTML = {"Accept": "text/html"}


@contextmanager
def seen_from(client: tuple[str, int], folder: Path, **options: Any) -> Iterator[TestClient]:
    """A server as a client at an address sees it."""

    def never(name: str):
        raise AssertionError("no job runs here")

    served = app(find("lite"), [folder], folder / "work", never, **options)
    with TestClient(served, client=client, follow_redirects=False) as asking:
        yield asking


@pytest.mark.parametrize("root_path", ["/emow2v", "/emow2v/", "/a/b.c/~d_e-f"])
def test_a_server_below_a_path(tmp_path: Path, root_path: str) -> None:
    prefix = root_path.rstrip("/")
    with seen_from(STRANGER, tmp_path, root_path=root_path, token=TOKEN) as client:
        bare = client.get(prefix, params={"a": "b"})
        assert bare.status_code == 307 and bare.headers["location"] == f"{prefix.rpartition('/')[2]}/"
        sent = client.get(f"{prefix}/live", headers=HTML)
        assert sent.status_code == 303 and sent.headers["location"] == "login?next=/live"
        entered = client.post(f"{prefix}/login?next=/live", data={"token": TOKEN})
        assert entered.headers["location"] == "./live" and f"path={prefix}/;" in entered.headers["set-cookie"].lower()
        assert client.get(f"{prefix}/live").status_code == 200  # with the cookie
        assert client.get("/live").status_code == 401  # another service of the proxy would not get it
        mine = {"Authorization": f"Bearer {TOKEN}"}
        assert client.get("/v1/jobs", headers=mine).json() == client.get(f"{prefix}/v1/jobs").json() == []
        assert client.get(f"{prefix}{prefix}/healthz").status_code == 404
        assert client.get(f"{prefix}/v1/openapi.json").json()["servers"] == [{"url": f"{prefix}/v1"}]
        assert client.get("/v1/openapi.json", headers=mine).json()["paths"]
        moved = client.get(f"{prefix}/live/")  # Starlette's own redirect
        assert moved.headers["location"] == f"http://testserver{prefix}/live"
        assert client.get(f"{prefix}/static/style.css").status_code == 200
        assert client.get(f"{prefix}x/healthz", headers=mine).status_code == 404


def test_a_proxy_that_removes_the_path_names_it(tmp_path: Path) -> None:
    below = {"X-Forwarded-Prefix": "/emow2v/"}
    with seen_from(PROXY, tmp_path, token=TOKEN, root_path="/other") as client:
        assert client.get("/jobs/a", headers=HTML | below).headers["location"] == "../login?next=/jobs/a"
        cookie = client.post("/login", data={"token": TOKEN}, headers=below).headers["set-cookie"]
        assert "path=/emow2v/;" in cookie.lower()
        mine = {"Authorization": f"Bearer {TOKEN}"}
        told = client.get("/v1/openapi.json", headers=below | mine).json()
        assert told["servers"] == [{"url": "/emow2v/v1"}]
        # what a client writes twice is removed once only, so that rules of the proxy hold
        for path in ("/emow2v/v1/jobs", "/other/v1/jobs"):
            assert client.get(path, headers=below | mine).status_code == 404
        assert client.get("/v1/openapi.json", headers=mine).json()["servers"] == [{"url": "/other/v1"}]


FORWARDED = {"X-Forwarded-Prefix": "/evil", "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}


@pytest.mark.parametrize("address", [STRANGER, ("not-an-address", 1), ("127.0.0.1.evil", 1), ("", 0)])
def test_headers_of_others_change_nothing(tmp_path: Path, address: tuple[str, int]) -> None:
    with seen_from(address, tmp_path, token=TOKEN) as client:
        for headers in (FORWARDED, FORWARDED | {"X-Forwarded-Prefix": "//evil\\"}):
            answers = [
                client.post("/login", data={"token": TOKEN}, headers=sent).headers.multi_items()
                for sent in ({}, headers)
            ]
            assert answers[0] == answers[1] and "Path=/;" in str(answers[1]) and "Secure" not in str(answers[1])
            mine = headers | {"Authorization": f"Bearer {TOKEN}"}
            assert client.get("/v1/openapi.json", headers=mine).json()["servers"] == [{"url": "/v1"}]


def test_whose_headers_are_believed_is_chosen(tmp_path: Path) -> None:
    for client, allowed, believed in (
        (PROXY, None, True),
        (("::1", 1), None, True),
        (("::ffff:127.0.0.1", 1), None, True),  # as a listener on :: sees an IPv4 proxy
        (("::ffff:192.0.2.7", 1), ["192.0.2.0/24"], True),
        (("::ffff:192.0.2.7", 1), None, False),
        (STRANGER, ["192.0.2.0/24"], True),
        (STRANGER, ["10.1.2.3", "192.0.2.7"], True),
        (STRANGER, ["192.0.2.8"], False),
        (PROXY, ["192.0.2.0/24"], False),
        (("::1", 1), ["0.0.0.0/0"], False),
    ):
        given = {} if allowed is None else {"forwarded_allow": allowed}
        with seen_from(client, tmp_path, token=TOKEN, **given) as asking:
            cookie = asking.post("/login", data={"token": TOKEN}, headers=FORWARDED).headers["set-cookie"].lower()
            assert ("path=/evil/;" in cookie and "secure" in cookie) == believed, (client, allowed)


def test_a_page_cannot_name_a_host_by_a_header(tmp_path: Path) -> None:
    with seen_from(PROXY, tmp_path, host="127.0.0.1") as client:
        for name in ("X-Forwarded-Host", "Forwarded", "X-Forwarded-Server"):
            headers = {"Host": "evil.example", name: "127.0.0.1" if name != "Forwarded" else "host=127.0.0.1"}
            answer = client.get("/v1/jobs", headers=headers)
            assert answer.status_code == 421 and "--allow-host evil.example" in answer.json()["error"]
            headers = {"Host": "127.0.0.1", "Origin": "http://evil.example", "X-Forwarded-Host": "evil.example"}
            assert client.post("/cancel", data={"jobID": "a"}, headers=headers).status_code == 403
        odd = client.get("/v1/jobs", headers={"Host": "$(reboot)"}).json()["error"]
        assert odd.endswith("--allow-host NAME.")


ODD = [
    "//evil.example", "evil", "/a//b", "/\\evil", "\\\\evil", "/..", "/a/../b", "/.", "/./a", "/...", "/a b", "/a;Path=/", "/a,b",
    "/%2e%2e", "/a?b", "/a#b", "/ä", "/a\tb", "http://evil.example", "/" + "a" * 300, "//", "///", "/a//", " ",
]  # fmt: skip


def test_an_odd_prefix_is_refused(tmp_path: Path) -> None:
    with seen_from(PROXY, tmp_path) as client:
        for prefix in ODD:
            for path in ("/", "/v1/openapi.json", "/healthz"):
                answer = client.get(path, headers={"X-Forwarded-Prefix": prefix.encode("latin-1")})
                assert answer.status_code == 400, (prefix, path)
                assert "expected a path such as /emow2v" in answer.json()["error"]
                assert answer.headers["x-content-type-options"] == "nosniff"
            with pytest.raises(Emow2vError, match=r"--root-path is '.*'; expected a path such as /emow2v"):
                check_proxies(prefix, ())


@pytest.mark.parametrize("prefix", ["/a\r\nSet-Cookie: a=b", "/a\n", "\n", "/a\0", "/a\u2028", "/a\udcff"])
def test_a_prefix_with_a_line_end_is_refused(prefix: str) -> None:
    assert usable(prefix) is None
    with pytest.raises(Emow2vError, match="--root-path is"):
        check_proxies(prefix, ())


def test_two_prefixes_are_none(tmp_path: Path) -> None:
    with seen_from(PROXY, tmp_path) as client:
        twice = [("X-Forwarded-Prefix", "/a"), ("X-Forwarded-Prefix", "/a")]
        assert client.get("/healthz", headers=twice).status_code == 400
        assert client.get("/healthz", headers=[("X-Forwarded-Prefix", "/")]).status_code == 200


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"root_path": "emow2v"}, "--root-path is 'emow2v'; expected a path such as /emow2v"),
        ({"forwarded_allow": ["proxy.example"]}, "--forwarded-allow is no network .*proxy.example"),
        ({"forwarded_allow": ["*"]}, "--forwarded-allow is no network"),
        ({"forwarded_allow": [""]}, "--forwarded-allow is no network"),
    ],
)
def test_servers_that_do_not_start(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Emow2vError, match=sentence):
        Server(port=0, data_dirs=[tmp_path], work_dir=tmp_path / "work", **options)


def test_a_refused_websocket_says_why(tmp_path: Path) -> None:
    from starlette.testclient import WebSocketDenialResponse

    with seen_from(STRANGER, tmp_path, root_path="/emow2v", token=TOKEN) as client:
        for headers, status, word in (
            ({"Origin": "http://evil.example"}, 403, "proxy_set_header Host"),
            ({}, 401, "Authorization: Bearer"),
        ):
            with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/emow2v/v1/stream", headers=headers):  # fmt: skip
                pass
            assert refused.value.status_code == status and word in refused.value.json()["error"]
