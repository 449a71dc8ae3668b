"""A certificate of the server's own, whatever a server that was killed has left of one."""

import logging
import ssl
from pathlib import Path

import pytest

pytest.importorskip("cryptography")

from emow2v.server.security import tls
from emow2v.server.security.tls import self_signed


def fits(certificate: Path, key: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError):
        return False
    return True


@pytest.mark.parametrize(
    "left", ["another key", "another certificate", "half a key", "no certificate", "empty", "text"]
)
def test_what_does_not_belong_together_is_made_anew(
    tmp_path: Path, left: str, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = self_signed(tmp_path / "work")
    other_certificate, other_key = self_signed(tmp_path / "other")
    before = certificate.read_bytes(), key.read_bytes()
    if left == "another key":
        key.write_bytes(other_key.read_bytes())
    elif left == "another certificate":
        certificate.write_bytes(other_certificate.read_bytes())
    elif left == "half a key":
        key.write_bytes(key.read_bytes()[:100])
    elif left == "no certificate":
        certificate.unlink()
    elif left == "empty":
        certificate.write_bytes(b"")
    else:
        certificate.write_bytes(b"no certificate")
    assert not fits(certificate, key)
    with caplog.at_level(logging.WARNING):
        made = self_signed(tmp_path / "work")
    assert made == (certificate, key) and fits(*made) and key.stat().st_mode & 0o077 == 0
    assert ("made anew" in caplog.text) == (left != "no certificate")
    assert (certificate.read_bytes(), key.read_bytes()) != before
    assert self_signed(tmp_path / "work") == made and sorted(path.name for path in (tmp_path / "work").iterdir()) == [
        "tls-cert.pem",
        "tls-key.pem",
    ]


def test_killed_between_the_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = self_signed(tmp_path)
    monkeypatch.setattr(tls, "RENEW_DAYS", tls.DAYS + 1)  # due
    replace, names = Path.replace, []

    def once(path: Path, target: Path) -> Path:
        names.append(target.name)
        if len(names) == 2:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", once)
    with pytest.raises(KeyboardInterrupt):
        self_signed(tmp_path)
    monkeypatch.undo()
    assert not fits(certificate, key)
    assert fits(*self_signed(tmp_path))
