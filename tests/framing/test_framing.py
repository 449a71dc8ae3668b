"""Windows against the reference's recordings and against a naive cutter of a whole padded array."""

import json
import math
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from emow2v.errors import FramingError
from emow2v.framing import Framing, parse_time
from emow2v.framing.windows import Pieces, Stretches, Windower

pytestmark = pytest.mark.quick

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "spec" / "golden" / "windows"

# What the reference was started with, where it was not the module's own 40 ms with 960 ms before.
SETTINGS = {
    "x_end": {"end_ms": 1000},
    "x_frame1000stride40": {"frame_size_ms": 1000, "left_context_ms": 0},
    "x_longwin": {"right_context_ms": 2000},
    "x_rc500": {"right_context_ms": 500},
    "x_stride20": {"frame_step_ms": 20, "frame_size_ms": 40},
    "x_stride500": {"frame_step_ms": 500, "frame_size_ms": 40},
    "x_t33": {"frame_step_ms": 33},
    "x_t7": {"frame_step_ms": 7, "left_context_ms": 100},
    "x_zeroend": {"frame_step_ms": 1000, "left_context_ms": 0, "end_ms": 0},
}
SOURCES = {"x_longwin": (16000, 0.04), "x_t33": (22050, 1.5), "x_t7": (11025, 1.5)}  # else 16 kHz, 2 s
RATES = {"r8": 8000, "r11": 11025, "r16": 16000, "r22": 22050, "r44": 44100, "r44s": 44100, "r48": 48000}
DECIDED_OTHERWISE = {
    "x_start": "the reference ignores start",
    "x_startend": "the reference ignores start",
    "x_noframe_stride": "no frame size means the step, not the whole recording",
}
JITTER = {"x_t33", "x_t7"}  # the reference's windows differ by one sample in length; ours never do


def golden_case(name):
    file = GOLDEN / f"{name}.json"
    if not file.exists():
        pytest.skip(f"no recordings of the reference at {GOLDEN}")
    return json.loads(file.read_text())


def names():
    return sorted(file.stem for file in GOLDEN.glob("*.json")) or ["w_r16_2.0"]


def source_of(name):
    if name == "w_empty":
        return 16000, 0.0
    if name.startswith("w_"):
        _, rate, seconds = name.split("_")
        return RATES[rate], float(seconds)
    return SOURCES.get(name, (16000, 2.0))


def ramp(rate, seconds):
    return (np.arange(round(rate * seconds)) % 30000 + 1).astype(np.float32)


def float_slip(window_s, rate):
    """1 where the reference, reckoning in floats, ends a window one sample late (1.12 * 48000 > 53760), else 0."""
    end = window_s.rpartition("_")[2]
    slip = math.ceil(float(end) * rate) - math.ceil(Fraction(end) * rate)
    assert slip == 0 or rate != 16000
    return slip


def windows_of(framing, rate, signal, *, duration=None, batch_size=32, blocks=None):
    """All windows [count, samples] and the indices they were given with."""
    windower = Windower(framing, rate, batch_size)
    duration = Fraction(len(signal), rate) if duration is None else duration
    batches = []
    begin = 0
    sizes = iter(blocks or [])
    while begin < len(signal):
        size = next(sizes, len(signal))
        batches += windower.add(signal[begin : begin + size])
        begin += size
    batches += windower.finish(duration)
    assert all(0 < len(windows) <= batch_size for _, windows in batches)
    indices = [first + k for first, windows in batches for k in range(len(windows))]
    rows = (
        np.concatenate([windows for _, windows in batches]) if batches else np.zeros((0, framing.window_samples(rate)))
    )
    return indices, rows


def naive_windows(framing, rate, signal, duration):
    """The definition, written down once more: index the whole signal, padded on both sides."""
    step = framing.step_ms
    limit = min(duration * 1000, Fraction(str(framing.end_ms))) if framing.end_ms else duration * 1000
    behind = framing.core_ms + Fraction(str(framing.right_context_ms))
    length = math.ceil((Fraction(str(framing.left_context_ms)) + behind) * rate / 1000)
    indices, rows = [], []
    i = 0
    while (i + 1) * step <= limit:
        if i * step >= Fraction(str(framing.start_ms)):
            end = math.ceil((i * step + behind) * rate / 1000)
            wanted = np.arange(end - length, end)
            row = signal[np.clip(wanted, 0, len(signal) - 1)]
            if framing.padding == "zeros":
                row = np.where((wanted < 0) | (wanted >= len(signal)), np.float32(0), row)
            indices.append(i)
            rows.append(row)
        i += 1
    return indices, np.array(rows) if rows else np.zeros((0, length))


