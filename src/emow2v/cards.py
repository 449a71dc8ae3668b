"""Model cards: what a model is called, which files it has, how to know that they are whole, on what terms."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emow2v.errors import ModelError
from emow2v.storage import atomic, folders
from emow2v.storage.home import models_folder

logger = logging.getLogger("emow2v.cards")

CARD_FILE = "card.json"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # of a Hugging Face checkpoint, in order of preference
EMBEDDED = Path(__file__).parent / "weights"
INT8 = "int8"
CHECKPOINT = "checkpoint"  # version of what has no card yet
PULLABLE = ("msp-dim",)  # names that `emow2v models pull` knows

# wav2vec2 takes 400 samples (25 ms) or more. Attention grows with the square of the length: 30 s are 1500 frames.
WAV2VEC2_LIMITS: dict[str, Any] = {
    "sampling_rate": 16000,
    "min_samples": 400,
    "max_samples": 480_000,  # 30 s
    "batch_samples": 128_000,  # 8 windows of 1 s: more brought nothing, and each takes memory
    "frame_hop": 320,  # 20 ms
}


@dataclass(frozen=True)
class Card:
    """A model package: a folder with card.json and the files that it names; or a checkpoint, which has no card.json.

    Attributes:
        name, version, description: what it is
        licence: SPDX expression of the weights' terms
        citation: how to cite it
        files: name in the folder to {"sha256", "bytes"}; a checkpoint's have no checksums
        graph: name of the ONNX graph: signal [batch, samples] in; hidden_states [batch, 1024] and
            logits [batch, 3] out, and confidence [batch, 3] where the model has it; "" for a checkpoint
        weights: name of the file with the tensors, for PyTorch or beside the graph; "" where the graph holds all
        sampling_rate: Hz that it takes
        min_samples, max_samples: shortest and longest window it takes in one piece
        max_batch: most windows at once, None for any
        batch_samples: samples given to an engine at once, whatever the batch size: they take memory
        features: name of the graph's tensor at which its front end ends (normalisation, spectrum), which stays in
            float32 whatever the precision of the rest; "" where that is not known
        frames: name of the graph's tensor [batch, time, width] that is pooled over time; "" where that is not known
        frame_hop: samples from one frame to the next; 0 where that is not known
        precision: of the arithmetic that the graph is made for: "fp32", or "int8" for a quantised one
        pytorch: the weights file is one that PyTorch can run
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
    folder: Path = field(repr=False)
    weights: str = ""
    max_batch: int | None = None
    batch_samples: int = 4_000_000
    features: str = ""
    frames: str = ""
    frame_hop: int = 0
    precision: str = "fp32"
    pytorch: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def sha256(self) -> str:
        """Of the weights: the file that holds them, which is the graph where there is no other."""
        name = self.weights or self.graph
        return str(self.files[name].get("sha256") or file_sha256(self.folder / name))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(int(entry["bytes"]) for entry in self.files.values())

    def unchanged(self) -> bool:
        """The package is still the one that this card was read from, as far as its card says."""
        try:
            return not (self.folder / CARD_FILE).is_file() or read_card(self.folder).files == self.files
        except ModelError:
            return True

    def verify_files(self) -> None:
        """Compare every file with the checksum that the card has for it.

        Raises:
            ModelError: a file is missing or is not what the card says
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
        """Path of the graph after every file's SHA-256 was compared.

        Raises:
            ModelError: there is none, a file is missing or is not what the card says
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
        ModelError: no card there, or not a card
    """
    path = folder / CARD_FILE
    try:
        content = _object(path)
        known = {one.name: _taken(content, one.name) for one in dataclasses.fields(Card) if _in_file(one, content)}
        card = Card(**known, details=content, folder=folder)
        _check(card)
    except OSError:
        if list(folder.glob("*.onnx")):
            raise ModelError(
                f"{folder} holds a graph but no {CARD_FILE}; if it is msp-dim, run: emow2v models pull msp-dim --from {folder}"
            ) from None
        raise ModelError(f"{folder} holds no {CARD_FILE}; expected a model package or a checkpoint.") from None
    except _UnfitError as error:
        again = (
            f"emow2v models pull {folder.name} --force" if is_pulled(folder) else "install or copy the package again"
        )
        raise ModelError(f"{path} is not a model card ({error}); {again}.") from None
    return card


class _UnfitError(Exception):
    """What of a card makes no sense."""


def _object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _UnfitError(str(error)) from None
    if not isinstance(content, dict):
        raise _UnfitError("no object")
    return content


def _taken(content: dict[str, Any], name: str) -> Any:
    if name not in content:
        raise _UnfitError(f"no {name}")
    return content.pop(name)


def _check(card: Card) -> None:
    """Raise `_UnfitError` with the name of what makes no sense."""
    texts = (
        "name",
        "version",
        "description",
        "licence",
        "citation",
        "graph",
        "weights",
        "features",
        "frames",
        "precision",
    )
    wrong = [name for name in texts if not isinstance(getattr(card, name), str)]
    numbers = {name: getattr(card, name) for name in ("sampling_rate", "min_samples", "max_samples", "batch_samples")}
    if card.max_batch is not None:
        numbers["max_batch"] = card.max_batch
    wrong += [name for name, value in numbers.items() if type(value) is not int or not 0 < value < 2**40]
    if type(card.frame_hop) is not int or card.frame_hop < 0:
        wrong.append("frame_hop")
    if card.precision not in ("fp32", "int8"):
        wrong.append("precision")
    if not isinstance(card.pytorch, bool):
        wrong.append("pytorch")
    if not wrong and not card.min_samples <= card.max_samples:
        wrong.append("max_samples")
    if not isinstance(card.files, dict) or not all(isinstance(entry, dict) for entry in card.files.values()):
        raise _UnfitError("files")
    for name, entry in card.files.items():
        if Path(name).name != name or not isinstance(entry.get("sha256"), str) or type(entry.get("bytes")) is not int:
            wrong.append("files")
    if not wrong and (card.graph not in card.files or (card.weights and card.weights not in card.files)):
        wrong.append("graph")
    if wrong:
        raise _UnfitError(", ".join(sorted(set(wrong))))


def _in_file(one: dataclasses.Field[Any], content: Mapping[str, Any]) -> bool:
    """True for attributes that stand in the file; what has no default must."""
    if one.name in ("details", "folder"):
        return False
    return one.default is dataclasses.MISSING or one.name in content


def write_card(folder: Path, content: Mapping[str, Any]) -> Card:
    """Write a package's card with size and SHA-256 of every other file in the folder."""
    files = {
        path.name: {"sha256": file_sha256(path), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != CARD_FILE
    }
    update_card(folder, {**content, "files": files})
    return read_card(folder)


def update_card(folder: Path, content: Mapping[str, Any]) -> None:
    """Replace a card's text; it is whole at every moment, whoever else writes it.

    Raises:
        OSError: it cannot be written; the last one is as it was
    """
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    with atomic.atomic_file(folder / CARD_FILE) as file:
        file.write(text.encode(errors="backslashreplace"))


def checkpoint_card(folder: Path) -> Card:
    """What can be said of a Hugging Face folder without opening its weights.

    Raises:
        ModelError: no weights there
    """
    weights = next((name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if weights is None:
        raise ModelError(f"{folder} holds no weights; expected {' or '.join(WEIGHT_FILES)}.")
    names = [name for name in ("config.json", "preprocessor_config.json", weights) if (folder / name).is_file()]
    return Card(
        name=folder.resolve().name,
        version=CHECKPOINT,
        description="A Hugging Face checkpoint, run by PyTorch.",
        licence=stated_licence(folder),
        citation="",
        files={name: {"bytes": (folder / name).stat().st_size} for name in names},
        graph="",
        weights=weights,
        pytorch=True,
        folder=folder,
        **{**WAV2VEC2_LIMITS, **_convolutions(folder)},
    )


def _convolutions(folder: Path) -> dict[str, int]:
    """Samples that one frame sees and from one to the next, by config.json; what is wrong there shows when it is loaded."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    said = content if isinstance(content, dict) else {}
    kernels, strides = _whole_numbers(said.get("conv_kernel")), _whole_numbers(said.get("conv_stride"))
    if not kernels or len(kernels) != len(strides):
        return {}
    needed, hop = 1, 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        needed = (needed - 1) * stride + kernel
        hop *= stride
    longest = int(WAV2VEC2_LIMITS["max_samples"])
    return {"min_samples": min(max(needed, 1), longest), "frame_hop": min(max(hop, 1), longest)}


def _whole_numbers(value: object) -> list[int]:
    return value if isinstance(value, list) and all(type(one) is int for one in value) else []


def stated_licence(folder: Path) -> str:
    """The licence in the front matter of a checkpoint's README.md, else "unknown"."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "unknown"
    front = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    found = front and re.search(r"^license:\s*['\"]?([\w.+-]+)", front[1], re.MULTILINE)
    return found[1].upper() if found else "unknown"


def available() -> list[Card]:
    """Every model that can be loaded by name, embedded ones first. A pulled one that is damaged is left out."""
    found = [read_card(path.parent) for path in sorted(EMBEDDED.glob(f"*/{CARD_FILE}"))]
    names = {card.name for card in found}
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
            found.append(card)
        else:
            logger.warning("%s calls itself %s and is left out", path.parent, card.name)
    return found


def find(model: str | Path) -> Card:
    """The card of a model's name, or of a folder.

    Raises:
        ModelError: neither
    """
    here = available()
    for card in here:
        if model == card.name:
            return card
    if model in PULLABLE and _is_folder(models_folder() / model) and (models_folder() / model / CARD_FILE).is_file():
        return read_card(models_folder() / model)  # which says what is wrong with it
    folder = Path(model)
    if str(model).strip() and (_is_folder(folder) or folders.restore(folder)):
        is_checkpoint = not (folder / CARD_FILE).is_file() and (folder / "config.json").is_file()
        return checkpoint_card(folder) if is_checkpoint else read_card(folder)
    if model in PULLABLE:
        raise ModelError(f"Model '{model}' is not here yet; run: emow2v models pull {model}")
    names = ", ".join(card.name for card in here)
    shown = " ".join(str(model).split())[:100]
    raise ModelError(f"Model '{shown}' was not found; available: {names}, or the path of a model folder.")


def for_precision(card: Card, precision: str) -> Card:
    """The model's own card, or where int8 is asked for that of the package that was made of it, beside the pulled ones.

    Raises:
        ModelError: none was made, or it was made of other weights
    """
    if precision != INT8 or card.precision == INT8:
        return card
    name = f"{card.name}-{INT8}"
    remedy = f"run: emow2v models quantize {card.name if card in available() else card.folder}"
    found = next((one for one in available() if one.name == name and one.precision == INT8), None)
    if found is None:
        raise ModelError(f"There is no int8 package of {card.name} here; {remedy}")
    if found.details.get("quantized_from", {}).get("sha256") != card.sha256:
        raise ModelError(f"The int8 package of {card.name} was made of other weights; {remedy} --force")
    return found


def is_pulled(folder: Path) -> bool:
    """The folder lies where pulled models lie."""
    try:
        return folder.resolve().parent == models_folder().resolve()
    except (OSError, RuntimeError):  # links that lead in a circle
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name that no file can have
        return False
