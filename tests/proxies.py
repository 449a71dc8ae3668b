"""A real nginx for tests, with the file that administrators copy (deploy/nginx.conf), and no rights of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

import waiting
from emow2v.server.security.tls import self_signed
from ports import kept_port

FILE = Path(__file__).parents[1] / "deploy" / "nginx.conf"
SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"])
NGINX = shutil.which("nginx", path=SEARCHED)  # Debian's place for it is on no user's path
MISSING = "nginx is not installed (apt install nginx)"
UPSTREAM = "127.0.0.1:8080"
PLACES = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")  # where nginx puts what it buffers


@contextmanager
def nginx(folder: Path, server: str, changes: Mapping[str, str] | None = None) -> Iterator[str]:
    """nginx in front of a server, over HTTPS with a certificate that nobody knows; gives its address.

    Args:
        folder: an empty one, for the configuration and the log
        server: address of the server
        changes: of the file, texts by those whose place they take
    """
    certificate, key = self_signed(folder)
    with kept_port() as port:
        text = FILE.read_text(encoding="utf-8")
        changes = {
            **(changes or {}),
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "/etc/ssl/certs/lab.example.org.pem": str(certificate),
            "/etc/ssl/private/lab.example.org.key": str(key),
            UPSTREAM: server.removeprefix("http://"),
        }
        for before, after in changes.items():
            assert before in text, before
            text = text.replace(before, after)
        (folder / "emow2v.conf").write_text(text, encoding="utf-8")
        owner = (
            "user root;" if sys.platform == "linux" and os.getuid() == 0 else ""
        )  # else another account, without rights here
        places = " ".join(f"{place}_temp_path {folder / place};" for place in PLACES)
        main = f"""daemon off; {owner} worker_processes 1; pid {folder / "pid"}; error_log {folder / "log"};
        events {{}} http {{ access_log off; {places} include {folder / "emow2v.conf"}; }}"""
        (folder / "nginx.conf").write_text(main, encoding="utf-8")
        assert NGINX is not None
        command = [NGINX, "-p", str(folder), "-e", str(folder / "log"), "-c", str(folder / "nginx.conf")]
        process = subprocess.Popen(command)
        url = f"https://127.0.0.1:{port}"
        try:
            with client(url) as asking:
                waiting.until(lambda: _answers(asking) or process.poll() is not None)
            assert process.poll() is None, (folder / "log").read_text()
            yield url
        finally:
            process.terminate()
            process.wait(timeout=30)
        assert "[emerg]" not in (folder / "log").read_text()


def client(url: str, **options: object) -> httpx.Client:
    """A client that takes the certificate."""
    return httpx.Client(base_url=url, verify=False, trust_env=False, timeout=120, **options)  # type: ignore[arg-type]


def _answers(asking: httpx.Client) -> bool:
    try:
        return asking.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False
