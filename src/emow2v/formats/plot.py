"""Pictures of trajectories (extra `plot`)."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emow2v.errors import FormatError
from emow2v.rows import Block, Info, Rows, concatenate
from emow2v.storage import marks
from emow2v.storage.files import StagedFiles

if TYPE_CHECKING:
    from emow2v.formats.pictures import Curves

COLOURS = {"arousal": "#d55e00", "dominance": "#0072b2", "valence": "#009e73"}  # distinct for colour-blind readers
ENDINGS = (".png", ".svg", ".pdf")
_DPI = 300  # as journals ask for


def plot(trajectory: Rows, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a picture of the curves, as `Trajectory.save` does; the ending of the name (.png, .svg, .pdf) is its kind.

    Args:
        overwrite: whether files are replaced that emow2v did not write

    Raises:
        PlaceTaken: a file exists that emow2v did not write, or that was changed since
        FormatError: matplotlib is not installed, another ending, or a place that cannot be written
    """
    from emow2v.formats import record

    record(trajectory, [PictureWriter(Path(path), overwrite=overwrite)])


def curves_of(info: Info, rows: Block, name: str) -> Curves:
    """What a picture shows of rows; scores are NaN in rows without speech."""
    from emow2v.formats.pictures import Curves, speakers_of

    covers = str(info.provenance.get("covers", "")).replace("a row's start", "its step's start")
    return Curves(name, rows.starts, rows.ends, rows.scores_of_speech, rows.confidence, speakers_of(rows.turns), covers)


def figure_of(path: Path, recordings: Sequence[Curves], *, plane: bool) -> Any:
    """A page of curves for a picture at a path; see `pictures.page`.

    Raises:
        FormatError: matplotlib is not installed, or the ending is not that of a picture
    """
    from emow2v.formats.pictures import page

    return page(recordings, functools.partial(picture, path), plane=plane)


def picture(path: Path, width: float, height: float) -> Any:
    """A matplotlib figure, its size in inches, for a picture at a path.

    Raises:
        FormatError: matplotlib is not installed, or the ending is not that of a picture
    """
    if path.suffix.lower() not in ENDINGS:
        raise FormatError(f"A picture cannot end in '{path.suffix}'; expected {', '.join(ENDINGS)}.")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise FormatError("Pictures need matplotlib; run: pip install 'emow2v[plot]'.") from None
    return Figure(figsize=(width, height), layout="constrained")


class PictureWriter:
    """Writes `NAME.png`, `.svg` or `.pdf` with the curves, their confidence and the plane of arousal and valence.

    Raises:
        FormatError: matplotlib is not installed
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        picture(path, 1, 1)  # before the work
        self.path, self.clipped = path, 0
        self.staged = StagedFiles({path: None}, overwrite=overwrite)

    def open(self, info: Info) -> None:
        self._info = info
        self._blocks: list[Block] = []
        self._file = self.staged.open(self.path)

    def add(self, block: Block) -> None:
        parts = (block.embeddings[:, :0].copy(), block.scores_of_speech, block.confidence, block.speech, block.turns)
        self._blocks.append(Block(block.first, block.starts, block.ends, *parts))

    def close(self) -> None:
        channel = f", {self._info.channel}" if self._info.channel else ""
        name = f"{Path(self._info.source).name}{channel} ({self._info.provenance['model']})"
        figure = figure_of(self.path, [curves_of(self._info, concatenate(self._blocks), name)], plane=True)
        self._file.write(drawn(figure, self.path))


def drawn(figure: Any, path: Path) -> bytes:
    """A figure as the file that is to lie at a path, with its mark; the same figure gives the same bytes."""
    import matplotlib

    content = io.BytesIO()
    ending = path.suffix[1:].lower()
    no_date = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
    with matplotlib.rc_context({"svg.hashsalt": "emow2v"}), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Glyph .* missing"
        )  # the name of a recording in a script that no font here has
        figure.savefig(content, format=ending, dpi=_DPI, metadata=no_date.get(ending))
    return marks.marked(content.getvalue(), path.suffix)


def save(figure: Any, path: Path, *, overwrite: bool = False) -> None:
    """Write a figure to a path, whole or not at all, with a mark."""
    content = drawn(figure, path)
    with StagedFiles({path: None}, overwrite=overwrite) as staged:
        staged.open(path).write(content)
