"""Pictures of trajectories (extra `plot`)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from emow2v.errors import FormatError
from emow2v.rows import DIMENSIONS, SPEECH_THRESHOLD, Rows
from emow2v.storage import marks
from emow2v.storage.files import StagedFiles

COLOURS = {"arousal": "#d55e00", "dominance": "#0072b2", "valence": "#009e73"}  # distinct for colour-blind readers
ENDINGS = (".png", ".svg", ".pdf")


def plot(trajectory: Rows, path: str | Path, *, overwrite: bool = False) -> None:
    """Write the three curves over time as a picture; the ending of the name (.png, .svg, .pdf) is its kind.

    Where the probability of speech is known, curves have gaps in silence.

    Args:
        overwrite: whether files are replaced that emow2v did not write

    Raises:
        PlaceTaken: a file exists that emow2v did not write, or that was changed since
        FormatError: matplotlib is not installed, another ending, or a place that cannot be written
    """
    path = Path(path)
    figure = picture(path, 9, 3.6)
    StagedFiles({path: None}, overwrite=overwrite).check()  # before the work
    axes = figure.subplots()
    middle = (trajectory.starts + trajectory.ends) / 2
    scores = trajectory.scores
    if trajectory.speech is not None and not trajectory.info.turns:
        scores = np.where(trajectory.speech[:, None] < SPEECH_THRESHOLD, np.nan, scores)
    for column, name in enumerate(DIMENSIONS):
        axes.plot(middle, scores[:, column], label=name, color=COLOURS[name], linewidth=1.6)
    covers = trajectory.provenance.get("covers")
    words = str(covers).replace("a row's start", "its step's start")
    note = f"; a value describes {words}" if covers else ""
    limits = min(0, trajectory.scores.min()), max(1, trajectory.scores.max())
    axes.set(xlabel=f"time (s){note}", ylabel="score", ylim=limits)
    axes.set_title(f"{Path(trajectory.info.source).name} ({trajectory.provenance['model']})")
    axes.margins(x=0)
    axes.grid(alpha=0.25)
    axes.legend(loc="upper right", ncols=3, frameon=False)
    save(figure, path, overwrite=overwrite)


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


def save(figure: Any, path: Path, *, overwrite: bool = False) -> None:
    """Write a figure to a path, whole or not at all, with a mark."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix[1:].lower(), dpi=150)
    with StagedFiles({path: None}, overwrite=overwrite) as staged:
        staged.open(path).write(marks.marked(drawn.getvalue(), path.suffix))
