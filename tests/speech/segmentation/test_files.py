"""Files for ELAN and Praat appear whole or not at all, and replace only what emow2v wrote."""

from pathlib import Path

import pytest

from emow2v.errors import PlaceTaken
from emow2v.speech.segmentation import read_segments
from emow2v.speech.segmentation.elan_write import eaf, time_series
from emow2v.speech.segmentation.files import write_files
from emow2v.speech.segmentation.praat import praat_table, textgrid
from segmentations import turn

TURNS = [turn(0.5, 1.25, "VP", "hallo")]


def contents(folder: Path) -> dict[Path, str]:
    place, table, configuration = folder / "talk.eaf", folder / "talk.emow2v.csv", folder / "talk_tsconf.xml"
    curves, settings = time_series({"arousal": [0.5]}, [0.04], table)
    return {
        place: eaf(TURNS, place, series=[table, configuration]),
        table: curves,
        configuration: settings,
        folder / "talk.TextGrid": textgrid(TURNS, 2.0),
        folder / "talk.Table": praat_table({"time": [0.04], "arousal": [0.5]}),
    }


def write(folder: Path, **options: bool) -> None:
    write_files(contents(folder), vouchers={folder / "talk.emow2v.csv": folder / "talk_tsconf.xml"}, **options)


@pytest.mark.quick
def test_they_replace_what_emow2v_wrote_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path)
    for path in contents(tmp_path):
        whole = path.read_bytes()
        path.write_bytes(whole + b" ")
        others = {one: one.read_bytes() for one in contents(tmp_path) if one != path}
        with pytest.raises(PlaceTaken, match=r"changed since|nothing in it shows"):
            write(tmp_path)
        assert {one: one.read_bytes() for one in others} == others
        path.write_bytes(whole)
    write(tmp_path)
    (tmp_path / "talk.eaf").write_text("by hand", encoding="utf-8")
    with pytest.raises(PlaceTaken):
        write(tmp_path)
    write(tmp_path, overwrite=True)
    assert read_segments(tmp_path / "talk.eaf").segments[0].label == "hallo"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in contents(tmp_path))


def test_others_read_them_with_their_marks(tmp_path: Path) -> None:
    pympi, parselmouth = pytest.importorskip("pympi"), pytest.importorskip("parselmouth")
    praatio = pytest.importorskip("praatio.textgrid")
    write(tmp_path)
    assert pympi.Elan.Eaf(str(tmp_path / "talk.eaf")).get_annotation_data_for_tier("VP") == [(500, 1250, "hallo")]
    assert parselmouth.praat.call(parselmouth.read(str(tmp_path / "talk.TextGrid")), "Get number of tiers") == 6
    assert parselmouth.praat.call(parselmouth.read(str(tmp_path / "talk.Table")), "Get number of rows") == 1
    grid = praatio.openTextgrid(str(tmp_path / "talk.TextGrid"), includeEmptyIntervals=False)
    assert [tuple(one) for one in grid.getTier("VP").entries] == [(0.5, 1.25, "hallo")]
