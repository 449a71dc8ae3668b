"""What a corpus holds, partition by partition: a table for the terminal, and files beside a run."""

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

from emow2v.corpora.checks import Checked
from emow2v.corpora.partitions import PARTITIONS
from emow2v.formats.markdown import table
from emow2v.storage import marks
from emow2v.storage.files import StagedFiles, write_text
from emow2v.trajectory import DIMENSIONS

BINS = 10  # of 0..1, for histograms
LISTED = 20  # segments that were left out and are named in Markdown; JSON names all
SKIPPED = "skipped.csv"  # what was left out of a run
_BARS = "·▁▂▃▄▅▆▇█"
_HEAD = ("", "segments", "speakers", "hours", "shortest", "median", "longest", *DIMENSIONS)


def figures(checked: Checked) -> dict[str, Any]:
    """A corpus for JSON: by partition segments, speakers, durations in seconds and labels on 0..1."""
    parts = {name: [segment.partition == name for segment in checked.segments] for name in PARTITIONS}
    return {
        "segments": len(checked.segments),
        "hours": round(float(checked.durations.sum()) / 3600, 4),
        "decoded": checked.thorough,
        "partitions": {name: _partition(checked, np.array(chosen, bool)) for name, chosen in parts.items()},
        "problems": list(checked.problems),
        "skipped": [
            {
                "file": str(one.segment.file),
                "start": one.segment.start,
                "end": one.segment.end,
                "reason": one.reason,
                "sentence": one.sentence,
            }
            for one in checked.skipped
        ],
    }


def _partition(checked: Checked, chosen: npt.NDArray[np.bool_]) -> dict[str, Any]:
    segments = [checked.segments[index] for index in np.flatnonzero(chosen)]
    seconds = checked.durations[chosen]
    targets = np.array([segment.targets for segment in segments], np.float64).reshape(-1, len(DIMENSIONS))
    lengths = (seconds.min(), np.median(seconds), seconds.max()) if seconds.size else (0.0, 0.0, 0.0)
    return {
        "segments": len(segments),
        "speakers": len({segment.speaker for segment in segments} - {""}),
        "speaker_unknown": sum(not segment.speaker for segment in segments),
        "hours": round(float(seconds.sum()) / 3600, 4),
        "seconds": {
            name: round(float(value), 3) for name, value in zip(("min", "median", "max"), lengths, strict=True)
        },
        "labels": {name: _labels(targets[:, column]) for column, name in enumerate(DIMENSIONS)},
    }


def _labels(values: npt.NDArray[np.float64]) -> dict[str, Any]:
    values = values[np.isfinite(values)]
    if not values.size:
        return {"known": 0}
    counts, _ = np.histogram(values, BINS, (0, 1))
    told = {"mean": values.mean(), "deviation": values.std(), "min": values.min(), "max": values.max()}
    return {
        "known": values.size,
        **{name: round(float(value), 4) for name, value in told.items()},
        "histogram": counts.tolist(),
    }


def rows(checked: Checked) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and lines of a table by partition: counts, hours, seconds, and of labels mean, deviation and histogram."""
    lines = []
    for name, part in figures(checked)["partitions"].items():
        speakers = f"{part['speakers']}" + (" + unknown" if part["speaker_unknown"] else "")
        seconds = [f"{value:.2f} s" if part["segments"] else "-" for value in part["seconds"].values()]
        labels = [_told(one) for one in part["labels"].values()]
        lines.append((name, str(part["segments"]), speakers, f"{part['hours']:.2f}", *seconds, *labels))
    return _HEAD, lines


def _told(labels: Mapping[str, Any]) -> str:
    if not labels["known"]:
        return "-"
    most = max(labels["histogram"])
    bars = "".join(_BARS[-(-count * (len(_BARS) - 1) // most)] for count in labels["histogram"])
    return f"{labels['mean']:.2f} ± {labels['deviation']:.2f} {bars}"


def skipped_by_reason(checked: Checked) -> str:
    """ "3 of 200 segments are left out: 2 silent, 1 corrupt", or "" for none."""
    if not checked.skipped:
        return ""
    counts = Counter(one.reason for one in checked.skipped)
    told = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    return f"{len(checked.skipped)} of {len(checked.segments) + len(checked.skipped)} segments are left out: {told}"


def show(checked: Checked, console: Console) -> None:
    """The same on a terminal, with every problem, and how many segments are left out."""
    head, lines = rows(checked)
    table = Table(*head, box=None)
    for line in lines:
        table.add_row(*line)
    console.print(table)
    for sentence in (*checked.problems, skipped_by_reason(checked)):
        if sentence:
            console.print(sentence, markup=False, soft_wrap=True)


def markdown(checked: Checked) -> str:
    """The report that people read."""
    head, lines = rows(checked)
    how = "Every segment was decoded." if checked.thorough else "Durations are those of headers; nothing was decoded."
    text = ["# The corpus", "", how, "", *table(head, lines), ""]
    text += ["Labels are on 0..1: mean, deviation, and how many are in each tenth of the scale.", ""]
    if checked.problems:
        text += ["## Worth knowing", "", *(f"* {sentence}" for sentence in checked.problems), ""]
    if checked.skipped:
        text += ["## Left out", "", f"{skipped_by_reason(checked)}.", ""]
        text += [f"* {one.sentence}" for one in checked.skipped[:LISTED]]
        more = len(checked.skipped) - LISTED
        text += [f"* and {more} more, all named in corpus.json"] if more > 0 else []
        text.append("")
    return "\n".join(text)


def manifest(checked: Checked) -> str:
    """The usable segments as a CSV file, labels on 0..1 and files by their whole paths: what `emow2v evaluate` reads,
    with --only partition=test, whatever kind of corpus it was.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "start", "end", "speaker", "partition", *DIMENSIONS))
    for one in checked.segments:
        labels = ("" if math.isnan(value) else value for value in one.targets)
        writer.writerow((one.file.absolute(), one.start, one.end, one.speaker, one.partition, *labels))
    return text.getvalue()


def write(checked: Checked, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
    """corpus.json (which vouches for the CSV), corpus.md and corpus.csv in `folder`, together or not at all.

    Args:
        overwrite: also what emow2v did not write makes way

    Raises:
        PlaceTaken: something that emow2v did not write, or that was changed since, lies there
        FormatError: a place that cannot be written
    """
    folder = Path(folder)
    table, described, text = (folder / f"corpus{ending}" for ending in (".csv", ".json", ".md"))
    with StagedFiles({table: described, described: None, text: None}, overwrite=overwrite) as staged:
        staged.check()
        staged.open(table).write(manifest(checked).encode(errors="backslashreplace"))
        plain = (json.dumps(figures(checked), indent=2, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
        staged.open(described).write(marks.marked(plain, ".json", staged.digest(table)))
        staged.open(text).write(marks.marked(markdown(checked).encode(errors="backslashreplace"), ".md"))
    return [described, text, table]


def write_skipped(folder: Path, rows: Sequence[tuple[Path, float, float | None, str]]) -> None:
    """skipped.csv of a run: file, start, end (None: its own) in seconds, and the sentence why; no file for no rows.

    Raises:
        FormatError: a place that cannot be written
    """
    if not rows:
        with contextlib.suppress(OSError):
            (folder / SKIPPED).unlink(missing_ok=True)
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("file", "start", "end", "why"), *rows])
    write_text(folder / SKIPPED, text.getvalue(), overwrite=True)
