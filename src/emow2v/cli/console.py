"""The console: how commands print, show their help, choose recordings and stop."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, ParamSpec

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperCommand, TyperGroup

from emow2v.errors import FormatError
from emow2v.inputs import ENDINGS, Input, LeftOut, Outcome
from emow2v.inputs.expand import expand
from emow2v.inputs.texts import Texts
from emow2v.storage import one_line, shown
from emow2v.stores import with_two_slashes

P = ParamSpec("P")

errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
output = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)


def print_table(table: Table) -> None:
    """Print a table on standard output, as wide as the terminal; its cells are text, never markup."""
    Console(markup=False, highlight=False, emoji=False).print(table)


# The error of Click, or of the copy of Click in newer versions of Typer
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

# Click's notation for ranges of numbers and for defaults in words, and ours
_NOTATIONS = (
    (re.compile(r"(\d+)<=x<=(\d+)"), r"\1 to \2"),
    (re.compile(r"; x>=0|\s*\[x>=0\]"), ""),
    (re.compile(r"default: \((.*?)\)(?=[;\]])"), r"default: \1"),
)


def of_paths(command: Callable[P, None]) -> Callable[P, None]:
    """A command that refuses addresses where it takes the path of a file or a folder.

    For s3://study/x it would read or write s3:/study/x below the current folder.
    """

    @functools.wraps(command)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        for value in kwargs.values():
            for path in value if isinstance(value, list) else [value]:
                if isinstance(path, Path) and (address := with_two_slashes(str(path))):
                    raise FormatError(f"{shown(address)} is an address; expected a file or a folder here.")
        command(*args, **kwargs)

    return checked


class CommandGroup(TyperGroup):
    """A group of commands whose help lists them below headings, each with its whole first sentence."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            heading = getattr(command, "rich_help_panel", None)
            row = (name, command.get_short_help_str(limit=200))
            sections.setdefault(heading if isinstance(heading, str) else "Commands", []).append(row)
        for heading, rows in sections.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


class Command(TyperCommand):
    """A command whose help lists options below headings, and whose errors explain names that begin with a dash."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The usage with plain arguments, INPUT..., where newer versions of Typer write {INPUT}... ."""
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            name, words = record
            for notation, ours in _NOTATIONS:
                words = notation.sub(ours, words)
            if parameter.param_type_name == "argument":
                sections["Arguments"].append((name.partition(" <")[0], words))  # newer versions of Typer add a type
            else:
                heading = getattr(parameter, "rich_help_panel", None)
                sections.setdefault(heading if isinstance(heading, str) else "Options", []).append((name, words))
        for heading, rows in sections.items():
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except _UsageError as error:
            options = words[: words.index("--")] if "--" in words else words
            name = next((word for word in options if word.startswith("-") and is_recording(word)), None)
            if name and isinstance(message := getattr(error, "message", None), str):
                hint = f"{one_line(name)} is taken for an option; write -- before names that begin with a dash."
                error.message = f"{message.rstrip('.')}. {hint}"  # type: ignore[attr-defined]
            raise


def is_recording(name: str) -> bool:
    """Whether a word of the command line looks like the name of a recording."""
    return os.path.splitext(name)[1].lower() in ENDINGS  # noqa: PTH122 (a name, not a path)


@dataclass(frozen=True)
class Selection:
    """Recordings to work on, names that failed, and the number of files that were left out."""

    inputs: Sequence[Input]
    refused: list[Outcome]
    left_out: int

    @property
    def failed(self) -> int:
        """Number of recordings that failed."""
        return sum(len(outcome.members) or 1 for outcome in self.refused)


def choose(names: Sequence[str], others: Sequence[str] = (), *, lists: bool = False) -> Selection:
    """The recordings that names stand for; errors and files that are left out are printed at once.

    Args:
        others: endings of files that are used otherwise, and so are not left out
        lists: a name may be that of a file that lists recordings

    Raises:
        typer.Exit: nothing is left to work on
    """
    left_out: list[LeftOut] = []
    inputs, failed = expand(names, left_out.append, _read_list if lists else lambda name: None)
    left_out = [
        replace(
            files, names=Texts(one for one in files.names if not one.lower().removesuffix("~").endswith(tuple(others)))
        )
        for files in left_out
    ]
    left_out = [files for files in left_out if len(files) or files.repeated]
    for sentence in (*(outcome.error for outcome in failed), *(files.sentence for files in left_out)):
        errors.print(one_line(sentence))
    if not inputs:
        raise typer.Exit(1)
    return Selection(inputs, failed, sum(map(len, left_out)))


def _read_list(name: str) -> Sequence[str] | None:
    """The recordings that a file lists; None where it is no list."""
    if not name.lower().endswith((".txt", ".csv", ".tsv", ".parquet")):
        return None
    from emow2v.corpora.csv_manifest import read_list  # loads NumPy

    return read_list(name)


def exit_on_signal(number: int, frame: FrameType | None) -> None:
    """End on SIGTERM and SIGHUP as by an exception, so that unfinished files are removed."""
    raise SystemExit(128 + number)


def stoppable(command: Callable[P, None]) -> Callable[P, None]:
    """A command that ends with a sentence on Ctrl+C, and silently when the reader of a pipe has ended."""

    @functools.wraps(command)
    def run(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            command(*arguments, **options)
        except KeyboardInterrupt:
            errors.print("stopped; nothing unfinished was written")
            raise typer.Exit(130) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(141) from None

    return run
