"""How the pages are served: complete, with security headers, and nothing from other servers.

`tests/server/test_browser.py` opens them in a browser.
"""

import gzip
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
from starlette.testclient import TestClient

from emow2v.model import Model
from emow2v.server.routes import pages
from servers import app

PAGES = ("/", "/jobs/any", "/together", "/live", "/v1/docs")
STATUS = {"/jobs/any": 404}  # the page of a job that nobody has posted says so


@pytest.fixture
def client(lite: Model, tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(app(lite.card, [tmp_path], tmp_path / "work", lambda name: lite)) as client:
        yield client


class Linked(HTMLParser):
    """Addresses that a page loads, and its inline scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.addresses += [values[name] for name in ("src", "href", "action") if name in values]
        self.inline += [name for name in values if name.startswith("on") or name == "style"]
        if tag == "script" and "src" not in values:
            self.inline.append(tag)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_loads_files_of_this_server_only(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == STATUS.get(path, 200) and answer.headers["content-type"].startswith("text/html")
    assert "{" not in re.sub(r"<script.*?</script>", "", answer.text)  # no placeholder is left
    linked = Linked(answer.text)
    assert linked.inline == []
    for address in linked.addresses:
        assert not urlsplit(address).netloc and not address.startswith("/"), (
            address
        )  # a proxy may show them below a path
        if not address.startswith("#"):
            assert client.get(urljoin(path, address)).status_code == 200, address
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'" and policy["script-src"] == "'self'"
    assert ("'unsafe-inline'" in policy["style-src"]) == (path not in ("/", "/v1/docs"))
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/x", "/job_status_all", "/data", "/log/x", "/v1/models"])
def test_browsers_keep_nothing_that_tells_of_a_job(client: TestClient, path: str) -> None:
    assert client.get(path).headers["cache-control"] == "no-store"


def test_scripts_import_files_of_this_server_only(client: TestClient) -> None:
    scripts = sorted(pages.STATIC.glob("*.js"))
    assert len(scripts) > 10
    for script in scripts:
        text = script.read_text(encoding="utf-8")
        for name in re.findall(r'from "\./([^"]+)"|URL\("([^"/]+)", import', text):
            assert (pages.STATIC / (name[0] or name[1])).is_file(), (script.name, name)
        assert not re.search(r'["`]/(?:v1|static|jobs|live|together|login)\b', text), script.name  # see `address`
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|https?://(?!localhost)", text), script.name  # fmt: skip
        answer = client.get(f"/static/{script.name}")
        assert "javascript" in answer.headers["content-type"] and answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/static/../pages.py").status_code == 404
    assert client.get("/static/%2e%2e/pages.py").status_code == 404


def test_plotly_comes_from_its_package(client: TestClient) -> None:
    address = next(address for address in Linked(client.get("/live").text).addresses if "plotly" in address)
    assert address == f"static/plotly.min.js?v={version('plotly')}"
    plain = client.get(address, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers and "immutable" in plain.headers["cache-control"]
    with client.stream("GET", address, headers={"Accept-Encoding": "gzip"}) as packed:
        raw = b"".join(packed.iter_raw())
        assert packed.headers["content-encoding"] == "gzip" and packed.headers["vary"] == "Accept-Encoding"
    assert gzip.decompress(raw) == plain.content and len(raw) < len(plain.content) / 2


def test_a_server_without_plotly_says_what_to_do(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_plotly", lambda: ("", None))
    answer = client.get("/static/plotly.min.js")
    assert answer.status_code == 404 and "pip install 'emow2v[server]'" in answer.text
    for path in PAGES:
        page = client.get(path)
        assert (
            page.status_code == STATUS.get(path, 200)
            and "plotly.min.js" not in page.text
            and "{plotly}" not in page.text
        )


def test_responses_that_are_no_pages_may_load_nothing(client: TestClient) -> None:
    for path in ("/v1/jobs", "/healthz", "/v1/jobs/never", "/nothing"):
        headers = client.get(path).headers
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "same-origin"


def test_login_leads_back_and_nowhere_else(lite: Model, tmp_path: Path) -> None:
    with TestClient(app(lite.card, [tmp_path], tmp_path / "work", lambda name: lite, token="the token")) as client:
        sent = client.get("/jobs/a%20b", headers={"Accept": "text/html"}, follow_redirects=False)
        assert sent.status_code == 303 and sent.headers["location"] == "../login?next=/jobs/a%20b"
        for path in ("/static/style.css", "/static/icon.svg", "/login"):
            assert client.get(path).status_code == 200
        assert client.get("/static/job.js").status_code == 401
        wrong = client.post("/login", data={"token": "a"})
        assert wrong.status_code == 401 and 'role="alert"' in wrong.text
        for target, expected in (
            ("/live", "./live"),
            ("//evil.example/", "./"),
            ("https://evil.example/", "./"),
            ("/../other/", "./"),
            ("/%2e%2E/other/", "./"),
        ):
            data = {"token": "the token"}
            right = client.post("/login", params={"next": target}, data=data, follow_redirects=False)
            assert right.status_code == 303 and right.headers["location"] == expected
        cookie = right.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie
        assert client.get("/live").status_code == 200
