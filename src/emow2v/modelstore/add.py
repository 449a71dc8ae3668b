"""Installing one's own model under a name: a package is copied when it gives the numbers in its card."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from emow2v import cards, storage
from emow2v.cards import Card
from emow2v.errors import ModelError
from emow2v.modelstore import verify
from emow2v.modelstore.install import Installation, install_lock
from emow2v.storage.folders import atomic_folder
from emow2v.storage.home import models_folder

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def add(folder: Path, name: str = "", *, replace: bool = False) -> Installation:
    """Install a package that `emow2v export` or a training wrote.

    Args:
        name: name of the installed model; "" for the one in the card
        replace: replace an installed model of that name

    Raises:
        ModelError: the folder is no package, the name is taken or impossible, files are damaged, or the model gives other
            numbers than its card says
        FormatError: the folder of models cannot be written
    """
    if not storage.is_folder(folder):
        raise ModelError(f"{storage.shown(folder)} is no folder; expected a package that emow2v export wrote.")
    if not (folder / cards.CARD_FILE).is_file() and (folder / "config.json").is_file():
        raise ModelError(f"{folder} is a checkpoint; run: emow2v export --model {folder} -o PACKAGE, and add that.")
    card = cards.read_card(folder)
    name = name or card.name
    _check_name(name)
    target = models_folder() / name
    if target.resolve() == folder.resolve():
        raise ModelError(f"{folder} is installed already; expected a package in another folder.")
    card.verify_files()
    with install_lock(target, replace), atomic_folder(target, replace=True) as fresh:
        for file in card.files:
            shutil.copyfile(folder / file, fresh / file)
        content = json.loads((folder / cards.CARD_FILE).read_text(encoding="utf-8"))
        content.pop("verified", None)  # measured on another engine, perhaps on another machine
        cards.update_card(fresh, {**content, "name": name})
        rows = verify.verify(cards.read_card(fresh))
        wrong = [row for row in rows if not row.passed]
        if wrong:
            raise ModelError(
                f"{folder} does not give the numbers in its card: {wrong[0].input} on {wrong[0].engine} gives "
                f"{verify.words(wrong[0].got)}, expected {verify.words(wrong[0].expected)}. Nothing was added; export it again."
            )
    verify.record(cards.read_card(target), rows)
    return Installation(cards.read_card(target), rows)


def _check_name(name: str) -> None:
    embedded: list[Card] = [card for card in cards.available() if card.folder.parent == cards.EMBEDDED]
    if name in cards.PUBLISHED or name in {card.name for card in embedded}:
        raise ModelError(f"'{name}' is the name of a published model; choose another with --name.")
    if not _NAME.fullmatch(name):
        raise ModelError(
            f"'{name[:70]}' cannot be a name; expected letters, digits, '.', '-' or '_'; choose with --name."
        )
