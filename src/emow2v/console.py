"""What commands share: where they print, and how they are stopped."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from enum import StrEnum
from types import FrameType
from typing import Annotated, ParamSpec

import typer
from rich.console import Console

from emow2v import containers

P = ParamSpec("P")

errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
output = Console(soft_wrap=True, highlight=False)


class ContextChoice(StrEnum):
    window = "window"
    shared = "shared"


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
        help="Of the arithmetic: fp32, bf16, int8 (see models quantize), fp16 (on a GPU); faster than fp32, not the same.",
        show_default="fp32",
    ),
]
ThreadsOption = Annotated[
    int, typer.Option("--threads", envvar="EMOW2V_THREADS", min=0, help="CPU threads; 0 takes every core.")
]
DeviceOption = Annotated[
    str, typer.Option("--device", envvar="EMOW2V_DEVICE", help="Of the engine torch: auto, cpu, cuda or mps.")
]
ContextOption = Annotated[
    ContextChoice,
    typer.Option(
        "--context",
        envvar="EMOW2V_CONTEXT",
        help="Every window by itself, or long stretches computed once for all their windows: far faster, other numbers.",
    ),
]

# What a signal asked for. An exception that comes up where the decoder calls back into Python, to read on, is lost
# there, and the recording looks as if it ended; so it is raised before the next block is taken, and nothing is written.
_asked: list[BaseException] = []


def interrupt(number: int, frame: FrameType | None) -> None:
    """On Ctrl+C."""
    _stop(KeyboardInterrupt(), frame)


def leave(number: int, frame: FrameType | None) -> None:
    """On SIGTERM and SIGHUP: as from an exception, so that unfinished files are removed."""
    _stop(SystemExit(128 + number), frame)


def _stop(exception: BaseException, frame: FrameType | None) -> None:
    _asked.append(exception)
    if frame is None or not containers.is_called_back(frame):
        raise exception


def stop_if_asked() -> None:
    """Raise what a signal asked for while the decoder could not pass it on."""
    if _asked:
        raise _asked[-1]


def stoppable(command: Callable[P, None]) -> Callable[P, None]:
    """A command that ends with a sentence on Ctrl+C, and silently when the reader of a pipe has seen enough."""

    @functools.wraps(command)
    def run(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            command(*arguments, **options)
            stop_if_asked()  # also where nothing was left to be stopped
        except KeyboardInterrupt:
            errors.print("stopped; nothing unfinished was written")
            raise typer.Exit(130) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(141) from None

    return run
