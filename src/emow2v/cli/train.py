"""`emow2v prune`, `train`: your own model, from a pre-trained encoder and a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emow2v.cli.console import errors, output, stoppable
from emow2v.errors import FormatError, ModelError

if TYPE_CHECKING:
    from emow2v.training.lite.run import LiteResult


def need(*packages: str) -> None:
    """Raise an error where packages of the extra `train` are not installed."""
    from emow2v.engines import installed  # and NumPy with it, which no other command needs at its start

    missing = [name for name in packages if not installed(name)]
    if missing:
        raise ModelError(f"Training needs {', '.join(missing)}; run: pip install 'emow2v[train]'")


@stoppable
def prune(
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="NAME",
            help="A wav2vec2, HuBERT or WavLM checkpoint: a folder, or a name on the model hub such as "
            "facebook/wav2vec2-large-robust.",
        ),
    ],
    to: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="New folder for the smaller checkpoint.")],
    layers: Annotated[
        int, typer.Option(metavar="N", min=0, help="Number of the lowest layers to keep.", show_default="12")
    ] = 0,
    keep: Annotated[
        str, typer.Option(metavar="0,1,...", help="Numbers of the layers to keep, from 0; in place of --layers.")
    ] = "",
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the weights of the new head.")] = 0,
) -> None:
    """Make a smaller network to train: the lowest layers of a pre-trained encoder with a new, untrained output layer for
    arousal, dominance and valence (extra train).
    """
    need("torch", "transformers")
    from emow2v.progress import DownloadProgress, Status
    from emow2v.training.finetune import prune as pruning

    if layers and keep:
        raise FormatError("--layers and --keep were both given; expected one of them.")
    try:
        numbers = [int(part) for part in keep.split(",")] if keep else layers or 12
    except ValueError:
        raise FormatError(f"--keep is '{keep}'; expected numbers with commas, such as 0,1,2.") from None
    with DownloadProgress(errors) as progress:
        folder = pruning.source(model, progress.update)
    with Status("pruning", errors) as status:
        pruned = pruning.prune(folder, to, keep=numbers, seed=seed, on_stage=status.update)
    lowest = pruned.kept == tuple(range(len(pruned.kept)))
    kept = f"0 to {pruned.kept[-1]}" if lowest else ", ".join(map(str, pruned.kept))
    output.print(
        f"wrote {to}: {pruned.kind}, layers {kept} of {pruned.layers} (from 0), {pruned.parameters / 1e6:.1f} million weights",
        markup=False,
    )
    if pruned.left_over:
        output.print(
            f"left out: {len(pruned.left_over)} tensors of the pre-training, such as {pruned.left_over[0]}",
            markup=False,
        )
    output.print(f"next: emow2v train msp-dim model={to} data=CORPUS -o RUN", markup=False)


@stoppable
def train(
    config: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG",
            help="Recipe: msp-dim, lite, lite-2, lite-2-confidence, lite-frames, or a YAML file of your own.",
        ),
    ],
    to: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Folder of the run. If it holds a run that was stopped, the run continues.",
        ),
    ],
    changes: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Values that override those of the recipe, such as epochs=2."),
    ] = None,
) -> None:
    """Train a model by a recipe: fine-tune a checkpoint on a corpus with ratings, or train lite again (extra train).

    For a fine-tuning, model=DIR is the checkpoint, data=PATH the corpus and corpus=csv its kind. For lite, data=DIR is the
    folder of its corpora and encoder=DIR the Whisper encoder; for lite-frames, teacher=RUN/model.pt is its teacher, and for
    lite-2-confidence start=RUN/model.pt the network. On several GPUs: accelerate launch -m emow2v train ...
    """
    need("torch", "transformers", "accelerate", "yaml")
    from emow2v.training import recipe as recipes
    from emow2v.training.finetune.run import run
    from emow2v.training.finetune.task import FineTuningRecipe
    from emow2v.training.watch import in_words

    values = recipes.read(recipes.find(config), changes or [])
    task = recipes.task(values)
    if task in (recipes.LITE, recipes.LITE_FRAMES):
        _train_lite(values, to, frames=task == recipes.LITE_FRAMES)
        return
    if task == recipes.CONFIDENCE:
        _train_confidence(values, to)
        return
    recipe = recipes.parse(FineTuningRecipe, values)
    if recipe.tensorboard:
        need("tensorboard")
    result = run(recipe, to, errors)
    if not result.main:
        return
    output.print(
        f"wrote {result.best}: epoch {result.record['epoch']}, CCC on the development part {in_words(result.record['ccc'])}",
        markup=False,
    )
    _print_skipped(result.skipped, to)
    output.print(f"next: emow2v export --model {result.best} -o PACKAGE", markup=False)


def _train_lite(values: dict[str, Any], to: Path, *, frames: bool) -> None:
    need("sklearn")
    from emow2v.training import recipe as recipes
    from emow2v.training.frames.recipe import FramesRecipe
    from emow2v.training.frames.run import run as run_frames
    from emow2v.training.lite.recipe import LiteRecipe
    from emow2v.training.lite.run import run
    from emow2v.training.watch import in_words

    recipe = recipes.parse(FramesRecipe if frames else LiteRecipe, values)
    if recipe.tensorboard:
        need("tensorboard")
    result = run_frames(recipe, to, errors) if isinstance(recipe, FramesRecipe) else run(recipe, to, errors)
    output.print(
        f"wrote {result.network}: CCC on the held-out speakers {in_words(result.figures['whole'])}", markup=False
    )
    _print_skipped(result.skipped, to)
    _print_package(result)


def _train_confidence(values: dict[str, Any], to: Path) -> None:
    need("sklearn", "scipy")
    from emow2v.training import recipe as recipes
    from emow2v.training.confidence.recipe import ConfidenceRecipe
    from emow2v.training.confidence.run import run

    result = run(recipes.parse(ConfidenceRecipe, values), to, errors)
    shares = {name: one["surest_to_least_sure"] for name, one in result.figures["whole"].items()}
    known = ", ".join(f"{name} {share:.2f}" for name, share in shares.items() if share is not None)
    output.print(
        f"wrote {result.network}: error of the surest fifth of rated clips as a share of the least sure one's: {known or '-'}",
        markup=False,
    )
    _print_package(result)


def _print_package(result: LiteResult) -> None:
    output.print(f"next: python -m {result.package} {result.network} -o PACKAGE", markup=False)


def _print_skipped(skipped: Sequence[str], to: Path) -> None:
    if skipped:
        output.print(f"{len(skipped)} clips were left out; {to / 'skipped.csv'} names them", markup=False)
