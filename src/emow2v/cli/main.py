"""The command line: the application, and how it starts and ends."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from emow2v import storage
from emow2v._version import __version__
from emow2v.cli.console import Command, CommandGroup, errors, exit_on_signal, of_paths
from emow2v.cli.demo import demo
from emow2v.cli.export import export
from emow2v.cli.live import live
from emow2v.cli.measure import compare, evaluate, robustness
from emow2v.cli.models import models
from emow2v.cli.predict import predict
from emow2v.cli.results import cite, plot
from emow2v.cli.serve import serve
from emow2v.cli.service.folder import backup, restore
from emow2v.cli.service.tokens import tokens
from emow2v.cli.service.web import web
from emow2v.cli.train import prune, train
from emow2v.errors import Emow2vError
from emow2v.storage import one_line
from emow2v.storage.home import redirect_library_caches

app = typer.Typer(
    cls=CommandGroup, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)


def main() -> None:
    """Entry point: an error that a user can mend ends as one sentence and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of any script, also where the terminal knows few letters
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    redirect_library_caches()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGTERM", "SIGHUP"):  # as by an exception, so that unfinished files are removed
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:  # nohup
            signal.signal(getattr(signal, name), exit_on_signal)
    try:
        app()
    except Emow2vError as error:
        errors.print(one_line(str(error)))
        sys.exit(1)
    except OSError as error:  # a path that the operating system refuses, at any place
        if error.filename is None or isinstance(error, BrokenPipeError):
            raise
        errors.print(one_line(str(storage.unreadable(os.fsdecode(error.filename), error))))
        sys.exit(1)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"emow2v {__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Estimate arousal, dominance and valence of speech over time, offline.

    emow2v COMMAND --help describes a command. Times are written with their unit: 40ms, 0.5s.
    """


# Headings of the help, and below each the commands in the order in which people meet them
SECTIONS: dict[str, tuple[Callable[..., None], ...]] = {
    "Scores from speech": (demo, predict, live, serve),
    "Quality and papers": (plot, evaluate, robustness, compare, cite),
    "Models": (train, prune, export),
    "Server": (backup, restore),
}
for heading, commands in SECTIONS.items():
    for command in commands:
        app.command(cls=Command, rich_help_panel=heading)(of_paths(command))
app.add_typer(tokens, name="tokens", cls=CommandGroup, rich_help_panel="Server")
app.add_typer(web, name="web", cls=CommandGroup, rich_help_panel="Server")
app.add_typer(models, name="models", cls=CommandGroup, rich_help_panel="Models")
