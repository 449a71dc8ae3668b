"""Keys of callbacks, and their signatures."""

import hashlib
import hmac
from pathlib import Path

import pytest

from emow2v.errors import Emow2vError
from emow2v.server.callbacks.keys import Key, read_keys, signature

pytestmark = pytest.mark.quick

SECRET = "0123456789abcdef0123456789abcdef"


def test_every_key_of_the_file_signs(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# since May\n2026a {SECRET}\n\n2026b {SECRET[::-1]}\n")
    keys = read_keys(tmp_path / "keys")
    assert [key.id for key in keys] == ["2026a", "2026b"] and SECRET not in repr(keys)
    expected = hmac.digest(SECRET.encode(), b"17.{}", "sha256").hex()
    other = hmac.new(SECRET[::-1].encode(), b"17.{}", hashlib.sha256).hexdigest()
    assert signature(keys, "17", b"{}") == f"2026a={expected},2026b={other}"
    assert signature(keys, "18", b"{}") != signature(keys, "17", b"{}") != signature(keys, "17", b"{ }")


def test_a_file_that_an_editor_on_windows_saved(tmp_path: Path) -> None:
    for first in ("# since May", f"2026b {SECRET[::-1]}"):
        (tmp_path / "keys").write_bytes(f"{first}\r\n2026a {SECRET}\r\n".encode("utf-8-sig"))
        (*_, key) = keys = read_keys(tmp_path / "keys")
        assert key == Key("2026a", SECRET) and [one.id for one in keys] == (
            ["2026a"] if first[0] == "#" else ["2026b", "2026a"]
        )


def test_a_published_example_of_hmac_sha256() -> None:
    # RFC 4231, test case 2, whose message has a blank where a timestamp ends here
    key = Key("a", "Jefe")
    message = b"what do ya want for nothing?"
    assert hmac.digest(b"Jefe", message, "sha256").hex().startswith("5bdcc146bf60754e")
    assert signature([key], "what do ya", b"want") == f"a={hmac.digest(b'Jefe', b'what do ya.want', 'sha256').hex()}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no key"), ("# none\n", "holds no key"), ("2026a\n", "Line 1 .* is no key"), (f"a b {SECRET}\n", "is no key"),
        (f"a=b {SECRET}\n", "is no key"), ("a short\n", "is short"), (f"a {SECRET}\na {SECRET}\n", "Line 2 .* repeats the id a"),
    ],
)  # fmt: skip
def test_files_that_hold_no_keys(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(Emow2vError, match=said) as caught:
        read_keys(tmp_path / "keys")
    assert SECRET not in str(caught.value) and "short\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Emow2vError, match="cannot be read"):
        read_keys(tmp_path / "keys")
    (tmp_path / "keys").write_bytes(b"a \xff\n")
    with pytest.raises(Emow2vError, match="not UTF-8"):
        read_keys(tmp_path / "keys")
