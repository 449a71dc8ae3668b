"""`emow2v predict`: scores of recordings, as files or printed."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emow2v.cli.console import choose, errors, stoppable
from emow2v.cli.options import (
    COMPUTATION,
    RECORDING,
    TURNS,
    WINDOWS,
    AlignChoice,
    CheckChoice,
    CheckOption,
    ContextChoice,
    ContextOption,
    DeviceOption,
    EngineOption,
    FrameStepOption,
    LeftContextOption,
    ModelOption,
    OverwriteOption,
    PaddingChoice,
    PrecisionOption,
    RangeOption,
    RayOption,
    RelativeChoice,
    RelativeOption,
    RetryFailedOption,
    RoleOption,
    ThreadsOption,
    UnitChoice,
    annotation_facts,
    turn_time,
)

if TYPE_CHECKING:
    from emow2v.archive.turns import Turns
    from emow2v.framing import Framing


@stoppable
def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Recordings, folders, patterns such as '*.wav', or lists of recordings: .txt, .csv or .parquet; addresses of "
            "these (s3://, https://); - reads a pipe.",
        ),
    ],
    to: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Folder for the results, here or at an address (s3://); - prints them instead. For a folder or a list of recordings it keeps a journal, and "
            "the same command continues a run that was stopped.",
            show_default=".",
        ),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="Format of the results: csv, json, ndjson, annotation, stream, npz (NumPy), or png, svg, pdf (pictures); eaf for ELAN, textgrid (turns) and praat "
            "(values over time) for Praat, vtt (subtitles) and rttm of turns; several with commas, or repeated.",
            show_default="csv",
        ),
    ] = None,
    role: RoleOption = "",
    value_range: RangeOption = "0:1",
    overwrite: OverwriteOption = False,
    retry_failed: RetryFailedOption = False,
    check: CheckOption = CheckChoice.time,
    table: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="One table of all recordings: .csv, .json, .ndjson, .parquet, .xlsx, .sav or .yaml (audformat), or FOLDER/ for many files of "
            "Parquet that are read as one; files of each recording only with --format.",
        ),
    ] = "",
    decimal: Annotated[
        str,
        typer.Option(metavar=".|,", help="Decimal sign of a .csv table; a comma makes a table for a German Excel."),
    ] = ".",
    relative: RelativeOption = None,
    embeddings: Annotated[bool, typer.Option("--embeddings", help="Add the 1024 embeddings to the table.")] = False,
    half: Annotated[
        bool, typer.Option("--half", help="Embeddings of 16 bit, which take half the space; in .parquet only.")
    ] = False,
    unit: Annotated[
        UnitChoice,
        typer.Option(
            metavar="windows|files|turns",
            help="windows: values over time. files: one value for each recording. turns: one value for each turn.",
            rich_help_panel=WINDOWS,
        ),
    ] = UnitChoice.windows,
    frame_step: FrameStepOption = "40ms",
    left_context: LeftContextOption = "960ms",
    right_context: Annotated[
        str,
        typer.Option(metavar="TIME", help="How far each value listens ahead of its step.", rich_help_panel=WINDOWS),
    ] = "0ms",
    align: Annotated[
        AlignChoice,
        typer.Option(
            metavar="step|centre",
            help="Where a value's time lies in the sound that it describes. step: at its end, before --right-context. centre: "
            "in its middle; the contexts are shared between both sides.",
            rich_help_panel=WINDOWS,
        ),
    ] = AlignChoice.step,
    padding: Annotated[
        PaddingChoice,
        typer.Option(
            metavar="edge|zeros",
            help="Sound before a recording begins: edge repeats its first sample, zeros is silence.",
            rich_help_panel=WINDOWS,
        ),
    ] = PaddingChoice.edge,
    start: Annotated[
        str, typer.Option(metavar="TIME", help="Skip values before this time.", rich_help_panel=RECORDING)
    ] = "0ms",
    end: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="Stop at this time; 0ms: the end of the recording.", rich_help_panel=RECORDING
        ),
    ] = "0ms",
    track: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Audio track, counted from 1; 0: the track that is marked as default, or else the first.",
            rich_help_panel=RECORDING,
        ),
    ] = 0,
    channel: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Channel: mix (the mean of all), left, right, a number from 1, or each for a result per channel.",
            rich_help_panel=RECORDING,
        ),
    ] = "mix",
    speech: Annotated[
        bool,
        typer.Option(
            "--speech",
            help="Add the probability of speech as a column; values without speech have no scores in tables.",
            rich_help_panel=RECORDING,
        ),
    ] = False,
    segments: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            help="Turns from a file of ELAN, Praat, NOVA, whisper or others, or from a folder of files named as the recordings; "
            "without it, turns are found by the detector of speech.",
            rich_help_panel=TURNS,
        ),
    ] = "",
    tier: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Tier or speaker whose turns are taken; VP=right takes its sound from the right channel; may be repeated.",
            show_default="all",
            rich_help_panel=TURNS,
        ),
    ] = None,
    pool: Annotated[
        bool,
        typer.Option(
            "--pool",
            help="Report the mean of the values over time inside a turn, not one value for the whole turn.",
            rich_help_panel=TURNS,
        ),
    ] = False,
    shortest_turn: Annotated[str, turn_time("Turns of the detector last at least TIME.")] = "250ms",
    longest_turn: Annotated[str, turn_time("Longer turns of the detector are cut in a pause; 0ms: never.")] = "15s",
    bridged_pause: Annotated[str, turn_time("Pauses up to TIME do not end a turn of the detector.")] = "300ms",
    model: ModelOption = "lite",
    engine: EngineOption = "auto",
    precision: PrecisionOption = "",
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
    batch_size: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=1024,
            help="Windows computed at once; 0: as many as suit the model and the machine.",
            rich_help_panel=COMPUTATION,
        ),
    ] = 0,
    context: ContextOption = ContextChoice.window,
    ray: RayOption = "",
) -> None:
    """Score recordings: arousal, dominance and valence over time, from any audio or video file."""
    from emow2v.archive import run as archive
    from emow2v.audio.channels import parse_channel
    from emow2v.errors import FormatError, FramingError
    from emow2v.inputs import STDIN
    from emow2v.model import load
    from emow2v.progress import CorpusProgress, Count, Progress
    from emow2v.speech.segments import ENDINGS
    from emow2v.stores.results import Outputs

    framing = _framing(unit, frame_step, left_context, right_context, padding, align, start, end)
    parsed_channel = parse_channel(channel)
    outputs = Outputs(to, table, overwrite=overwrite)
    folder = outputs.folder
    turns = _turns(unit, segments, tier or [], pool, (shortest_turn, longest_turn, bridged_pause))
    if align is AlignChoice.centre and (turns or framing.whole):
        raise FramingError("--align centre belongs to values over time; expected --unit windows and no --segments.")
    if turns and (framing.start_ms or framing.end_ms):
        raise FramingError("Turns have times of their own; expected no --start and --end with them.")
    names = []
    if formats or not table:
        names = archive.format_names(",".join(formats or ["csv"]), printed=folder is None, turns=turns is not None)
    annotation, stated = annotation_facts(role, value_range, names)
    if not table and (embeddings or half or relative or decimal != "."):
        raise FormatError(
            "--embeddings, --half, --relative and --decimal belong to a table of all; expected --table with them."
        )
    if relative is RelativeChoice.speaker and turns is None:
        raise FormatError("--relative speaker takes turns; expected --segments with it, or --relative file.")
    one_table = None
    if outputs.table:
        from emow2v.archive.relative import Relative
        from emow2v.archive.run_table import RunTable

        columns = {"speech": speech, "turns": turns is not None, "channels": parsed_channel == "each"}
        sharded = table.endswith(("/", os.sep)) or (Path(table).is_dir() and Path(table).suffix in ("", ".parquet"))
        one_table = RunTable(
            outputs.table, **columns, embeddings=embeddings, decimal=decimal, overwrite=overwrite, only=not names,
            half=half, sharded=sharded, files=framing.whole and not (framing.start_ms or framing.end_ms), relative=Relative(relative.value) if relative else None,
            stored=outputs.stored_table,
        )  # fmt: skip
    if folder is not None and names:
        archive.check_output(folder)
    if STDIN in inputs:
        archive.refuse_terminal(sys.stdin)
    selection = choose(inputs, ENDINGS if segments else (), lists=True)
    resumed = folder is not None and to is not None and any(one.key for one in selection.inputs)
    if not resumed and (retry_failed or relative or check is not CheckChoice.time):
        raise FormatError(
            "--retry-failed, --relative and --check belong to a run over a folder or a list; expected one of these as input, "
            "and -o DIR."
        )
    if ray and not resumed:
        raise FormatError("--ray computes a folder or a list of recordings, with a journal; expected -o DIR with it.")
    loaded = load(model, engine=engine, precision=precision, threads=threads, device=device)
    if turns is not None and turns.segments is None:  # checked once, and not for each recording
        from emow2v.prediction.speech import check_detection

        check_detection(loaded.card, **{name: time for name, time in turns.options.items() if name != "pool"})
    if turns is None or turns.options["pool"]:
        loaded.check(framing, context.value)
    place = {"to": outputs.shown if names else None, "table": outputs.shown_table}
    about: dict[str, Any] = place | {"failed": selection.failed, "left_out": selection.left_out}
    with contextlib.ExitStack() as stack:
        stack.callback(outputs.close)
        stack.enter_context(one_table or contextlib.nullcontext())
        run, chosen = None, selection.inputs
        progress: Progress
        if resumed and folder is not None:
            from emow2v.archive.resume import CorpusRun, options_of_run

            options = options_of_run(
                loaded.provenance(framing, context.value), names=names, speech=speech, channel=parsed_channel,
                track=track or None, turns=turns, rows=("embeddings" if embeddings else "scores") if table else "",
                unit="turns" if turns else "files" if framing.whole else "windows",
            )  # fmt: skip
            options |= stated
            again, content = retry_failed or overwrite, check is CheckChoice.content
            run = stack.enter_context(
                CorpusRun(folder, options, retry_failed=again, check_content=content, stored=outputs.stored)
            )
            run.choose(selection.inputs, turns, track=track or None)
            with Count("comparing", run.unsure, errors) as bar:
                for _ in run.compare():
                    bar.advance()
            chosen = run.pending
            progress = of_run = stack.enter_context(CorpusProgress(run, errors, **about))
            stack.enter_context(run.failures_listed(selection.refused, of_run))
        else:
            progress = stack.enter_context(Progress(len(chosen), errors, **about))
        if one_table:
            stack.enter_context(one_table.published(progress, run))
        computing: Any = loaded
        if ray:
            from emow2v.cluster.jobs import Settings
            from emow2v.cluster.predictor import on_cluster

            rows = Settings(parsed_channel, turns is not None, embeddings or bool({"stream", "npz"} & set(names)))
            computing = stack.enter_context(
                on_cluster(ray, loaded, rows, threads=threads, gpus=float(device == "cuda"), say=progress.say)
            )
        failed = selection.failed + (run.failed_before if run else 0)
        for outcome in archive.predict(
            computing, chosen, folder, names=names, framing=framing, context=context.value, batch_size=batch_size or None,
            overwrite=overwrite, track=track or None, channel=parsed_channel, speech=speech, turns=turns,
            annotation=annotation, table=one_table, run=run, stored=outputs.stored, progress=progress.block,
        ):  # fmt: skip
            failed += bool(outcome.error)
            progress.done(outcome)
            if one_table and one_table.broken and not names:
                break  # there is nothing to compute for
    if failed or (one_table and one_table.broken):
        raise typer.Exit(1)


def _turns(
    unit: UnitChoice, segments: str, tiers: list[str], pool: bool, detection: tuple[str, str, str]
) -> Turns | None:
    """The turns that the options describe; None where rows are no turns. A file with turns means turns."""
    from emow2v.errors import FormatError
    from emow2v.storage import shown
    from emow2v.stores import is_address

    if unit is UnitChoice.files and segments:
        raise FormatError("--unit files gives one value for each recording; expected --unit turns with --segments.")
    if is_address(segments):
        raise FormatError(f"--segments {shown(segments)} is an address; expected a file or a folder here; download it.")
    if tiers and not segments:
        raise FormatError("--tier names tiers of a file; expected --segments with it.")
    if pool and unit is not UnitChoice.turns and not segments:
        raise FormatError("--pool belongs to turns; expected --unit turns or --segments with it.")
    if unit is not UnitChoice.turns and not segments:
        return None
    from emow2v.archive.turns import Turns
    from emow2v.framing import parse_time

    options: dict[str, float] = {"pool": pool}
    for name, time in zip(("shortest-turn", "longest-turn", "bridged-pause"), detection, strict=True):
        options[f"{name.replace('-', '_')}_ms"] = float(parse_time(time, f"--{name}"))
    return Turns(Path(segments) if segments else None, tiers, options)


def _framing(
    unit: UnitChoice,
    frame_step: str,
    left_context: str,
    right_context: str,
    padding: PaddingChoice,
    align: AlignChoice,
    start: str,
    end: str,
) -> Framing:
    """The framing that the options describe; a step of 0 means one value for each recording."""
    from emow2v.framing import Framing, parse_time

    start_ms, end_ms = parse_time(start, "--start"), parse_time(end, "--end") or None
    step_ms = parse_time(frame_step, "--frame-step")
    if unit is UnitChoice.files or step_ms == 0:
        return Framing.files(start_ms=start_ms, end_ms=end_ms)
    return Framing(
        frame_step_ms=step_ms,
        left_context_ms=parse_time(left_context, "--left-context"),
        right_context_ms=parse_time(right_context, "--right-context"),
        start_ms=start_ms,
        end_ms=end_ms,
        padding=padding.value,
        align=align.value,
    )
