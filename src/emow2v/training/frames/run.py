"""A training of `lite` as a model of frames from a recipe to its network: the work of `emow2v train lite-frames`."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from emow2v.errors import FormatError, ModelError
from emow2v.networks.lite import Lite, LiteConfig
from emow2v.networks.lite_frames import FramesConfig, LiteFrames
from emow2v.training import recipe as recipes
from emow2v.training import state
from emow2v.training.frames.recipe import FramesRecipe
from emow2v.training.frames.task import FramesTraining
from emow2v.training.lite import run as lite_run

PACKAGE = "emow2v.training.frames.package"


def run(recipe: FramesRecipe, output: Path, console: Console) -> lite_run.LiteResult:
    """Train from the beginning, or from the last state in the folder; see `emow2v.training.lite.run.run`.

    Raises:
        FormatError: something is wrong with the recipe or the corpora, another run is in the folder, no room on the disk
        ModelError: the teacher cannot be taken
    """
    if not recipe.teacher:
        raise FormatError("The recipe names no teacher; add teacher=RUN/model.pt of a training of lite-2.")
    teacher = read_teacher(Path(recipe.teacher))
    result = lite_run.run(
        recipe,
        output,
        console,
        network=functools.partial(student, teacher=teacher),
        training=functools.partial(FramesTraining, teacher=teacher),
        task_name=recipes.LITE_FRAMES,
    )
    return replace(result, package=PACKAGE)


def read_teacher(path: Path) -> Lite:
    """The network in a model.pt of `lite-2`.

    Raises:
        ModelError: no such file, or another network
    """
    stored = state.read_network(path, "the model.pt of a lite-2")
    config = LiteConfig(**stored["config"]) if "back" not in stored["config"] else LiteConfig()
    if not (config.beside and config.confidence and config.halve_after):
        raise ModelError(f"{path} holds no lite with a head beside and confidence; expected the model.pt of a lite-2.")
    model = Lite(config)
    model.load_state_dict(stored["model"])
    return model.eval()


def read_frames(path: Path) -> tuple[LiteFrames, dict[str, Any]]:
    """The network in a model.pt of this training without its head for classes, and the other content of the file.

    Raises:
        ModelError: no such file, or another network
    """
    stored = state.read_network(path, "the model.pt of a lite-frames")
    if "back" not in stored["config"]:
        raise ModelError(f"{path} holds no model of frames; expected the model.pt of a lite-frames.")
    model = LiteFrames(FramesConfig(**{**stored["config"], "emotions": 0}))
    left_out = ("emotion.", "lower.emotion.")
    model.load_state_dict({name: value for name, value in stored["model"].items() if not name.startswith(left_out)})
    return model.eval(), stored


def student(recipe: FramesRecipe, teacher: Lite) -> LiteFrames:
    """The network with the tensors of the teacher; its positions follow before the first step (`places`)."""
    torch.manual_seed(recipe.seed)
    try:
        config = FramesConfig(
            **{
                **teacher.config.to_dict(),
                "back": recipe.back,
                "ahead": recipe.ahead,
                "level_back": recipe.level_back,
                "level_ahead": recipe.level_ahead,
                "floor": recipe.floor,
            }  # type: ignore[arg-type]
        )
    except ValueError as error:
        raise FormatError(f"The recipe does not go with its teacher: {error}") from None
    model = LiteFrames(config)
    tensors = teacher.state_dict()
    for name, target in model.state_dict().items():
        if name in tensors:
            target.copy_(tensors[name])
    return model