@pytest.mark.parametrize("name", [name for name in names() if name not in DECIDED_OTHERWISE | dict.fromkeys(JITTER)])
def test_windows_equal_the_reference_sample_for_sample(name):
    case = golden_case(name)
    rate, seconds = source_of(name)
    indices, windows = windows_of(Framing(**SETTINGS.get(name, {})), rate, ramp(rate, seconds))
    assert indices == list(range(case["n_frames"]))
    for row in case["rows"]:
        window, left, right = windows[row["i"]], row["left_pad"], row["right_pad"]
        real = window[left : len(window) - right]
        slip = 0 if left else float_slip(row["window_s"], rate)  # padded windows are cut to their length again
        first = row["first_sample"] - slip
        source = np.arange(first, first + len(real)) % 30000
        assert len(window) == row["len"]
        assert (source[-1] + slip) % 30000 == row["last_sample_mod30000"]
        np.testing.assert_array_equal(real, source + 1)
        np.testing.assert_array_equal(window[:left], real[0])
        np.testing.assert_array_equal(window[len(window) - right :], real[-1])


@pytest.mark.parametrize("name", sorted(JITTER))
def test_windows_of_fractional_length_end_with_the_reference(name):
    case = golden_case(name)
    rate, seconds = source_of(name)
    _, windows = windows_of(Framing(**SETTINGS[name]), rate, ramp(rate, seconds))
    assert len(windows) == case["n_frames"]
    for row in case["rows"]:
        assert abs(len(windows[row["i"]]) - row["len"]) <= 1
        assert abs((windows[row["i"]][-1] - 1) - row["last_sample_mod30000"]) <= 1


@pytest.mark.parametrize("name", sorted(DECIDED_OTHERWISE))
def test_where_the_reference_is_not_followed(name):
    case = golden_case(name)
    framing = Framing(start_ms=500, end_ms=1000) if "end" in name else Framing(start_ms=500)
    if name == "x_noframe_stride":
        framing = Framing(frame_size_ms=0)
    indices, _ = windows_of(framing, 16000, ramp(16000, 2.0))
    assert len(indices) != case["n_frames"]


@st.composite
def framings(draw):
    lengths = st.sampled_from([0, 1, 7, 12.5, 33.333, 40, 100, 500.1, 960])
    try:
        return Framing(
            frame_step_ms=draw(st.sampled_from([7, 12.5, 20, 33.333, Fraction(100, 3), 40, 250, 500])),
            frame_size_ms=draw(st.sampled_from([None, 0, 1, 10.5, 33.333, 40, 600])),
            left_context_ms=draw(lengths),
            right_context_ms=draw(lengths),
            start_ms=draw(st.sampled_from([0, 0, 1, 40, 333.3, 2000])),
            end_ms=draw(st.sampled_from([None, None, 0, 500, 777.7, 3000])),
            padding=draw(st.sampled_from(["edge", "zeros"])),
        )
    except FramingError:  # end before start
        assume(False)


@given(
    framing=framings(),
    rate=st.sampled_from([1000, 1103, 1600]),
    samples=st.integers(1, 4000),
    beyond=st.sampled_from([Fraction(0), Fraction(1, 3), Fraction(99, 100)]),
    batch_size=st.integers(1, 40),
    blocks=st.lists(st.integers(1, 900), max_size=30),
)
# a step longer than the window, of a fraction of a sample, and the recording ends inside that sample
@example(Framing(Fraction(100, 3), 10, 0), 1000, 33, Fraction(1, 3), 1, [])
def test_windows_equal_the_definition_however_they_are_fed(framing, rate, samples, beyond, batch_size, blocks):
    signal = np.arange(1, samples + 1, dtype=np.float32)
    duration = (samples + beyond) / rate  # resampled: the source may end between two samples
    expected_indices, expected = naive_windows(framing, rate, signal, duration)
    indices, windows = windows_of(framing, rate, signal, duration=duration, batch_size=batch_size, blocks=blocks)
    assert indices == expected_indices
    assert len(indices) == max(0, framing.count(duration) - framing.first_frame)
    np.testing.assert_array_equal(windows, expected)


