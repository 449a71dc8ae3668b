"""A training from a recipe to a folder with the best network: what `emow2v train` does."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from accelerate import Accelerator
from rich.console import Console

from emow2v import cards
from emow2v.errors import FormatError, ModelError
from emow2v.formats.files import write_text
from emow2v.progress import Count, Steps
from emow2v.training import corpus_report
from emow2v.training.checks import Checked, check
from emow2v.training.finetune import BEST, PRECISIONS, FineTuning, Recipe
from emow2v.training.loop import Loop
from emow2v.training.segments import Segment, read_corpus
from emow2v.training.watch import CURVES, Watch

SKIPPED = "skipped.csv"  # clips that could not be used


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Attributes:
        best: folder of the best network, a Hugging Face checkpoint
        record: the log's line of its epoch
        skipped: sentences about clips that were not used, those of the check included
        main: whether this process is the one that writes and speaks
    """

    best: Path
    record: dict[str, Any]
    skipped: tuple[str, ...]
    main: bool = True


def run(
    recipe: Recipe,
    output: Path,
    console: Console,
    check_stop: Callable[[], None] = lambda: None,
) -> Result:
    """Train, from the beginning or from where a run in that folder was left.

    Args:
        console: where the corpus, the progress and a line an epoch are shown
        check_stop: called between steps; may raise

    Raises:
        FormatError: something is wrong with the recipe or the corpus, another run is in the folder, no room on the disk
        ModelError: the checkpoint cannot be trained
    """
    for key in ("model", "data"):
        if not getattr(recipe, key):
            raise FormatError(f"The recipe names no {key}; add {key}=PATH.")
    weights = cards.checkpoint_card(Path(recipe.model)).sha256
    accelerator = _accelerator(recipe, output)
    main = accelerator.is_main_process
    quiet = Console(stderr=True, quiet=True)
    shown = console if main else quiet
    corpus = _corpus(recipe, shown, check_stop)
    task = FineTuning(recipe, corpus, accelerator, output)
    made_of = {
        **recipe.numbers(),
        "processes": accelerator.num_processes,
        "the corpus": _digest(corpus.segments),
        "the checkpoint": weights,
    }
    if main:
        corpus_report.show(corpus, console)
        console.print(
            f"training on {len(task.train)} clips, {task.steps_per_epoch} steps an epoch, on "
            f"{accelerator.num_processes} x {accelerator.device.type} in {recipe.precision}; seed {recipe.seed}"
        )
    with Steps(shown) as bar:
        watch = Watch(bar, recipe.epochs, output, accelerator if recipe.tensorboard else None)
        loop = Loop(
            task,
            output,
            made_of,
            epochs=recipe.epochs,
            patience=recipe.patience,
            checkpoint_steps=recipe.checkpoint_steps,
            writes=main,
            watcher=watch,
            together=accelerator.wait_for_everyone,
            check=check_stop,
            begun=lambda: _describe(recipe, corpus, output) if main else None,
        )
        try:
            loop.run()
        finally:
            watch.end()
    if main:
        _write_skipped(output, corpus, task)
    best = loop.best
    assert best is not None  # an epoch without a figure is an error
    sentences = (*(one.sentence for one in corpus.skipped), *task.clips.skipped.values())
    return Result(output / BEST, best, sentences, main)


def _accelerator(recipe: Recipe, output: Path) -> Accelerator:
    try:
        return Accelerator(
            mixed_precision=PRECISIONS[recipe.precision],
            log_with=CURVES if recipe.tensorboard else None,
            project_dir=str(output / CURVES),
        )
    except (ValueError, ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"Training cannot begin in {recipe.precision} here ({reason}); try precision=fp32.") from None


def _corpus(recipe: Recipe, console: Console, check_stop: Callable[[], None]) -> Checked:
    segments = read_corpus(recipe.corpus, recipe.data, **recipe.corpus_options)
    with Count("checking", len({segment.file for segment in segments}), console) as bar:
        return check(
            segments,
            thorough=recipe.thorough,
            allow=recipe.allow,
            pause=check_stop,
            done=lambda file: bar.advance(),
        )


def _digest(segments: Sequence[Segment]) -> str:
    """Of what is said of a corpus, wherever it lies."""
    rows = [
        (one.file.name, one.start, one.end, one.speaker, one.partition, *map(repr, one.targets)) for one in segments
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _describe(recipe: Recipe, corpus: Checked, output: Path) -> None:
    """The recipe as it is run and the corpus as it was found, beside what comes of them."""
    plain = json.loads(json.dumps(asdict(recipe)))
    write_text(output / "recipe.yaml", yaml.safe_dump(plain, sort_keys=False))
    corpus_report.write(corpus, output)


def _write_skipped(output: Path, corpus: Checked, task: FineTuning) -> None:
    path = output / SKIPPED
    if not (corpus.skipped or task.clips.skipped):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return
    late = [(corpus.segments[index], sentence) for index, sentence in sorted(task.clips.skipped.items())]
    rows = [
        (one.file, one.start, "" if one.end is None else one.end, sentence)
        for one, sentence in [*((one.segment, one.sentence) for one in corpus.skipped), *late]
    ]
    _write_table(path, ("file", "start", "end", "why"), rows)


def _write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([columns, *rows])
    write_text(path, text.getvalue())
