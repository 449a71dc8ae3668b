"""Which models stay in a process's memory."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emow2v import load
from emow2v.errors import ModelError
from emow2v.server.models.held import HeldModels, Limits
from emow2v.server.models.memory import give_back, resident_bytes


class Made:
    """Makes models of given sizes, and knows how much memory they take together."""

    def __init__(self, **sizes: int) -> None:
        self.sizes, self.taken, self.names = sizes, 1000, []
        self.now = 0.0

    def load(self, name: str) -> Any:
        self.names.append(name)
        self.taken += self.sizes.get(name, 10)
        card = SimpleNamespace(min_samples=1, sampling_rate=10, current=True)
        card.unchanged = lambda: card.current
        return SimpleNamespace(name=f"{name}-int8", card=card, engine=None, run=lambda windows: None)

    def held(self, *stays: str, **limits: float) -> HeldModels:
        return HeldModels(
            self.load,
            Limits(**limits),
            stays,
            clock=lambda: self.now,
            resident=lambda: self.taken,  # type: ignore[arg-type]
            tidy=lambda: None,  # it takes a second where a process has run thousands of tests
        )


def used(models: HeldModels, *names: str) -> None:
    for name in names:
        with models.using(name):
            pass


def test_a_model_is_loaded_once_and_the_one_used_longest_ago_goes() -> None:
    made = Made()
    models = made.held(count=2)
    used(models, "a", "b", "a", "a", "c", "a", "b")
    assert made.names == ["a", "b", "c", "b"] and set(models.sizes) == {"a", "b"} and models.loads == 4


def test_memory_is_measured_and_limits_what_nobody_uses() -> None:
    made = Made(a=30, b=40, c=50)
    models = made.held(count=9, memory=90)
    used(models, "a", "b")
    assert models.sizes == {"a": 30, "b": 40}
    used(models, "c")
    assert models.sizes == {"b": 40, "c": 50}
    with models.using("c"), models.using("a"), models.using("b"):  # more than the limit: all are needed
        assert models.memory == 120
    assert models.memory <= 90


def test_what_is_used_or_stays_is_never_unloaded() -> None:
    made = Made()
    models = made.held("own", count=1, idle_s=5)
    used(models, "own")
    stream = models.take("a")
    used(models, "b", "c")
    made.now = 100
    models.unload_idle()
    assert set(models.sizes) == {"own", "a"} and models.take("a") is stream
    models.release(stream)
    assert "a" in models.sizes
    models.release(stream)
    assert set(models.sizes) == {"own"} and made.names == ["own", "a", "b", "c"]


def test_idle_models_go_and_others_stay() -> None:
    made, changes = Made(), []
    models = made.held("own", count=9, idle_s=60)
    models.changed = lambda: changes.append(set(models.sizes))
    used(models, "own", "a")
    made.now = 50
    used(models, "b")
    made.now = 61
    models.unload_idle()
    assert set(models.sizes) == {"own", "b"} and changes[-1] == {"own", "b"}


def test_a_model_that_was_installed_anew_is_loaded_and_streams_keep_the_old_one() -> None:
    made = Made()
    models = made.held("a", count=2)
    old = models.take("a")
    old.card.current = False  # type: ignore[attr-defined]
    new = models.take("a")
    assert new is not old and made.names == ["a", "a"]
    models.release(old)
    assert models.take("a") is new and len(models.sizes) == 1


def test_a_model_that_cannot_be_loaded_leaves_nothing() -> None:
    def fail(name: str) -> Any:
        raise ModelError(f"{name} is damaged")

    models = HeldModels(fail)
    for _ in range(2):
        with pytest.raises(ModelError, match="damaged"), models.using("a"):
            pass
    assert not models.sizes and not models.loads


def test_threads_that_name_a_model_at_once_load_it_once() -> None:
    made, gate = Made(), threading.Barrier(8)
    models = made.held(count=3)

    def use(number: int) -> None:
        gate.wait(60)
        used(models, "ab"[number % 2])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(8)))
    assert sorted(made.names) == ["a", "b"]


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=40),
    st.integers(1, 4),
    st.sampled_from([0, 25, 60]),
)
def test_whatever_happens_used_models_stay_and_others_fit(
    steps: list[tuple[str, bool]], count: int, memory: int
) -> None:
    made = Made()
    models = made.held("a", count=count, memory=memory)
    users: list[tuple[str, Any]] = []
    for name, ends in steps:
        if ends and users:
            models.release(users.pop(len(name) % len(users))[1])
        else:
            users.append((name, models.take(name)))
        needed = {one for one, _ in users} | ({"a"} & set(models.sizes))
        assert needed <= set(models.sizes)
        others = set(models.sizes) - needed
        if others:
            assert len(models.sizes) <= count and (not memory or models.memory <= memory)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_real_models_have_a_size_that_the_process_grows_by() -> None:
    give_back()  # what earlier tests left would be given back meanwhile
    before = resident_bytes()
    models = HeldModels(lambda name: load(name, threads=1), Limits(count=2))
    used(models, "lite-frames")
    size = models.sizes["lite-frames"]
    assert 5e6 < size < 1e9 and abs(resident_bytes() - before - size) < 0.5 * size + 20e6
