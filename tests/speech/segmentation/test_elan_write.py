"""What is written for ELAN is read by pympi with links, tiers, times and values; an .eaf that came in stays byte for byte."""

import difflib
import re
from datetime import UTC, datetime
from pathlib import Path
from xml.dom import minidom

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emow2v.errors import FormatError
from emow2v.speech.segmentation.elan_write import add_tiers, eaf, time_series
from segmentations import CONTROLS, EAF, LABELS, read, times, turn

pympi = pytest.importorskip("pympi")
one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

TURNS = [turn(0.5, 1.25, "VP", "hallo"), turn(2, 3.5, "VP", "ja"), turn(1, 3, "IV", "und?", score=0.25)]


def judged(path: Path) -> dict[str, list[tuple[int, int, str]]]:
    """Tiers with their annotations, as pympi reads them."""
    made = pympi.Elan.Eaf(str(path))
    result = {}
    for name in made.get_tier_names():
        refers = bool(made.get_parameters_for_tier(name).get("PARENT_REF"))
        rows = made.get_ref_annotation_data_for_tier(name) if refers else made.get_annotation_data_for_tier(name)
        result[name] = sorted((begin, end, label) for begin, end, label, *_ in rows)
    return result


def write(folder: Path, *arguments: object, **options: object) -> Path:
    path = folder / "talk.eaf"
    path.write_text(eaf(*arguments, **options), encoding="utf-8")  # type: ignore[arg-type]
    return path


def test_a_tier_a_speaker_with_values_below_it(tmp_path: Path) -> None:
    tiers = judged(write(tmp_path, TURNS, tmp_path / "talk.eaf"))
    fields = ["", " arousal", " dominance", " valence", " n", " speech"]
    assert list(tiers) == ["VP", *(f"VP emow2v{one}" for one in fields), "IV", *(f"IV emow2v{one}" for one in fields)]
    assert tiers["VP"] == [(500, 1250, "hallo"), (2000, 3500, "ja")]
    assert tiers["VP emow2v"][0] == (500, 1250, "arousal 0.5; dominance 0.6; valence 0.7; n 10; speech 0.75")
    assert tiers["IV emow2v valence"] == [(1000, 3000, "0.45")]
    assert tiers["VP emow2v n"] == [(500, 1250, "10"), (2000, 3500, "10")]
    made = pympi.Elan.Eaf(str(tmp_path / "talk.eaf"))
    assert made.get_parameters_for_tier("VP emow2v arousal")["PARENT_REF"] == "VP emow2v"
    assert made.get_parameters_for_tier("IV")["PARTICIPANT"] == "IV"
    assert made.get_parameters_for_linguistic_type("emow2v values")["CONSTRAINTS"] == "Symbolic_Association"


def test_links_and_provenance(tmp_path: Path) -> None:
    place = tmp_path / "results" / "talk.eaf"
    place.parent.mkdir()
    recording = tmp_path / "Größe & 'x'" / "talk #1.mp4"
    series = [place.parent / "talk.csv", place.parent / "talk_tsconf.xml"]
    facts = {"model": "lite", "step": 0.04, "citation": "A & B <2026>"}
    place.write_text(
        eaf(TURNS, place, [recording, tmp_path / "talk.wav"], series=series, provenance=facts), encoding="utf-8"
    )
    made = pympi.Elan.Eaf(str(place))
    media = made.get_linked_files()
    assert [one["RELATIVE_MEDIA_URL"] for one in media] == ["../Größe & 'x'/talk #1.mp4", "../talk.wav"]
    assert [one["MEDIA_URL"] for one in media] == [f"file://{recording}", f"file://{tmp_path}/talk.wav"]
    assert [one["MIME_TYPE"] for one in media] == ["video/mp4", "audio/x-wav"]
    assert [one["RELATIVE_LINK_URL"] for one in made.get_secondary_linked_files()] == [
        "./talk.csv",
        "./talk_tsconf.xml",
    ]
    assert dict(made.get_properties())["emow2v:citation"] == "A & B <2026>"
    assert [one.location for one in read(place.parent, "talk.eaf", place.read_bytes()).media] == [
        one["MEDIA_URL"] for one in media
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_links_of_a_copy_lead_where_they_led(tmp_path: Path, encoding: str) -> None:
    content = EAF.replace("UTF-8", encoding, 1).encode(encoding)  # RELATIVE_MEDIA_URL="../talk é.mp4"
    source, place = tmp_path / "eaf" / "talk.eaf", tmp_path / "results" / "deep" / "talk.eaf"
    source.parent.mkdir()
    nowhere = add_tiers(content, TURNS, moved=(source, place))
    assert "../talk é.mp4" in nowhere.decode(encoding)  # there is nothing that it could lead to
    recording = tmp_path / "sound & pictures" / "talk é.mp4"
    recording.parent.mkdir()
    recording.touch()
    copy = add_tiers(content, TURNS, moved=(source, place), recording=recording)
    near = minidom.parseString(copy).getElementsByTagName("MEDIA_DESCRIPTOR")[0].getAttribute("RELATIVE_MEDIA_URL")
    assert near == "../../sound & pictures/talk é.mp4"
    (tmp_path / "talk é.mp4").touch()
    copy = add_tiers(content, TURNS, moved=(source, place), recording=recording)
    assert copy.decode(encoding).count('RELATIVE_MEDIA_URL="../../talk é.mp4"') == 1
    changed = copy.decode(encoding).replace("../../talk é.mp4", "../talk é.mp4")
    assert changed == add_tiers(content, TURNS).decode(encoding)


def test_the_document_has_the_order_of_the_schema(tmp_path: Path) -> None:
    document = minidom.parse(
        str(
            write(
                tmp_path, TURNS, tmp_path / "talk.eaf", [tmp_path / "talk.wav"], date=datetime(2026, 1, 2, tzinfo=UTC)
            )
        )
    )
    root = document.documentElement
    assert (root.getAttribute("FORMAT"), root.getAttribute("VERSION")) == ("2.8", "2.8")
    assert datetime.fromisoformat(root.getAttribute("DATE")) == datetime(2026, 1, 2, tzinfo=UTC)
    names = [one.tagName for one in root.childNodes if one.nodeType == one.ELEMENT_NODE]
    order = ["HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "CONSTRAINT"]
    assert names == sorted(names, key=order.index)
    ids = [
        one.getAttribute(name)
        for one in root.getElementsByTagName("*")
        for name in ("ANNOTATION_ID", "TIME_SLOT_ID")
        if one.getAttribute(name)
    ]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"(a|ts)\d+", one) for one in ids)
    last = [one for one in root.getElementsByTagName("PROPERTY") if one.getAttribute("NAME") == "lastUsedAnnotationId"]
    assert int(last[0].firstChild.data) == max(int(one[1:]) for one in ids if one.startswith("a"))


