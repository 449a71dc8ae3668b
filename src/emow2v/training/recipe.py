"""Recipes: a YAML file with a value for each field of a dataclass, and key=value instead of what it says.

The key `task` says whose they are.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from emow2v import storage
from emow2v.errors import FormatError
from emow2v.storage.files import write_text

SHIPPED = Path(__file__).with_name("recipes")
FILE = "recipe.yaml"  # in the folder of a run
FINE_TUNING, LITE = TASKS = ("fine-tuning", "lite")  # what a recipe without a task is for, and the other

R = TypeVar("R")


def find(name: str) -> Path:
    """The file of a recipe: a path, or the name of one that is shipped.

    Raises:
        FormatError: neither
    """
    shipped = sorted(path.stem for path in SHIPPED.glob("*.yaml"))
    if name in shipped:
        return SHIPPED / f"{name}.yaml"
    if name.endswith((".yaml", ".yml")) or storage.is_file(name):
        return Path(name)
    raise FormatError(f"'{name}' is no recipe; expected {' or '.join(shipped)}, or a YAML file.")


def read(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """What a recipe says, with "key=value" (the value in YAML) instead of it where that is given.

    Raises:
        FormatError: no such file, not YAML with keys, an override without a value
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise FormatError(
            f"{storage.shown(path)} cannot be read: {error.strerror or error}; check its name and permissions."
        ) from None
    except UnicodeDecodeError as error:
        raise _no_recipe(path, error) from None
    try:
        given = yaml.safe_load(text) or {}
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none
        raise _no_recipe(path, error) from None
    if not isinstance(given, dict):
        raise _no_recipe(path, f"it holds a {type(given).__name__}")
    for change in overrides:
        key, sign, value = change.partition("=")
        if not sign:
            raise FormatError(f"'{change}' changes nothing; expected key=value, such as epochs=2.")
        try:
            given[key] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError) as error:
            raise FormatError(
                f"'{change}' cannot be read ({storage.reason(error)}); expected key=value, the value in YAML."
            ) from None
    return dict(given)


def _no_recipe(path: Path, why: Exception | str) -> FormatError:
    return FormatError(
        f"{storage.shown(path)} is no recipe: {storage.reason(why)}; expected YAML with a value for each key."
    )


def task(given: dict[str, Any]) -> str:
    """Take out of a recipe what it is for.

    Raises:
        FormatError: nothing that is known
    """
    found = given.pop("task", FINE_TUNING)
    if found not in TASKS:
        raise FormatError(f"'task' of a recipe is {found!r}; expected {' or '.join(TASKS)}.")
    return str(found)


def write(folder: Path, name: str, recipe: Any) -> None:
    """A recipe as it is run, to be read again.

    Args:
        name: of its task
    """
    plain = json.loads(json.dumps(dataclasses.asdict(recipe)))  # lists for tuples
    write_text(folder / FILE, yaml.safe_dump({"task": name, **plain}, sort_keys=False), overwrite=True)


def fill(default: R, given: dict[str, Any]) -> R:
    """A dataclass with what was given instead of its default; numbers may be written in any way.

    Raises:
        FormatError: no field of that name, a value of another kind
    """
    known = dataclasses.asdict(default)  # type: ignore[call-overload]
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            raise FormatError(f"A recipe has no '{key}'; it has {', '.join(known)}.")
        values[key] = _like(key, value, known[key])
    return dataclasses.replace(default, **values)  # type: ignore[type-var]


def _like(key: str, value: Any, wanted: Any) -> Any:
    """The value in the type of the default."""
    if isinstance(wanted, tuple) and isinstance(value, list | tuple):
        if not wanted:  # any number of words
            return tuple(str(one) for one in value)
        if len(value) == len(wanted):
            return tuple(float(one) for one in value)
    elif isinstance(wanted, float) and (type(value) is int or _is_number(value)):  # YAML takes 1e-4 for a word
        return float(value)
    elif isinstance(wanted, str) and type(value) in (int, float):  # a folder called 1
        return str(value)
    elif type(value) is type(wanted):
        return value
    like = "a list such as [one, two]" if wanted == () else f"something like {wanted!r}"
    raise FormatError(f"'{key}' of a recipe is {value!r}; expected {like}.")


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False
