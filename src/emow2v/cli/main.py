"""The command line: one short function a command; what they do lives elsewhere."""

from __future__ import annotations

import io
import os
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from emow2v import storage
from emow2v._version import __version__
from emow2v.cli.cite import cite
from emow2v.cli.console import (
    Command,
    ContextChoice,
    ContextOption,
    DeviceOption,
    EngineOption,
    ModelOption,
    OverwriteOption,
    PrecisionOption,
    ThreadsOption,
    choose,
    errors,
    leave,
    output,
    stoppable,
)
from emow2v.cli.live import live
from emow2v.cli.measure import compare, evaluate, robustness
from emow2v.cli.models import models
from emow2v.cli.serve import serve
from emow2v.cli.train import prune, train
from emow2v.errors import Emow2vError, ModelError
from emow2v.storage import one_line
from emow2v.storage.home import keep_others_here

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
app.add_typer(models, name="models")


class Unit(StrEnum):
    windows = "windows"
    files = "files"


class PaddingChoice(StrEnum):
    edge = "edge"
    zeros = "zeros"


def main() -> None:
    """Entry point: errors that a user can mend end as one sentence and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of any script, also where the terminal knows few letters
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    keep_others_here()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGTERM", "SIGHUP"):  # leave as from an exception, so that unfinished files are removed
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:  # nohup
            signal.signal(getattr(signal, name), leave)
    try:
        app()
    except Emow2vError as error:
        errors.print(one_line(str(error)))
        sys.exit(1)
    except OSError as error:  # what an operating system refuses about a path, wherever it shows
        if error.filename is None or isinstance(error, BrokenPipeError):
            raise
        errors.print(one_line(str(storage.unreadable(os.fsdecode(error.filename), error))))
        sys.exit(1)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"emow2v {__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Arousal, dominance and valence of speech over time, offline."""


@stoppable
def predict(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT", help="Files, folders, patterns, or - for a pipe.")],
    to: Annotated[
        str, typer.Option("-o", "--output", metavar="DIR", help="Folder of the results; - prints them.")
    ] = ".",
    model: ModelOption = "lite",
    unit: Annotated[Unit, typer.Option(help="Values over time, or one value a file.")] = Unit.windows,
    frame_step: Annotated[str, typer.Option(help="From one value to the next, e.g. 40ms, 0.5s.")] = "40ms",
    left_context: Annotated[str, typer.Option(help="How far a window reaches back before its step.")] = "960ms",
    right_context: Annotated[str, typer.Option(help="How far a window reaches ahead of its step.")] = "0ms",
    start: Annotated[str, typer.Option(help="Time before which no value begins.")] = "0ms",
    end: Annotated[str, typer.Option(help="Time after which no value ends; 0ms: the recording's end.")] = "0ms",
    padding: Annotated[
        PaddingChoice, typer.Option(help="What stands before the start: the first sample repeated, or silence.")
    ] = PaddingChoice.edge,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="csv, json, ndjson, annotation or stream; several with commas, or repeated. [default: csv]",
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "",
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
    context: ContextOption = ContextChoice.window,
    track: Annotated[
        int,
        typer.Option(min=0, help="Number of the track of sound; 0: the one that is marked as default, or the first."),
    ] = 0,
    channel: Annotated[
        str, typer.Option(help="mix for the mean of all, left, right, a number, or each for a result per channel.")
    ] = "mix",
    batch_size: Annotated[
        int,
        typer.Option(min=0, max=1024, help="Windows computed at once; 0: what the model and the machine are good for."),
    ] = 0,
) -> None:
    """Scores of recordings over time: any audio or video file, one table (or annotation) each."""
    from emow2v.archive import run as batch
    from emow2v.audio.channels import parse_channel
    from emow2v.audio.inputs import STDIN
    from emow2v.framing import Framing, parse_time
    from emow2v.model import load
    from emow2v.progress import Progress

    span = {"start_ms": parse_time(start, "--start"), "end_ms": parse_time(end, "--end") or None}
    step = parse_time(frame_step, "--frame-step")
    if unit is Unit.files or step == 0:
        framing = Framing.files(start_ms=span["start_ms"] or 0, end_ms=span["end_ms"])
    else:
        framing = Framing(
            frame_step_ms=step,
            left_context_ms=parse_time(left_context, "--left-context"),
            right_context_ms=parse_time(right_context, "--right-context"),
            start_ms=span["start_ms"] or 0,
            end_ms=span["end_ms"],
            padding=padding.value,
        )
    heard = parse_channel(channel)
    folder = None if to == "-" else Path(to)
    names = batch.format_names(",".join(formats or ["csv"]), printed=folder is None)
    if folder is not None:
        batch.check_output(folder)
    if STDIN in inputs:
        batch.refuse_terminal(sys.stdin)
    chosen = choose(inputs)

    loaded = load(model, engine=engine, precision=precision, threads=threads, device=device)
    failed = chosen.failed
    with Progress(len(chosen.inputs), errors, to=folder, failed=chosen.failed, left_out=chosen.left_out) as progress:
        for outcome in batch.predict(
            loaded,
            chosen.inputs,
            folder,
            names=names,
            framing=framing,
            context=context.value,
            batch_size=batch_size or None,
            overwrite=overwrite,
            track=track or None,
            channel=heard,
            progress=progress.block,
        ):
            failed += bool(outcome.error)
            progress.done(outcome)
    if failed:
        raise typer.Exit(1)


@stoppable
def demo(
    to: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the results.")] = Path(
        "emow2v-demo"
    ),
    overwrite: OverwriteOption = False,
) -> None:
    """The published DISCOVER request on a short example: a server, one request, four results, a picture."""
    from emow2v.cli.demo import run

    run(to, output, overwrite=overwrite)


@stoppable
def export(
    model: Annotated[str, typer.Option("--model", help="Folder of a checkpoint, or name of a model with one.")],
    to: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="New folder of the package.")],
    precision: Annotated[
        str, typer.Option(help="Precision of the weights in the file: fp32, or fp16 for half the size.")
    ] = "fp32",
    name: Annotated[str, typer.Option(help="Name of the package. [default: the folder's name]")] = "",
) -> None:
    """A checkpoint as an ONNX package, compared with PyTorch before it is written (extra torch)."""
    from emow2v import cards
    from emow2v.engines import installed

    found = cards.find(model)
    if not installed("torch"):
        raise ModelError("Exporting needs PyTorch; run: pip install 'emow2v[torch]'")
    from emow2v.modelstore.export import export as run
    from emow2v.progress import Status

    identity = {"name": name} if name else {"name": to.resolve().name} if found.version == cards.CHECKPOINT else {}
    with Status("exporting", errors):
        card, checks = run(found, to, precision=precision, identity=identity)
    for check in checks:
        output.print(
            f"{check.graph:13} {check.engine:20} {check.input:8} {check.samples:6} samples   "
            f"logits {check.logits:.1e}   hidden states {check.hidden_states:.1e}"
        )
    output.print(
        f"wrote {card.name} to {to} ({card.size / 1e6:.0f} MB); the differences above are from PyTorch", markup=False
    )


# In the order in which people meet them.
for command in (predict, serve, live, demo, evaluate, robustness, compare, cite, export, prune, train):
    app.command(cls=Command)(command)
