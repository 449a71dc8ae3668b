"""The type of segments: tiers that are chosen, channels tied to them, turns that do not fit their recording."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emow2v.errors import FormatError
from emow2v.speech.segments import (
    TOLERANCE_S,
    Media,
    Segment,
    Segmentation,
    Tier,
    TierChoice,
    fit_to_recording,
    parse_tier,
    select_tiers,
    shift_to_recording,
    time_origin,
)

pytestmark = pytest.mark.quick

INTERVIEW = Segmentation(
    (
        Segment(0, 2, "Anna", "VP", "hallo"),
        Segment(0, 1, "Anna", "VP words", "ha"),
        Segment(2, 3, "", "IV=left", "ja"),
        Segment(1, 1, "", "bells", "ding"),
    ),
    "ELAN",
    (Tier("VP", "Anna"), Tier("VP words", "Anna", "VP"), Tier("IV=left"), Tier("bells", points=True)),
    source=Path("talk.eaf"),
)


def labels(segmentation: Segmentation) -> list[str]:
    return [one.label for one in segmentation.segments]


def fitted(*segments: Segment, duration: float | None = 10.0) -> Segmentation:
    return fit_to_recording(Segmentation(segments, "ELAN", source=Path("talk.eaf")), duration, "talk.wav")


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("VP", TierChoice("VP", "VP")),
        ("VP=right", TierChoice("VP=right", "VP", "right")),
        ("VP=2", TierChoice("VP=2", "VP", 2)),
        ("VP=Left", TierChoice("VP=Left", "VP", "left")),
        ("a=b=mix", TierChoice("a=b=mix", "a=b", "mix")),
        ("a=b", TierChoice("a=b", "a=b")),
        ("VP=each", TierChoice("VP=each", "VP=each")),
        ("VP=", TierChoice("VP=", "VP=")),
        ("VP=0", TierChoice("VP=0", "VP=0")),
    ],
)
def test_a_tier_may_name_its_channel(text: str, choice: TierChoice) -> None:
    assert parse_tier(text) == choice


@pytest.mark.parametrize("text", ["", " ", "=left", " =2"])
def test_a_channel_needs_a_tier(text: str) -> None:
    with pytest.raises(FormatError, match="expected a name, such as VP or VP=right"):
        parse_tier(text)


def test_without_a_choice_tiers_count_that_depend_on_none_and_have_lengths() -> None:
    chosen = select_tiers(INTERVIEW)
    assert labels(chosen) == ["hallo", "ja"]
    assert chosen.notices == (
        "talk.eaf: 'VP words', 'bells' are left out, as points or as parts of another tier; name what you need with --tier.",
    )


def test_tiers_and_speakers_are_chosen_by_name_and_tied_to_channels() -> None:
    assert labels(select_tiers(INTERVIEW, ["VP words"])) == ["ha"]
    assert labels(select_tiers(INTERVIEW, ["Anna"])) == ["hallo", "ha"]
    chosen = select_tiers(INTERVIEW, ["VP=right", "IV=left=left"])
    assert labels(chosen) == ["hallo", "ja"]
    assert [chosen.channel_of(one) for one in chosen.segments] == ["right", "left"]
    whole = select_tiers(INTERVIEW, ["IV=left"])  # the name of a tier, not the tier IV on the left
    assert labels(whole) == ["ja"] and whole.channels == {}
    by_speaker = select_tiers(INTERVIEW, [parse_tier("Anna=2")])
    assert {by_speaker.channel_of(one) for one in by_speaker.segments} == {2}


def test_letters_are_compared_as_people_see_them() -> None:
    tier = Segmentation((Segment(0, 1, "", "J\u00fcrgen", "x"),), "ELAN", (Tier("J\u00fcrgen"),))
    assert labels(select_tiers(tier, ["Ju\u0308rgen"])) == ["x"]


def test_a_tier_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(FormatError) as error:
        select_tiers(INTERVIEW, ["VPN"])
    assert (
        str(error.value) == "talk.eaf has no tier 'VPN'; expected one of 'VP', 'VP words', 'IV=left', 'bells', 'Anna'."
    )
    with pytest.raises(
        FormatError, match=r"no tier 'VP=middle'; .*; the channel of a tier is left, right, mix or a number\.$"
    ):
        select_tiers(INTERVIEW, ["VP=middle"])
    with pytest.raises(FormatError, match="the tier 'bells' holds points"):
        select_tiers(INTERVIEW, ["bells"])
    many = Segmentation((), "ELAN", tuple(Tier(f"t{k}") for k in range(40)))
    with pytest.raises(FormatError, match=r"'t11' and 28 more\.$"):
        select_tiers(many, ["x"])
    with pytest.raises(FormatError, match="SRT files without speakers have none; leave --tier out"):
        select_tiers(Segmentation((Segment(0, 1),), "SRT"), ["x"])


def test_times_are_those_of_the_recording_that_is_meant() -> None:
    media = (Media("file:///C:/data/talk.mp4"), Media("", "./J\u00fcrgen.wav", 1.5))
    linked = Segmentation((Segment(1, 2),), "ELAN", media=media, duration=9)
    assert shift_to_recording(linked, Path("talk.mp4")) == linked
    moved = shift_to_recording(linked, Path("elsewhere/Ju\u0308rgen.flac"))
    assert moved.segments == (Segment(2.5, 3.5),) and moved.duration is None
    assert time_origin(linked, Path("other.wav")) is None
    (notice,) = shift_to_recording(linked, Path("other.wav")).notices
    assert "different time origins, but not other.wav" in notice
    same = Segmentation((), "ELAN", media=(Media("a.mp4", time_origin=2), Media("b.wav", time_origin=2)))
    assert time_origin(same, Path("c.wav")) == 2
    assert time_origin(Segmentation((), "ELAN"), Path("c.wav")) == 0


def test_turns_without_length_are_left_out_and_told() -> None:
    fit = fitted(Segment(5, 5), Segment(1, 2, label="a"), Segment(4, 3))
    assert labels(fit) == ["a"]
    assert fit.notices == ("talk.eaf: 2 turns have no length and are left out (first at 4 s).",)


def test_a_segmentation_that_is_longer_than_its_recording_is_told() -> None:
    fit = fitted(Segment(11, 12), Segment(9, 10 + TOLERANCE_S / 2, label="a"), Segment(8, 12.5, label="b"))
    assert [(one.start, one.end, one.label) for one in fit.segments] == [(8, 10, "b"), (9, 10, "a")]
    outside = "talk.eaf lasts until 12.5 s, talk.wav 10 s; 1 turn outside is left out and 1 turn is cut; check that both belong together."
    assert fit.notices[0] == outside
    assert len(fit.notices) == 1  # b and a overlap, but nobody knows whose they are
    early = fitted(Segment(-1, 1, "A"), Segment(-3, -2, "B"))
    assert early.segments == (Segment(0.0, 1, "A"),)
    assert early.notices[0].startswith("talk.eaf begins at -3 s; 1 turn outside is left out and 1 turn is cut")
    assert fitted(Segment(0, 10 + TOLERANCE_S)).notices == ()


def test_a_segmentation_of_another_recording_is_refused() -> None:
    with pytest.raises(FormatError) as error:
        fitted(Segment(100, 101), Segment(200, 201))
    assert str(error.value) == (
        "talk.eaf has no turn within talk.wav: it lasts until 201 s, talk.wav 10 s; 2 turns outside are left out; check that "
        "both belong together."
    )
    with pytest.raises(FormatError, match="holds no turns; expected at least one"):
        fitted()
    with pytest.raises(FormatError, match="1 turn has no length"):
        fitted(Segment(1, 1))


def test_overlapping_turns_of_one_speaker_are_told_and_stay() -> None:
    fit = fitted(Segment(0, 5, "A", "t"), Segment(1, 2, "A", "t"), Segment(3, 6, "A", "t"), Segment(3, 6, "B", "t"))
    assert len(fit.segments) == 4
    (notice,) = fit.notices
    assert notice == (
        "talk.eaf: 2 turns of 'A' begin before an earlier one of the same speaker has ended (first at 1 s); each is valued by itself."
    )
    words = fitted(Segment(0, 5, "A", "turns"), Segment(0, 1, "A", "words"), Segment(5, 6, "A", "turns"))
    assert words.notices == ()


def test_an_open_end_is_that_of_the_recording() -> None:
    assert fitted(Segment(2, math.inf)).segments == (Segment(2, 10),)
    assert fitted(Segment(2, math.inf)).notices == ()
    assert fitted(Segment(2, math.inf), duration=None).segments == (Segment(2, math.inf),)


TIMES = st.floats(-5, 20, allow_nan=False)


@given(st.lists(st.tuples(TIMES, TIMES, st.sampled_from("AB")), max_size=8), st.floats(0.5, 15))
def test_what_is_fitted_lies_within_the_recording(rows: list[tuple[float, float, str]], duration: float) -> None:
    segments = [Segment(start, end, speaker) for start, end, speaker in rows]
    inside = [one for one in segments if max(one.start, 0) < min(one.end, duration) and one.end > one.start]
    if not inside:
        with pytest.raises(FormatError):
            fitted(*segments, duration=duration)
        return
    fit = fitted(*segments, duration=duration)
    assert len(fit.segments) == len(inside)
    assert all(0 <= one.start < one.end <= duration for one in fit.segments)
    assert list(fit.segments) == sorted(fit.segments, key=lambda one: one.start)
    assert all(notice.startswith("talk.eaf") and notice.endswith(".") for notice in fit.notices)
