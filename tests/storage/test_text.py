"""Encodings of text that other programs wrote; Python's own encoders are the judges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emow2v.storage.text import decode

pytestmark = pytest.mark.quick

GERMAN = "Jürgen;0,5;1,75;Grüße, daß es geht\n"


@pytest.mark.parametrize("mark", [True, False])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_unicode_with_and_without_a_mark(encoding: str, mark: bool) -> None:
    text, found = decode((("\ufeff" if mark else "") + GERMAN).encode(encoding))
    assert text == GERMAN and found in (encoding, "utf-16")


@pytest.mark.parametrize("encoding", ["windows-1252", "latin-1"])
def test_western_text(encoding: str) -> None:
    assert decode(GERMAN.encode(encoding)) == (GERMAN, "windows-1252")
    assert decode(GERMAN.encode(encoding) + b"\x81") == (GERMAN + "\x81", "latin-1")  # no sign of Windows-1252


@pytest.mark.parametrize(
    "content",
    [GERMAN.encode("utf-16")[:-1], GERMAN.encode()[: GERMAN.encode().index(b"\x9f")], b"\xff\xfe\x00\xd8"],
)
def test_text_that_is_cut_off(content: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        decode(content)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"), min_size=1))
def test_any_text_in_utf_8_is_that_text(text: str) -> None:
    assert decode(text.encode()) == (text, "utf-8")
