"""Pictures: independent readers open them, curves keep their gaps and extremes, and speakers have their turns."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from commands import caller
from emow2v.errors import FormatError
from emow2v.formats.pictures import Curves, page, stretches
from emow2v.formats.plot import COLOURS
from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.rows import TurnRows
from emow2v.trajectory import Block, Info, Trajectory

pytest.importorskip("matplotlib")


def trajectory(count: int = 200, *, turns: bool = False) -> Trajectory:
    generator = np.random.default_rng(0)
    values = generator.random((count, 6)).astype(np.float32)
    speech = np.where((np.arange(count) > 80) & (np.arange(count) < 120), 0.1, 0.9).astype(np.float32)
    rows = TurnRows(("Eva", "Ina") * (count // 2), ("",) * count, ("",) * count, (3,) * count) if turns else None
    times = Framing().times(0, count)
    block = Block(0, *times, np.zeros((count, 1024), np.float32), values[:, :3], values[:, 3:], speech, rows)
    info = Info("talk.wav", Framing(), {"model": "lite"}, speech=True, turns=turns)
    return Trajectory(info, lambda: iter([block]))


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_same_rows_give_the_same_picture_and_only_its_own_is_replaced(tmp_path: Path, ending: str) -> None:
    for name in ("a", "b", "a"):
        trajectory().save(tmp_path / f"{name}.{ending}")
    assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


def test_pillow_finds_300_dots_per_inch(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    trajectory().save(tmp_path / "a.png")
    with image.open(tmp_path / "a.png") as picture:
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1) and picture.width > 3000


def test_pypdf_finds_a_page_whose_text_can_be_searched(tmp_path: Path) -> None:
    pypdf = pytest.importorskip("pypdf")
    trajectory().save(tmp_path / "a.pdf")
    (page,) = pypdf.PdfReader(tmp_path / "a.pdf").pages
    words = page.extract_text()
    assert all(name in words for name in ("arousal", "dominance", "valence"))
    assert page.mediabox.width > page.mediabox.height > 200
    assert not page.images  # lines and letters, which print at any size


def test_curves_have_gaps_in_silence_and_speakers_are_shaded(tmp_path: Path) -> None:
    trajectory().save(tmp_path / "a.svg")
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    text = (tmp_path / "a.svg").read_text("utf-8")
    for colour in COLOURS.values():
        curve = max(re.findall(rf'<path d="([^"]*)"[^>]*stroke: {colour}', text), key=len)
        assert curve.count("M") == 2
    trajectory(4, turns=True).save(tmp_path / "b.svg")
    text = (tmp_path / "b.svg").read_text("utf-8")
    assert text.count("fill: #56b4e9") >= 2 and text.count("fill: #e69f00") >= 2


def test_stretches_of_a_curve_keep_means_extremes_and_gaps() -> None:
    generator = np.random.default_rng(1)
    values = generator.random(100_000)
    values[[1234, 77_777]] = 5, -5
    values[40_000:50_000] = np.nan
    times, means, low, high = stretches(np.arange(100_000) / 25, values)
    assert len(times) == len(means) == 400
    assert np.nanmax(high) == 5 and np.nanmin(low) == -5
    inside = (times > 1605) & (times < 1995)
    for found in (means, low, high):
        assert np.isnan(found[inside]).all() and np.isfinite(found[times < 1590]).all()
    np.testing.assert_allclose(means[:160], values[:40_000].reshape(160, 250).mean(axis=1))


def test_a_long_curve_is_a_line_with_a_band_and_a_short_one_is_as_it_is() -> None:
    values = np.random.default_rng(2).random((5000, 3))
    times = np.arange(5000) / 25
    for count, drawn in ((4000, 400), (2000, 2000)):
        axes = page([Curves("one", times[:count], times[:count] + 0.04, values[:count])], make, plane=False).axes[0]
        assert [len(line.get_xdata()) for line in axes.lines] == [drawn] * 3
        assert len(axes.collections) == (3 if count > 2000 else 0)


def test_a_legend_hides_no_curve_and_leaves_its_page_to_them() -> None:
    """With many names the axes stay as wide as with few, and all of the legend is on the page."""
    times = np.arange(7.0)
    for names in (["Eva"] * 7, [f"a person with a long name {number}" for number in range(7)]):
        figure = page(
            [Curves("x" * 200, times, times + 1, np.full((7, 3), 0.99), None, names)], constrained, plane=True
        )
        figure.canvas.draw()
        axes = figure.axes[0]
        renderer = figure.canvas.get_renderer()
        legend, title = (one.get_window_extent(renderer) for one in (axes.get_legend(), axes._left_title))
        box = axes.get_window_extent(renderer)
        assert box.width > 0.6 * figure.bbox.width
        assert legend.x0 >= 0 and legend.y1 <= figure.bbox.height and legend.y0 >= box.y1 - 3
        assert not legend.overlaps(title)


def make(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def constrained(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def test_a_page_has_a_row_for_each_recording_and_the_plane_beside_it() -> None:
    scores = np.random.default_rng(0).random((50, 3))
    times = np.arange(50) / 25
    plain = Curves("one", times, times + 0.04, scores)
    sure = Curves("two", times, times + 0.04, scores, np.linspace(0, 1, 50))
    figure = page([plain, sure], make, plane=True)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title for title in titles if title] == ["one", "two"]
    labels = [(axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes]
    assert labels.count(("valence", "arousal")) == 2 and sum(label[1] == "confidence" for label in labels) == 1
    drawn = figure.axes[1].collections[0].get_offsets()
    np.testing.assert_allclose(drawn, scores[:, [2, 0]])


def test_nothing_but_silence_is_a_picture_too(tmp_path: Path) -> None:
    times = Framing().times(0, 3)
    block = Block(0, *times, *(np.full((3, n), 0.5, np.float32) for n in (1024, 3, 3)), np.zeros(3, np.float32))
    info = Info("talk.wav", Framing(), {"model": "lite"}, speech=True)
    Trajectory(info, lambda: iter([block])).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_the_command_draws_several_tables(lite: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, turns in (("a.csv", False), ("b.json", True)):
        trajectory(20, turns=turns).save(tmp_path / name)
    call = caller(monkeypatch, lite, "plot")
    done = call(tmp_path / "a.csv", tmp_path / "b.json", "-o", tmp_path / "page.svg")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "page.svg").read_text("utf-8")
    assert "<!-- Eva -->" in text and text.count("<!-- talk.wav -->") == 2
    for arguments, sentence in (
        ((tmp_path / "a.csv", "-o", tmp_path / "page.doc"), "cannot end in '.doc'"),
        ((tmp_path / "page.svg", "-o", tmp_path / "p.png"), "is no table"),
        ((*[tmp_path / "a.csv"] * 13, "-o", tmp_path / "p.png"), "at most 12"),
    ):
        refused = call(*arguments)
        assert refused.exit_code and isinstance(refused.exception, FormatError)
        assert sentence in str(refused.exception)


def test_a_name_with_dollars_is_no_mathematics(tmp_path: Path) -> None:
    times = np.arange(20) / 25
    figure = page([Curves("5$ or $6 \udce4.wav", times, times + 0.04, np.zeros((20, 3)))], make, plane=False)
    figure.savefig(tmp_path / "a.svg")
    assert "5$ or $6" in (tmp_path / "a.svg").read_text("utf-8")
