"""Discrete and free annotations of SSI and NOVA as segments; the reference's writer is the judge in tests/formats/test_ssi.py."""

from pathlib import Path

import pytest

from emow2v.errors import FormatError
from emow2v.speech.segmentation import SegmentFolder, read_segments
from emow2v.speech.segments import Tier

pytestmark = pytest.mark.quick

HEADER = """<?xml version="1.0" ?>
<annotation ssi-v="3"><info ftype="ASCII" size="3"/><meta annotator="me" role="novice"/>
<scheme name="turns" type="{type}">{items}</scheme></annotation>"""
ITEMS = '<item name="speech" id="0" color="#FF0000"/><item name="laughter" id="1"/>'


def write(folder: Path, kind: str, items: str, data: str, name: str = "novice.turns.annotation") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEADER.format(type=kind, items=items), encoding="utf-8")
    path.with_name(path.name + "~").write_text(data, encoding="utf-8")
    return path


def test_discrete(tmp_path: Path) -> None:
    path = write(tmp_path, "DISCRETE", ITEMS, "0.5;1.75;0;1.0\n2;3;1;0.5\n3;4;-1;1\n4;5;7;1\n")
    for name in (path, path.with_name(path.name + "~")):
        found = read_segments(name)
        assert [(one.start, one.end, one.label) for one in found.segments] == [
            (0.5, 1.75, "speech"),
            (2, 3, "laughter"),
            (4, 5, "7"),
        ]
        assert {(one.speaker, one.tier) for one in found.segments} == {("novice", "turns")}
        assert found.tiers == (Tier("turns", "novice"),)
    assert found.notices[0].endswith("1 label of the class for garbage is left out.")
    copy = path.rename(tmp_path / "copy.xml")
    (tmp_path / "novice.turns.annotation~").rename(tmp_path / "copy.xml~")
    assert len(read_segments(copy).segments) == 3  # by its content


def test_free(tmp_path: Path) -> None:
    path = write(tmp_path, "FREE", "", "0.5;1.75;hallo; du;1.0\n2;3;שלום;1\n")
    assert [one.label for one in read_segments(path, ["turns"]).segments] == ["hallo; du", "שלום"]


def test_files_of_a_session_belong_to_their_role(tmp_path: Path) -> None:
    """role.scheme.annotator.annotation, as NOVA names them, beside role.wav or role.stream.mp4."""
    annotations = tmp_path / "annotations"
    for session in ("s1", "s2"):
        for role in ("novice", "expert"):
            write(annotations, "FREE", "", "0;1;x;1\n", f"{session}/{role}.turns.gold.annotation")
            write(annotations, "CONTINUOUS", "", "0.5;1\n", f"{session}/{role}.valence.gold.annotation")
            write(annotations, "CONTINUOUS", "", "0.5;1\n", f"{session}/{role}.arousal.annotation")
    folder = SegmentFolder(annotations)
    for recording in ("novice.wav", "novice.audio.wav", "novice.video.mp4"):
        path = tmp_path / "recordings" / "s2" / recording
        assert folder.find(path) == annotations / "s2" / "novice.turns.gold.annotation"
    assert folder.find("s1/nobody.wav") is None
    with pytest.raises(
        FormatError, match=r"novice\.wav has files with segments in 2 folders .*expected one, or folders"
    ):
        folder.find(tmp_path / "s3" / "novice.wav")
    other = write(annotations, "DISCRETE", ITEMS, "0;1;0;1\n", "s1/novice.laughter.me.annotation")
    folder = SegmentFolder(annotations)
    with pytest.raises(FormatError, match=r"several annotations with labels .*--tier"):
        folder.find("s1/novice.wav")
    assert folder.find("s1/novice.wav", ["laughter=left"]) == other
    assert folder.find("s1/novice.wav", ["turns"]) == annotations / "s1" / "novice.turns.gold.annotation"
    by_stem = other.with_name("novice.annotation")
    other.rename(by_stem)
    other.with_name(other.name + "~").rename(by_stem.with_name(by_stem.name + "~"))
    assert SegmentFolder(annotations).find("s1/novice.wav") == by_stem


def test_what_is_none_costs_a_sentence(tmp_path: Path) -> None:
    path = write(tmp_path, "DISCRETE", ITEMS, "0;1\n")
    with pytest.raises(FormatError, match=r"novice\.turns\.annotation: a line is"):
        read_segments(path)
    path.write_text(HEADER.format(type="CONTINUOUS", items="").replace("<scheme", '<scheme sr="25"'), encoding="utf-8")
    path.with_name(path.name + "~").write_text("0.5;1\n", encoding="utf-8")
    with pytest.raises(FormatError, match="the annotation is continuous; expected a discrete or a free one"):
        read_segments(path)
    path.with_name(path.name + "~").unlink()
    with pytest.raises(FormatError, match="is missing"):
        read_segments(path)
