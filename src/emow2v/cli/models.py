"""`emow2v models`: list, describe, install, verify, quantize and remove models."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emow2v.cli.console import Command, errors, output, print_table, stoppable
from emow2v.cli.options import ForceOption
from emow2v.errors import FormatError, ModelError
from emow2v.storage import one_line

if TYPE_CHECKING:
    from emow2v.cards import Card
    from emow2v.modelstore.verify import Row

models = typer.Typer(no_args_is_help=True, help="List, install, verify, quantize and remove models.")


@models.command("list", cls=Command)
def list_models() -> None:
    """List the models that can be used by name."""
    from rich.table import Table
    from rich.text import Text

    from emow2v import cards
    from emow2v.modelstore import verify

    table = Table("name", "version", "size", "licence", "verified", "description", box=None)
    installed = cards.available()
    for card in installed:
        size = f"{card.size / 1e6:.0f} MB"
        cells = (card.name, card.version, size, card.licence, verify.verdict(card), card.description)
        table.add_row(*(Text(cell) for cell in cells))  # as text, never as markup
    for name in cards.PUBLISHED:
        if name not in {card.name for card in installed}:
            table.add_row(name, "-", "-", "-", "-", f"not installed; run: emow2v models pull {name}")
    print_table(table)


@models.command(cls=Command)
def info(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name or folder of a model.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole card as JSON.")] = False,
) -> None:
    """Describe a model in ten lines, or print its whole card."""
    from emow2v import cards

    card = cards.find(model)
    if card.version == cards.CHECKPOINT:
        if as_json:
            facts = {"name": card.name, "licence": card.licence, "files": list(card.files), "folder": str(card.folder)}
            typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
            return
        output.print(f"{card.folder} is a checkpoint without a card: {', '.join(card.files)}, licence {card.licence}")
        return
    if as_json:
        document = json.loads((card.folder / cards.CARD_FILE).read_text("utf-8"))
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    for line in _summary(card):
        output.print(line)


@models.command("pull", cls=Command)
@stoppable
def pull_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Published model: msp-dim.")],
    source: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="zenodo: the ONNX package. hub: the checkpoint, exported on this computer (extra torch).",
        ),
    ] = "zenodo",
    origin: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="PATH",
            help="Zip file or folder that you have already, or the address of another zip file.",
        ),
    ] = "",
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the licence without being asked, in scripts.")
    ] = False,
    force: ForceOption = False,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Install the model even if verification fails.")
    ] = False,
) -> None:
    """Download and verify a published model, once; it works offline from then on."""
    from emow2v.modelstore import install
    from emow2v.progress import DownloadProgress

    errors.print(install.lookup(name).terms)
    if not accept_licence and not _confirm_licence():
        raise ModelError(
            "The licence was not accepted, so nothing was downloaded; expected yes, or --accept-licence in a script."
        )
    with DownloadProgress(errors) as progress:
        installation = install.pull(
            name,
            source=source,
            origin=origin or None,
            replace=force,
            unverified=unverified,
            progress=progress.update,
            say=progress.say,
        )
    _print_rows(installation.rows)
    _print_place(installation.card)
    if not all(row.passed for row in installation.rows):
        raise typer.Exit(1)


@models.command("verify", cls=Command)
@stoppable
def verify_models(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name or folder of a model.", show_default="all models")
    ] = "",
    speech: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Speech recording of the publication, to verify its other published numbers."
        ),
    ] = None,
) -> None:
    """Check that a model gives its published numbers, on every installed engine."""
    from emow2v import cards
    from emow2v.modelstore import verify

    failed = False
    for card in [cards.find(name)] if name else cards.available():
        try:
            rows = verify.verify(card, speech=speech if name or card.name in cards.PUBLISHED else None)
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


@models.command("quantize", cls=Command)
@stoppable
def quantize_model(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="Name or folder of a model in fp32.")],
    speech: Annotated[
        list[str] | None,
        typer.Option(
            "--speech",
            metavar="PATH",
            help="Speech to calibrate on: files, folders or patterns; repeatable.",
            show_default="a short example",
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="New folder for the package.",
            show_default="where --precision int8 looks",
        ),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Make the package for --precision int8, and measure its error against fp32 (extra quantize)."""
    from emow2v import cards
    from emow2v.inputs.expand import expand
    from emow2v.modelstore import quantize
    from emow2v.progress import Status

    source = cards.find(name)
    recordings, failed = expand(speech or [])
    for outcome in failed:
        raise FormatError(outcome.error)
    with Status("quantising", errors) as status:
        card = quantize.quantize(
            source,
            to or quantize.default_place(source),
            speech=[recording.path for recording in recordings],
            replace=force,
            say=status.update,
        )
    for score, figures in card.details["error_against_fp32"].items():
        if isinstance(figures, dict):
            output.print(
                f"{score:10} mean difference {figures['mean']}, largest {figures['largest']}, CCC {figures['ccc']}",
                markup=False,
            )
    output.print(
        f"wrote {card.name} to {card.folder} ({card.size / 1e6:.0f} MB); the differences are from {source.name} in fp32, on "
        f"{card.details['error_against_fp32']['windows']} windows of 1 s that the calibration did not see",
        markup=False,
    )


