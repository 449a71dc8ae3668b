"""The confidence of a network with two heads, from a recipe to its model.pt: the work of `emow2v train lite-2-confidence`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from emow2v import storage
from emow2v.errors import FormatError, ModelError
from emow2v.networks.lite import Lite, LiteConfig
from emow2v.networks.lite_frames import FramesConfig, LiteFrames
from emow2v.progress import Count
from emow2v.training import recipe as recipes
from emow2v.training import state
from emow2v.training.confidence.learning import Drawing, calibrate, figures, joined, learn, measure
from emow2v.training.confidence.recipe import ConfidenceRecipe
from emow2v.training.frames import run as frames_run
from emow2v.training.lite.bank import read_noises, read_rooms
from emow2v.training.lite.memory import keep_memory
from emow2v.training.lite.rated import check_apart
from emow2v.training.lite.run import NETWORK, RATED, SIGNALS, LiteResult, rated_for_choosing
from emow2v.training.lite.signals import decode
from emow2v.training.lite.targets import is_held_out, read_acted_clips


def run(recipe: ConfidenceRecipe, output: Path, console: Console) -> LiteResult:
    """Learn and calibrate; scores and embeddings of the network stay as they are.

    Args:
        console: on which the progress is printed

    Returns:
        the network's file, and the figures of its confidence on the speakers by which it was calibrated

    Raises:
        FormatError: something is wrong with the recipe, the corpora or the ratings; no room on the disk
        ModelError: `start` is no network with two heads
    """
    for name in ("data", "start", "rated"):
        if not getattr(recipe, name):
            raise FormatError(f"The recipe names no {name}; add {name}=PATH.")
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    keep_memory()
    model, stored = _network(recipe.start)
    everything = read_acted_clips(Path(recipe.data) / "manifest.csv", recipe.corpora)
    with Count("decoding", len(everything), console) as bar:
        decoded = decode(everything, output / SIGNALS, lambda clip: bar.advance())
    clips, signals = decoded.usable(everything)
    rated = rated_for_choosing(recipe.data, recipe.rated, output / RATED, console)
    check_apart(clips, signals, rated)
    noises = read_noises(Path(recipe.noises)).without_speech() if recipe.noises else None
    rooms = read_rooms(Path(recipe.rooms)) if recipe.rooms else None
    output.mkdir(parents=True, exist_ok=True)
    recipes.write(output, recipes.CONFIDENCE, recipe)
    indices = [index for index, clip in enumerate(clips) if not is_held_out(clip)]
    if not indices:
        raise FormatError(f"All of {len(clips)} clips are by held-out speakers; expected some to learn from.")
    drawing = Drawing(recipe, clips, signals, indices, noises, rooms)
    batches = []
    with Count("listening", recipe.batches, console) as bar:
        for _ in range(recipe.batches):
            batches.append(drawing.batch(model))
            bar.advance()
    learn(model, joined(batches), recipe)
    calibrate(model, [measure(model, rated, windows=windows) for windows in (False, True)])
    found = figures([measure(model, rated, windows=windows) for windows in (False, True)])
    content = {
        **stored,
        "config": model.config.to_dict(),
        "recipe": {**stored["recipe"], "confidence": recipe.numbers()},
        "figures": {**stored["figures"], "confidence": found},
        "model": model.state_dict(),
    }
    state.save(output / NETWORK, content, "The network", "the same command makes it again")
    package = frames_run.PACKAGE if isinstance(model, LiteFrames) else LiteResult.package
    return LiteResult(output / NETWORK, found, tuple(fault for fault in decoded.faults if fault), package)


def _network(start: str) -> tuple[Lite | LiteFrames, dict[str, Any]]:
    """The network in a model.pt of the training with a confidence that has not learnt, and the other content of the file."""
    stored = state.read_network(Path(start), "the model.pt of lite-2")
    tensors = {name: one for name, one in stored["model"].items() if not name.startswith("confidence.")}
    given = stored["config"]
    if not given.get("beside"):
        raise ModelError(f"{storage.shown(start)} is no network with two heads; expected the model.pt of lite-2.")
    kept = {**given, "confidence": 2}
    model = LiteFrames(FramesConfig(**kept)) if "back" in given else Lite(LiteConfig(**kept))
    missing, others = model.load_state_dict(tensors, strict=False)
    if others or not all(name.startswith("confidence.") for name in missing):
        raise ModelError(f"{storage.shown(start)} holds another network; expected the model.pt of lite-2.")
    return model.eval(), stored
