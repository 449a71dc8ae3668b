"""A fine-tuning from a recipe to a folder with the best network: the work of `emow2v train`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from rich.console import Console

from emow2v import cards, storage
from emow2v.corpora import report
from emow2v.corpora.checks import CheckedCorpus, check
from emow2v.corpora.clip import Clip
from emow2v.corpora.read import read_corpus
from emow2v.errors import FormatError, ModelError
from emow2v.progress import Count, Steps
from emow2v.storage.folders import restore
from emow2v.training import recipe as recipes
from emow2v.training import state
from emow2v.training.finetune.task import BEST, PRECISIONS, FineTuning, FineTuningRecipe
from emow2v.training.loop import Loop
from emow2v.training.watch import CURVES, Watch


@dataclass(frozen=True)
class FineTuningResult:
    """The result of a fine-tuning.

    Attributes:
        best: folder of the best network, a Hugging Face checkpoint
        record: the line of the log of its epoch
        skipped: sentences about clips that were not used, in the check or in training
        main: whether this process is the one that writes and prints
    """

    best: Path
    record: dict[str, Any]
    skipped: tuple[str, ...]
    main: bool = True


def run(recipe: FineTuningRecipe, output: Path, console: Console) -> FineTuningResult:
    """Train from the beginning, or from the last state in the folder.

    Args:
        console: on which the corpus, the progress and a line an epoch are printed

    Raises:
        FormatError: something is wrong with the recipe or the corpus, another run is in the folder, no room on the disk
        ModelError: the checkpoint cannot be trained
    """
    for key in ("model", "data"):
        if not getattr(recipe, key):
            raise FormatError(f"The recipe names no {key}; add {key}=PATH.")
    weights = cards.checkpoint_card(Path(recipe.model)).sha256
    accelerator = _accelerator(recipe)
    main = accelerator.is_main_process
    quiet = Console(stderr=True, quiet=True)
    shown = console if main else quiet
    corpus = _corpus(recipe, shown)
    task = FineTuning(recipe, corpus, accelerator, output)
    made_of = {
        **recipe.numbers(),
        "processes": accelerator.num_processes,
        "the corpus": _digest(corpus.clips),
        "the checkpoint": weights,
    }
    if main:
        report.show(corpus, console)
        console.print(
            f"training on {len(task.train)} clips, {task.steps_per_epoch} steps an epoch, on "
            f"{accelerator.num_processes} x {accelerator.device.type} in {recipe.precision}; seed {recipe.seed}"
        )
    curves = output / CURVES if recipe.tensorboard and main else None
    with Steps(shown) as bar, Watch(bar, recipe.epochs, curves) as watch:
        loop = Loop(
            task,
            output,
            made_of,
            epochs=recipe.epochs,
            patience=recipe.patience,
            checkpoint_steps=recipe.checkpoint_steps,
            writes=main,
            watch=watch,
            wait_for_all=accelerator.wait_for_everyone,
            on_begin=lambda: _begun(loop, recipe, corpus) if main else None,
        )
        try:
            loop.run()
        finally:
            accelerator.end_training()
    if main:
        _expect_best(loop)
        late = [(corpus.clips[index], sentence) for index, sentence in sorted(task.signals.skipped.items())]
        report.write_skipped(output, [*((one.clip, one.sentence) for one in corpus.skipped), *late])
    best = loop.best
    assert best is not None  # an epoch without a figure is an error
    sentences = (*(one.sentence for one in corpus.skipped), *task.signals.skipped.values())
    return FineTuningResult(output / BEST, best, sentences, main)


def _accelerator(recipe: FineTuningRecipe) -> Accelerator:
    try:
        return Accelerator(mixed_precision=PRECISIONS[recipe.precision])
    except (ValueError, ImportError, RuntimeError) as error:
        raise ModelError(
            f"Training cannot begin in {recipe.precision} here ({storage.reason(error)}); try precision=fp32."
        ) from None


def _corpus(recipe: FineTuningRecipe, console: Console) -> CheckedCorpus:
    clips = read_corpus(recipe.corpus, recipe.data, **recipe.corpus_options)
    with Count("checking", len({clip.file for clip in clips}), console) as bar:
        return check(clips, thorough=recipe.thorough, allow=recipe.allow, on_file=lambda file: bar.advance())


def _digest(clips: Sequence[Clip]) -> str:
    """The digest of a corpus, wherever it lies; as in version 0.1.0, whose runs continue."""
    return state.digest(
        [
            (clip.file.name, clip.start, clip.end, clip.speaker, clip.partition, *map(repr, clip.ratings))
            for clip in clips
        ]
    )


def _begun(loop: Loop, recipe: FineTuningRecipe, corpus: CheckedCorpus) -> None:
    """Write the recipe and the report on the corpus to the folder of the run."""
    _expect_best(loop)
    recipes.write(loop.folder, recipes.FINE_TUNING, recipe)
    if not (loop.resumed and all((loop.folder / name).is_file() for name in report.FILES)):
        # a state of the run vouches for its report, also for one of 0.1.0, without a mark
        report.write(corpus, loop.folder)


def _expect_best(loop: Loop) -> None:
    """Check that the best network of the state is in its place. A run that was killed while it replaced the network left
    it in a folder beside; then it is put back.
    """
    best = loop.folder / BEST
    if loop.best is not None and not restore(best):
        raise FormatError(
            f"{best} is missing, although {loop.folder / state.FILE} says that epoch {loop.best['epoch']} wrote it; "
            "copy it back, or choose another folder for a new run."
        )
