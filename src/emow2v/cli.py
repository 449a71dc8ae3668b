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
from types import FrameType
from typing import TYPE_CHECKING, Annotated, ParamSpec

import typer
from rich.console import Console

from emow2v._version import __version__
from emow2v.errors import Emow2vError, FormatError, ModelError

if TYPE_CHECKING:
    from emow2v.trajectory import Block, Info
    from emow2v.verify import Row

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
models = typer.Typer(no_args_is_help=True, help="Models: what is here, pull, verify, remove.")
app.add_typer(models, name="models")

P = ParamSpec("P")

errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
output = Console(soft_wrap=True, highlight=False)


class Unit(StrEnum):
    windows = "windows"
    files = "files"


class ContextChoice(StrEnum):
    window = "window"
    shared = "shared"


class PaddingChoice(StrEnum):
    edge = "edge"
    zeros = "zeros"


ModelOption = Annotated[str, typer.Option("--model", envvar="EMOW2V_MODEL", help="Name or folder of a model.")]
EngineOption = Annotated[
    str,
    typer.Option("--engine", envvar="EMOW2V_ENGINE", help="auto, openvino, onnxruntime or torch.", show_default=True),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        envvar="EMOW2V_PRECISION",
        help="Of the arithmetic: fp32, bf16, int8 (see models quantize), fp16 (on a GPU); faster than fp32, not the same.",
        show_default="fp32",
    ),
]
ThreadsOption = Annotated[
    int, typer.Option("--threads", envvar="EMOW2V_THREADS", min=0, help="CPU threads; 0 takes every core.")
]
ContextOption = Annotated[
    ContextChoice,
    typer.Option(
        "--context",
        envvar="EMOW2V_CONTEXT",
        help="Every window by itself, or long stretches computed once for all their windows: far faster, other numbers.",
    ),
]
DeviceOption = Annotated[
    str, typer.Option("--device", envvar="EMOW2V_DEVICE", help="Of the engine torch: auto, cpu, cuda or mps.")
]


