import os
import stat
from pathlib import Path

import pytest

from emow2v.discover.database import passwords
from emow2v.errors import RequestError

PASSWORD = "s3cret \u00e4\n"


def test_a_kept_password_is_read_until_it_is_forgotten(tmp_path: Path) -> None:
    folder = tmp_path / "passwords"
    text = passwords.keep(folder, PASSWORD)
    assert PASSWORD not in text and text.startswith(passwords.MASK)
    assert passwords.read(folder, text) == PASSWORD
    passwords.forget(folder, {"dbPassword": text, "dbUser": "nova"})
    assert list(folder.iterdir()) == []
    with pytest.raises(RequestError, match="not kept any more; post it again"):
        passwords.read(folder, text)


@pytest.mark.skipif(os.name == "nt", reason="Windows has other rights")
def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    passwords.keep(tmp_path / "passwords", PASSWORD)
    (file,) = (tmp_path / "passwords").iterdir()
    assert [stat.S_IMODE(one.stat().st_mode) for one in (file, file.parent)] == [0o600, 0o700]


@pytest.mark.parametrize("text", ["", "****", "**** ../../etc/passwd", "**** " + "0" * 31, "x**** " + "0" * 32])
def test_only_names_of_passwords_are_read(tmp_path: Path, text: str) -> None:
    with pytest.raises(RequestError, match="not kept any more"):
        passwords.read(tmp_path, text)
    passwords.forget(tmp_path, {"dbPassword": text})


def test_old_passwords_that_no_job_names_are_swept(tmp_path: Path) -> None:
    used, unused = (passwords.keep(tmp_path, PASSWORD) for _ in range(2))
    now = (tmp_path / unused.split()[1]).stat().st_mtime
    passwords.sweep(tmp_path, [{"db_password": used}], now + 60)  # a request may be on its way into the store
    assert len(list(tmp_path.iterdir())) == 2
    passwords.sweep(tmp_path, [{"db_password": used}], now + 3600)
    assert [path.name for path in tmp_path.iterdir()] == [used.split()[1]]


def test_secrets_are_masked_and_nothing_else() -> None:
    secret = {"dbPassword": "a", "apiToken": "b", "mySecret": "c", "dbPasswort": "d", "dbPass": "e", "db_pwd": "f"}
    plain = {"dbUser": "g", "token": "", "dbHost": "h"}
    assert passwords.masked(secret | plain) == dict.fromkeys(secret, "****") | plain
