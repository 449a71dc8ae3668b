"""Recipes: a YAML file with a value for each field of a dataclass, and values from the command line in place of these.

The key `task` names the training that a recipe is for.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from emow2v import storage
from emow2v.errors import FormatError
from emow2v.storage.files import write_text

SHIPPED = Path(__file__).with_name("recipes")
FILE = "recipe.yaml"  # in the folder of a run
# A recipe without a task is for the first
FINE_TUNING, LITE, LITE_FRAMES, CONFIDENCE = TASKS = ("fine-tuning", "lite", "lite-frames", "lite-confidence")

CONFIG = ConfigDict(extra="forbid", coerce_numbers_to_str=True)  # of recipes; a folder may be called 1


def _no_bool(value: object) -> object:
    """A value that is not true or false, which Python counts among numbers."""
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


# Types of fields. YAML takes 1e-4 for a word, so that numbers may be words.
Count = Annotated[int, Field(strict=True, gt=0)]
CountFromZero = Annotated[int, Field(strict=True, ge=0)]
Number = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
PositiveNumber = Annotated[Number, Field(gt=0)]
NumberFromZero = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, le=1)]
Switch = Annotated[bool, Field(strict=True)]

R = TypeVar("R")


def find(name: str) -> Path:
    """The file of a recipe: a path, or the name of a recipe that is shipped.

    Raises:
        FormatError: neither
    """
    shipped = sorted(path.stem for path in SHIPPED.glob("*.yaml"))
    if name in shipped:
        return SHIPPED / f"{name}.yaml"
    if name.endswith((".yaml", ".yml")) or storage.is_file(name):
        return Path(name)
    raise FormatError(f"'{name}' is no recipe; expected {' or '.join(shipped)}, or a YAML file.")


def read(path: Path, changes: Sequence[str] = ()) -> dict[str, Any]:
    """The keys and values of a recipe.

    Args:
        changes: "key=value" (the value in YAML), in place of the value in the file

    Raises:
        FormatError: no such file, not YAML with keys, a change without a value
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
        values = yaml.safe_load(text) or {}
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        raise _no_recipe(path, error) from None
    if not isinstance(values, dict):
        raise _no_recipe(path, f"it holds a {type(values).__name__}")
    for change in changes:
        key, sign, value = change.partition("=")
        if not sign:
            raise FormatError(f"'{change}' changes nothing; expected key=value, such as epochs=2.")
        try:
            values[key] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError) as error:
            raise FormatError(
                f"'{change}' cannot be read ({storage.reason(error)}); expected key=value, the value in YAML."
            ) from None
    return dict(values)


def _no_recipe(path: Path, why: Exception | str) -> FormatError:
    return FormatError(
        f"{storage.shown(path)} is no recipe: {storage.reason(why)}; expected YAML with a value for each key."
    )


def task(values: dict[str, Any]) -> str:
    """Take the key `task` out of a recipe.

    Raises:
        FormatError: no task of that name
    """
    name = values.pop("task", FINE_TUNING)
    if name not in TASKS:
        raise FormatError(f"'task' of a recipe is {name!r}; expected {', '.join(TASKS[:-1])} or {TASKS[-1]}.")
    return str(name)


def write(folder: Path, name: str, recipe: Any) -> None:
    """The recipe of a run in its folder, to be read again.

    Args:
        name: of its task
    """
    plain = json.loads(json.dumps(dataclasses.asdict(recipe)))  # lists for tuples
    write_text(folder / FILE, yaml.safe_dump({"task": name, **plain}, sort_keys=False), overwrite=True)


def parse(kind: type[R], values: Mapping[str, Any]) -> R:
    """A recipe from its keys and values; a key that is not there has its default.

    Args:
        kind: the dataclass of a task's recipes

    Raises:
        FormatError: a key that this kind of recipe does not have, or a value of another type or out of range; one
            sentence about the first of them
    """
    try:
        return TypeAdapter(kind).validate_python({str(key): value for key, value in values.items()})
    except ValidationError as error:
        faults = error.errors(include_url=False)
        names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
        for fault in faults:
            if fault["type"] == "unexpected_keyword_argument":
                name = str(fault["loc"][0])
                raise FormatError(f"A recipe has no '{name}'; it has {known_names(name, names)}.") from None
        key = str(faults[0]["loc"][0])
        default = TypeAdapter(kind).validate_python({})
        expected = _expected(faults[0], getattr(default, key))
        raise FormatError(f"'{key}' of a recipe is {values[key]!r}; expected {expected}.") from None


def known_names(name: str, names: Sequence[str]) -> str:
    """All names that are known, and the one that is nearest to a name that is not."""
    nearest = difflib.get_close_matches(name, names, 1)
    return ", ".join(names) + (f"; did you mean '{nearest[0]}'" if nearest else "")


_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a number",
    "value": "a number",  # true or false, where a number is expected
    "bool": "true or false",
    "string": "a word",
    "tuple": "a list such as [one, two]",
    "dict": "keys with values, such as {one: 1}",
}


def _expected(fault: Any, default: Any) -> str:
    """The value that was expected, in words, from an error of pydantic."""
    context = fault.get("ctx", {})
    if fault["type"] == "literal_error":
        return str(context["expected"]).replace("'", "")
    if fault["type"] == "greater_than":
        return f"a number above {context['gt']:g}"
    if fault["type"] == "greater_than_equal":
        return f"{context['ge']:g} or more"
    if fault["type"] == "less_than_equal":
        return f"{context['le']:g} or less"
    if fault["type"] in ("missing", "too_long"):  # of a list
        return f"{len(default)} values, such as {list(default)}"
    words = _KINDS.get(fault["type"].partition("_")[0], f"something like {default!r}")
    place = fault["loc"][1] if len(fault["loc"]) > 1 else None
    return f"{words} for {place}" if isinstance(place, str) else words
