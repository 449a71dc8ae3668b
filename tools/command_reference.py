"""Makes docs/reference/commands.md from the commands themselves: python tools/command_reference.py"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from emow2v.cli.main import app

OUTPUT = Path(__file__).parents[1] / "docs" / "reference" / "commands.md"

# New versions of Typer bring a copy of Click, older ones need the package: no class of either is named here.
Command = Any
Parameter = Any


def text() -> str:
    """The page as Markdown."""
    parts = [
        "# Commands",
        "",
        "Made from the commands by `tools/command_reference.py`. The option `--help` of each command prints the same.",
        "",
    ]
    for path, command in _commands(typer.main.get_command(app), ("emow2v",)):
        parts += _section(path, command)
    return "\n".join(parts).rstrip() + "\n"


def _commands(group: Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Command]]:
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name), command


def _section(path: tuple[str, ...], command: Command) -> list[str]:
    name = " ".join(path)
    context = command.context_class(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    paragraphs = [_wrapped(paragraph) for paragraph in (command.help or "").split("\n\n")]
    parts = [f"## {name}", "", "\n\n".join(paragraphs), "", "```text", usage, "```", ""]
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    if arguments:
        parts += ["| argument | |", "|---|---|"]
        parts += [f"| `{one.metavar or one.name.upper()}` | {_cell(one.help)} |" for one in arguments]
        parts.append("")
    if options:
        parts += ["| option | | default |", "|---|---|---|"]
        parts += [_row(one, context) for one in options]
        parts.append("")
    return parts


def _row(option: Parameter, context: Any) -> str:
    spellings = [*option.opts, *option.secondary_opts]
    if option.metavar:
        spellings[-1] += f" {_cell(option.metavar)}"
    names = ", ".join(f"`{name}`" for name in spellings)
    variables = [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or ())
    words = _cell(option.help)
    if variables:
        words += f" Environment: {', '.join(f'`{name}`' for name in variables)}."
    return f"| {names} | {words} | {_default(option, context)} |"


def _default(option: Parameter, context: Any) -> str:
    if option.required:
        return "required"
    if isinstance(option.show_default, str):
        return f"`{option.show_default}`"
    default = option.get_default(context)
    if default is None or default in ("", (), [], False) or callable(default):
        return ""
    return f"`{getattr(default, 'value', default)}`"


def _wrapped(text: str) -> str:
    """A paragraph in lines of fewer than 120 characters."""
    return textwrap.fill(_cell(text), 119, break_long_words=False, break_on_hyphens=False)


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(text(), encoding="utf-8")
    print(f"wrote {OUTPUT}")
