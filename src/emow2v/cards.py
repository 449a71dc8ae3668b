"""Model cards: what a model is called, which files it has, how to know that they are whole, on what terms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emow2v.errors import ModelError

CARD_FILE = "card.json"
EMBEDDED = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Card:
    """A model package: a folder with card.json and the files that it names.

    Attributes:
        name, version, description: what it is
        licence: SPDX expression of the weights' terms
        citation: how to cite it
        files: name in the folder to {"sha256", "bytes"}
        graph: name of the ONNX graph: signal [batch, samples] in; hidden_states [batch, 1024] and
            logits [batch, 3] out, and confidence [batch, 3] where the model has it
        sampling_rate: Hz that it takes
        min_samples, max_samples: shortest and longest window it takes in one piece
        details: everything else in the card: figures, training data, warnings
        folder: where the package lies
    """

    name: str
    version: str
    description: str
    licence: str
    citation: str
    files: Mapping[str, Mapping[str, Any]]
    graph: str
    sampling_rate: int
    min_samples: int
    max_samples: int
    details: Mapping[str, Any]
    folder: Path = field(repr=False)

    @property
    def sha256(self) -> str:
        """Of the graph with its weights."""
        return str(self.files[self.graph]["sha256"])

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(int(entry["bytes"]) for entry in self.files.values())

    def verified_graph(self) -> Path:
        """Path of the graph after every file's SHA-256 was compared.

        Raises:
            ModelError: a file is missing or is not what the card says
        """
        for name, entry in self.files.items():
            path = self.folder / name
            if not path.is_file():
                raise ModelError(f"{path} is missing from model {self.name}; install or copy the package again.")
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != entry["sha256"]:
                raise ModelError(
                    f"{path} is damaged: expected SHA-256 {entry['sha256'][:12]}..., got {digest[:12]}...; "
                    "install or copy the package again."
                )
        return self.folder / self.graph


def read_card(folder: Path) -> Card:
    """The card in a folder.

    Raises:
        ModelError: no card there, or not a card
    """
    path = folder / CARD_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        known = {name: content.pop(name) for name in Card.__dataclass_fields__ if name not in ("details", "folder")}
        card = Card(**known, details=content, folder=folder)
        if card.graph not in card.files or any(Path(name).name != name for name in card.files):
            raise KeyError("graph")
    except OSError:
        raise ModelError(f"{folder} holds no {CARD_FILE}; expected the folder of a model package.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is not a model card ({error}); install or copy the package again.") from None
    return card


def available() -> list[Card]:
    """Every model that can be loaded by name, embedded ones first."""
    return [read_card(path.parent) for path in sorted(EMBEDDED.glob(f"*/{CARD_FILE}"))]


def find(model: str | Path) -> Card:
    """The card of a model's name, or of a folder.

    Raises:
        ModelError: neither
    """
    for card in available():
        if model == card.name:
            return card
    folder = Path(model)
    if folder.is_dir():
        return read_card(folder)
    names = ", ".join(card.name for card in available())
    raise ModelError(f"Model '{model}' was not found; available: {names}, or the path of a model folder.")
