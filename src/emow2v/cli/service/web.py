"""`emow2v web`: a page that computes recordings in the browser alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from emow2v.cli.console import Command, errors, output, stoppable
from emow2v.cli.options import ModelOption
from emow2v.storage import shown

web = typer.Typer(no_args_is_help=True, help="Build a page that computes recordings in the browser alone.")


@web.command("build", cls=Command)
@stoppable
def build_page(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="New folder for the page, or one that this command wrote before."),
    ],
    source: Annotated[
        Path | None,
        typer.Option(
            "--onnxruntime-web",
            metavar="PATH",
            help="The npm package onnxruntime-web that you have already: its archive (.tgz) or its folder.",
            show_default="downloaded",
        ),
    ] = None,
    registry: Annotated[
        str,
        typer.Option(
            metavar="URL",
            envvar=["EMOW2V_NPM_REGISTRY", "npm_config_registry"],
            help="npm registry, or a mirror of it, that onnxruntime-web is downloaded from.",
            show_default="https://registry.npmjs.org",
        ),
    ] = "",
    model: ModelOption = "lite-frames",
) -> None:
    """Write a page that computes recordings in the browser, so that no voice leaves the user's device.

    Any web server for plain files can serve the folder; emow2v serve --web FOLDER serves it at /alone/. ONNX Runtime for
    browsers is downloaded once (33 MB) and checked. The model must be one of frames, such as lite-frames.
    """
    from emow2v.progress import DownloadProgress
    from emow2v.web import build as module
    from emow2v.web import runtime

    module.check_folder(folder)  # before the download
    with DownloadProgress(errors) as progress:
        parts = runtime.parts(
            source, registry=registry, progress=partial(progress.update, f"onnxruntime-web {runtime.VERSION}")
        )
    files = module.build(folder, parts, model=model)
    size = sum(map(len, files.values()))
    output.print(
        f"wrote the page of {model} to {shown(folder)} ({len(files)} files, {size / 1e6:.0f} MB)", markup=False
    )
    output.print(f"try it: python -m http.server --bind 127.0.0.1 --directory {shown(folder)}", markup=False)
