"""Cursors: what one stands for comes back, to its own list only, and shows nothing."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emow2v.errors import FormatError
from emow2v.server.resources.cursors import opened, seal

pytestmark = pytest.mark.quick

SECRET = bytes(range(32))
numbers = st.integers(0, 2**63 - 1)


@given(numbers, st.text(max_size=50), st.binary(min_size=1, max_size=64))
def test_a_cursor_gives_its_number_to_its_own_list_only(number: int, about: str, secret: bytes) -> None:
    cursor = seal(secret, number, about)
    assert cursor.isascii() and "=" not in cursor and cursor.replace("-", "").replace("_", "").isalnum()
    assert opened(secret, cursor, about) == number
    for other_secret, other_about in ((secret + b"x", about), (secret, about + "x")):
        with pytest.raises(FormatError, match="none of this list"):
            opened(other_secret, cursor, other_about)


@given(numbers, st.integers(0, 191))
def test_a_changed_cursor_is_refused(number: int, bit: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(seal(SECRET, number, "a")))
    raw[bit // 8] ^= 1 << (bit % 8)
    with pytest.raises(FormatError):
        opened(SECRET, base64.urlsafe_b64encode(bytes(raw)).decode(), "a")


@given(st.one_of(st.text(max_size=60), st.binary(max_size=40).map(lambda raw: base64.urlsafe_b64encode(raw).decode())))
def test_no_other_text_is_a_cursor(text: str) -> None:
    with pytest.raises(FormatError):
        opened(SECRET, text, "a")


def test_cursors_of_one_number_differ_and_hide_it() -> None:
    cursors = {seal(SECRET, 5, "a") for _ in range(100)}
    assert len(cursors) == 100
    hidden = [base64.urlsafe_b64decode(one)[8:16] for one in cursors]
    assert len({*hidden}) == 100 and (5).to_bytes(8, "big") not in hidden