def main() -> None:
    """Entry point: errors that a user can mend end as one sentence and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of any script, also where the terminal knows few letters
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt)
    for name in ("SIGTERM", "SIGHUP"):  # leave as from an exception, so that unfinished files are removed
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _leave)
    try:
        app()
    except Emow2vError as error:
        errors.print(str(error))
        sys.exit(1)


# What a signal asked for. An exception that comes up where the decoder calls back into Python, to read on, is lost
# there, and the recording looks as if it ended; so it is raised before the next block is taken, and nothing is written.
_asked: list[BaseException] = []
_CALLED_BACK = ("read", "seek", "tell")


def _interrupt(number: int, frame: FrameType | None) -> None:
    _stop(KeyboardInterrupt(), frame)


def _leave(number: int, frame: FrameType | None) -> None:
    _stop(SystemExit(128 + number), frame)


def _stop(exception: BaseException, frame: FrameType | None) -> None:
    _asked.append(exception)
    if frame is None or not (frame.f_code.co_filename.endswith("audio.py") and frame.f_code.co_name in _CALLED_BACK):
        raise exception


def _stop_if_asked() -> None:
    if _asked:
        raise _asked[-1]


def stoppable(command: Callable[P, None]) -> Callable[P, None]:
    """A command that ends with a sentence on Ctrl+C, and silently when the reader of a pipe has seen enough."""

    @functools.wraps(command)
    def run(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            command(*arguments, **options)
            _stop_if_asked()  # also where nothing was left to be stopped
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
    precision: PrecisionOption = "",
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
    context: ContextOption = ContextChoice.window,
    batch_size: Annotated[
        int,
        typer.Option(min=0, max=1024, help="Windows computed at once; 0: what the model and the machine are good for."),
    ] = 0,
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

    def done(block: Block, info: Info) -> None:
        _stop_if_asked()
        progress.block(block, info)

    loaded = load(model, engine=engine, precision=precision, threads=threads, device=device)
    with Progress(len(found), errors) as progress:
        for outcome in outcomes:
            progress.say(outcome.error)
        for outcome in batch.predict(
            loaded,
            found,
            folder,
            names=names,
            framing=framing,
            context=context.value,
            batch_size=batch_size or None,
            progress=done,
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
    precision: PrecisionOption = "",
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
    context: ContextOption = ContextChoice.window,
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
    server = Server(
        host=host,
        port=port,
        model=model,
        engine=engine,
        precision=precision,
        device=device,
        threads=threads,
        context=context.value,
        data_dirs=data_dir or [Path()],
        work_dir=work_dir,
    )
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


@app.command()
@stoppable
def export(
    model: Annotated[str, typer.Option("--model", help="Folder of a checkpoint, or name of a model with one.")],
    to: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="New folder of the package.")],
    precision: Annotated[
        str, typer.Option(help="Of the weights in the file: fp32, or fp16 for half the size.")
    ] = "fp32",
    name: Annotated[str, typer.Option(help="What the package calls itself. [default: the folder's name]")] = "",
) -> None:
    """A checkpoint as an ONNX package, compared with PyTorch before it is written (extra torch)."""
    from emow2v import cards
    from emow2v.engines import installed

    found = cards.find(model)
    if not installed("torch"):
        raise ModelError("Exporting needs PyTorch; run: pip install 'emow2v[torch]'")
    from emow2v.networks.export import export as run

    identity = {"name": name} if name else {"name": to.resolve().name} if found.version == cards.CHECKPOINT else {}
    with errors.status("exporting"):
        card, checks = run(found, to, precision=precision, identity=identity)
    for check in checks:
        output.print(
            f"{check.graph:13} {check.engine:20} {check.input:8} {check.samples:6} samples   "
            f"logits {check.logits:.1e}   hidden states {check.hidden_states:.1e}"
        )
    output.print(
        f"wrote {card.name} to {to} ({card.size / 1e6:.0f} MB); the differences above are from PyTorch", markup=False
    )


@app.command()
@stoppable
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="Result file, or folder of results.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The same recordings, computed in another way.")],
    to: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures here.")] = None,
) -> None:
    """How far apart two ways of computing the same recordings lie: two engines, precisions, contexts, models."""
    from rich.table import Table

    from emow2v import compare as comparing

    found = comparing.compare(first, second)
    table = Table("", "rows", "mean difference", "largest", "correlation", "CCC", box=None)
    for one in found.together:
        figures = (f"{value:.4f}" for value in (one.mean, one.largest, one.correlation, one.ccc))
        table.add_row(one.name, str(one.rows), *figures)
    Console().print(table)
    for name in found.alone:
        errors.print(f"{name} is in one of the two only")
    if to:
        from emow2v.formats.files import write_text

        write_text(to, json.dumps(comparing.report(found), indent=2, ensure_ascii=False) + "\n")


@models.command("list")
def list_models() -> None:
    """Every model that can be used by name."""
    from rich.table import Table
    from rich.text import Text

    from emow2v import cards, verify

    table = Table("name", "version", "size", "licence", "verified", "description", box=None)
    here = cards.available()
    for card in here:
        size = f"{card.size / 1e6:.0f} MB"
        cells = (card.name, card.version, size, card.licence, verify.verdict(card), card.description)
        table.add_row(*(Text(cell) for cell in cells))  # as text: what looks like markup is none
    for name in cards.PULLABLE:
        if name not in {card.name for card in here}:
            table.add_row(name, "-", "-", "-", "-", f"not here; emow2v models pull {name}")
    Console().print(table)


@models.command()
def info(model: Annotated[str, typer.Argument(metavar="MODEL", help="Name or folder of a model.")]) -> None:
    """A model's card."""
    from emow2v import cards

    card = cards.find(model)
    if card.version == cards.CHECKPOINT:
        typer.echo(f"{card.folder} is a checkpoint without a card: {', '.join(card.files)}, licence {card.licence}")
        return
    typer.echo(json.dumps(json.loads((card.folder / cards.CARD_FILE).read_text("utf-8")), indent=2, ensure_ascii=False))


