"""Names of models: the card that a name, a folder or a precision means."""

from __future__ import annotations

import contextlib
import logging
import re
from pathlib import Path

from emow2v.cards.card import CARD_FILE, INT8, Card, read_card
from emow2v.cards.checkpoint import checkpoint_card
from emow2v.cards.published import PUBLISHED
from emow2v.errors import ModelError
from emow2v.storage import folders
from emow2v.storage.home import models_folder

logger = logging.getLogger("emow2v.cards")

EMBEDDED = Path(__file__).parents[1] / "weights"  # models inside the package


def available() -> list[Card]:
    """The cards of all models that can be loaded by name, embedded ones first; damaged ones are left out."""
    result = [read_card(path.parent) for path in sorted(EMBEDDED.glob(f"*/{CARD_FILE}"))]
    names = {card.name for card in result}
    pulled = models_folder()
    folders.restore_all(pulled)
    for path in sorted(pulled.glob(f"[!.]*/{CARD_FILE}")) if _is_folder(pulled) else []:
        if path.parent.name in names:
            continue
        try:
            card = read_card(path.parent)
        except ModelError as error:
            logger.warning("%s", error)
            continue
        if card.name == path.parent.name:
            result.append(card)
        else:
            logger.warning("%s calls itself %s and is left out", path.parent, card.name)
    return result


def find(model: str | Path) -> Card:
    """The card that a name or a folder means.

    Args:
        model: name of an embedded or installed model, or the folder of a package or a checkpoint

    Raises:
        ModelError: there is no such model, with the names that there are
    """
    named = _named(str(model))
    if named is not None:
        return named
    here = available()
    for card in here:
        if model == card.name:
            return card
    pulled = models_folder() / model if model in PUBLISHED else None
    if pulled and _is_folder(pulled) and (pulled / CARD_FILE).is_file():
        return read_card(pulled)  # raises what is wrong with it
    folder = Path(model)
    if str(model).strip() and (_is_folder(folder) or folders.restore(folder)):
        is_checkpoint = not (folder / CARD_FILE).is_file() and (folder / "config.json").is_file()
        return checkpoint_card(folder) if is_checkpoint else read_card(folder)
    if model in PUBLISHED:
        raise ModelError(f"Model '{model}' is not here yet; run: emow2v models pull {model}")
    names = ", ".join(card.name for card in here)
    shown = " ".join(str(model).split())[:100]
    remedy = f"available: {names}, or the path of a model folder."
    for card in here:
        if re.fullmatch(re.escape(card.name) + r"\W*v?\d[\d.]*", shown):
            remedy = (
                f"this emow2v has {card.name} {card.version}, by the name {card.name}; another version is named by the path "
                "of its folder (docs/lite.md has the command that makes the folder of lite 1.0)."
            )
    raise ModelError(f"Model '{shown}' was not found; {remedy}")


def _named(name: str) -> Card | None:
    """The card in the folder of that name, which is nearly always the one; a server asks for each job, so others are not read."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        return None
    for root in (EMBEDDED, models_folder()):
        if root != EMBEDDED:
            folders.restore(root / name)
        if _is_folder(root / name) and (root / name / CARD_FILE).is_file():
            with contextlib.suppress(ModelError):  # `find` says what is wrong with it
                card = read_card(root / name)
                return card if card.name == name else None
            return None
    return None


def for_precision(card: Card, precision: str) -> Card:
    """The card of the package to run in a precision: for int8 the quantised package of the model, else its own card.

    Raises:
        ModelError: there is no quantised package, or it was made of other weights
    """
    if precision != INT8 or card.precision == INT8:
        return card
    name = f"{card.name}-{INT8}"
    remedy = f"run: emow2v models quantize {card.name if card in available() else card.folder}"
    quantized = next((one for one in available() if one.name == name and one.precision == INT8), None)
    if quantized is None:
        raise ModelError(f"There is no int8 package of {card.name} here; {remedy}")
    if quantized.details.get("quantized_from", {}).get("sha256") != card.sha256:
        raise ModelError(f"The int8 package of {card.name} was made of other weights; {remedy} --force")
    return quantized


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name that no file can have
        return False
