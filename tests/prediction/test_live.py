"""Streams that are computed together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from emow2v import load
from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.stream import Stream, compute_together

SIGNAL = soundfile.read(EXAMPLE, dtype="float32")[0]


@pytest.fixture(scope="module", params=["lite", "lite-frames"])
def model(request: pytest.FixtureRequest) -> Model:
    return load(request.param, threads=1)


def run(streams: Sequence[Stream], sounds: Sequence[np.ndarray], seed: int) -> list[dict[str, np.ndarray]]:
    """All values of streams that get pieces of any size, and of which any are computed together, in any order."""
    rng = np.random.default_rng(seed)
    at, parts, found = [0] * len(streams), [[] for _ in streams], [[] for _ in streams]  # type: ignore[var-annotated]
    open_ = set(range(len(streams)))
    while open_ or any(parts):
        for number in list(open_):
            piece = sounds[number][at[number] : (end := at[number] + int(rng.integers(0, 9000)))]
            at[number] = end
            parts[number] += streams[number].cut(piece)
            if end >= sounds[number].size:
                parts[number] += streams[number].cut_last()
                open_.discard(number)
        numbers = [number for number in rng.permutation(len(streams)) if parts[number] and rng.random() < 0.7]
        work: list[tuple[Stream, Any]] = [(streams[number], parts[number].pop(0)) for number in numbers]
        for number, block in zip(numbers, compute_together(work), strict=True):
            if block is not None:
                found[number].append(block)
        streams[int(rng.integers(len(streams)))].detach()
    return [
        {name: np.concatenate([getattr(block, name) for block in blocks]) for name in ("scores", "embeddings", "confidence", "speech", "ends")}
        for blocks in found
    ]  # fmt: skip


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_streams_have_the_values_of_their_files_whatever_the_others_do(model: Model, seed: int) -> None:
    framing = Framing(frame_step_ms=80)
    rng = np.random.default_rng(seed)
    sounds = [SIGNAL[begin : begin + int(rng.integers(9000, 24_000))] for begin in (0, 20_000, 47_000, 80_000)]
    found = run([model.stream(framing, speech=True) for _ in sounds], sounds, seed)
    for values, sound in zip(found, sounds, strict=True):
        file = model.predict(sound, 16000, framing=framing, speech=True).load()
        np.testing.assert_allclose(values["scores"], file.scores, atol=1e-5)
        np.testing.assert_allclose(values["embeddings"], file.embeddings, atol=1e-4)
        np.testing.assert_allclose(values["speech"], file.speech, atol=1e-5)
        np.testing.assert_array_equal(values["ends"], file.ends)


def test_a_stream_that_pauses_keeps_no_others_in_memory() -> None:
    model = load("lite-frames", threads=1)
    streams = [model.stream() for _ in range(3)]
    parts = [stream.cut(SIGNAL[: 4 * 640]) for stream in streams]
    compute_together([(stream, part) for stream, (part,) in zip(streams, parts, strict=True)])
    states = [stream._values._pass._steps._state for stream in streams]  # type: ignore[attr-defined]
    assert {one.streams for one in states} == {3} and len({id(one.state) for one in states}) == 1
    streams[1].detach()
    alone = streams[1]._values._pass._steps._state  # type: ignore[attr-defined]
    assert alone.streams == 1
    for name, value in alone.state.items():
        assert value.base is None
        np.testing.assert_array_equal(value[0], states[1].state[name][1])
