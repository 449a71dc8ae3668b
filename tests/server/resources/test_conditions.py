"""Conditions and ranges, as RFC 9110 has them; ranges against slices of bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from emow2v.server.resources.conditions import part_of, tag_of, verdict

pytestmark = pytest.mark.quick

TAG = '"abc"'


def headers(*items: tuple[str, str]) -> Headers:
    return Headers(raw=[(name.lower().encode(), value.encode("latin-1")) for name, value in items])


def part(text: str, size: int = 10, *others: tuple[str, str]) -> tuple[int, int] | None:
    found = part_of(headers(("Range", text), *others), TAG, size)
    return None if found is None else (found.start, found.stop)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("bytes=0-4", (0, 5)),
        ("bytes=3-", (3, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-30", (0, 10)),  # a suffix longer than the content is all of it
        ("bytes=5-100", (5, 10)),
        ("Bytes=0-0", (0, 1)),  # units have no case
        ("bytes=, 2-3 ,", (2, 4)),  # empty members of a list are left out
        ("bytes=00000000000000000000000000000-1", (0, 2)),
        ("bytes=0-" + "9" * 5000, (0, 10)),  # more digits than Python takes
        ("bytes=10-", (10, 10)),
        ("bytes=" + "9" * 5000 + "-", (10, 10)),
        ("bytes=-0", (10, 10)),
        ("bytes=4-3", None),
        ("bytes=-", None),
        ("bytes=", None),
        ("bytes=0-1,5-6", None),  # all of it, which RFC 9110 allows
        ("bytes=a-b", None),
        ("bytes=0-1-2", None),
        ("bytes=+1-2", None),
        ("bytes=\xb2-5", None),  # a digit of Unicode
        ("rows=0-1", None),
        ("bytes 0-1", None),
        ("bytes = 0-1", None),
    ],
)
def test_ranges(sent: str, expected: tuple[int, int] | None) -> None:
    assert part(sent) == expected


def test_two_headers_of_ranges_are_none() -> None:
    assert part_of(headers(("Range", "bytes=0-1"), ("Range", "bytes=2-3")), TAG, 10) is None
    assert part_of(headers(), TAG, 10) is None


@given(st.binary(max_size=40), st.integers(0, 60), st.integers(0, 60))
def test_ranges_are_slices(content: bytes, first: int, count: int) -> None:
    size = len(content)

    def sent(text: str) -> bytes | None:
        found = part_of(headers(("Range", text)), TAG, size)
        return None if found is None else content[found.start : found.stop]

    assert sent(f"bytes={first}-{first + count}") == content[first : first + count + 1]
    assert sent(f"bytes={first}-") == content[first:]
    if count and size:
        assert sent(f"bytes=-{count}") == content[-count:]
    if first:
        assert sent(f"bytes={first}-{first - 1}") is None


@given(st.text(st.characters(max_codepoint=255), max_size=30), st.integers(0, 20))
def test_no_header_breaks_them(text: str, size: int) -> None:
    for name in ("Range", "If-Range", "If-Match", "If-None-Match"):
        sent = headers((name, text), ("Range", f"bytes={text}"))
        found = part_of(sent, TAG, size)
        assert found is None or (0 <= found.start <= found.stop <= size)
        assert verdict(sent, TAG) in (200, 304, 412)


@pytest.mark.parametrize(
    ("condition", "goes_on"),
    [(TAG, True), (f" {TAG} ", True), ('W/"abc"', False), ('"other"', False), ("abc", False), ("*", False), ("", False),
     ("Wed, 25 Nov 2026 10:00:00 GMT", False)],
)  # fmt: skip
def test_if_range(condition: str, goes_on: bool) -> None:
    assert part("bytes=0-1", 10, ("If-Range", condition)) == ((0, 2) if goes_on else None)


@pytest.mark.parametrize(
    ("text", "strong", "weak"),
    [
        (TAG, True, True),
        ("*", True, True),
        ('W/"abc"', False, True),
        ('"x", "abc"', True, True),
        ('"x" ,, W/"abc",', False, True),
        ('"a,b", "x"', False, False),
        ('"ABC"', False, False),
        ("abc", False, False),
        ('"abc" "x"', False, False),  # no list
        ('w/"abc"', False, False),
        ("", False, False),
        ('"x', False, False),
    ],
)
def test_if_match_and_if_none_match(text: str, strong: bool, weak: bool) -> None:
    assert verdict(headers(("If-Match", text)), TAG) == (200 if strong else 412)
    assert verdict(headers(("If-None-Match", text)), TAG) == (304 if weak else 200)
    assert verdict(headers(("If-Match", '"x"'), ("If-None-Match", text)), TAG) == 412  # is looked at first


def test_conditions_may_come_in_several_lines_and_dates_say_nothing() -> None:
    assert verdict(headers(("If-None-Match", '"x"'), ("If-None-Match", TAG)), TAG) == 304
    date = "Wed, 25 Nov 2026 10:00:00 GMT"
    assert verdict(headers(("If-Modified-Since", date), ("If-Unmodified-Since", date)), TAG) == 200


@given(
    st.lists(st.one_of(st.integers(), st.text()), max_size=4), st.lists(st.one_of(st.integers(), st.text()), max_size=4)
)
def test_other_facts_have_another_tag(one: list[object], other: list[object]) -> None:
    assert (tag_of(one) == tag_of(other)) == (one == other)
    assert verdict(headers(("If-Match", tag_of(one))), tag_of(one)) == 200
