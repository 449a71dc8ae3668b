"""A description that is written piece by piece is the document that json writes at once."""

from __future__ import annotations

import io
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from emow2v.formats.table import write_description
from emow2v.storage.entries import Entries, RecordingFacts

VALUES = st.one_of(st.text(max_size=3), st.floats(allow_nan=False), st.integers())
FACTS = st.dictionaries(st.sampled_from("abcd"), VALUES)


@given(st.lists(FACTS))
def test_what_all_share_is_told_once(facts: list[dict[str, Any]]) -> None:
    kept = RecordingFacts()
    for number, one in enumerate(facts):
        kept.add({"file": str(number)}, one)
    absent = object()
    shared = {
        key: value for key, value in (facts or [{}])[0].items() if all(one.get(key, absent) == value for one in facts)
    }
    assert kept.shared() == shared
    found = list(kept)
    assert found == [
        {"file": str(number)} | {key: value for key, value in one.items() if key not in shared}
        for number, one in enumerate(facts)
    ]
    assert [list(one) for one in found] == [["file", *(key for key in one if key not in shared)] for one in facts]
    kept.close()


@given(st.dictionaries(st.text(max_size=2), FACTS), st.lists(FACTS, max_size=3))
def test_a_document_is_that_of_json(content: dict[str, Any], entries: list[dict[str, Any]]) -> None:
    kept = Entries()
    for entry in entries:
        kept.add(entry)
    content |= {"list of them": [], "end": "\x85\u2028"}
    written = io.BytesIO()
    write_description(written, content, {"list of them": kept})
    whole = json.dumps(content | {"list of them": entries}, indent=2, ensure_ascii=False)
    for sign in "\x85\u2028\u2029":
        whole = whole.replace(sign, f"\\u{ord(sign):04x}")
    assert written.getvalue().decode() == whole + "\n"
    kept.close()
