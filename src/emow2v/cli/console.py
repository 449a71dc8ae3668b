"""The console: what commands share of options, output and stopping."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import FrameType
from typing import Annotated, Any, ParamSpec

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperCommand

from emow2v.audio.inputs import ENDINGS, Input, LeftOut, expand
from emow2v.storage import one_line

P = ParamSpec("P")

errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
output = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)


def print_table(table: Table) -> None:
    """A table on standard output, as wide as the terminal; what looks like markup in it is none."""
    Console(markup=False, highlight=False, emoji=False).print(table)


# of click, or of the copy that newer versions of typer have
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


class Command(TyperCommand):
    """A command that takes files: where one begins with a dash, the error says how to name it.

    Its usage names arguments plainly, INPUT..., where newer versions of typer write {INPUT}... .
    """

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except _UsageError as error:
            before = given[: given.index("--")] if "--" in given else given
            name = next((one for one in before if one.startswith("-") and is_recording(one)), None)
            if name and isinstance(message := getattr(error, "message", None), str):
                hint = f"{one_line(name)} is taken for an option; write -- before names that begin with a dash."
                error.message = f"{message.rstrip('.')}. {hint}"  # type: ignore[attr-defined]
            raise


def is_recording(name: str) -> bool:
    """Whether a word of the command line looks like a recording's name."""
    return os.path.splitext(name)[1].lower() in ENDINGS  # noqa: PTH122 (a name, not a path)


@dataclass(frozen=True)
class Chosen:
    """Recordings to work on; how many names failed, and how many files were left out."""

    inputs: list[Input]
    failed: int
    left_out: int


def choose(names: Sequence[str]) -> Chosen:
    """The recordings that names stand for; errors and files that are left out are printed at once.

    Raises:
        typer.Exit: nothing is left to work on
    """
    left_out: list[LeftOut] = []
    found, failed = expand(names, left_out.append)
    for sentence in (*(one.error for one in failed), *(one.sentence for one in left_out)):
        errors.print(one_line(sentence))
    if not found:
        raise typer.Exit(1)
    return Chosen(found, len(failed), sum(map(len, left_out)))


class ContextChoice(StrEnum):
    window = "window"
    shared = "shared"


OverwriteOption = Annotated[
    bool,
    typer.Option("--overwrite", help="Also replace files that emow2v did not write, or that were changed since."),
]
ModelOption = Annotated[str, typer.Option("--model", envvar="EMOW2V_MODEL", help="Name or folder of a model.")]
EngineOption = Annotated[
    str,
    typer.Option("--engine", envvar="EMOW2V_ENGINE", help="auto, openvino, onnxruntime or torch.", show_default=True),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        envvar="EMOW2V_PRECISION",
        help="Precision of the arithmetic: fp32, bf16, int8 (see models quantize), fp16 (on a GPU); faster than fp32, not the same.",
        show_default="fp32",
    ),
]
ThreadsOption = Annotated[
    int, typer.Option("--threads", envvar="EMOW2V_THREADS", min=0, help="CPU threads; 0 takes every core.")
]
DeviceOption = Annotated[
    str, typer.Option("--device", envvar="EMOW2V_DEVICE", help="Device of the engine torch: auto, cpu, cuda or mps.")
]
ContextOption = Annotated[
    ContextChoice,
    typer.Option(
        "--context",
        envvar="EMOW2V_CONTEXT",
        help="Every window by itself, or long stretches computed once for all their windows: far faster, other numbers.",
    ),
]


def leave(number: int, frame: FrameType | None) -> None:
    """On SIGTERM and SIGHUP: as from an exception, so that unfinished files are removed."""
    raise SystemExit(128 + number)


def stoppable(command: Callable[P, None]) -> Callable[P, None]:
    """A command that ends with a sentence on Ctrl+C, and silently when the reader of a pipe has seen enough."""

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
