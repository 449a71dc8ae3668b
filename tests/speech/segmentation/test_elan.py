"""ELAN files are read as pympi, an independent reader, reads them; damaged and hostile ones cost one sentence."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emow2v.speech.segmentation.elan import read_elan
from emow2v.speech.segments import Media, Tier
from segmentations import EAF, LABELS, read, refusal, times, try_beginnings

one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # each example overwrites its files


def test_tiers_speakers_times_and_media(tmp_path: Path) -> None:
    found = read(tmp_path, "talk.eaf", EAF)
    assert found.format == "ELAN"
    assert found.tiers == (
        Tier("VP", "Anna"), Tier("VP parts", "Anna", "VP"), Tier("VP English", "Anna", "VP"), Tier("VP words", "Anna", "VP"),
        Tier("IV=left"), Tier("empty"),
    )  # fmt: skip
    assert found.media == (
        Media("file:///C:/data/talk é.mp4", "../talk é.mp4"),
        Media("file:///C:/data/talk.wav", "", 1.5),
    )
    assert sorted(times(found)) == [
        (0.5, 0.75, "Anna", "VP words", "hallo"),
        (0.5, 1.0, "Anna", "VP", 'hallo & "tschüss" <3'),
        (0.5, 1.0, "Anna", "VP English", "hello"),
        (0.75, 1.0, "Anna", "VP words", "tschüss"),
        (1.0, 1.5, "Anna", "VP parts", "one"),
        (1.0, 2.5, "Anna", "VP", ""),
        (1.5, 2.0, "Anna", "VP parts", "two"),
        (2.0, 2.5, "Anna", "VP parts", "three"),
        (2.5, 3.0, "", "IV=left", "ja"),
    ]
    assert found.notices == (
        "talk.eaf: 2 boundaries of the tier 'VP parts' have no times and are set evenly between others, as ELAN shows them.",
        "talk.eaf: 2 annotations of the tier 'VP words' have no times of their own and divide those of their parents equally, "
        "as ELAN shows them.",
    )


def test_times_are_those_of_the_recording(tmp_path: Path) -> None:
    found = read(tmp_path, "talk.eaf", EAF, recording=tmp_path / "talk.wav", tiers=["VP"])
    assert [(one.start, one.end) for one in found.segments] == [(2.0, 2.5), (2.5, 4.0)]
    video = read(tmp_path, "talk.eaf", EAF, recording=tmp_path / "talk é.mp4", tiers=["VP"])
    assert [(one.start, one.end) for one in video.segments] == [(0.5, 1.0), (1.0, 2.5)]


def test_pympi_reads_the_same(tmp_path: Path) -> None:
    pympi = pytest.importorskip("pympi")
    found = read(tmp_path, "talk.eaf", EAF)
    judge = pympi.Elan.Eaf(str(tmp_path / "talk.eaf"))
    assert list(judge.get_tier_names()) == [tier.name for tier in found.tiers]
    for name in ("VP", "IV=left"):
        assert sorted(
            (begin / 1000, end / 1000, label) for begin, end, label in judge.get_annotation_data_for_tier(name)
        ) == [(one.start, one.end, one.label) for one in found.segments if one.tier == name]
    assert judge.get_parameters_for_tier("VP")["PARTICIPANT"] == "Anna"


ROWS = st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 3000), LABELS), max_size=5)


@one_folder
@given(st.dictionaries(st.sampled_from(["VP", "I & V", "שלום", 'say "x"']), ROWS, max_size=3))
def test_what_pympi_writes_is_read(tmp_path: Path, tiers: dict[str, list[tuple[int, int, str]]]) -> None:
    pympi = pytest.importorskip("pympi")
    path = tmp_path / "talk.eaf"
    path.unlink(missing_ok=True)
    made = pympi.Elan.Eaf(author="")
    made.remove_tier("default")
    made.add_linked_file(str(tmp_path / "talk.wav"), "talk.wav", "audio/x-wav", 250)
    expected = []
    for name, rows in tiers.items():
        made.add_tier(name, part=f"{name}!")
        start = 0
        for gap, length, label in rows:
            start += gap
            made.add_annotation(name, start, start + length, label)
            expected.append((start / 1000, (start + length) / 1000, f"{name}!", name, label))
            start += length
    made.to_file(str(path))
    found = read(tmp_path, "talk.eaf", path.read_bytes())
    assert sorted(times(found)) == sorted(expected)
    assert found.media[0].time_origin == 0.25
    assert {tier.name for tier in found.tiers} == set(tiers)


def test_encodings(tmp_path: Path) -> None:
    expected = times(read(tmp_path, "talk.eaf", EAF))
    for encoding, name in (
        ("utf-16", "UTF-16"),
        ("utf-8-sig", "UTF-8"),
        ("latin-1", "ISO-8859-1"),
        ("windows-1252", "windows-1252"),
    ):
        content = EAF.replace("UTF-8", name, 1).encode(encoding)
        assert times(read(tmp_path, "talk.eaf", content)) == expected, encoding
    assert "is no XML" in refusal(tmp_path, "talk.eaf", EAF.encode("latin-1"))  # which says that it is UTF-8
    assert "is no XML" in refusal(tmp_path, "talk.eaf", EAF.replace("UTF-8", "klingon", 1))


def test_every_beginning_costs_a_sentence(tmp_path: Path) -> None:
    whole = EAF.strip().encode()
    read_, refused = try_beginnings(tmp_path, "talk.eaf", whole, step=7)
    assert read_ == 0 and refused == -(-len(whole) // 7)
    assert refusal(tmp_path, "talk.eaf", whole[:-10]).startswith(
        "it is cut off; expected <ANNOTATION_DOCUMENT> to its end"
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("<ANNOTATION_DOCUMENT", '<!DOCTYPE x [<!ENTITY a "b">]><ANNOTATION_DOCUMENT'), "it holds a DOCTYPE"),
        (("<ANNOTATION_DOCUMENT", '<!DOCTYPE x SYSTEM "file:///etc/passwd"><ANNOTATION_DOCUMENT'), "it holds a DOCTYPE"),
        (("hallo &amp;", "&boom;"), "it is no XML"),
        (('TIME_UNITS="milliseconds"', 'TIME_UNITS="PAL-frames"'), "its times are in 'PAL-frames'; expected milliseconds"),
        (('TIME_VALUE="500"', 'TIME_VALUE="x"'), "a time is 'x'; expected milliseconds"),
        (('TIME_VALUE="500"', f'TIME_VALUE="{"9" * 5000}"'), "a time is '9999"),
        (('TIME_VALUE="500"', 'TIME_VALUE="9999999999999999"'), "a time is"),
        (('TIME_ORIGIN="1500"', 'TIME_ORIGIN="soon"'), "a time is 'soon'"),
        (('TIME_SLOT_REF1="ts1"', 'TIME_SLOT_REF1="ts99"'), "the time slot 'ts99' is missing"),
        (('TIME_SLOT_REF1="ts1"', ""), "an element ALIGNABLE_ANNOTATION has no TIME_SLOT_REF1"),
        (('ANNOTATION_ID="a2"', 'ANNOTATION_ID="a1"'), "two annotations have the id 'a1'"),
        (('ANNOTATION_ID="a6" ANNOTATION_REF="a1"', 'ANNOTATION_ID="a6" ANNOTATION_REF="a6"'), "refer to each other in a circle"),
        (('ANNOTATION_ID="a6" ANNOTATION_REF="a1"', 'ANNOTATION_ID="a6" ANNOTATION_REF="b"'), "the annotation 'b' is missing"),
        (('TIER_ID="empty"', 'TIER_ID="VP"'), "two of its tiers have one name"),
        (('TIER_ID="empty"', ""), "an element TIER has no TIER_ID"),
        (('"ts5" TIME_VALUE="2500"', '"ts5"'), "some annotations lie between no times"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_costs_a_sentence(tmp_path: Path, change: tuple[str, str], sentence: str) -> None:
    assert change[0] in EAF
    assert sentence in refusal(tmp_path, "talk.eaf", EAF.replace(*change, 1))


def test_other_documents_and_depths_are_refused(tmp_path: Path) -> None:
    assert "it holds <html>; expected <ANNOTATION_DOCUMENT>" in refusal(tmp_path, "talk.eaf", "<html/>")
    deep = "<ANNOTATION_DOCUMENT>" + "<a>" * 100_000
    assert "more than 32 deep" in refusal(tmp_path, "talk.eaf", deep)
    laughs = "".join(f'<!ENTITY l{k} "{f"&l{k - 1};" * 10}">' for k in range(1, 10))
    bomb = (
        f'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY l0 "ha">{laughs}]><ANNOTATION_DOCUMENT>&l9;</ANNOTATION_DOCUMENT>'
    )
    assert "it holds a DOCTYPE" in refusal(tmp_path, "talk.eaf", bomb)


def test_parents_in_a_circle_end(tmp_path: Path) -> None:
    document = EAF.replace('TIER_ID="IV=left"', 'TIER_ID="IV=left" PARENT_REF="empty"').replace(
        'TIER_ID="empty"', 'TIER_ID="empty" PARENT_REF="IV=left"'
    )
    assert read(tmp_path, "talk.eaf", document).tiers[-1] == Tier("empty", "", "IV=left")


def test_a_document_without_anything_has_no_segments() -> None:
    assert read_elan(b"<ANNOTATION_DOCUMENT/>").segments == ()
