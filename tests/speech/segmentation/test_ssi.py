"""Discrete and free annotations of SSI and NOVA as segments; the reference's writer is the judge in tests/formats/test_ssi.py."""

from pathlib import Path

import pytest

from emow2v.errors import FormatError
from emow2v.speech.segmentation import read_segments
from emow2v.speech.segments import Tier

pytestmark = pytest.mark.quick

HEADER = """<?xml version="1.0" ?>
<annotation ssi-v="3"><info ftype="ASCII" size="3"/><meta annotator="me" role="novice"/>
<scheme name="turns" type="{type}">{items}</scheme></annotation>"""
ITEMS = '<item name="speech" id="0" color="#FF0000"/><item name="laughter" id="1"/>'


def write(folder: Path, kind: str, items: str, data: str) -> Path:
    path = folder / "novice.turns.annotation"
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