@given(framing=framings(), sizes=st.lists(st.integers(1, 700), min_size=1, max_size=6))
def test_live_flush_gives_each_window_as_soon_as_it_is_complete(framing, sizes):
    rate = 1000
    signal = np.arange(1, sum(sizes) + 1, dtype=np.float32)
    duration = Fraction(len(signal), rate)
    windower = Windower(framing, rate, batch_size=1000)
    given_out, begin = [], 0
    behind = max(framing.core_ms + Fraction(str(framing.right_context_ms)), framing.step_ms)
    for size in sizes:
        begin_next = begin + size
        given_out += windower.add(signal[begin:begin_next])
        given_out += windower.flush()
        begin = begin_next
        due = [i for i in naive_windows(framing, rate, signal, duration)[0] if i * framing.step_ms + behind <= begin]
        assert [first + k for first, windows in given_out for k in range(len(windows))] == due
    given_out += windower.finish(duration)
    rows = (
        np.concatenate([windows for _, windows in given_out])
        if given_out
        else np.zeros((0, framing.window_samples(rate)))
    )
    np.testing.assert_array_equal(rows, naive_windows(framing, rate, signal, duration)[1])


def test_value_i_describes_the_second_that_ends_one_step_after_it_begins():
    indices, windows = windows_of(Framing(), 16000, ramp(16000, 2.0))
    starts, ends = Framing().times(0, 50)
    assert indices == list(range(50))
    assert windows[24][0] == 1 and windows[24][-1] == 16000  # the first without padding: 0 to 1 s
    assert (starts[24], ends[24]) == (0.96, 1.0)


def test_exhausted_tells_that_the_rest_need_not_be_read():
    windower = Windower(Framing(end_ms=1000), 16000, batch_size=4)
    signal = ramp(16000, 1.0)
    list(windower.add(signal))
    assert not windower.exhausted  # 25 frames, and one waits for a batch of four
    list(windower.flush())
    assert windower.exhausted
    assert list(windower.add(signal)) == [] and list(windower.finish(Fraction(2))) == []


@pytest.mark.parametrize("step", [40, 33.333])
@pytest.mark.parametrize("block", [1600, 100_000])
def test_memory_stays_flat_however_long_the_recording_is(step, block):
    batch_size = 4
    framing = Framing(frame_step_ms=step)
    windower = Windower(framing, 16000, batch_size)
    length = framing.window_samples(16000)
    held = length + batch_size * 16 * step + block
    copied = 0 if step == 40 else batch_size * length  # windows that are no views
    count = 0
    tracemalloc.start()
    try:
        for _ in range(60 * 16000 // block):
            for _, windows in windower.add(np.zeros(block, np.float32)):
                count += len(windows)
        peak = tracemalloc.get_traced_memory()[1] / 4
    finally:
        tracemalloc.stop()
    assert count > 1400
    # what is held, joined to one piece (old and new exist for a moment), and lists
    assert peak < 3 * held + 2 * copied + 20_000


def test_a_long_right_context_is_padded_piece_by_piece():
    framing = Framing(left_context_ms=0, right_context_ms=1000, frame_step_ms=10)
    _, windows = windows_of(framing, 1000, np.arange(1, 21, dtype=np.float32))
    assert windows.shape == (2, 1010)
    assert (windows[:, -1] == 20).all()


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("40ms", 40),
        ("40 ms", 40),
        (" 40ms ", 40),
        ("40MS", 40),
        ("40.0ms", 40),
        ("33.33ms", Fraction("33.33")),
        ("0.04s", 40),
        ("2s", 2000),
        ("2 S", 2000),
        ("1.0015s", Fraction("1001.5")),
        ("0.04", 40),
        (".5", 500),
        ("2.", 2000),
        ("40", 40),
        ("0", 0),
        ("0" * 50 + "7", 7),
    ],
)
def test_times_are_read_in_every_form_the_reference_knows_and_lenient_ones(text, milliseconds):
    assert parse_time(text) == milliseconds


@pytest.mark.parametrize(
    "text",
    [
        *(
            "-40",
            "",
            " ",
            "abc",
            "0,04s",
            "None",
            "1e5",
            "nan",
            "inf",
            "40 m s",
            "40msms",
            "ms",
            ".",
            "4 0",
            "0x10",
            "1_0",
        ),
        *("9" * 20, "9" * 5000, "1" + "0" * 5000 + "ms", "400d", "４０", "٤٠ms", "40µs", "40\x00", "1/3"),
    ],
)
def test_what_is_no_time_is_refused_with_the_name_of_its_field(text):
    with pytest.raises(FramingError, match=r"leftContext is '.*; expected"):
        parse_time(text, "leftContext")


