"""`emow2v cite`: the methods paragraph and the references of a result or a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emow2v.cli.console import output, stoppable
from emow2v.cli.options import ModelOption


@stoppable
def cite(
    result: Annotated[
        Path | None,
        typer.Argument(
            metavar="RESULT",
            help="Result of emow2v predict (csv, json or ndjson).",
            show_default="the defaults of the model",
        ),
    ] = None,
    model: ModelOption = "lite",
    bibtex: Annotated[bool, typer.Option("--bibtex", help="Print only the references, for a .bib file.")] = False,
) -> None:
    """Print a methods paragraph and BibTeX references for a paper."""
    from emow2v import cards, citation
    from emow2v.errors import ModelError
    from emow2v.formats.table_read import read_provenance
    from emow2v.framing import Framing
    from emow2v.model import load

    facts = read_provenance(result) if result else load(model).provenance(Framing())
    try:
        card = cards.find(str(facts["model"]) if result else model)
    except ModelError:  # the result comes from another computer, and its model is not installed here
        card = None
    if not bibtex:
        output.print(citation.methods(facts))
        output.print()
    output.print(citation.references(facts, card))
