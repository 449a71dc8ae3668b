"""The rows of a step are those of its number, whichever process composes them and whatever went before."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
import torch

from emow2v.training.frames.recipe import FramesRecipe
from emow2v.training.frames.source import RowSource
from emow2v.training.lite.signals import decode
from emow2v.training.lite.targets import read_acted_clips
from small_corpora import write_tones


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tones")
    write_tones(folder)
    return folder


def source(corpus: Path, *, workers: int = 0, seed: int = 1, epoch: int = 0) -> RowSource:
    recipe = FramesRecipe(
        batch_size=4,
        crop_seconds=(0.6, 1.0),
        long_share=0.0,
        no_speech=1,
        pause_seconds=0.4,
        seed=seed,
        workers=workers,
    )
    clips = read_acted_clips(corpus / "manifest.csv", ("ravdess",))
    signals = decode(clips, corpus / "signals.npz")
    batches = np.random.default_rng(0).integers(0, len(clips), (5, 4))
    return RowSource(recipe, signals, batches, {"noises": None, "rooms": None}, epoch)


def alike(one, other) -> bool:
    """To rounding: sums depend on the number of threads, which is one in other processes."""
    pairs = list(zip(vars(one).values(), vars(other).values(), strict=True))
    return all(a.shape == b.shape and torch.allclose(a, b, atol=1e-5) for a, b in pairs)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # fork, from Python 3.12 on
def test_other_processes_compose_the_same_rows_in_order(corpus: Path) -> None:
    here, there = (list(source(corpus, workers=count).rows(1)) for count in (0, 2))
    assert len(here) == len(there) == 4
    assert all(map(alike, here, there))


def test_a_run_that_goes_on_has_the_rows_of_its_next_step(corpus: Path) -> None:
    assert alike(next(source(corpus).rows(3)), source(corpus)[3])


def test_each_step_epoch_and_seed_has_rows_of_its_own(corpus: Path) -> None:
    made = [
        source(corpus)[0],
        source(corpus)[1],
        source(corpus, epoch=1)[0],
        source(corpus, seed=2)[0],
    ]
    assert not any(alike(made[k], other) for k in range(4) for other in made[k + 1 :])
