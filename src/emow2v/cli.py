"""The command line: one short function a command; what they do lives elsewhere."""

from __future__ import annotations

import functools
import io
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ParamSpec

import typer
from rich.console import Console

from emow2v._version import __version__
from emow2v.errors import Emow2vError, FormatError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
models = typer.Typer(no_args_is_help=True, help="What models are here.")
app.add_typer(models, name="models")

P = ParamSpec("P")

errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
output = Console(soft_wrap=True, highlight=False)


class Unit(StrEnum):
    windows = "windows"
    files = "files"


class PaddingChoice(StrEnum):
    edge = "edge"
    zeros = "zeros"


ModelOption = Annotated[str, typer.Option("--model", envvar="EMOW2V_MODEL", help="Name or folder of a model.")]
EngineOption = Annotated[
    str, typer.Option("--engine", envvar="EMOW2V_ENGINE", help="auto, openvino or onnxruntime.", show_default=True)
]


def main() -> None:
    """Entry point: errors that a user can mend end as one sentence and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of any script, also where the terminal knows few letters
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    for name in ("SIGTERM", "SIGHUP"):  # leave as from an exception, so that unfinished files are removed
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _leave)
    try:
        app()
    except Emow2vError as error:
        errors.print(str(error))
        sys.exit(1)


def _leave(number: int, frame: object) -> None:
    sys.exit(128 + number)


def stoppable(command: Callable[P, None]) -> Callable[P, None]:
    """A command that ends with a sentence on Ctrl+C, and silently when the reader of a pipe has seen enough."""

    @functools.wraps(command)
    def run(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            command(*arguments, **options)
        except KeyboardInterrupt:
            errors.print("stopped; nothing unfinished was written")
            raise typer.Exit(130) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(141) from None

    return run


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


@app.command()
@stoppable
def predict(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Files, folders, patterns, or - for a pipe.")],
    to: Annotated[
        str, typer.Option("-o", "--output", metavar="DIR", help="Folder of the results; - prints them.")
    ] = ".",
    model: ModelOption = "lite",
    unit: Annotated[Unit, typer.Option(help="Values over time, or one value a file.")] = Unit.windows,
    frame_step: Annotated[str, typer.Option(help="From one value to the next, e.g. 40ms, 0.5s.")] = "40ms",
    left_context: Annotated[str, typer.Option(help="How far a window reaches back before its step.")] = "960ms",
    right_context: Annotated[str, typer.Option(help="How far it reaches ahead.")] = "0ms",
    start: Annotated[str, typer.Option(help="No value for what begins before.")] = "0ms",
    end: Annotated[str, typer.Option(help="No value for what ends after; 0ms: the end.")] = "0ms",
    padding: Annotated[
        PaddingChoice, typer.Option(help="Before the start: the first sample repeated, or silence.")
    ] = PaddingChoice.edge,
    formats: Annotated[
        str, typer.Option("--format", help="One or more of csv, json, annotation, stream, with commas.")
    ] = "csv",
    engine: EngineOption = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Windows computed at once.")] = 32,
) -> None:
    """Scores of recordings over time: any audio or video file, one table (or annotation) each."""
    from emow2v import batch
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
    names = [name.strip() for name in formats.split(",") if name.strip()]
    if not names:
        raise FormatError("--format is empty; expected csv, json, annotation or stream.")
    if batch.STDIN in inputs:
        batch.refuse_terminal(sys.stdin)
    found, outcomes = batch.expand(inputs)
    folder = None if to == "-" else Path(to)
    loaded = load(model, engine=engine)
    with Progress(len(found), errors) as progress:
        for outcome in outcomes:
            progress.say(outcome.error)
        for outcome in batch.predict(
            loaded, found, folder, names=names, framing=framing, batch_size=batch_size, progress=progress.block
        ):
            outcomes.append(outcome)
            progress.done(outcome)
    if any(outcome.error for outcome in outcomes):
        raise typer.Exit(1)


@app.command()
def serve(
    host: Annotated[str, typer.Option(envvar="EMOW2V_HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="EMOW2V_PORT", min=0, max=65535, help="Port; 0 takes a free one.")] = 8080,
    model: ModelOption = "lite",
    engine: EngineOption = "auto",
    data_dir: Annotated[
        list[Path] | None,
        typer.Option(
            envvar="EMOW2V_DATA_DIR", help="Folder that requests may read and write; repeatable. [default: .]"
        ),
    ] = None,
    work_dir: Annotated[
        Path | None, typer.Option(envvar="EMOW2V_WORK_DIR", help="Folder of uploads and of results to fetch.")
    ] = None,
) -> None:
    """Serve the DISCOVER (NOVA-Server) protocol."""
    from emow2v.server.run import Server

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    server = Server(host=host, port=port, model=model, engine=engine, data_dirs=data_dir or [Path()], work_dir=work_dir)
    output.print(f"emow2v serves {model} on {server.url} (Ctrl+C stops it)")
    server.run()


@app.command()
@stoppable
def demo(
    to: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the results.")] = Path(
        "emow2v-demo"
    ),
) -> None:
    """The published DISCOVER request on a short example: a server, one request, four results, a picture."""
    from emow2v.demo import run

    run(to, output)


@models.command("list")
def list_models() -> None:
    """Every model that can be used by name."""
    from rich.table import Table

    from emow2v import cards

    table = Table("name", "version", "size", "licence", "description", box=None)
    for card in cards.available():
        table.add_row(card.name, card.version, f"{card.size / 1e6:.0f} MB", card.licence, card.description)
    Console().print(table)


@models.command()
def info(model: Annotated[str, typer.Argument(metavar="MODEL", help="Name or folder of a model.")]) -> None:
    """A model's card."""
    from emow2v import cards

    card = cards.find(model)
    typer.echo(json.dumps(json.loads((card.folder / cards.CARD_FILE).read_text("utf-8")), indent=2, ensure_ascii=False))
