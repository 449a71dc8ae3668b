"""`emow2v export`: a checkpoint as an ONNX package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emow2v.cli.console import errors, output, stoppable
from emow2v.errors import ModelError


@stoppable
def export(
    model: Annotated[
        str,
        typer.Option("--model", metavar="NAME", help="Folder of a checkpoint, or the name of a model that has one."),
    ],
    to: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="New folder for the package.")],
    precision: Annotated[
        str, typer.Option(metavar="NAME", help="Precision of the weights in the file: fp32, or fp16 for half the size.")
    ] = "fp32",
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the package.", show_default="the folder's name")
    ] = "",
) -> None:
    """Turn a checkpoint into an ONNX package that needs no PyTorch, and compare both (extra torch)."""
    from emow2v import cards
    from emow2v.engines import installed

    card = cards.find(model)
    if not installed("torch"):
        raise ModelError("Exporting needs PyTorch; run: pip install 'emow2v[torch]'")
    from emow2v.modelstore.export import export as export_package
    from emow2v.progress import Status

    identity = {"name": name} if name else {"name": to.resolve().name} if card.version == cards.CHECKPOINT else {}
    with Status("exporting", errors):
        package, checks = export_package(card, to, precision=precision, identity=identity)
    for check in checks:
        output.print(
            f"{check.graph:13} {check.engine:20} {check.input:8} {check.samples:6} samples   "
            f"logits {check.logits:.1e}   hidden states {check.hidden_states:.1e}"
        )
    output.print(
        f"wrote {package.name} to {to} ({package.size / 1e6:.0f} MB); the differences above are from PyTorch",
        markup=False,
    )
