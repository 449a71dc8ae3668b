"""`emow2v tokens`: who may use a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emow2v.cli.console import Command, errors, output, print_table
from emow2v.storage.home import home

if TYPE_CHECKING:
    from emow2v.server.people.tokens import Tokens

tokens = typer.Typer(no_args_is_help=True, help="Add, list and remove the tokens of people who share a server.")

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of a person or a program, such as anna or nova-pc3.")
]
WorkDirOption = Annotated[
    Path | None,
    typer.Option(
        "--work-dir",
        metavar="DIR",
        envvar="EMOW2V_WORK_DIR",
        help="Work folder of the server; by default a folder in EMOW2V_HOME.",
    ),
]


@tokens.command("add", cls=Command)
def add_token(
    name: NameArgument,
    admin: Annotated[bool, typer.Option("--admin", help="The name sees and erases the jobs of all.")] = False,
    metrics_only: Annotated[
        bool, typer.Option("--metrics-only", help="The token opens /metrics, and nothing else.")
    ] = False,
    expires: Annotated[
        str,
        typer.Option(
            metavar="DAY",
            help="Last day (UTC), such as 2027-06-30, or a number of days, such as 90d.",
            show_default="never",
        ),
    ] = "",
    again: Annotated[
        bool, typer.Option("--again", help="Give a name that has or had a token a new one; the old one is removed.")
    ] = False,
    work_dir: WorkDirOption = None,
) -> None:
    """Give a name a token, and print it: this once, because the server keeps only its hash.

    A running server knows the token at once. From the first token on, the server requires one from everybody.
    """
    from emow2v.server.people.tokens import as_role

    role = as_role(administrator=admin, metrics_only=metrics_only)
    text = _tokens(work_dir).add(name, role, expires, again=again)
    errors.print(f"The token of {name}, which is shown only now:")
    output.print(text)


@tokens.command("list", cls=Command)
def list_tokens(work_dir: WorkDirOption = None) -> None:
    """List names with their roles and with the state of their tokens; the tokens themselves are not known."""
    from datetime import UTC, datetime

    from rich.table import Table

    now = datetime.now(UTC)
    table = Table("name", "role", "state", "created", "expires", box=None)
    for one in _tokens(work_dir).all():
        table.add_row(one.name, one.role, one.state(now), one.created[:10], one.expires[:16] or "never")
    print_table(table)


@tokens.command("remove", cls=Command)
def remove_token(name: NameArgument, work_dir: WorkDirOption = None) -> None:
    """Make the token of a name invalid, at once. Jobs and uploads of the name stay."""
    _tokens(work_dir).remove(name)
    output.print(f"removed the token of {name}", markup=False)


def _tokens(work_dir: Path | None) -> Tokens:
    from emow2v.server.people.tokens import Tokens

    return Tokens((work_dir or home() / "server").resolve())
