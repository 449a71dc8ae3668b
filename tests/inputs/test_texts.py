"""Many texts in one piece are the texts that came, and what stands there twice is found as a counter finds it."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from emow2v.inputs.texts import Texts, repeated

TEXTS = st.lists(st.text(st.characters(), max_size=4))  # with lone surrogates, as names of files have them


@given(TEXTS, st.slices(8))
def test_texts_are_a_list_of_them(texts: list[str], some: slice) -> None:
    kept = Texts(texts)
    assert list(kept) == texts and len(kept) == len(texts)
    assert kept[some] == texts[some] and [kept[place - len(texts)] for place in range(len(texts))] == texts


@given(TEXTS)
def test_repeated_texts_with_their_places(texts: list[str]) -> None:
    expected = {text: [place for place, one in enumerate(texts) if one == text] for text in texts}
    counts = Counter(texts)
    assert repeated(iter(texts), texts.__getitem__) == {
        text: found for text, found in expected.items() if counts[text] > 1
    }


def test_texts_of_equal_hash_are_told_apart(monkeypatch) -> None:
    monkeypatch.setattr("builtins.hash", len)
    texts = ["ab", "cd", "cd", "x", "ef", "cd"]
    assert repeated(texts, texts.__getitem__) == {"cd": [1, 2, 5]}
