"""Formats of annotation programs: .eaf, TextGrid, Tables of Praat, WebVTT, RTTM, and turns as annotations of SSI. Their writers
are loaded when they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emow2v.errors import FormatError
from emow2v.formats import PLAIN, AnnotationFacts, Writer, shorten

if TYPE_CHECKING:
    from emow2v.archive.annotation_writers import Curves
    from emow2v.speech.segments import Segmentation

FORMATS = ("eaf", "textgrid", "praat", "vtt", "rttm")
OF_TURNS = ("textgrid", "vtt", "rttm")


def others(names: Sequence[str], *, turns: bool) -> list[str]:
    """The names that are left to `formats.writers`; of turns, annotations of SSI are written here."""
    return [name for name in names if name not in FORMATS and not (turns and name == "annotation")]


def check(names: Sequence[str], *, turns: bool) -> None:
    """Refuse formats that cannot hold what was asked for.

    Raises:
        FormatError: values over time in a format of turns, or turns in a Table
    """
    if turns and "praat" in names:
        raise FormatError("The format praat is a Table of values over time; expected textgrid or eaf for turns.")
    of_turns = [name for name in names if name in OF_TURNS]
    if not turns and of_turns:
        instead = ", or the format praat for values over time" if of_turns[0] == "textgrid" else ""
        raise FormatError(
            f"The format {of_turns[0]} holds turns; expected --unit turns or --segments with it{instead}."
        )


def curves(names: Sequence[str], options: Mapping[str, object]) -> Curves | None:
    """What collects the values over time of turns for .eaf files; None if there are none, or no such file."""
    if "eaf" not in names or not options.get("pool"):
        return None
    from emow2v.archive.annotation_writers import Curves

    return Curves()


def writers(
    names: Sequence[str],
    folder: Path,
    stem: str,
    recording: Path | None,
    segmentation: Segmentation | None,
    *,
    turns: bool,
    overwrite: bool = False,
    curves: Curves | None = None,
    annotation: AnnotationFacts = PLAIN,
) -> list[Writer]:
    """Writers for results named after a recording.

    Args:
        names: of formats; those of `others` are left to `formats.writers`
        recording: linked in .eaf files; None where it has no file
        segmentation: where turns came from; an .eaf becomes a copy of it with more tiers
        curves: of turns whose scores are means; see `curves`
        annotation: what annotations of SSI state
    """
    left = others(names, turns=turns)
    if len(left) == len(names):
        return []
    from emow2v.archive.annotation_writers import PraatTableWriter, SeriesWriter, TurnsWriter
    from emow2v.archive.ssi_turns import TurnAnnotationsWriter

    stem = shorten(stem)
    kinds: dict[str, Callable[[], Writer]] = {
        "eaf": lambda: (
            TurnsWriter(folder / f"{stem}.eaf", recording, segmentation, overwrite=overwrite, curves=curves)
            if turns
            else SeriesWriter(folder / f"{stem}.eaf", recording, overwrite=overwrite)
        ),
        "textgrid": lambda: TurnsWriter(folder / f"{stem}.TextGrid", recording, segmentation, overwrite=overwrite),
        "vtt": lambda: TurnsWriter(folder / f"{stem}.vtt", recording, segmentation, overwrite=overwrite),
        "rttm": lambda: TurnsWriter(folder / f"{stem}.rttm", recording, segmentation, overwrite=overwrite),
        "praat": lambda: PraatTableWriter(folder / f"{stem}.Table", overwrite=overwrite),
        "annotation": lambda: TurnAnnotationsWriter(folder, stem, segmentation, annotation, overwrite=overwrite),
    }
    return [kinds[name]() for name in names if name not in left]
