"""How many streams are admitted."""

from fractions import Fraction
from types import SimpleNamespace

import pytest

from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.server.jobs.store import Busy
from emow2v.server.live import capacity as module
from emow2v.server.live.capacity import Capacity


@pytest.mark.parametrize(
    ("window_ms", "measured"),
    [(40, 100), (100, 100), (999.99, 1000), (1000, 1000), (1000.01, 1500), (1600, 2000), (9980, 10000)],
)
def test_few_lengths_are_told_apart(window_ms: float, measured: int) -> None:
    assert module.rounded_ms(window_ms) == measured


def test_the_machine_is_measured_again_and_only_for_few_lengths(
    windows: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    now, seconds = 0.0, 0.001

    def took(model: Model, samples: int) -> float:
        measured.append(samples)
        return seconds

    monkeypatch.setattr(module, "seconds", took)
    capacity = Capacity(clock=lambda: now)
    for hundredth in range(300):  # a client that tries every length
        framing = Framing(left_context_ms=Fraction(960) + Fraction(hundredth, 100))
        capacity.leave(capacity.admit(windows, framing))
    assert len(measured) == 2  # of a second, and of one and a half
    assert len({module.rounded_ms(length) for length in range(40, 10_001)}) < 30

    capacity = Capacity(clock=lambda: now)
    seconds = 0.025  # the machine is busy with something else
    first = capacity.admit(windows, Framing())
    assert capacity.load == pytest.approx(0.025 / 0.04) and capacity.possible() == 1
    with pytest.raises(Busy, match="1 live streams are as many as stay in real time here"):
        capacity.admit(windows, Framing())
    now, seconds = 11.0, 0.001  # and is not any more: what the first one takes is measured anew, too
    capacity.admit(windows, Framing())
    assert capacity.streams == 2 and capacity.possible() == 28
    now, seconds = 11.0 + module.FRESH_S + 1, 0.02  # and busy again
    with pytest.raises(Busy):
        capacity.admit(windows, Framing())
    capacity.leave(first)
    assert capacity.streams == 1


def test_no_more_are_taken_while_a_stream_is_late_or_the_thread_is_busy(
    windows: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "seconds", lambda model, samples: 0.0001)
    running = SimpleNamespace(late_s=0.0, busy=0.0)
    for most in (0, 5):
        capacity = Capacity(most, lambda: [running])
        running.late_s = 9.0
        first = capacity.admit(windows, Framing())  # nobody else is there who could become later
        with pytest.raises(Busy, match=r"9\.0 s late now"):
            capacity.admit(windows, Framing())
        running.late_s = 0.2
        capacity.leave(capacity.admit(windows, Framing()))
        running.busy = 0.95
        if not most:
            with pytest.raises(Busy, match="stay in real time"):
                capacity.admit(windows, Framing())
        running.busy = 0.0
        capacity.leave(first)
        assert capacity.streams == 0 and capacity.load == 0


def test_a_number_is_a_number(windows: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "seconds", lambda model, samples: 10.0)  # by far too slow
    capacity = Capacity(2)
    capacity.admit(windows, Framing()), capacity.admit(windows, Framing())
    with pytest.raises(Busy, match="2 live streams are as many as are taken here"):
        capacity.admit(windows, Framing())
    assert capacity.possible() == 2


def test_a_model_of_frames_is_measured_with_many_streams() -> None:
    from emow2v import load

    model = load("lite-frames", threads=1)
    share = module.share_of_frames(model.card, model.engine)  # type: ignore[arg-type]
    assert 0 < share < 1
