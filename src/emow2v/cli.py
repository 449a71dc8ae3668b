"""The command line: one short function a command; what they do lives elsewhere."""

from __future__ import annotations

import io
import logging
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emow2v._version import __version__
from emow2v.cli_live import live
from emow2v.cli_measure import compare, evaluate, robustness
from emow2v.cli_models import models
from emow2v.console import (
    DeviceOption,
    EngineOption,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
    errors,
    interrupt,
    leave,
    output,
    stop_if_asked,
    stoppable,
)
from emow2v.errors import Emow2vError, FormatError, ModelError

if TYPE_CHECKING:
    from emow2v.trajectory import Block, Info

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
app.add_typer(models, name="models")
for command in (compare, evaluate, robustness, live):
    app.command()(command)


class Unit(StrEnum):
    windows = "windows"
    files = "files"


class ContextChoice(StrEnum):
    window = "window"
    shared = "shared"


class PaddingChoice(StrEnum):
    edge = "edge"
    zeros = "zeros"


ContextOption = Annotated[
    ContextChoice,
    typer.Option(
        "--context",
        envvar="EMOW2V_CONTEXT",
        help="Every window by itself, or long stretches computed once for all their windows: far faster, other numbers.",
    ),
]


def main() -> None:
    """Entry point: errors that a user can mend end as one sentence and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of any script, also where the terminal knows few letters
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)
    for name in ("SIGTERM", "SIGHUP"):  # leave as from an exception, so that unfinished files are removed
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), leave)
    try:
        app()
    except Emow2vError as error:
        errors.print(str(error))
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
        str, typer.Option("--format", help="One or more of csv, json, ndjson, annotation, stream, with commas.")
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
        raise FormatError("--format is empty; expected csv, json, ndjson, annotation or stream.")
    if batch.STDIN in inputs:
        batch.refuse_terminal(sys.stdin)
    found, outcomes = batch.expand(inputs)
    folder = None if to == "-" else Path(to)

    def done(block: Block, info: Info) -> None:
        stop_if_asked()
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
        Path | None, typer.Option(envvar="EMOW2V_WORK_DIR", help="Folder of jobs, uploads, and results to fetch.")
    ] = None,
    workers: Annotated[
        int,
        typer.Option(envvar="EMOW2V_WORKERS", min=1, max=64, help="Processes that run jobs, each with its own model."),
    ] = 1,
    token: Annotated[
        str,
        typer.Option(
            envvar="EMOW2V_TOKEN", help="What requests must bring; better in the environment.", show_default=False
        ),
    ] = "",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen on a public address without a token; something else guards it.")
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            envvar="EMOW2V_ALLOW_HOST", help="Name that the server answers to, beside its address; repeatable."
        ),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(envvar="EMOW2V_TLS_CERT", help="Certificate (PEM): https.")] = None,
    tls_key: Annotated[Path | None, typer.Option(envvar="EMOW2V_TLS_KEY", help="Its key (PEM).")] = None,
    tls_self_signed: Annotated[
        bool,
        typer.Option("--tls-self-signed", help="https with a certificate made here, as NOVA takes it (extra tls)."),
    ] = False,
    nova_status: Annotated[
        bool, typer.Option("--nova-status", help="Cancelled jobs have status 3, since NOVA knows no 4.")
    ] = False,
    max_upload: Annotated[float, typer.Option(min=0, metavar="MB", help="Largest request; 0: any.")] = 2000,
    max_waiting: Annotated[int, typer.Option(min=0, help="Jobs in the queue; 0: any number.")] = 10_000,
    max_streams: Annotated[
        int, typer.Option(min=0, help="Live streams at once; 0: as many as stay in real time, by measure.")
    ] = 0,
    keep_jobs: Annotated[
        int, typer.Option(min=0, help="Ended jobs that are remembered, with results to fetch.")
    ] = 1000,
    keep_days: Annotated[float, typer.Option(min=0, max=36_500, help="For how long.")] = 30,
    patience: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="For running jobs, on SIGTERM.")] = 10,
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
        workers=workers,
        token=token,
        insecure=insecure,
        allow_hosts=allow_host or (),
        max_upload_mb=max_upload,
        max_waiting=max_waiting,
        keep_jobs=keep_jobs,
        keep_days=keep_days,
        patience_s=patience,
        nova_status=nova_status,
        max_streams=max_streams,
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_self_signed=tls_self_signed,
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
