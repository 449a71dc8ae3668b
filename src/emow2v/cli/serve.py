"""`emow2v serve`: a server that can be left running."""

from __future__ import annotations

import inspect
import types
from dataclasses import MISSING, Field, fields
from enum import Enum, StrEnum
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from emow2v.cli.console import output
from emow2v.cli.options import (
    ContextChoice,
    ContextOption,
    DeviceOption,
    EngineOption,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
)
from emow2v.server.options import KeepUploads, LogFormat, ServerOptions, Spec

# Options that other commands have, too
SHARED: dict[str, Any] = {
    "model": ModelOption,
    "engine": EngineOption,
    "precision": PrecisionOption,
    "device": DeviceOption,
    "threads": ThreadsOption,
    "context": ContextOption,
}
CHOICES: dict[str, Any] = {
    name: StrEnum(f"{name}Choice", {word: word for word in get_args(words)})
    for name, words in {"LogFormat": LogFormat, "KeepUploads": KeepUploads}.items()
}
# The types of `ServerOptions` as Typer knows them
TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "Path | None": Path | None,
    "Sequence[Path | str]": list[str] | None,
    "Sequence[str]": list[str] | None,
    **CHOICES,
}


def serve(**values: Any) -> None:
    """Run the server: the DISCOVER (NOVA-Server) protocol, /v1 for programs, and pages for the browser."""
    from emow2v.server.extra import check_installed

    check_installed("emow2v serve")
    from emow2v.server import logs
    from emow2v.server.run import Server

    options = ServerOptions(**{name: _plain(value) for name, value in values.items() if value is not None})
    logs.set_up(options.log_format)
    server = Server(options)
    output.print(f"emow2v serves {options.model} on {server.url} (Ctrl+C stops it)")
    server.run()


def _plain(value: Any) -> Any:
    """A value as `ServerOptions` holds it."""
    if isinstance(value, Enum):
        return value.value
    return tuple(value) if isinstance(value, list) else value


def _parameter(field: Field[Any]) -> inspect.Parameter:
    """The parameter that Typer makes an option of `emow2v serve` from."""
    assert field.default is not MISSING
    default = field.default
    if field.name in SHARED:
        annotation = SHARED[field.name]
        default = ContextChoice(default) if field.name == "context" else default
    else:
        spec: Spec = field.metadata["spec"]
        kind = TYPES[str(field.type)]
        option = typer.Option(
            f"--{spec.flag or field.name.replace('_', '-')}",
            help=spec.help,
            envvar=f"EMOW2V_{(spec.flag or field.name).replace('-', '_').upper()}" if spec.environment else None,
            min=spec.minimum,
            max=spec.maximum,
            metavar=spec.unit or None,
            show_default=spec.shown,
            rich_help_panel=spec.heading or None,
        )
        annotation = Annotated[kind, option]
        if kind in CHOICES.values():
            default = kind(default)
        elif isinstance(kind, types.UnionType):
            default = None  # the default of `ServerOptions` holds
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_PARAMETERS = [_parameter(field) for field in fields(ServerOptions)]
serve.__signature__ = inspect.Signature(_PARAMETERS)  # type: ignore[attr-defined]
serve.__annotations__ = {parameter.name: parameter.annotation for parameter in _PARAMETERS}
