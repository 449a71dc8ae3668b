"""Every option says what it takes, in sentences, and an option of several commands is the same in all of them."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from emow2v.cli import main

SHARED = ("--model", "--engine", "--precision", "--device", "--threads", "--context", "--overwrite", "--force")


def options(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every option of every command, with the words that name both."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from options(command, (*path, name))
        else:
            for option in command.params:
                if option.param_type_name == "option":
                    yield " ".join((*path, name, option.opts[-1])), option


@pytest.fixture(scope="module")
def every() -> dict[str, Any]:
    return dict(options(typer.main.get_command(main.app)))


def test_every_option_with_a_value_has_a_placeholder(every: dict[str, Any]) -> None:
    assert [name for name, option in every.items() if not option.is_flag and not option.metavar] == []


def test_every_help_is_a_sentence(every: dict[str, Any]) -> None:
    assert [name for name, option in every.items() if not option.help or not option.help.endswith(".")] == []


# Options with the name of a shared one that mean something else: one archive, a work folder or others' annotations.
OTHERS = {
    "export --model", "export --precision", "prune --model", "backup --overwrite", "restore --overwrite", "serve --overwrite",
}  # fmt: skip


@pytest.mark.parametrize("option", SHARED)
def test_an_option_is_the_same_in_all_commands(every: dict[str, Any], option: str) -> None:
    texts = defaultdict(list)
    for name, found in every.items():
        if name.endswith(f" {option}") and name not in OTHERS:
            texts[found.help].append(name)
    assert len(texts) == 1, dict(texts)
    assert sum(map(len, texts.values())) > 1
