"""A training of `lite` from a recipe to its network: the work of `emow2v train lite`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from emow2v.corpora import report
from emow2v.corpora.clip import Clip
from emow2v.errors import FormatError, ModelError
from emow2v.networks.lite import Lite, LiteConfig, load_whisper
from emow2v.progress import Count, Steps
from emow2v.training import recipe as recipes
from emow2v.training import state
from emow2v.training.finetune.prune import source
from emow2v.training.lite.bank import read_noises, read_rooms
from emow2v.training.lite.held_out import held_out_figures
from emow2v.training.lite.memory import keep_memory
from emow2v.training.lite.rated import RatedSpeech, check_apart, for_choosing, read_rated_clips
from emow2v.training.lite.recipe import LiteRecipe
from emow2v.training.lite.signals import decode
from emow2v.training.lite.start import begin_with
from emow2v.training.lite.targets import EMOTIONS, emotion_of, read_acted_clips, target_of
from emow2v.training.lite.task import LiteTraining
from emow2v.training.loop import Loop
from emow2v.training.watch import CURVES, Watch

NETWORK = "model.pt"  # what `emow2v.training.lite.package` takes
SIGNALS = "signals.npz"  # the corpora, decoded
RATED = "rated.npz"  # the speech that people rated, decoded


@dataclass(frozen=True)
class LiteResult:
    """The result of a training of `lite`.

    Attributes:
        network: file of the averaged network of the last epoch, with its recipe and figures
        figures: on all clips of the held-out speakers, and by people's ratings where the recipe names them
        skipped: sentences about clips that were not used
        package: module that packages the network
    """

    network: Path
    figures: dict[str, Any]
    skipped: tuple[str, ...]
    package: str = "emow2v.training.lite.package"


def run(
    recipe: LiteRecipe,
    output: Path,
    console: Console,
    *,
    network: Callable[[Any], Any] | None = None,
    training: Callable[..., LiteTraining] = LiteTraining,
    task_name: str = recipes.LITE,
) -> LiteResult:
    """Train from the beginning, or from the last state in the folder.

    Args:
        console: on which the progress and a line an epoch are printed
        network: makes the network before the first step from the recipe; None for `lite`
        training: makes the task of it
        task_name: in the recipe of the folder

    Raises:
        FormatError: something is wrong with the recipe or the corpora, another run is in the folder, no room on the disk
        ModelError: the encoder cannot be taken
    """
    if not recipe.data:
        raise FormatError("The recipe names no data; add data=PATH.")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise FormatError("lite is trained by one process; run it without accelerate launch.")
    device = recipe.device if recipe.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    everything = read_acted_clips(Path(recipe.data) / "manifest.csv", recipe.corpora)
    with Count("decoding", len(everything), console) as bar:
        decoded = decode(everything, output / SIGNALS, lambda clip: bar.advance())
    clips, signals = decoded.usable(everything)
    model = (network or _network)(recipe)
    made_of = {
        **recipe.numbers(),
        "the corpus": _digest(clips, recipe.leave_out),
        "the first weights": _weights(model.state_dict()),
    }
    rated = rated_for_choosing(recipe.data, recipe.rated, output / RATED, console) if recipe.rated else None
    if rated:
        check_apart(clips, signals, rated)
    noises = read_noises(Path(recipe.noises)) if recipe.noises else None
    rooms = read_rooms(Path(recipe.rooms)) if recipe.rooms else None
    made_of |= {f"the {name}": bank.digest for name, bank in (("noises", noises), ("rooms", rooms)) if bank}
    keep_memory()  # behind the decoding, whose large copies go back to the system
    task = training(recipe, model, clips, signals, device, rated, noises, rooms)
    left_out = [(clip, fault) for clip, fault in zip(everything, decoded.faults, strict=True) if fault]
    console.print(
        f"training on {len(task.indices)} clips, {task.steps_per_epoch} steps an epoch, on {device} in "
        f"{'bf16' if recipe.half else 'fp32'}; seed {recipe.seed}"
    )
    with Steps(console) as steps, Watch(steps, recipe.epochs, output / CURVES if recipe.tensorboard else None) as watch:
        Loop(
            task,
            output,
            made_of,
            epochs=recipe.epochs,
            checkpoint_steps=recipe.checkpoint_steps,
            watch=watch,
            on_begin=lambda: recipes.write(output, task_name, recipe),
        ).run()
    report.write_skipped(output, left_out)
    trained = task.averaged()
    figures = held_out_figures(trained, clips, signals, task.held_out, recall=True)
    if rated:
        figures["rated"] = rated.figures(trained)
    _write_network(output / NETWORK, trained.cpu(), recipe, figures)
    return LiteResult(output / NETWORK, figures, tuple(fault for _, fault in left_out))


def rated_for_choosing(data: str, ratings: str, cache: Path, console: Console) -> RatedSpeech:
    """The speech by which recipes are chosen.

    Args:
        data: folder with the manifest.csv of the clips
        ratings: CSV with people's ratings
        cache: file of the decoded signals
    """
    clips = for_choosing(read_rated_clips(Path(data) / "manifest.csv", Path(ratings)))
    with Count("decoding what people rated", len(clips), console) as bar:
        usable, signals = decode(clips, cache, lambda clip: bar.advance()).usable(clips)
    return RatedSpeech(usable, signals)


def _network(recipe: LiteRecipe) -> Lite:
    """The network before the first step: of an earlier run, or the lower layers of the encoder under heads without training."""
    torch.manual_seed(recipe.seed)
    model = Lite(LiteConfig(emotions=len(EMOTIONS), confidence=1, layers=recipe.layers, beside=recipe.beside))
    if model.lower is not None:
        model.share.copy_(torch.tensor(recipe.lower_share))
        model.lower.head[0].p = recipe.lower_dropout  # type: ignore[assignment]
    if recipe.start:
        begin_with(model, recipe.start)
        return model
    try:
        load_whisper(model, source(recipe.encoder))
    except (OSError, ModelError) as error:
        reason = str(error)[:200].rstrip(".")
        raise ModelError(
            f"The encoder '{recipe.encoder}' cannot be taken ({reason}); expected the folder of a Whisper base encoder "
            "with its model.safetensors, or openai/whisper-base with a network."
        ) from None
    return model


def _digest(clips: Sequence[Clip], leave_out: str) -> str:
    """The digest of a corpus, wherever it lies; as in version 0.1.0, whose runs continue."""
    rows = [
        (clip.file.name, clip.corpus, clip.speaker, repr(target_of(clip)), emotion_of(clip), clip.corpus == leave_out)
        for clip in clips
    ]
    return state.digest(rows)


def _weights(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def _write_network(path: Path, model: Lite, recipe: LiteRecipe, figures: Mapping[str, Any]) -> None:
    content = {
        "config": model.config.to_dict(),
        "recipe": recipe.numbers(),
        "figures": dict(figures),
        "model": model.state_dict(),
    }
    state.save(path, content, "The network", "the run is finished, and the same command writes it")
