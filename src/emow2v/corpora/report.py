"""Reports of a corpus by partition: a table for the terminal, and the files of a run."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from emow2v.corpora.checks import CheckedCorpus
from emow2v.corpora.clip import Clip
from emow2v.corpora.partitions import PARTITIONS
from emow2v.formats.markdown import table
from emow2v.storage import marks
from emow2v.storage.files import StagedFiles, write_text
from emow2v.trajectory import DIMENSIONS

BINS = 10  # of 0..1, for histograms
LISTED = 20  # skipped clips that are named in Markdown; JSON names all
FILES = ("corpus.csv", "corpus.json", "corpus.md")
SKIPPED = "skipped.csv"  # names the clips that a run left out
_BARS = "·▁▂▃▄▅▆▇█"
_HEAD = ("", "clips", "speakers", "hours", "shortest", "median", "longest", *DIMENSIONS)


def figures(corpus: CheckedCorpus) -> dict[str, Any]:
    """A corpus for JSON: by partition the number of clips ("segments"), speakers, seconds, and labels on 0..1."""
    parts = {name: [clip.partition == name for clip in corpus.clips] for name in PARTITIONS}
    return {
        "segments": len(corpus.clips),
        "hours": round(float(corpus.durations.sum()) / 3600, 4),
        "decoded": corpus.thorough,
        "partitions": {name: _partition(corpus, np.array(chosen, bool)) for name, chosen in parts.items()},
        "problems": list(corpus.problems),
        "skipped": [
            {
                "file": str(one.clip.file),
                "start": one.clip.start,
                "end": one.clip.end,
                "reason": one.reason,
                "sentence": one.sentence,
            }
            for one in corpus.skipped
        ],
    }


def _partition(corpus: CheckedCorpus, chosen: npt.NDArray[np.bool_]) -> dict[str, Any]:
    clips = [corpus.clips[index] for index in np.flatnonzero(chosen)]
    seconds = corpus.durations[chosen]
    ratings = np.array([clip.ratings for clip in clips], np.float64).reshape(-1, len(DIMENSIONS))
    lengths = (seconds.min(), np.median(seconds), seconds.max()) if seconds.size else (0.0, 0.0, 0.0)
    return {
        "segments": len(clips),
        "speakers": len({clip.speaker for clip in clips} - {""}),
        "speaker_unknown": sum(not clip.speaker for clip in clips),
        "hours": round(float(seconds.sum()) / 3600, 4),
        "seconds": {
            name: round(float(value), 3) for name, value in zip(("min", "median", "max"), lengths, strict=True)
        },
        "labels": {name: _label_figures(ratings[:, column]) for column, name in enumerate(DIMENSIONS)},
    }


def _label_figures(values: npt.NDArray[np.float64]) -> dict[str, Any]:
    values = values[np.isfinite(values)]
    if not values.size:
        return {"known": 0}
    counts, _ = np.histogram(values, BINS, (0, 1))
    summary = {"mean": values.mean(), "deviation": values.std(), "min": values.min(), "max": values.max()}
    return {
        "known": values.size,
        **{name: round(float(value), 4) for name, value in summary.items()},
        "histogram": counts.tolist(),
    }


def rows(corpus: CheckedCorpus) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and lines of a table by partition: counts, hours, seconds, and of labels mean, deviation and histogram."""
    lines = []
    for name, part in figures(corpus)["partitions"].items():
        speakers = f"{part['speakers']}" + (" + unknown" if part["speaker_unknown"] else "")
        seconds = [f"{value:.2f} s" if part["segments"] else "-" for value in part["seconds"].values()]
        labels = [_label_cell(one) for one in part["labels"].values()]
        lines.append((name, str(part["segments"]), speakers, f"{part['hours']:.2f}", *seconds, *labels))
    return _HEAD, lines


