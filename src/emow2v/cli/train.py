"""`emow2v prune`, `train`: a model of one's own, from a pre-trained encoder and a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from emow2v.cli.console import errors, output, stoppable
from emow2v.errors import FormatError, ModelError


def need(*packages: str) -> None:
    """Refuse to begin without what the extra `train` brings."""
    from emow2v.engines import installed  # and NumPy with it, which no other command needs at its start

    missing = [name for name in packages if not installed(name)]
    if missing:
        raise ModelError(f"Training needs {', '.join(missing)}; run: pip install 'emow2v[train]'")


@stoppable
def prune(
    model: Annotated[
        str, typer.Option("--model", help="Folder of a wav2vec2, HuBERT or WavLM checkpoint, or its name on the hub.")
    ],
    to: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="New folder of the checkpoint.")],
    layers: Annotated[int, typer.Option(min=0, help="How many of the lowest layers to keep.", show_default="12")] = 0,
    keep: Annotated[
        str, typer.Option(metavar="0,1,...", help="Numbers of the layers to keep, in place of --layers.")
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the new head's weights.")] = 0,
) -> None:
    """The lowest layers of a pre-trained encoder under a new regression head, to be trained (extra train)."""
    need("torch", "transformers")
    from emow2v.progress import DownloadProgress, Status
    from emow2v.training.finetune import prune as pruning

    if layers and keep:
        raise FormatError("--layers and --keep were both given; expected one of them.")
    try:
        wanted = [int(part) for part in keep.split(",")] if keep else layers or 12
    except ValueError:
        raise FormatError(f"--keep is '{keep}'; expected numbers with commas, such as 0,1,2.") from None
    with DownloadProgress(errors) as progress:
        found = pruning.source(model, progress.update)
    with Status("pruning", errors) as status:
        done = pruning.prune(found, to, keep=wanted, seed=seed, say=status.update)
    kept = f"0 to {done.kept[-1]}" if done.kept == tuple(range(len(done.kept))) else ", ".join(map(str, done.kept))
    output.print(
        f"wrote {to}: {done.kind}, layers {kept} of {done.layers} (from 0), {done.parameters / 1e6:.1f} million weights",
        markup=False,
    )
    if done.left_over:
        output.print(
            f"left out: {len(done.left_over)} tensors of the pre-training, such as {done.left_over[0]}", markup=False
        )
    output.print(f"next: emow2v train msp-dim model={to} data=CORPUS -o RUN", markup=False)


@stoppable
def train(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="msp-dim, lite, or a YAML file.")],
    to: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="DIR", help="Folder of the run, also to go on with one that stopped."),
    ],
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Values in place of the recipe's.")
    ] = None,
) -> None:
    """Fine-tune a checkpoint on a corpus, or train lite again, by a recipe (extra train).

    model=DIR names the checkpoint, data=PATH the corpus, corpus=csv its kind; for lite, data=DIR names its corpora,
    encoder=DIR the Whisper encoder. On several GPUs: accelerate launch -m emow2v train ...
    """
    need("torch", "transformers", "accelerate", "yaml")
    from emow2v.training import recipe as recipes
    from emow2v.training.finetune.run import run
    from emow2v.training.finetune.task import FineTuningRecipe
    from emow2v.training.watch import in_words

    given = recipes.read(recipes.find(config), changes or [])
    if recipes.task(given) == recipes.LITE:
        _lite(given, to)
        return
    chosen = recipes.parse(FineTuningRecipe, given)
    if chosen.tensorboard:
        need("tensorboard")
    result = run(chosen, to, errors)
    if not result.main:
        return
    output.print(
        f"wrote {result.best}: epoch {result.record['epoch']}, CCC on the development part {in_words(result.record['ccc'])}",
        markup=False,
    )
    _left_out(result.skipped, to)
    output.print(f"next: emow2v export --model {result.best} -o PACKAGE", markup=False)


def _lite(given: dict[str, Any], to: Path) -> None:
    """The recipe of `lite`."""
    need("sklearn")
    from emow2v.training import recipe as recipes
    from emow2v.training.lite.run import run
    from emow2v.training.lite.task import LiteRecipe
    from emow2v.training.watch import in_words

    chosen = recipes.parse(LiteRecipe, given)
    if chosen.tensorboard:
        need("tensorboard")
    result = run(chosen, to, errors)
    output.print(
        f"wrote {result.network}: CCC on the held-out speakers {in_words(result.figures['whole'])}", markup=False
    )
    _left_out(result.skipped, to)
    output.print(f"next: python -m emow2v.training.lite.package {result.network} -o PACKAGE", markup=False)


def _left_out(skipped: Sequence[str], to: Path) -> None:
    if skipped:
        output.print(f"{len(skipped)} clips were left out; {to / 'skipped.csv'} names them", markup=False)
