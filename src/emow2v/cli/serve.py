"""`emow2v serve`: a server that can be left running."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from emow2v.cli.console import output
from emow2v.cli.options import (
    ContextChoice,
    ContextOption,
    DeviceOption,
    EngineOption,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
)


class LogFormatChoice(StrEnum):
    text = "text"
    json = "json"


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
            envvar="EMOW2V_TOKEN",
            help="Access token required of clients; better in the environment.",
            show_default=False,
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
    max_duration: Annotated[float, typer.Option(min=0, metavar="HOURS", help="Longest recording; 0: any.")] = 24,
    max_waiting: Annotated[int, typer.Option(min=0, help="Jobs in the queue; 0: any number.")] = 10_000,
    max_streams: Annotated[
        int, typer.Option(min=0, help="Live streams at once; 0: as many as stay in real time, by measure.")
    ] = 0,
    keep_jobs: Annotated[int, typer.Option(min=0, help="Finished jobs that are kept, with results to fetch.")] = 1000,
    keep_days: Annotated[float, typer.Option(min=0, max=36_500, help="Keep finished jobs this many days.")] = 30,
    patience: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Time that running jobs have to finish, on SIGTERM.")
    ] = 10,
    log_format: Annotated[
        LogFormatChoice,
        typer.Option(envvar="EMOW2V_LOG_FORMAT", help="Form of the log: text, or a JSON object a line."),
    ] = LogFormatChoice.text,
) -> None:
    """Serve the DISCOVER (NOVA-Server) protocol."""
    from emow2v.server.extra import check_installed

    check_installed("emow2v serve")
    from emow2v.server import logs
    from emow2v.server.run import Server

    logs.set_up(log_format.value)
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
        max_duration_h=max_duration,
        max_waiting=max_waiting,
        keep_jobs=keep_jobs,
        keep_days=keep_days,
        patience_s=patience,
        nova_status=nova_status,
        max_streams=max_streams,
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_self_signed=tls_self_signed,
        log_format=log_format.value,
    )
    output.print(f"emow2v serves {model} on {server.url} (Ctrl+C stops it)")
    server.run()