@given(st.text(max_size=20))
def test_any_text_is_a_time_or_a_framing_error(text):
    with suppress(FramingError):
        assert parse_time(text) >= 0


@pytest.mark.parametrize(
    "options",
    [
        {"frame_step_ms": -1},
        {"left_context_ms": float("nan")},
        {"right_context_ms": float("inf")},
        {"start_ms": 1e15},
        {"padding": "mirror"},
        {"start_ms": 500, "end_ms": 400},
        {"frame_step_ms": 0.01},
        {"frame_step_ms": 0.5, "left_context_ms": 0},
        {"align": "middle"},
        {"frame_step_ms": 500, "frame_size_ms": 100, "left_context_ms": 0, "align": "centre"},
    ],
)
def test_a_framing_that_makes_no_sense_is_refused(options):
    with pytest.raises(FramingError):
        Framing(**options)


@given(st.fractions(1, 500), st.fractions(0, 2000), st.fractions(0, 2000), st.none() | st.fractions(1, 900))
def test_a_window_in_the_middle_is_as_long_and_has_its_step_there(step, left, right, size):
    plain = Framing(frame_step_ms=step, frame_size_ms=size, left_context_ms=left, right_context_ms=right)
    if plain.window_ms < step:
        return
    centred = replace(plain, align="centre")
    assert centred.window_ms == plain.window_ms and centred.step_ms == plain.step_ms
    begin, end = -Fraction(centred.left_context_ms), centred.core_ms + Fraction(centred.right_context_ms)
    assert (begin + end) / 2 == step / 2
    assert replace(centred, start_ms=100).window_ms == plain.window_ms and replace(centred, start_ms=100) == replace(
        plain, start_ms=100, align="centre"
    )


@pytest.mark.parametrize(
    ("framing", "words"),
    [
        (Framing(), "the sound from 0.96 s before a row's start to its end"),
        (Framing(align="centre"), "the sound from 0.48 s before a row's start to 0.48 s after its end"),
        (Framing(left_context_ms=0, frame_step_ms=500), "the sound from a row's start to its end"),
        (
            Framing(frame_step_ms=500, frame_size_ms=200, left_context_ms=0),
            "the sound from a row's start to 0.3 s before its end",
        ),
        (Framing.files(), "the whole recording"),
        (Framing.files(start_ms=1500), "the recording from 1.5 s to its end"),
        (Framing.files(end_ms=2000), "the recording from 0 s to 2 s"),
    ],
)
def test_what_a_value_covers_has_words(framing, words):
    assert framing.covers == words


def test_a_float_means_what_it_says():
    assert Framing(frame_step_ms=33.3).step_ms == Fraction("33.3")
    assert Framing(frame_step_ms=33.3).count(Fraction("3.33")) == 100


def test_one_value_for_a_whole_recording_is_not_cut_into_windows():
    assert Framing.files().count(Fraction(5)) == 1
    assert Framing.files(start_ms=6000).count(Fraction(5)) == 0
    with pytest.raises(FramingError):
        Windower(Framing.files(), 16000)


@given(st.integers(1, 50), st.lists(st.integers(0, 120), max_size=12))
def test_pieces_cover_every_sample_and_weigh_what_they_add(longest, sizes):
    total = sum(sizes)
    signal = np.arange(total, dtype=np.float32)
    pieces = Pieces(longest)
    given_out = [
        piece
        for begin, size in zip(np.cumsum([0, *sizes]), sizes, strict=False)
        for piece in pieces.add(signal[begin : begin + size])
    ]
    given_out += pieces.finish()
    assert sum(weight for _, weight in given_out) == total
    assert {len(piece) for piece, _ in given_out} <= {min(longest, total)}
    covered = 0
    for piece, weight in given_out:
        covered += weight
        np.testing.assert_array_equal(piece, signal[max(0, covered - longest) : covered])


def test_pieces_hold_no_more_than_two_of_them():
    pieces = Pieces(16000)
    tracemalloc.start()
    try:
        for _ in range(1000):
            for _ in pieces.add(np.zeros(4096, np.float32)):
                pass
        list(pieces.finish())
        peak = tracemalloc.get_traced_memory()[1] / 4
    finally:
        tracemalloc.stop()
    assert peak < 4 * 16000 + 20_000


