"""`emow2v models`: what is here, pull, add, verify, quantize, remove."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emow2v.cli.console import Command, errors, output, print_table, stoppable
from emow2v.errors import FormatError, ModelError
from emow2v.storage import one_line

if TYPE_CHECKING:
    from emow2v.cards import Card
    from emow2v.modelstore.verify import Row

models = typer.Typer(no_args_is_help=True, help="Models: what is here, pull, add, verify, quantize, remove.")


@models.command("list", cls=Command)
def list_models() -> None:
    """Every model that can be used by name."""
    from rich.table import Table
    from rich.text import Text

    from emow2v import cards
    from emow2v.modelstore import verify

    table = Table("name", "version", "size", "licence", "verified", "description", box=None)
    here = cards.available()
    for card in here:
        size = f"{card.size / 1e6:.0f} MB"
        cells = (card.name, card.version, size, card.licence, verify.verdict(card), card.description)
        table.add_row(*(Text(cell) for cell in cells))  # as text: what looks like markup is none
    for name in cards.PULLABLE:
        if name not in {card.name for card in here}:
            table.add_row(name, "-", "-", "-", "-", f"not here; emow2v models pull {name}")
    print_table(table)


@models.command(cls=Command)
def info(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name or folder of a model.")],
    as_json: Annotated[bool, typer.Option("--json", help="The whole card, as JSON.")] = False,
) -> None:
    """Print a model in ten lines, or its whole card."""
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
    name: Annotated[str, typer.Argument(metavar="NAME", help="A published model: msp-dim.")],
    source: Annotated[
        str, typer.Option(help="zenodo: the ONNX package; hub: the checkpoint, exported here (extra torch).")
    ] = "zenodo",
    origin: Annotated[
        str,
        typer.Option(
            "--from", metavar="PATH", help="Zip or folder brought by hand, or a zip's address, in place of a download."
        ),
    ] = "",
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the licence without a question; for scripts.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Also replace a model that is here already.")] = False,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Also keep a model whose numbers are not the published ones.")
    ] = False,
) -> None:
    """Bring a published model here, once; it works offline from then on."""
    from emow2v.modelstore import install
    from emow2v.progress import DownloadProgress

    known = install.lookup(name)
    errors.print(known.terms)
    if not accept_licence and not _agreed():
        raise ModelError("The licence was not accepted; nothing was downloaded. Scripts say --accept-licence.")
    with DownloadProgress(errors) as progress:
        pulled = install.pull(
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


@models.command("verify", cls=Command)
@stoppable
def verify_models(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name or folder of a model; all by default.")] = "",
    speech: Annotated[
        Path | None, typer.Option(help="The recording to which the publication's other numbers belong.")
    ] = None,
) -> None:
    """Check that a model gives the numbers it must, on every engine installed here."""
    from emow2v import cards
    from emow2v.modelstore import verify

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


@models.command("quantize", cls=Command)
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
    force: Annotated[bool, typer.Option("--force", help="Also replace a model that is here already.")] = False,
) -> None:
    """An int8 package of a model, for --precision int8, with its error against fp32 measured (extra quantize)."""
    from emow2v import cards
    from emow2v.audio.inputs import expand
    from emow2v.modelstore import quantize
    from emow2v.progress import Status

    source = cards.find(name)
    found, failed = expand(speech or [])
    for outcome in failed:
        raise FormatError(outcome.error)
    with Status("quantising", errors) as status:
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


@models.command("add", cls=Command)
@stoppable
def add_model(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A package, as emow2v export writes it.")],
    name: Annotated[str, typer.Option(help="Name of the model. [default: the one in its card]")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Also replace a model of that name that is here already.")
    ] = False,
) -> None:
    """Copy a package of your own to where models lie, to use it by name."""
    from emow2v.modelstore import add
    from emow2v.progress import Status

    with Status("copying and checking its numbers", errors):
        added = add.add(folder, name, replace=force)
    _print_rows(added.rows)
    output.print(f"{added.card.name} is here, in {added.card.folder} ({added.card.size / 1e6:.0f} MB)", markup=False)


@models.command("remove", cls=Command)
def remove_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model that was pulled or added.")],
) -> None:
    """Delete a model that was pulled or added."""
    from emow2v.modelstore import install

    output.print(f"removed {name}, {install.remove(name) / 1e6:.0f} MB", markup=False)


def _summary(card: Card) -> list[str]:
    """A card in ten lines; what it does not say is left out."""
    from emow2v.modelstore import verify

    details = card.details
    corpora = details.get("training_data")
    trained = [
        f"{one['corpus']} ({one['language']})" if "language" in one else str(one["corpus"])
        for one in (corpora if isinstance(corpora, list) else ())
        if isinstance(one, dict) and "corpus" in one
    ]
    held_out = details.get("held_out")
    whole = held_out.get("whole") if isinstance(held_out, dict) else None
    figures = ", ".join(f"{name} {value}" for name, value in whole.items()) if isinstance(whole, dict) else ""
    what = f" ({held_out['what']})" if isinstance(held_out, dict) and "what" in held_out else ""
    limits = str(details.get("limits", ""))
    rate = card.sampling_rate
    rows = {
        "": f"{card.name} {card.version}: {card.description}",
        "folder": str(card.folder),
        "size": f"{card.size / 1e6:.0f} MB, weights SHA-256 {card.sha256[:12]}...",
        "verified": verify.verdict(card),
        "takes": f"{rate / 1000:g} kHz; windows of {card.min_samples / rate * 1000:g} ms to {card.max_samples / rate:g} s",
        "trained on": ", ".join(trained),
        "held out": f"{figures}{what}" if figures else "",
        "limits": limits.partition(". ")[0] + "." * (". " in limits),
        "licence": card.licence,
        "citation": card.citation,
    }
    return [f"{name}: {one_line(text)}" if name else one_line(text) for name, text in rows.items() if text]


def _agreed() -> bool:
    if not sys.stdin.isatty():
        return False
    return typer.confirm("Do you accept this licence?", err=True)


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
