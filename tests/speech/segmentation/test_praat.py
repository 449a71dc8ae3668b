"""TextGrids of every form are read as Praat itself (parselmouth) and praatio read them; what is written, they read back."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emow2v.speech.segmentation.praat import praat_table, printable, textgrid
from emow2v.speech.segments import Tier
from segmentations import CONTROLS, LABELS, read, refusal, times, try_beginnings, turn

parselmouth = pytest.importorskip("parselmouth")
praatio = pytest.importorskip("praatio.textgrid")
one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

SHORT = '''File type = "ooTextFile"
Object class = "TextGrid"

0
3
<exists>
2
"IntervalTier"
"VP"
0
3
3
0
0.5
""
0.5
1.75
"say ""hi"""
1.75
3
" sil "
"TextTier"
"bell"
0
3
1
1.5
"ding"
'''


def praats_own(tmp_path: Path, rows: list[tuple[float, float, str]], end: float, name: str = "VP") -> Any:
    """A TextGrid that Praat makes: a tier of intervals, a tier of one point."""
    grid = parselmouth.praat.call("Create TextGrid", 0, end, "VP bell", "bell")
    for start, stop, _ in rows:
        for time in (start, stop):
            if 0 < time < end and parselmouth.praat.call(grid, "Get interval edge from time...", 1, time) == 0:
                parselmouth.praat.call(grid, "Insert boundary", 1, time)
    for start, stop, label in rows:
        number = parselmouth.praat.call(grid, "Get interval at time", 1, (start + stop) / 2)
        parselmouth.praat.call(grid, "Set interval text", 1, number, label)
    parselmouth.praat.call(grid, "Insert point", 2, end / 2, "ding")
    return grid


ROWS = [(0.5, 1.75, 'say "hi"'), (1.75, 2.5, "é 😀 שלום"), (2.75, 3.0, "x")]


@pytest.mark.parametrize("command", ["Save as text file", "Save as short text file"])
@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16", "try ISO Latin-1, then UTF-16"])
def test_what_praat_writes_is_read(tmp_path: Path, command: str, encoding: str) -> None:
    path = tmp_path / "talk.TextGrid"
    rows = ROWS if encoding != "try ISO Latin-1, then UTF-16" else [(0.5, 1.75, "Größe"), (1.75, 2.5, 'ein "é"')]
    parselmouth.praat.call("Text writing preferences", encoding)
    try:
        parselmouth.praat.call(praats_own(tmp_path, rows, 4.0), command, str(path))
    finally:
        parselmouth.praat.call("Text writing preferences", "UTF-8")
    found = read(tmp_path, "talk.TextGrid", path.read_bytes())
    assert times(found) == [(*row[:2], "", "VP", row[2]) for row in rows] + [(2.0, 2.0, "", "bell", "ding")]
    assert found.tiers == (Tier("VP"), Tier("bell", points=True))
    assert found.duration == 4.0
    assert found.notices == (
        ("talk.TextGrid: it is not in UTF-8 and is read as Windows-1252; check letters with accents.",)
        if encoding.startswith("try")
        else ()
    )


@pytest.mark.parametrize("form", ["short_textgrid", "long_textgrid"])
def test_what_praatio_writes_is_read(tmp_path: Path, form: str) -> None:
    grid = praatio.Textgrid()
    grid.addTier(praatio.IntervalTier("VP", ROWS, 0, 4))
    grid.addTier(praatio.PointTier("bell", [(1.5, "ding")], 0, 4))
    path = tmp_path / "talk.TextGrid"
    grid.save(str(path), form, includeBlankSpaces=True)
    assert times(read(tmp_path, "talk.TextGrid", path.read_bytes())) == [
        *((*row[:2], "", "VP", row[2]) for row in ROWS),
        (1.5, 1.5, "", "bell", "ding"),
    ]


def test_a_short_grid_by_hand(tmp_path: Path) -> None:
    found = read(tmp_path, "talk.TextGrid", SHORT)
    assert times(found) == [(0.5, 1.75, "", "VP", 'say "hi"'), (1.5, 1.5, "", "bell", "ding")]
    assert found.notices == ("talk.TextGrid: 1 interval labelled as pauses is left out.",)
    commented = SHORT.replace("<exists>", '! a remark with 12 and "words"\ntiers? <exists>').replace("\n", "\r\n")
    assert times(read(tmp_path, "talk.txt", commented)) == times(found)
    assert read(tmp_path, "talk.TextGrid", SHORT.replace("0\n3\n<exists>\n2", "0\n3\n<absent>", 1)[:70]).segments == ()


def test_every_beginning_costs_a_sentence(tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-16"):
        content = SHORT.strip().encode(encoding)
        read_, refused = try_beginnings(tmp_path, "talk.TextGrid", content)
        assert read_ == 0 and refused == len(content)
    cut = refusal(tmp_path, "talk.TextGrid", SHORT[: SHORT.index('"TextTier"')])
    assert cut.startswith("it is cut off before the kind of tier 2; expected a whole TextGrid; save it again in Praat")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("TextGrid", "Sound"), "it holds 'Sound'; expected a TextGrid"),
        (('"IntervalTier"', '"Pitch"'), "tier 1 is a 'Pitch'; expected an IntervalTier or a TextTier"),
        (('"VP"', "12"), "the name of tier 1 is '12'; expected a text"),
        (("\n3\n0\n0.5", "\n3.5\n0\n0.5"), "the size of tier 1 is 3.5; expected a whole number"),
        (("\n3\n0\n0.5", "\n1e30\n0\n0.5"), "a time is 1e+30 s"),
        (("<exists>", '"exists"'), "its list of tiers is 'exists'; expected <exists>"),
        (('File type = "ooTextFile"\n', "ooBinaryFile"), "it is a binary file of Praat"),
        (
            ('File type = "ooTextFile"\n', '"Praat chronological TextGrid text file"\n'),
            "it is a chronological TextGrid",
        ),
        (("0.5\n1.75", "0.5\n1e999"), "a time is inf s"),
    ],
)
def test_other_files_of_praat_cost_a_sentence(tmp_path: Path, change: tuple[str, str], sentence: str) -> None:
    assert change[0] in SHORT
    assert refusal(tmp_path, "talk.TextGrid", SHORT.replace(*change, 1)).startswith(sentence)


def judged_by_praat(path: Path) -> dict[str, list[tuple[float, float, str]]]:
    grid = parselmouth.read(str(path))
    call = parselmouth.praat.call
    return {
        call(grid, "Get tier name", tier): [
            (call(grid, "Get start time of interval", tier, k), call(grid, "Get end time of interval", tier, k), label)
            for k in range(1, call(grid, "Get number of intervals", tier) + 1)
            if (label := call(grid, "Get label of interval", tier, k))
        ]
        for tier in range(1, call(grid, "Get number of tiers") + 1)
    }


def judged_by_praatio(path: Path) -> dict[str, list[tuple[float, float, str]]]:
    grid = praatio.openTextgrid(str(path), includeEmptyIntervals=False)
    return {name: [tuple(entry) for entry in grid.getTier(name).entries] for name in grid.tierNames}


def test_values_a_turn_are_read_by_praat_and_praatio(tmp_path: Path) -> None:
    turns = [
        turn(0.25, 1, "VP", 'say "hi"'),
        turn(1, 2.5, "VP"),
        turn(0.5, 3, "IV", "é", score=0.25),
        turn(2, 3, "VP", "over"),
    ]
    path = tmp_path / "talk.TextGrid"
    path.write_text(textgrid(turns, 4.0), encoding="utf-8")
    for tiers in (judged_by_praat(path), judged_by_praatio(path)):
        fields = [" emow2v arousal", " emow2v dominance", " emow2v valence", " emow2v n", " emow2v speech"]
        assert list(tiers) == [f"{name}{field}" for name in ("VP", "VP (2)", "IV") for field in ("", *fields)]
        assert tiers["VP"] == [(0.25, 1, 'say "hi"'), (1, 2.5, "-")]
        assert tiers["VP (2)"] == [(2, 3, "over")]
        assert tiers["IV emow2v valence"] == [(0.5, 3, "0.45")]
        assert tiers["VP emow2v n"] == [(0.25, 1, "10"), (1, 2.5, "10")]
    back = read(tmp_path, "talk.TextGrid", path.read_bytes())
    assert [tier.name for tier in back.tiers] == ["VP", "VP (2)", "IV"]
    assert back.notices == ("talk.TextGrid: 15 tiers that emow2v wrote are left out.",)
    path.write_text(textgrid([], 2.0), encoding="utf-8")
    assert judged_by_praat(path) == {"turns": []}


@one_folder
@given(st.lists(st.tuples(st.integers(0, 900), st.integers(1, 4000), LABELS), min_size=1, max_size=5))
def test_any_label_stands(tmp_path: Path, rows: list[tuple[int, int, str]]) -> None:
    turns, begin = [], 0
    for gap, length, label in rows:
        begin += gap
        turns.append(turn(begin / 1000, (begin + length) / 1000, "VP", label))
        begin += length
    path = tmp_path / "talk.TextGrid"
    path.write_text(textgrid(turns, begin / 1000), encoding="utf-8")
    expected = [(one.segment.start, one.segment.end, one.segment.label) for one in turns]
    assert judged_by_praat(path)["VP"] == expected
    found = read(tmp_path, "talk.TextGrid", path.read_bytes())
    assert [(one.start, one.end, one.label) for one in found.segments] == expected


@pytest.mark.parametrize("sign", CONTROLS)
def test_signs_that_no_text_file_holds_are_written_as_their_numbers(tmp_path: Path, sign: str) -> None:
    path = tmp_path / "talk.TextGrid"
    path.write_text(textgrid([turn(0, 1, "VP", f"a{sign}b")], 1), encoding="utf-8")
    assert judged_by_praat(path)["VP"][0][2] == printable(f"a{sign}b")
    assert printable(f"a{sign}b").isprintable()


def test_a_table_of_curves_is_read_by_praat(tmp_path: Path) -> None:
    path = tmp_path / "talk.Table"
    path.write_text(praat_table({"time": [0.04, 0.08], 'arousal "x"': [0.5, math.nan]}), encoding="utf-8")
    table = parselmouth.read(str(path))
    call = parselmouth.praat.call
    assert (call(table, "Get number of rows"), call(table, "Get column label", 2)) == (2, 'arousal "x"')
    assert call(table, "Get value", 1, 'arousal "x"') == "0.5"
    assert call(table, "Get value", 2, 'arousal "x"') == "--undefined--"
    assert call(table, "Get mean", "time") == pytest.approx(0.06)
    with pytest.raises(ValueError, match="expected one number of rows"):
        praat_table({"a": [1.0], "b": []})