def _label_cell(labels: Mapping[str, Any]) -> str:
    if not labels["known"]:
        return "-"
    most = max(labels["histogram"])
    bars = "".join(_BARS[-(-count * (len(_BARS) - 1) // most)] for count in labels["histogram"])
    return f"{labels['mean']:.2f} ± {labels['deviation']:.2f} {bars}"


def skipped_by_reason(corpus: CheckedCorpus) -> str:
    """ "3 of 200 clips are left out: 2 silent, 1 corrupt", or "" where none is."""
    if not corpus.skipped:
        return ""
    counts = Counter(one.reason for one in corpus.skipped)
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    return f"{len(corpus.skipped)} of {len(corpus.clips) + len(corpus.skipped)} clips are left out: {reasons}"


def show(corpus: CheckedCorpus, console: Console) -> None:
    """Print the table, every problem, and how many clips are left out."""
    head, lines = rows(corpus)
    table = Table(*head, box=None)
    for line in lines:
        table.add_row(*line)
    console.print(table)
    for sentence in (*corpus.problems, skipped_by_reason(corpus)):
        if sentence:
            console.print(sentence, markup=False, soft_wrap=True)


def markdown(corpus: CheckedCorpus) -> str:
    """The report for readers."""
    head, lines = rows(corpus)
    how = "Every clip was decoded." if corpus.thorough else "Durations are those of headers; nothing was decoded."
    text = ["# The corpus", "", how, "", *table(head, lines), ""]
    text += ["Labels are on 0..1: mean, deviation, and how many are in each tenth of the scale.", ""]
    if corpus.problems:
        text += ["## Worth knowing", "", *(f"* {sentence}" for sentence in corpus.problems), ""]
    if corpus.skipped:
        text += ["## Left out", "", f"{skipped_by_reason(corpus)}.", ""]
        text += [f"* {one.sentence}" for one in corpus.skipped[:LISTED]]
        more = len(corpus.skipped) - LISTED
        text += [f"* and {more} more, all named in corpus.json"] if more > 0 else []
        text.append("")
    return "\n".join(text)


def manifest(corpus: CheckedCorpus) -> str:
    """The clips that can be used as a CSV file, labels on 0..1 and files by their whole paths. `emow2v evaluate` reads it,
    for instance with --only partition=test, whatever kind of corpus it was.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "start", "end", "speaker", "partition", *DIMENSIONS))
    for clip in corpus.clips:
        labels = ("" if math.isnan(value) else value for value in clip.ratings)
        writer.writerow((clip.file.absolute(), clip.start, clip.end, clip.speaker, clip.partition, *labels))
    return text.getvalue()


def write(corpus: CheckedCorpus, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
    """corpus.json (which vouches for the CSV), corpus.md and corpus.csv in `folder`, together or not at all.

    Args:
        overwrite: whether files are replaced that emow2v did not write

    Raises:
        PlaceTaken: something that emow2v did not write, or that was changed since, lies there
        FormatError: a place that cannot be written
    """
    folder = Path(folder)
    table, described, text = (folder / name for name in FILES)
    with StagedFiles({table: described, described: None, text: None}, overwrite=overwrite) as staged:
        staged.check()
        staged.open(table).write(manifest(corpus).encode(errors="backslashreplace"))
        plain = (json.dumps(figures(corpus), indent=2, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
        staged.open(described).write(marks.marked(plain, ".json", staged.digest(table)))
        staged.open(text).write(marks.marked(markdown(corpus).encode(errors="backslashreplace"), ".md"))
    return [described, text, table]


def write_skipped(folder: Path, skipped: Sequence[tuple[Clip, str]]) -> None:
    """skipped.csv of a run: file, start and end in seconds, and the sentence why; no file where nothing was skipped.

    Raises:
        FormatError: a place that cannot be written
    """
    if not skipped:
        with contextlib.suppress(OSError):
            (folder / SKIPPED).unlink(missing_ok=True)
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "start", "end", "why"))
    writer.writerows((clip.file, clip.start, clip.end, sentence) for clip, sentence in skipped)
    write_text(folder / SKIPPED, text.getvalue(), overwrite=True)
