"""`emow2v compare`, `evaluate`, `robustness`: agreement of results, agreement with ratings, stability of a model."""

from __future__ import annotations

import functools
import json
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from emow2v.cli.console import choose, errors, output, print_table, stoppable
from emow2v.cli.options import (
    DeviceOption,
    EngineOption,
    ModelOption,
    OverwriteOption,
    PrecisionOption,
    ThreadsOption,
)
from emow2v.errors import FormatError
from emow2v.storage import counted, one_line

if TYPE_CHECKING:
    from emow2v.corpora.scales import Scale
    from emow2v.model import Model


@stoppable
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="A result file, or a folder of results.")],
    second: Annotated[
        Path, typer.Argument(metavar="B", help="Results of the same recordings, computed in another way.")
    ],
    to: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures to this file.")
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Compare two sets of results of the same recordings: two engines, precisions, contexts or models.

    For each dimension it prints the mean and the largest difference, and how well the values agree (Pearson's
    correlation; CCC, which is 1 only for the same values).
    """
    from emow2v.evaluation import compare as comparing
    from emow2v.storage.files import StagedFiles, write_text

    if to:
        StagedFiles({to: None}, overwrite=overwrite).check()
    comparison = comparing.compare(first, second)
    table = Table("", "rows", "mean difference", "largest", "correlation", "CCC", box=None)
    for one in comparison.overall:
        values = (f"{value:.4f}" for value in (one.mean, one.largest, one.correlation, one.ccc))
        table.add_row(one.name, str(one.rows), *values)
    print_table(table)
    for name in comparison.unmatched:
        errors.print(one_line(f"{name} is in one of the two only"))
    if to:
        report = json.dumps(comparing.figures(comparison), indent=2, ensure_ascii=False) + "\n"
        write_text(to, report, overwrite=overwrite)


@stoppable
def evaluate(
    data: Annotated[
        Path,
        typer.Option(
            metavar="CSV",
            help="Table with a line for each clip. Columns: file, and any of start, end, speaker, arousal, dominance, "
            "valence, emotion, sex, language, corpus, partition. For curves over time: a line for each annotation, with "
            "the columns file and annotation, and any of dimension, rater, scale; or a folder of NOVA's sessions.",
        ),
    ],
    to: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for the report.")],
    model: ModelOption = "lite",
    scale: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LOW:HIGH",
            help="Lowest and highest rating that raters could give: 1:7, or for one dimension arousal=1:5; repeatable.",
            show_default="0:1",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=VALUE", help="Take only clips with this value, such as partition=test; repeatable."
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIMENSION=COLUMN,...",
            help="Columns with the ratings of one rater each, such as arousal=A1,A2,A3; repeatable.",
            show_default="columns such as arousal_1, arousal_2",
        ),
    ] = None,
    window: Annotated[
        str, typer.Option(metavar="TIME", help="Length of the short windows that are compared with whole clips.")
    ] = "1s",
    step: Annotated[str, typer.Option(metavar="TIME", help="One short window every TIME.")] = "500ms",
    lag: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Of curves over time: how far raters are behind the sound, such as 2.4s.",
            show_default="the lag of 0 to 6 s with the highest correlation",
        ),
    ] = "",
    draws: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=100_000,
            help="Draws of the bootstrap for 95 % intervals; 0: no intervals, which is quicker.",
        ),
    ] = 1000,
    overwrite: OverwriteOption = False,
    opensmile: Annotated[
        bool,
        typer.Option(
            "--opensmile",
            help="Compare the embeddings with the features ComParE 2016 and eGeMAPS (extra opensmile).",
        ),
    ] = False,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "",
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
) -> None:
    """Compare the scores of a model with people's ratings, curves over time or emotion classes (extra evaluate).

    The report of clips has the agreement with 95 % intervals over speakers, for whole clips and short windows, by sex, language
    and corpus; what confidence is worth; and how well the embeddings tell classes apart. That of curves has the agreement
    over time beside the agreement of raters with each other, and the lag of the raters. Both are written as JSON, Markdown
    and pictures.
    """
    from emow2v.archive.run import check_output
    from emow2v.audio.notices import about
    from emow2v.corpora.csv_manifest import read_manifest
    from emow2v.corpora.scales import parse_scales
    from emow2v.evaluation import raters, report
    from emow2v.evaluation.curves.recordings import has_curves
    from emow2v.evaluation.embeddings import FEATURES
    from emow2v.evaluation.evaluate import evaluate as run
    from emow2v.evaluation.intervals import require
    from emow2v.framing import parse_time
    from emow2v.model import load
    from emow2v.progress import Count

    check_output(to)
    scales = parse_scales(scale or [])
    window_ms, step_ms = parse_time(window, "--window"), parse_time(step, "--step")
    load_model = functools.partial(load, model, engine=engine, precision=precision, threads=threads, device=device)
    if has_curves(data):
        if only or opensmile or columns:
            raise FormatError("--only, --columns and --opensmile are for clips; leave them out for curves over time.")
        lag_s = float(parse_time(lag, "--lag")) / 1000 if lag else None
        options = {"lag_s": lag_s, "window_ms": window_ms, "step_ms": step_ms, "draws": draws}
        _evaluate_curves(data, to, scales, load_model, options, overwrite)
        return
    if lag:
        raise FormatError(f"--lag is for curves over time; expected a column annotation in {data}.")
    report.check(to, overwrite=overwrite)
    require("confidence_intervals", "matplotlib", "scipy", "sklearn")
    of_raters = {
        name: [one.strip() for part in parts for one in part.split(",")]
        for name, parts in _values_by_column(columns or []).items()
    }
    clips = read_manifest(data, scales=scales, only=_values_by_column(only or []), raters=of_raters)
    loaded = load_model()
    with Count("evaluating", len(clips), errors) as bar:
        evaluation = run(
            loaded,
            clips,
            window_ms=window_ms,
            step_ms=step_ms,
            draws=draws,
            features=FEATURES if opensmile else (),
            on_clip=lambda clip: bar.advance(),
        )
    for line in dict.fromkeys(line for one in evaluation.scored for line in about(one.clip.name, one.notices)):
        errors.print(one_line(line))
    for name, sentence in evaluation.skipped.items():
        errors.print(one_line(f"{name} was left out: {sentence}"))
    for name, sentence in evaluation.undefined.items():
        errors.print(one_line(f"{name} is not defined: {sentence}"))
    files = report.write(evaluation, to, about={"command": shlex.join(["emow2v", *sys.argv[1:]])}, overwrite=overwrite)
    if evaluation.whole:
        table = Table("", "CCC", "Pearson", "mean absolute error", "bias", "clips", box=None)
        for name, values in evaluation.whole.items():
            keys = ("ccc", "pearson", "mae", "bias", "clips")
            table.add_row(name, *(report.interval(values[key]) for key in keys))
        print_table(table)
    if evaluation.raters:
        table = Table(*raters.HEAD, box=None)
        for row in raters.table(evaluation.raters):
            table.add_row(*row)
        print_table(table)
    for corpus, parts in evaluation.recalls.items():
        figures = ", ".join(f"{name} {report.interval(one.uar)}" for name, one in parts.items())
        output.print(f"unweighted average recall, {corpus}: {figures}", markup=False)
    errors.print(_closing(len(evaluation.scored), len(evaluation.skipped), "clip"))
    output.print(f"wrote {', '.join(map(str, files))}")
    if evaluation.skipped:
        raise typer.Exit(1)


def _evaluate_curves(
    data: Path,
    to: Path,
    scales: Mapping[str, Scale],
    load_model: Callable[[], Model],
    options: Mapping[str, Any],
    overwrite: bool,
) -> None:
    from emow2v.evaluation.curves import report
    from emow2v.evaluation.curves.follow import evaluate_curves
    from emow2v.evaluation.curves.recordings import read_recordings
    from emow2v.evaluation.intervals import Figure, require
    from emow2v.evaluation.report import check, interval
    from emow2v.progress import Count

    check(to, report.FILES, overwrite=overwrite)
    require("matplotlib")
    recordings = read_recordings(data, scales=scales)
    model = load_model()
    with Count("evaluating", len(recordings), errors) as bar:
        evaluation = evaluate_curves(model, recordings, on_recording=lambda name: bar.advance(), **options)
    for sentence in evaluation.notices:
        errors.print(one_line(sentence))
    for one in evaluation.recordings:
        for sentence in one.notices:
            errors.print(one_line(f"{one.name}: {sentence}"))
    for name, sentence in evaluation.skipped.items():
        errors.print(one_line(f"{name} was left out: {sentence}"))
    command = {"command": shlex.join(["emow2v", *sys.argv[1:]])}
    files = report.write(evaluation, to, about=command, overwrite=overwrite)
    table = Table("", "lag (s)", "CCC", "correlation", "rater with the others", "raters", box=None)
    for name, found in evaluation.dimensions.items():
        values = (found.ccc, Figure(found.correlation_within), found.raters_with_others)
        table.add_row(name, f"{found.lag:.1f}", *map(interval, values), str(len(found.raters)))
    print_table(table)
    errors.print(_closing(len(evaluation.recordings), len(evaluation.skipped), "recording"))
    output.print(f"wrote {', '.join(map(str, files))}")
    if evaluation.skipped:
        raise typer.Exit(1)


@stoppable
def robustness(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help="Recordings of speech, folders of them, or patterns such as *.wav."),
    ],
    to: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Also write JSON, Markdown and a picture to this folder."),
    ] = None,
    model: ModelOption = "lite",
    noises: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of background sounds, in sub-folders babble, coughs, environment, music, sneezes.",
            show_default="synthetic sounds",
        ),
    ] = None,
    rooms: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of measured impulse responses, for one more test.",
            show_default="simulated rooms only",
        ),
    ] = None,
    limit: Annotated[
        float, typer.Option(metavar="X", help="A score that moves by less than this counts as unchanged.")
    ] = 0.05,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Seed of the random choices; the same seed gives the same changes.")
    ] = 0,
    overwrite: OverwriteOption = False,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "",
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
) -> None:
    """Measure how steady a model is: the share of scores that stay when recordings change as they do in life (extra evaluate).

    Each recording is scored as it is, and again with noise, in other rooms, through telephones and codecs, and so on.
    No labels are needed.
    """
    from emow2v.archive.run import check_output
    from emow2v.audio.notices import about
    from emow2v.evaluation.intervals import require
    from emow2v.evaluation.robustness import run as robustness_tests
    from emow2v.model import load
    from emow2v.progress import Count
    from emow2v.storage.files import StagedFiles, write_text
    from emow2v.trajectory import DIMENSIONS

    places = []
    if to:
        check_output(to)
        places = [to / name for name in ("robustness.json", "robustness.md", "robustness.png")]
        StagedFiles(dict.fromkeys(places), overwrite=overwrite).check()
        require("matplotlib")
    chosen = choose(inputs)
    loaded = load(model, engine=engine, precision=precision, threads=threads, device=device)
    with Count("changing", len(chosen.inputs), errors) as bar:
        result = robustness_tests.robustness(
            loaded,
            [one.path for one in chosen.inputs],
            noises=noises,
            rooms=rooms,
            limit=limit,
            seed=seed,
            on_file=lambda name: bar.advance(),
        )
    for name, sentences in result.notices.items():
        for line in about(name, sentences):
            errors.print(one_line(line))
    for name, sentence in result.skipped.items():
        errors.print(one_line(f"{name} was left out: {sentence}"))
    table = Table("group", "test", *DIMENSIONS, "threshold", "passed", box=None)
    for one in result.results:
        shares = (f"{share:.1%}" if one.files else "-" for share in one.unchanged)
        passed = ("yes" if all(one.passed) else "no") if one.files else "-"
        table.add_row(one.change.group, one.change.name, *shares, f"{one.change.threshold:.0%}", passed)
    print_table(table)
    if to:
        command = {"command": shlex.join(["emow2v", *sys.argv[1:]])}
        figures = json.dumps(command | result.figures(), indent=2, ensure_ascii=False) + "\n"
        write_text(to / "robustness.json", figures, overwrite=overwrite)
        write_text(to / "robustness.md", result.markdown(), overwrite=overwrite)
        robustness_tests.plot(result, to / "robustness.png", overwrite=overwrite)
        output.print(f"wrote {', '.join(map(str, places))}")
    failures = chosen.failed + len(result.skipped)
    errors.print(_closing(result.files, failures, "recording", chosen.left_out))
    if chosen.failed or result.skipped:
        raise typer.Exit(1)


def _closing(done: int, failed: int, noun: str, left_out: int = 0) -> str:
    """How many were measured, and how many were not."""
    sentence = f"{done} of {counted(done + failed, noun)} done"
    if failed:
        sentence += f", {failed} failed"
    return f"{sentence}, {counted(left_out, 'other file')} left out." if left_out else f"{sentence}."


def _values_by_column(texts: list[str]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for text in texts:
        column, sign, value = text.partition("=")
        if not sign or not column:
            raise FormatError(
                f"'{text}' chooses nothing; expected COLUMN=VALUE, such as --only corpus=emodb or --columns arousal=A1,A2."
            )
        values.setdefault(column, []).append(value)
    return values
