"""Raters' curves in the formats that people have, on 0..1."""

from pathlib import Path

import numpy as np
import pytest

from emow2v.errors import FormatError
from emow2v.evaluation.curves.rated import Curve, read_curves

SCHEME = '<scheme name="{name}" type="CONTINUOUS" sr="2" {span} />'
UNIT = {"arousal": (0.0, 1.0)}


def annotation(folder: Path, name: str = "arousal", span: str = 'min="-1" max="1"', kind: str = "") -> Path:
    path = folder / "a.annotation"
    scheme = kind or SCHEME.format(name=name, span=span)
    path.write_text(
        f'<annotation ssi-v="3"><info ftype="ASCII" size="3" /><meta annotator="eva" />{scheme}</annotation>'
    )
    path.with_name("a.annotation~").write_text("-1.0;1\n0.5;1\nnan;0\n")
    return path


def test_an_annotation_has_its_scale_rater_and_times(tmp_path: Path) -> None:
    [curve] = read_curves(annotation(tmp_path))
    assert (curve.dimension, curve.rater) == ("arousal", "eva")
    assert curve.times.tolist() == [0.25, 0.75, 1.25]
    np.testing.assert_array_equal(curve.values, [0, 0.75, np.nan])


def test_a_scheme_without_its_range_and_of_another_kind(tmp_path: Path) -> None:
    path = annotation(tmp_path, span="")
    with pytest.raises(FormatError, match="without its range; add --scale, such as --scale arousal=-1:1"):
        read_curves(path)
    assert read_curves(path, scales={"arousal": (-1.0, 1.0)})[0].values[1] == 0.75
    with pytest.raises(FormatError, match="does not say what it rates"):
        read_curves(annotation(tmp_path, name="engagement"))
    assert read_curves(annotation(tmp_path, name="engagement"), dimension="valence")[0].dimension == "valence"
    with pytest.raises(FormatError, match="FREE annotation; expected a CONTINUOUS one"):
        path = annotation(tmp_path, kind='<scheme name="arousal" type="FREE" />')
        path.with_name("a.annotation~").write_text("0;1;word;1\n")
        read_curves(path)


@pytest.mark.parametrize(
    "text",
    [
        "time,arousal,valence\n0,0.1,0.2\n0.5,0.3,0.4\n1,0.5,NA\n",
        "time;arousal;valence\n0;0,1;0,2\n0,5;0,3;0,4\n1;0,5;\n",
        "Time\tArousal\tValence\n0\t0.1\t0.2\n500 ms\t0.3\t0.4\n1\t0.5\tnan\n",
    ],
)
def test_tables_of_several_dimensions(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rater.csv"
    path.write_text(text)
    arousal, valence = read_curves(path)
    assert (arousal.dimension, valence.dimension, arousal.rater) == ("arousal", "valence", "rater")
    assert arousal.times.tolist() == [0, 0.5, 1] and arousal.values.tolist() == [0.1, 0.3, 0.5]
    np.testing.assert_array_equal(valence.values, [0.2, 0.4, np.nan])
    assert [one.dimension for one in read_curves(path, dimension="valence")] == ["valence"]


def test_a_time_series_of_elan_without_header(tmp_path: Path) -> None:
    """ELAN's tracks are files of time and value, separated by tabs, spaces or semicolons."""
    path = tmp_path / "track.arousal.txt"
    for separator in ("\t", " ", ";"):
        path.write_text(f"0{separator}10\n0.1{separator}20\n0.2{separator}30\n")
        [curve] = read_curves(path, scales={"arousal": (0.0, 100.0)})
        assert curve.dimension == "arousal"
        np.testing.assert_allclose(curve.values, [0.1, 0.2, 0.3])
    path.write_text("0 1\n0.1 two\n")
    with pytest.raises(FormatError, match="expected two numbers on each line"):
        read_curves(path)


@pytest.mark.parametrize(
    "text",
    [
        "0;0,1\n0,5;\n1;0,3\n",
        "0,0\t0,1\n0,5\tNA\n1,0\t0,3\n",
        "0,0 0,1\n0,5 NaN\n1,0 0,3\n",
        "0.0, 0.1\n0.5, \n1.0, 0.3\n",
        "0:00.0;0,1\n0:00.5;--undefined--\n0:01.0;0,3\n",
        '"0,0","0,1"\n"0,5",""\n"1,0","0,3"\n',
    ],
)
def test_decimal_commas_clock_times_and_gaps_without_header(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.arousal.csv"
    path.write_text(text)
    [curve] = read_curves(path)
    assert curve.times.tolist() == [0, 0.5, 1]
    np.testing.assert_array_equal(curve.values, [0.1, np.nan, 0.3])


@pytest.mark.parametrize(
    ("column", "times"),
    [
        ("time_ms", "0 500 60000"),
        ("Time [ms]", "0 500 60000"),
        ("Timestamp (msec)", "0 500 60000"),
        ("start_s", "0 0.5 60"),
        ("Time", "0:00 0:00,5 1:00"),
        ("Second", "0 0,5 60"),
    ],
)
def test_units_of_time(tmp_path: Path, column: str, times: str) -> None:
    path = tmp_path / "x.csv"
    lines = [f"{time};{value}" for time, value in zip(times.split(), ("0,1", "0,2", "--undefined--"), strict=True)]
    path.write_text("sep=;\n" + "\n".join([f"{column};Arousal", *lines]))
    [curve] = read_curves(path)
    assert curve.times.tolist() == [0, 0.5, 60]
    np.testing.assert_array_equal(curve.values, [0.1, 0.2, np.nan])


def test_the_file_of_values_stands_for_its_annotation(tmp_path: Path) -> None:
    path = annotation(tmp_path)
    assert read_curves(path.with_name("a.annotation~"))[0].values[1] == 0.75


def test_start_and_end_give_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("start,end,value\n0,1,0.5\n1,2,0.6\n")
    assert read_curves(path, dimension="arousal")[0].times.tolist() == [0.5, 1.5]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("time,pulse\n0,1\n1,2\n", "no column of values"),
        ("frame,arousal\n0,1\n1,2\n", "no column time"),
        ("time,arousal\n0,1\n", "has 1 row with a time"),
        ("time,arousal\n0,0\n0,1\n", "two values at 0 s"),
        ("time,arousal\n0,0\n1,7\n", "arousal 7, outside 0..1"),
        ("time,arousal\n0,NA\n1,NA\n", "has no value of arousal"),
        ("time,value\n0,0\n1,1\n", "does not say what it rates"),
        ("", "is empty; expected a time in seconds"),
        ("time;arousal\n", "has a header and no line below it"),
        ("time;arousal\n0;0\n;1\n", "line 3: time is ''; expected a time on each line"),
        ("time,arousal\n0,0\n1,inf\n", "arousal inf, outside 0..1"),
        ("0,00,0,50\n0,04,0,60\n", r"may have decimal commas between commas \(0,00,0,50\)"),
    ],
)
def test_bad_tables_get_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(FormatError, match=sentence):
        read_curves(path)
    with pytest.raises(FormatError, match="expected one of arousal"):
        read_curves(path, dimension="anger")


def test_gaps_are_not_bridged() -> None:
    curve = Curve("arousal", "", np.array([0.0, 0.1, 0.2, 5.0, 5.1]), np.array([0, 0.1, 0.2, 0.3, 0.4]), "made")
    at = curve.at(np.array([-0.1, 0.05, 0.15, 2.0, 5.05, 5.2]))
    np.testing.assert_allclose(at, [np.nan, 0.05, 0.15, np.nan, 0.35, np.nan])