def stretches_of(framing, rate, signal, duration, usual, margin, blocks, longest=0):
    stretches = Stretches(framing, rate, usual, max(usual, longest), margin)
    given, begin, sizes = [], 0, iter(blocks)
    while begin < len(signal):
        size = next(sizes, len(signal))
        given += stretches.add(signal[begin : begin + size])
        begin += size
    return [*given, *stretches.finish(duration)]


@given(
    framing=framings(),
    rate=st.sampled_from([1000, 1103, 1600]),
    samples=st.integers(1, 9000),
    beyond=st.sampled_from([Fraction(0), Fraction(1, 3), Fraction(99, 100)]),
    more=st.integers(0, 3000),
    slack=st.sampled_from([0, 1, 900]),
    margin=st.sampled_from([0, 1, 250]),
    blocks=st.lists(st.integers(1, 900), max_size=30),
)
@example(Framing(Fraction(100, 3), 10, 0), 1000, 33, Fraction(1, 3), 1, 0, 250, [])
@example(Framing(500, 1, 0), 1000, 4000, Fraction(0), 0, 0, 0, [])  # steps far longer than a stretch
def test_stretches_hold_every_window_once(framing, rate, samples, beyond, more, slack, margin, blocks):
    signal = np.arange(1, samples + 1, dtype=np.float32)
    duration = (samples + beyond) / rate
    length = framing.window_samples(rate)
    longest = length + 2 * margin + 1 + more
    stretches = stretches_of(framing, rate, signal, duration, longest, margin, blocks, longest + slack)
    expected_indices, expected = naive_windows(framing, rate, signal, duration)
    indices = [one.first + k for one in stretches for k in range(len(one.begins))]
    assert indices == expected_indices
    windows = [one.signal[begin : begin + length] for one in stretches for begin in one.begins]
    if windows:
        np.testing.assert_array_equal(np.stack(windows), expected)
    whole = [one for one in stretches[:-1] if one.signal.size != longest]
    assert not whole and all(one.signal.size <= longest + slack for one in stretches)
    assert len(stretches) == 1 or not any(one.only for one in stretches)
    for one in stretches:  # the margin, except where nothing more of the recording is there
        starts, ends = one.signal[0] in (0, 1), one.signal[-1] in (0, samples)
        assert starts or one.begins[0] >= margin
        assert ends or one.signal.size - (one.begins[-1] + length) >= margin


def test_stretches_share_most_of_the_arithmetic_and_fill_their_length():
    signal = ramp(16000, 60)
    stretches = stretches_of(Framing(), 16000, signal, Fraction(60), 160_000, 8000, [1600] * 1000)
    assert sum(one.signal.size for one in stretches) < 1.35 * signal.size  # each window alone: 25 times
    assert {one.signal.size for one in stretches} == {160_000}
    assert stretches[0].begins[0] == 0 and stretches[1].begins[0] == 8000
    assert stretches[-1].signal[-1] == signal[-1]


def test_a_little_more_than_a_stretch_is_one():
    signal = ramp(16000, 10)
    (one,) = stretches_of(Framing(), 16000, signal, Fraction(10), 128_000, 8000, [1600] * 100, 192_000)
    assert one.only and one.signal.size == 160_000 + 15_360
    assert len(stretches_of(Framing(), 16000, signal, Fraction(10), 128_000, 8000, [], 160_000)) == 2


def test_stretches_of_a_recording_shorter_than_one_are_one():
    (one,) = stretches_of(Framing(), 16000, ramp(16000, 2.0), Fraction(2), 160_000, 8000, [])
    assert one.signal.size == 32000 + 15360 and len(one.begins) == 50  # with the padding before it


def test_stretches_forget_what_they_gave():
    stretches = Stretches(Framing(), 16000, 160_000, 160_000, 8000)
    tracemalloc.start()
    try:
        for _ in range(600):
            for one in stretches.add(np.zeros(16000, np.float32)):
                assert one.signal.size == 160_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5 * 160_000 * 4


def test_windows_too_long_to_share_are_refused():
    with pytest.raises(FramingError, match=r"Windows of 10 s are too long .* at most 9 s"):
        Stretches(Framing(left_context_ms=9960), 16000, 160_000, 200_000, 8000)