def test_turns_that_overlap_within_a_speaker_get_a_further_tier(tmp_path: Path) -> None:
    tiers = judged(
        write(tmp_path, [turn(0, 2, "A", "x"), turn(1, 3, "A", "y"), turn(2, 3, "A", "z")], tmp_path / "talk.eaf")
    )
    assert tiers["A"] == [(0, 2000, "x"), (2000, 3000, "z")]
    assert tiers["A (2)"] == [(1000, 3000, "y")]


def test_values_that_are_missing_have_no_annotation(tmp_path: Path) -> None:
    silent = turn(0, 1, "A", "x", score=np.nan)
    tiers = judged(write(tmp_path, [silent, turn(1, 2, "A", "y")], tmp_path / "talk.eaf"))
    assert tiers["A emow2v arousal"] == [(1000, 2000, "0.5")]
    assert tiers["A emow2v"][0][2] == "n 10; speech 0.75"


@one_folder
@given(st.lists(st.tuples(st.integers(1, 4000), LABELS), min_size=1, max_size=6), LABELS)
def test_any_label_and_any_name_stands(tmp_path: Path, rows: list[tuple[int, str]], speaker: str) -> None:
    turns, begin = [], 0
    for length, label in rows:
        turns.append(turn(begin / 1000, (begin + length) / 1000, speaker, label))
        begin += length
    path = write(tmp_path, turns, tmp_path / "talk.eaf")
    assert [
        (round(one.segment.start * 1000), round(one.segment.end * 1000), one.segment.label) for one in turns
    ] == next(iter(judged(path).values()))
    found = read(tmp_path, "talk.eaf", path.read_bytes())
    assert [(one.start, one.end, one.label, one.speaker) for one in found.segments] == [
        (one.segment.start, one.segment.end, one.segment.label, speaker.strip()) for one in turns
    ]


@pytest.mark.parametrize("sign", CONTROLS)
def test_signs_that_xml_cannot_hold_are_written_as_their_numbers(tmp_path: Path, sign: str) -> None:
    path = write(tmp_path, [turn(0, 1, "A", f"a{sign}b")], tmp_path / "talk.eaf", provenance={"note": sign})
    ((_, _, label),) = judged(path)["A"]
    assert label.startswith("a\\") and label.endswith("b") and label.isprintable()