@models.command("add", cls=Command)
@stoppable
def add_model(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Package that emow2v export wrote.")],
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the model.", show_default="the name in its card")
    ] = "",
    force: ForceOption = False,
) -> None:
    """Install a package of your own, to use it by name."""
    from emow2v.modelstore import add
    from emow2v.progress import Status

    with Status("copying and checking its numbers", errors):
        installation = add.add(folder, name, replace=force)
    _print_rows(installation.rows)
    _print_place(installation.card)


@models.command("remove", cls=Command)
def remove_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Model that was pulled or added.")],
) -> None:
    """Remove a model that was pulled or added."""
    from emow2v.modelstore import install

    output.print(f"removed {name}, {install.remove(name) / 1e6:.0f} MB", markup=False)


def _summary(card: Card) -> list[str]:
    """A card in ten lines, without those that it has no content for."""
    from emow2v.modelstore import verify

    details = card.details
    corpora = details.get("training_data")
    trained_on = [
        f"{corpus['corpus']} ({corpus['language']})" if "language" in corpus else str(corpus["corpus"])
        for corpus in (corpora if isinstance(corpora, list) else ())
        if isinstance(corpus, dict) and "corpus" in corpus
    ]
    held_out = details.get("held_out")
    whole = held_out.get("whole") if isinstance(held_out, dict) else None
    figures = ", ".join(f"{name} {value}" for name, value in whole.items()) if isinstance(whole, dict) else ""
    meaning = f" ({held_out['what']})" if isinstance(held_out, dict) and "what" in held_out else ""
    limits = str(details.get("limits", ""))
    rate = card.sampling_rate
    rows = {
        "": f"{card.name} {card.version}: {card.description}",
        "folder": str(card.folder),
        "size": f"{card.size / 1e6:.0f} MB, weights SHA-256 {card.sha256[:12]}...",
        "verified": verify.verdict(card),
        "takes": f"{rate / 1000:g} kHz; windows of {card.min_samples / rate * 1000:g} ms to {card.max_samples / rate:g} s",
        "trained on": ", ".join(trained_on),
        "held out": f"{figures}{meaning}" if figures else "",
        "limits": limits.partition(". ")[0] + "." * (". " in limits),
        "licence": card.licence,
        "citation": card.citation,
    }
    return [f"{name}: {one_line(text)}" if name else one_line(text) for name, text in rows.items() if text]


def _confirm_licence() -> bool:
    """Ask on a terminal; elsewhere nobody can answer."""
    if not sys.stdin.isatty():
        return False
    return typer.confirm("Do you accept this licence?", err=True)


def _print_place(card: Card) -> None:
    output.print(f"installed {card.name} in {card.folder} ({card.size / 1e6:.0f} MB)", markup=False)


def _print_rows(rows: list[Row]) -> None:
    from emow2v.modelstore.verify import words

    for row in rows:
        output.print(
            f"{'ok    ' if row.passed else 'FAILED'} {row.engine} {row.precision}: {row.input}: expected {words(row.expected)} "
            f"({row.source}), got {words(row.got)}, difference {row.difference:.1e}"
            + (f", hidden states {row.hidden_difference:.1e}" if row.hidden_difference is not None else "")
            + (f"; {row.note}" if row.note else ""),
            markup=False,
        )