@models.command("pull")
@stoppable
def pull_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A published model: msp-dim.")],
    source: Annotated[
        str, typer.Option(help="zenodo: the ONNX package; hub: the checkpoint, exported here (extra torch).")
    ] = "zenodo",
    origin: Annotated[
        str,
        typer.Option("--from", metavar="PATH", help="Instead: a zip or folder brought by hand, or a zip's address."),
    ] = "",
    accept_licence: Annotated[bool, typer.Option("--accept-licence", help="Do not ask; for scripts.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also where it is here already.")] = False,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Keep it though its numbers are not the published.")
    ] = False,
) -> None:
    """Bring a published model here, once; it works offline from then on."""
    from emow2v import pull
    from emow2v.progress import DownloadProgress

    known = pull.lookup(name)
    errors.print(known.terms)
    if not accept_licence and not _agreed():
        raise ModelError("The licence was not accepted; nothing was downloaded. Scripts say --accept-licence.")
    with DownloadProgress(errors) as progress:
        pulled = pull.pull(
            name,
            source=source,
            origin=origin or None,
            replace=force,
            unverified=unverified,
            progress=progress.update,
            say=progress.say,
        )
    _print_rows(pulled.rows)
    output.print(f"{name} is here, in {pulled.card.folder} ({pulled.card.size / 1e6:.0f} MB)", markup=False)
    if not all(row.passed for row in pulled.rows):
        raise typer.Exit(1)


@models.command("verify")
@stoppable
def verify_models(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Name or folder of a model; all by default.")] = "",
    speech: Annotated[
        Path | None, typer.Option(help="The recording to which the publication's other numbers belong.")
    ] = None,
) -> None:
    """Does a model give the numbers it must, on every engine installed here."""
    from emow2v import cards, verify

    failed = False
    for card in [cards.find(name)] if name else cards.available():
        try:
            rows = verify.verify(card, speech=speech if name or card.name in cards.PULLABLE else None)
        except ModelError as error:
            errors.print(str(error))
            failed = True
            continue
        output.print(f"{card.name} {card.version}", markup=False)
        _print_rows(rows)
        verify.record(card, rows)
        failed = failed or not all(row.passed for row in rows)
    if failed:
        raise typer.Exit(1)


@models.command("quantize")
@stoppable
def quantize_model(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="Name or folder of a model in fp32.")],
    speech: Annotated[
        list[str] | None,
        typer.Option(
            "--speech", help="Files, folders or patterns of speech to calibrate on; repeatable. [default: an example]"
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="New folder. [default: where --precision int8 looks]"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also where it is here already.")] = False,
) -> None:
    """An int8 package of a model, for --precision int8, with its error against fp32 measured (extra quantize)."""
    from emow2v import batch, cards, quantize

    source = cards.find(name)
    found, failed = batch.expand(speech or [])
    for outcome in failed:
        raise FormatError(outcome.error)
    with errors.status("quantising") as status:
        card = quantize.quantize(
            source,
            to or quantize.default_place(source),
            speech=[one.path for one in found],
            replace=force,
            say=status.update,
        )
    for what, figures in card.details["error_against_fp32"].items():
        if isinstance(figures, dict):
            output.print(
                f"{what:10} mean difference {figures['mean']}, largest {figures['largest']}, CCC {figures['ccc']}",
                markup=False,
            )
    output.print(
        f"wrote {card.name} to {card.folder} ({card.size / 1e6:.0f} MB); the differences are from {source.name} in fp32, on "
        f"{card.details['error_against_fp32']['windows']} windows of 1 s that the calibration did not see",
        markup=False,
    )


@models.command("remove")
def remove_model(name: Annotated[str, typer.Argument(metavar="NAME", help="A model that was pulled.")]) -> None:
    """Delete a pulled model."""
    from emow2v import pull

    output.print(f"removed {name}, {pull.remove(name) / 1e6:.0f} MB", markup=False)


def _agreed() -> bool:
    if not sys.stdin.isatty():
        return False
    return typer.confirm("Do you accept this licence?", err=True)


def _print_rows(rows: list[Row]) -> None:
    from emow2v.verify import words

    for row in rows:
        output.print(
            f"{'ok    ' if row.passed else 'FAILED'} {row.engine} {row.precision}: {row.input}: expected {words(row.expected)} "
            f"({row.source}), got {words(row.got)}, difference {row.difference:.1e}"
            + (f", hidden states {row.hidden_difference:.1e}" if row.hidden_difference is not None else "")
            + (f"; {row.note}" if row.note else ""),
            markup=False,
        )
