"""The card of a model package: its name, its files with their checksums, its terms, and the sounds that it takes."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emow2v.cards.published import PUBLISHED
from emow2v.errors import ModelError
from emow2v.storage.atomic import atomic_file
from emow2v.storage.home import models_folder

CARD_FILE = "card.json"
INT8 = "int8"

# Attributes of a card by the type of their values in the file. A validator such as pydantic would double the time to
# import what `emow2v.load` needs (0.3 s more), for these few lines.
_TEXTS = (
    "name", "version", "description", "licence", "citation", "graph", "readout", "short", "weights", "features", "frames",
    "precision",
)  # fmt: skip
_COUNTS = ("frame_hop", "delay", "look_back", "look_ahead")
_POSITIVE = ("sampling_rate", "min_samples", "max_samples", "batch_samples")
_MOST = 2**40  # no number of samples or windows reaches it


@dataclass(frozen=True)
class Card:
    """A model package: a folder with card.json and the files that it names; or a checkpoint, which has no card.json.

    The card is the one place that says how much of a recording a value of the model depends on: its window, of `min_samples`
    to `max_samples`; with a model of frames, also `look_back` before it and `look_ahead` behind it.

    Attributes:
        name, version, description: names and one sentence for people
        licence: SPDX expression of the weights' terms
        citation: reference of the paper
        files: name in the folder to {"sha256", "bytes"}; the files of a checkpoint have no checksums
        graph: name of the ONNX graph from signal [batch, samples] to hidden_states [batch, 1024] and
            logits [batch, 3], and confidence [batch, 3] where the model has it; "" for a checkpoint
        weights: name of the file with the tensors, for PyTorch or beside the graph; "" where the graph holds them
        sampling_rate: Hz of the signal
        min_samples, max_samples: shortest and longest window in one piece
        max_batch: most windows in a batch; None for any number
        batch_samples: most samples in a batch, whatever the batch size: they take memory
        features: name of the graph's tensor behind its front end (normalisation, spectrum), which stays in float32
            in every precision; "" where it is not known
        frames: name of the graph's tensor [batch, time, width] before pooling over time; "" where it is not known
        frame_hop: samples from one frame to the next; 0 where it is not known
        readout: name of the graph from mean and variance of frames to what `graph` gives otherwise; "" for a model of windows.
            The graph of a model of frames computes frames and a state (`emow2v.engines.frames`)
        short: name of a graph like that of a model of frames, whose weights are those in `graph`, for steps of a few frames; ""
            where there is none
        states: of a model of frames, the tensors of its state by name, with their sizes for one stream
        delay: frames by which those of a step are late
        look_back, look_ahead: samples before the first one of a frame and behind its last one on which it depends
        precision: of the arithmetic that the graph was made for: "fp32", or "int8" for a quantised graph
        pytorch: PyTorch can run the weights file
        network: sizes of a `lite` or a model of frames whose graphs hold the weights by name, so that PyTorch can run them; empty
            for other networks
        details: everything else in the card: figures, training data, warnings
        folder: folder of the package
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
    folder: Path = field(repr=False)
    weights: str = ""
    max_batch: int | None = None
    batch_samples: int = 4_000_000
    features: str = ""
    frames: str = ""
    frame_hop: int = 0
    readout: str = ""
    short: str = ""
    states: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    delay: int = 0
    look_back: int = 0
    look_ahead: int = 0
    precision: str = "fp32"
    pytorch: bool = False
    network: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def one_pass(self) -> bool:
        """Whether it is a model of frames, which computes a recording in one pass."""
        return bool(self.readout)

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256, in hex, of the file that holds the weights: `weights`, else the graph. With a readout, of the digests of both
        graphs, one behind the other."""
        digests = [
            str(self.files[name].get("sha256") or file_sha256(self.folder / name))
            for name in (self.weights or self.graph, self.readout)
            if name
        ]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(int(entry["bytes"]) for entry in self.files.values())

    def unchanged(self) -> bool:
        """Whether the card in the folder still names the same files; True where it cannot be read any more."""
        try:
            return not (self.folder / CARD_FILE).is_file() or read_card(self.folder).files == self.files
        except ModelError:
            return True

    def verify_files(self) -> None:
        """Compare the checksum of every file with the card.

        Raises:
            ModelError: a file is missing, or another one than the card names
        """
        for name, entry in self.files.items():
            path = self.folder / name
            if not path.is_file():
                raise ModelError(f"{path} is missing from model {self.name}; install or copy the package again.")
            if "sha256" in entry and (digest := file_sha256(path)) != entry["sha256"]:
                raise ModelError(
                    f"{path} is damaged: expected SHA-256 {entry['sha256'][:12]}..., got {digest[:12]}...; "
                    "install or copy the package again."
                )

    def verified_graph(self) -> Path:
        """Path of the graph, after `verify_files`.

        Raises:
            ModelError: the model is a checkpoint, which has no graph; see also `verify_files`
        """
        if not self.graph:
            raise ModelError(
                f"Model {self.name} is a checkpoint, which runs on the engine torch; for the others run: "
                f"emow2v export --model {self.folder} --output DIR"
            )
        self.verify_files()
        return self.folder / self.graph


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex.

    Raises:
        ModelError: it cannot be read
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); copy the model again.") from None


def read_card(folder: Path) -> Card:
    """The card in a folder.

    Raises:
        ModelError: the folder holds no card, or one with missing or impossible values
    """
    path = folder / CARD_FILE
    try:
        content = _read_object(path)
        values = {one.name: _pop(content, one.name) for one in dataclasses.fields(Card) if _is_in_file(one, content)}
        card = Card(**values, details=content, folder=folder)
        _check(card)
    except OSError:
        if list(folder.glob("*.onnx")):
            raise ModelError(
                f"{folder} holds a graph but no {CARD_FILE}; if it is msp-dim, run: emow2v models pull msp-dim --from {folder}"
            ) from None
        raise ModelError(f"{folder} holds no {CARD_FILE}; expected a model package or a checkpoint.") from None
    except _CardError as error:
        raise ModelError(f"{path} is not a model card ({error}); {_remedy(folder)}.") from None
    return card


def _remedy(folder: Path) -> str:
    """What to do about a package that cannot be used."""
    if not is_pulled(folder):
        return "install or copy the package again"
    if folder.name in PUBLISHED:
        return f"run: emow2v models pull {folder.name} --force"
    return f"run: emow2v models add PACKAGE --name {folder.name} --force"


class _CardError(Exception):
    """A card is impossible; the message names what is missing or wrong."""


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _CardError(str(error)) from None
    if not isinstance(content, dict):
        raise _CardError("no object")
    return content


def _pop(content: dict[str, Any], name: str) -> Any:
    if name not in content:
        raise _CardError(f"no {name}")
    return content.pop(name)


def _is_in_file(one: dataclasses.Field[Any], content: Mapping[str, Any]) -> bool:
    """Whether an attribute is read from the file; attributes without a default are always read."""
    if one.name in ("details", "folder"):
        return False
    needed = one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
    return needed or one.name in content


def _check(card: Card) -> None:
    """Raise `_CardError` with the names of impossible values."""
    if not isinstance(card.files, dict) or not all(isinstance(entry, dict) for entry in card.files.values()):
        raise _CardError("files")
    wrong = {name for name in _TEXTS if not isinstance(getattr(card, name), str)}
    numbers = {name: getattr(card, name) for name in _POSITIVE}
    if card.max_batch is not None:
        numbers["max_batch"] = card.max_batch
    wrong |= {name for name, value in numbers.items() if type(value) is not int or not 0 < value < _MOST}
    counts = {name: getattr(card, name) for name in _COUNTS}
    wrong |= {name for name, value in counts.items() if type(value) is not int or not 0 <= value < _MOST}
    if not isinstance(card.states, dict) or not all(map(_is_size, card.states.values())):
        wrong.add("states")
    if not isinstance(card.network, dict):
        wrong.add("network")
    if card.precision not in ("fp32", INT8):
        wrong.add("precision")
    if not isinstance(card.pytorch, bool):
        wrong.add("pytorch")
    if not wrong and card.min_samples > card.max_samples:
        wrong.add("max_samples")
    for name, entry in card.files.items():
        if Path(name).name != name or not isinstance(entry.get("sha256"), str) or type(entry.get("bytes")) is not int:
            wrong.add("files")
    if not wrong and any(
        name not in card.files for name in (card.graph, *filter(None, (card.weights, card.readout, card.short)))
    ):
        wrong.add("graph")
    if not wrong and card.readout and not (card.frame_hop and card.states):
        wrong.add("readout")
    if wrong:
        raise _CardError(", ".join(sorted(wrong)))


def _is_size(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is int and 0 < one < _MOST for one in value)


def write_card(folder: Path, content: Mapping[str, Any]) -> Card:
    """Write the card of a package, with the size and SHA-256 of every other file in the folder."""
    files = {
        path.name: {"sha256": file_sha256(path), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != CARD_FILE
    }
    update_card(folder, {**content, "files": files})
    return read_card(folder)


def update_card(folder: Path, content: Mapping[str, Any]) -> None:
    """Replace the text of a card; the card is whole at every moment, also with several writers.

    Raises:
        OSError: it cannot be written; the card is as it was
    """
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    with atomic_file(folder / CARD_FILE) as file:
        file.write(text.encode(errors="backslashreplace"))


def is_pulled(folder: Path) -> bool:
    """Whether a folder lies in the folder of pulled models."""
    try:
        return folder.resolve().parent == models_folder().resolve()
    except (OSError, RuntimeError):  # links that lead in a circle
        return False
