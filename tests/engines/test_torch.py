"""The engine torch computes in float32, whatever else the process allows itself, and leaves its settings as they were."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from emow2v import cards
from emow2v.engines import Outputs, choose
from emow2v.engines import torch as engine
from emow2v.errors import ModelError
from emow2v.modelstore.verify import EXAMPLE


def settings() -> tuple[str, bool, bool]:
    return (
        torch.get_float32_matmul_precision(),
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
    )


EXACT = ("highest", False, False)


@pytest.fixture(params=["highest", "high", "medium"])
def before(request: pytest.FixtureRequest) -> Iterator[tuple[str, bool, bool]]:
    kept = settings()
    torch.set_float32_matmul_precision(request.param)
    torch.backends.cudnn.allow_tf32 = request.param != "highest"
    yield settings()
    torch.set_float32_matmul_precision(kept[0])
    torch.backends.cudnn.allow_tf32 = kept[2]


def test_products_are_exact_while_an_engine_computes(before: tuple[str, bool, bool]) -> None:
    with engine.EXACT:
        assert settings() == EXACT
        with engine.EXACT:
            assert settings() == EXACT
        assert settings() == EXACT
    assert settings() == before
    with pytest.raises(ZeroDivisionError), engine.EXACT:
        _ = 1 // 0
    assert settings() == before


def test_two_engines_in_two_threads_leave_each_other_exact(before: tuple[str, bool, bool]) -> None:
    """The first ends while the second computes; that one stays exact, and the process gets its settings back."""
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()
    seen: dict[str, tuple[str, bool, bool]] = {}

    def first() -> None:
        with engine.EXACT:
            first_in.set()
            assert second_in.wait(300)
            seen["first"] = settings()
        first_out.set()

    def second() -> None:
        assert first_in.wait(300)
        with engine.EXACT:
            second_in.set()
            assert first_out.wait(300)
            seen["second"] = settings()

    threads = [threading.Thread(target=one) for one in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"first": EXACT, "second": EXACT} and settings() == before


def engine_with(model: Any) -> Any:
    """An engine around a network of the test's own."""
    one = object.__new__(engine.TorchEngine)
    one._device, one.precision, one._lock = torch.device("cpu"), "fp32", threading.Lock()
    one._model = model
    one._repeated = engine._Repeated(model)
    return one


def test_the_callers_autocast_is_not_the_engines(tmp_path: Path) -> None:
    weights = torch.from_numpy(np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32))

    class Product(SimpleNamespace):
        min_samples = 1

        def __call__(self, signal: Any) -> tuple[Any, Any]:
            return signal, signal @ weights

    one = engine_with(Product())
    signal = np.random.default_rng(1).normal(size=(2, 64)).astype(np.float32)
    exact = signal @ weights.numpy()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, scores, _ = one.run(signal)
        rounded = (torch.from_numpy(signal) @ weights).float().numpy()
    np.testing.assert_allclose(scores, exact, rtol=1e-5, atol=1e-5)
    assert np.abs(rounded - exact).max() > 1e-3  # autocast was on


def test_a_graph_is_forgotten_while_nobody_computes() -> None:
    """Out of memory halves the batch; the graph that is given back may be another thread's."""

    class Small(SimpleNamespace):
        min_samples = 1

        def __call__(self, signal: Any) -> tuple[Any, Any]:
            if len(signal) > 1:
                raise torch.OutOfMemoryError("no memory")
            return signal, signal[:, :3]

    one = engine_with(Small())
    forget, held = one._repeated.forget, []
    one._repeated.forget = lambda: (held.append(one._lock.locked()), forget())
    _, scores, _ = one.run(np.arange(32, dtype=np.float32).reshape(4, 8))
    np.testing.assert_array_equal(scores[:, 0], [0, 8, 16, 24])
    assert held and all(held)


@pytest.mark.parametrize("samples", [400, 16000, 70001, 160000])
def test_lite_is_that_of_the_other_engines(samples: int) -> None:
    """Also from its frames, and with lengths of windows that are all whole."""
    card = cards.find("lite")
    ours, other = choose(card, "torch", device="cpu"), choose(card, "openvino")
    sound = np.resize(soundfile.read(EXAMPLE, dtype="float32")[0], samples + 40000)
    given = np.stack([sound[:samples], sound[40000:]])
    frames = ours.frames(given)
    for results in (ours.run(given, np.full(2, samples)), ours.pooled(frames), other.pooled(frames)):
        close(results, other.run(given))
    with pytest.raises(ModelError, match=r"cannot mask|lengths do not fit"):
        ours.run(given, np.array([samples, samples - 1]))


def test_windows_that_lite_cannot_take() -> None:
    engine = choose(cards.find("lite"), "torch", device="cpu")
    for samples, limit in ((399, "at least 400"), (160001, "at most 160000")):
        with pytest.raises(ModelError, match=f"it takes .*windows of {limit} samples"):
            engine.run(np.zeros((1, samples), np.float32))


def test_a_device_that_is_not_there() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    for name in ("lite", "lite-frames"):
        with pytest.raises(ModelError, match="This computer has no device 'cuda'; expected auto, cpu, or cuda or mps"):
            choose(cards.find(name), device="cuda")


def close(got: Outputs, expected: Outputs) -> None:
    """Scores and confidence to 1e-5, embeddings to 1e-5 of their norm."""
    norms = np.linalg.norm(expected[0], axis=1, keepdims=True)
    np.testing.assert_allclose(got[0] / norms, expected[0] / norms, atol=1e-5)
    for one, other in zip(got[1:], expected[1:], strict=True):
        assert one is not None and other is not None
        np.testing.assert_allclose(one, other, atol=1e-5)
