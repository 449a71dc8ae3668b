"""`emow2v cite` and `plot`: what a paper takes from results: a methods paragraph, references, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emow2v.cli.console import output, stoppable
from emow2v.cli.options import ModelOption, OverwriteOption
from emow2v.errors import FormatError

_MOST_ROWS = 12  # recordings on a page


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


@stoppable
def plot(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULT...", help="Tables of emow2v predict (csv, json or ndjson).")
    ],
    to: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Picture: its ending is .png, .svg or .pdf.")
    ] = Path("curves.png"),
    plane: Annotated[
        bool, typer.Option("--plane/--no-plane", help="Beside the curves, the plane of arousal and valence.")
    ] = True,
    overwrite: OverwriteOption = False,
) -> None:
    """Draw the curves of results: one picture, with a row for each recording (extra plot).

    Curves have gaps in silence; below them is the confidence. Values of turns are lines as long as the turns, shaded by
    speaker. Pictures have 300 dots per inch.
    """
    from emow2v.formats.pictures import Curves, speakers_of
    from emow2v.formats.plot import figure_of, picture, save
    from emow2v.formats.table_read import read_table
    from emow2v.storage.files import StagedFiles

    picture(to, 1, 1)  # before the work
    StagedFiles({to: None}, overwrite=overwrite).check()
    curves = []
    for path in results:
        for name, table in read_table(path).items():
            curves.append(
                Curves(
                    Path(name).name, table.starts, table.ends, table.scores, table.confidence, speakers_of(table.turns)
                )
            )
    if len(curves) > _MOST_ROWS:
        raise FormatError(
            f"The results hold {len(curves)} recordings; expected at most {_MOST_ROWS} in one picture; name fewer tables."
        )
    save(figure_of(to, curves, plane=plane), to, overwrite=overwrite)
    output.print(f"wrote {to}", markup=False)
