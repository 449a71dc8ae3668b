"""Turns out of probabilities: judged by frames that are written down, and by what holds of any turns."""

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emow2v.cli.predict import predict
from emow2v.errors import FramingError
from emow2v.framing import parse_time
from emow2v.model import Model
from emow2v.server.jobs.prediction_form import DETECTION
from emow2v.speech.turns import turns


def frames(pattern):
    """A frame of 32 ms for each sign: # is speech."""
    return np.array([0.9 if sign == "#" else 0.1 for sign in pattern], np.float32)


def plain(pattern, **options):
    """Turns in frames, without padding, minimum and bridges unless asked for."""
    options = {"shortest_turn_ms": 0, "bridged_pause_ms": 0, "padding_ms": 0, **options}
    return [(round(begin / 0.032, 3), round(end / 0.032, 3)) for begin, end in turns(frames(pattern), **options)]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", []),
        ("....", []),
        ("#", [(0, 1)]),
        ("####", [(0, 4)]),
        ("..##..", [(2, 4)]),
        ("#..#.##", [(0, 1), (3, 4), (5, 7)]),
    ],
)
def test_runs_of_speech_are_turns(pattern, expected):
    assert plain(pattern) == expected


def test_the_threshold_itself_is_speech():
    assert turns(np.array([0.5], np.float32), threshold=0.5, shortest_turn_ms=0, padding_ms=0) == [(0, 0.032)]
    assert turns(np.array([0.5], np.float32), threshold=0.6, shortest_turn_ms=0, padding_ms=0) == []
    assert turns(np.array([1.0], np.float32), threshold=1, shortest_turn_ms=0, padding_ms=0) == [(0, 0.032)]


def test_short_pauses_are_bridged():
    assert plain("##..##...#", bridged_pause_ms=64) == [(0, 6), (9, 10)]
    assert plain("##..##...#", bridged_pause_ms=96) == [(0, 10)]
    assert plain("##..##...#", bridged_pause_ms=63.9) == [(0, 2), (4, 6), (9, 10)]


def test_short_speech_is_no_turn_unless_bridges_make_it_longer():
    assert plain("#..##..###", shortest_turn_ms=96) == [(7, 10)]
    assert plain("#.#.#.....", shortest_turn_ms=160, bridged_pause_ms=32) == [(0, 5)]


def test_a_long_turn_is_cut_where_speech_is_least_likely():
    likely = frames("#" * 20)
    likely[12] = 0.6
    found = turns(likely, longest_turn_ms=15 * 32, shortest_turn_ms=0, padding_ms=0)
    assert found == [(0, 0.384), (0.384, 0.64)]


def test_a_maximum_of_0_leaves_turns_of_any_length():
    assert plain("#" * 5000, longest_turn_ms=0) == [(0, 5000)]


def test_padding_takes_at_most_half_of_a_pause_and_stays_within_the_recording():
    assert plain(".##..##.....", padding_ms=3 * 32) == [(0, 4), (4, 10)]
    assert turns(frames("....####"), padding_ms=100, shortest_turn_ms=0, duration_s=0.25) == [(0.028, 0.25)]
    assert turns(frames(".......#"), padding_ms=0, shortest_turn_ms=0, duration_s=0.2) == []


@given(
    st.lists(st.floats(0, 1, width=32), max_size=300),
    st.floats(0.05, 1),
    st.sampled_from([0, 40, 250]),
    st.sampled_from([0, 564, 600, 1000, 2000]),
    st.sampled_from([0, 100, 300]),
    st.sampled_from([0, 30, 200]),
)
def test_what_holds_of_any_turns(likely, threshold, minimum, maximum, pause, padding):
    likely = np.array(likely, np.float32)
    options = {"threshold": threshold, "shortest_turn_ms": minimum, "bridged_pause_ms": pause}
    found = turns(likely, longest_turn_ms=maximum, padding_ms=padding, **options)
    times = [time for turn in found for time in turn]
    assert times == sorted(times)
    assert all(begin < end for begin, end in found)
    assert not times or (times[0] >= 0 and times[-1] <= likely.size * 0.032 + 1e-9)
    bare = turns(likely, longest_turn_ms=maximum, padding_ms=0, **options)
    assert len(bare) == len(found)
    assert all(end - begin >= minimum / 1000 - 1e-9 for begin, end in bare)
    if maximum:
        assert all(end - begin <= maximum / 1000 + 1e-9 for begin, end in bare)
    # cutting neither adds nor loses anything
    uncut = turns(likely, longest_turn_ms=0, padding_ms=0, **options)
    assert sum(end - begin for begin, end in bare) == pytest.approx(sum(end - begin for begin, end in uncut))
    speech = np.flatnonzero(likely >= threshold) * 0.032
    if not minimum:
        assert all(any(begin <= at + 1e-9 < end for begin, end in bare) for at in speech)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"threshold": 0}, "threshold is 0; expected more than 0, at most 1."),
        ({"threshold": 1.5}, "threshold is 1.5; expected more than 0, at most 1."),
        ({"threshold": float("nan")}, "threshold is nan; expected more than 0, at most 1."),
        ({"shortest_turn_ms": -1}, "The shortest turn is -1 ms; expected 0 or more milliseconds."),
        ({"padding_ms": float("inf")}, "The padding of turns is inf ms; expected 0 or more milliseconds."),
        ({"bridged_pause_ms": float("nan")}, "The bridged pause is nan ms; expected 0 or more milliseconds."),
        (
            {"longest_turn_ms": 563},
            "The longest turn is 563 ms; expected 0 (turns of any length), or at least 564 ms: twice the shortest turn and 32 ms each.",
        ),
        (
            {"longest_turn_ms": float("nan"), "shortest_turn_ms": 0},
            "The longest turn is nan ms; expected 0 (turns of any length), or at least 64 ms: twice the shortest turn and 32 ms each.",
        ),
    ],
)
def test_options_that_make_no_sense_are_sentences(options, sentence):
    with pytest.raises(FramingError) as caught:
        turns(frames("##"), **options)
    assert str(caught.value) == sentence


def test_every_way_in_has_the_same_defaults() -> None:
    expected = {name: default.default for name, default in inspect.signature(turns).parameters.items()}
    of_model = inspect.signature(Model.predict_turns).parameters
    of_command = inspect.signature(predict).parameters
    for field, default in DETECTION.items():
        option = f"{field}_ms"
        assert float(parse_time(default, field)) == expected[option] == of_model[option].default
        assert of_command[field].default == default