def test_a_copy_keeps_every_byte_that_came_in(tmp_path: Path) -> None:
    made = add_tiers(EAF.encode(), TURNS, origin=0.5, provenance={"model": "lite"}).decode()
    removed = [line for line in difflib.ndiff(EAF.splitlines(), made.splitlines()) if line.startswith("- ")]
    assert removed == ['-         <PROPERTY NAME="lastUsedAnnotationId">11</PROPERTY>']
    (tmp_path / "talk.eaf").write_bytes(EAF.encode())
    (tmp_path / "copy.eaf").write_text(made, encoding="utf-8")
    before, after = judged(tmp_path / "talk.eaf"), judged(tmp_path / "copy.eaf")
    assert {name: after[name] for name in before} == before
    assert after["VP emow2v arousal"] == [(0, 750, "0.5"), (1500, 3000, "0.5")]
    assert after["IV emow2v"][0][:2] == (500, 2500)
    assert list(after)[: len(before)] == list(before)
    ids = re.findall(r'(?:ANNOTATION_ID|TIME_SLOT_ID)="([^"]+)"', made)
    assert len(ids) == len(set(ids)) and "a12" in ids and "ts7" in ids
    names = [
        one.tagName
        for one in minidom.parseString(made.encode()).documentElement.childNodes
        if one.nodeType == one.ELEMENT_NODE
    ]
    order = ["HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "CONSTRAINT", "CONTROLLED_VOCABULARY"]
    assert names == sorted(names, key=order.index)
    assert made.count('STEREOTYPE="Symbolic_Association"') == 1
    assert dict(pympi.Elan.Eaf(str(tmp_path / "copy.eaf")).get_properties())["emow2v:model"] == "lite"


def test_tiers_of_ours_are_no_turns_when_the_copy_comes_in(tmp_path: Path) -> None:
    expected = times(read(tmp_path, "talk.eaf", EAF))
    copy = add_tiers(EAF.encode(), TURNS)
    found = read(tmp_path, "copy.eaf", copy)
    assert times(found) == expected
    assert "copy.eaf: 12 tiers that emow2v wrote are left out." in found.notices
    (tmp_path / "twice.eaf").write_bytes(add_tiers(copy, TURNS))
    assert "VP emow2v (2) arousal" in judged(tmp_path / "twice.eaf")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "latin-1", "utf-8"])
def test_a_copy_has_the_encoding_that_came_in(tmp_path: Path, encoding: str) -> None:
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    name = {"latin-1": "ISO-8859-1", "utf-8": "UTF-8"}.get(encoding, "UTF-16")
    content = mark + EAF.replace("UTF-8", name, 1).encode(encoding)
    copy = add_tiers(content, [turn(0, 1, "שלום", "x")])
    (tmp_path / "copy.eaf").write_bytes(copy)
    assert judged(tmp_path / "copy.eaf")["שלום emow2v"][0][:2] == (0, 1000)
    assert copy.startswith(content[: len(content) // 10])


def test_a_small_document_gets_what_it_lacks(tmp_path: Path) -> None:
    head = EAF[EAF.index("<ANNOTATION_DOCUMENT") : EAF.index("    <HEADER")].replace('AUTHOR=""', 'AUTHOR="a>b"')
    counter = '<PROPERTY NAME="lastUsedAnnotationId"/>'
    for header in ("<HEADER/>", f"<HEADER>{counter}</HEADER>"):
        content = add_tiers(f"{head}{header}<TIME_ORDER/></ANNOTATION_DOCUMENT>".encode(), TURNS)
        (tmp_path / "copy.eaf").write_bytes(content)
        assert judged(tmp_path / "copy.eaf")["IV emow2v n"] == [(1000, 3000, "10")]
        assert header == "<HEADER/>" or f"<HEADER>{counter}</HEADER>".encode() in content
    small = f"{head}<HEADER/><TIME_ORDER/></ANNOTATION_DOCUMENT>"
    (tmp_path / "copy.eaf").write_bytes(add_tiers(small.encode(), TURNS, provenance={"model": "lite"}))
    assert judged(tmp_path / "copy.eaf")["IV emow2v n"] == [(1000, 3000, "10")]
    taken = EAF.replace('LINGUISTIC_TYPE_ID="utterance"', 'LINGUISTIC_TYPE_ID="emow2v values"')
    (tmp_path / "copy.eaf").write_bytes(add_tiers(taken.encode(), TURNS))
    made = pympi.Elan.Eaf(str(tmp_path / "copy.eaf"))
    assert made.get_parameters_for_tier("VP emow2v n")["LINGUISTIC_TYPE_REF"] == "emow2v values (2)"
    with pytest.raises(FormatError, match="no HEADER or no TIME_ORDER"):
        add_tiers(b"<ANNOTATION_DOCUMENT/>", TURNS)


def test_curves_have_a_configuration_for_elan(tmp_path: Path) -> None:
    values = {"arousal": np.array([0.5, np.nan, 0.25]), "valence": np.array([0.1, np.nan, np.nan])}
    table, configuration = time_series(values, np.array([0.04, 0.08, 0.12]), tmp_path / "talk ü.csv")
    assert table == "time,arousal,valence\n0.040,0.5,0.1\n0.120,0.25,\n"
    root = minidom.parseString(configuration.encode()).documentElement
    assert root.tagName == "timeseries"
    (source,) = root.getElementsByTagName("tracksource")
    assert source.getAttribute("source-url") == f"file://{tmp_path}/talk ü.csv"
    assert source.getAttribute("time-column") == "0"
    tracks = {
        one.getAttribute("name"): one.getElementsByTagName("pos")[0].getAttribute("col")
        for one in root.getElementsByTagName("track")
    }
    assert tracks == {"arousal": "1", "valence": "2"}
