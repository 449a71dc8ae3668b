"""Inputs in columns are the inputs that came, whatever their names."""

from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emow2v.inputs import Input
from emow2v.inputs.table import Inputs

NAMES = st.text(st.sampled_from("ab./\\ \udcff\n-"), max_size=6)


@given(st.lists(st.tuples(NAMES, st.sampled_from([".", "a", "a/b", "b"]), NAMES, NAMES)))
def test_inputs_are_a_list_of_them(parts: list[tuple[str, str, str, str]]) -> None:
    inputs = [Input(path, Path(folder), stem, key) for path, folder, stem, key in parts]
    kept = Inputs(inputs)
    assert list(kept) == inputs and kept[1:3] == inputs[1:3]
    chosen = kept.chosen(range(0, len(inputs), 2))
    assert list(chosen) == inputs[::2] and list(chosen.paths()) == [one.path for one in inputs[::2]]


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="other Pythons count memory otherwise")
def test_inputs_of_one_folder_share_it() -> None:
    folder = f"/archive/{'x' * 200}"
    tracemalloc.start()
    try:
        inputs = Inputs(
            Input(f"{folder}/{number:07}.wav", Path("x"), f"{number:07}", f"{number:07}.wav")
            for number in range(10_000)
        )
        assert tracemalloc.get_traced_memory()[0] < 10_000 * 100
    finally:
        tracemalloc.stop()
    assert inputs[9_999].path == f"{folder}/0009999.wav"
