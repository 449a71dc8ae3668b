"""The settings of a training of `lite`."""

from __future__ import annotations

from dataclasses import asdict, field
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from emow2v.errors import FormatError
from emow2v.framing import SAMPLING_RATE
from emow2v.networks.lite import FRAME_HOP, LiteConfig
from emow2v.training import recipe as recipes
from emow2v.training.lite.targets import TRAINING_CORPORA
from emow2v.training.recipe import (
    Count,
    CountFromZero,
    Number,
    NumberFromZero,
    PositiveNumber,
    Share,
    Switch,
)

LARGEST_SHIFT = 1000  # samples by which the crop of the averaged network may be shorter
SHORTEST_S = 0.1  # of a crop; that of the averaged network is up to LARGEST_SHIFT shorter
LONGEST_S = (LiteConfig.positions - 1) * FRAME_HOP / SAMPLING_RATE  # 9.98 s
# Keys that 1.0 did not have, whose defaults are what it did: a run without them is the same run
LATER = (
    "corpora",
    "layers",
    "beside",
    "random_positions",
    "start",
    "lower_share",
    "lower_dropout",
    "spread",
    "noises",
    "rooms",
)
# Keys of a recipe on which the numbers of a run do not depend: places and what is shown
FREE = ("data", "encoder", "start", "rated", "noises", "rooms", "checkpoint_steps", "tensorboard", "threads", "device")


@dataclass(frozen=True, config=recipes.CONFIG)
class LiteRecipe:
    """The settings of a training of `lite`. The same recipe, data, device and number of threads give the same network.

    Attributes:
        data: folder with the corpora and their manifest.csv (`emow2v.training.lite.targets`)
        encoder: folder of a Whisper base encoder, or its name on the hub
        leave_out: a corpus that is measured as a whole, with the held-out speakers, and not trained on; for experiments
        corpus_shares: share of each corpus in the clips of an epoch; a corpus that is not named has the share of its size
        crop_seconds: shortest and longest crop; one length a batch, short ones more often (its logarithm is uniform)
        long_share: share of batches with crops of `long_seconds`
        repeat_short: share of the clips shorter than their crop that are repeated to its length; the others lie in zeros
        speed: largest change of tempo and pitch together, as a share
        frozen_layers: lower layers of the encoder that are not trained, nor are convolutions and positions; 0 trains all
        emotion_weight, consistency_weight, confidence_weight: of the parts of the loss beside the CCC of the scores:
            classes; distance from the scores of the averaged network for the unchanged crop, less its first 0 to 62 ms;
            confidence
        consistency_from: epoch (from 0) from which the distance from the averaged network counts
        no_speech: rows of a batch without speech, whose target is neutral with no confidence
        average_decay: of the averaged weights, which are the result
        half: compute in bf16 where that is safe (autocast)
        checkpoint_steps: steps from one state on the disk to the next, within an epoch; 0 writes one at an epoch's end
        threads: of the processor; 0 leaves their number to PyTorch
        device: cpu, cuda, or auto for a GPU where there is one
        rated: CSV with people's ratings of a corpus that is not trained on (`emow2v.training.lite.rated`), by which the
            network is also measured after each epoch; "" for none
        corpora: corpora of the manifest to train on
        layers: of the encoder
        random_positions: whether the first frame of a crop gets a position at random; else it has the one that it has in use.
            Layers that are not trained tell positions apart, so that a head on them is to have them as in use
        start: package of a lite (or its name), or model.pt of an earlier run, from which the network begins in place of the
            encoder; "" for none
        beside: number of a lower layer that gets a head of its own; only this head is trained, and `start` is required; 0 for
            none. Scores then rest on features that acted speech has changed, and on some that it has not
        lower_share: weight of that head's arousal, dominance and valence in the network's scores
        lower_dropout: share of its inputs that are left out in training
        spread: distance of the targets from the middle of the scale, relative to `emow2v.training.lite.targets`
        noises: folder of recorded noises, which take the place of half of the synthetic noise; "" for none
        rooms: folder of measured impulse responses, which take the place of half of the synthetic rooms; "" for none
    """

    data: str = ""
    encoder: str = "openai/whisper-base"
    epochs: Count = 6
    batch_size: Count = 32
    leave_out: str = ""
    corpus_shares: dict[str, NumberFromZero] = field(
        default_factory=lambda: {"nemo": 0.48, "ravdess": 0.32, "baved": 0.20}
    )
    crop_seconds: tuple[Number, Number] = (0.8, 4.0)
    long_share: Share = 0.05
    long_seconds: Number = 8.0
    repeat_short: Share = 0.7
    speed: Share = 0.1
    frozen_layers: CountFromZero = 1
    trunk_rate: PositiveNumber = 1e-4
    head_rate: PositiveNumber = 7e-4
    weight_decay: NumberFromZero = 0.02
    emotion_weight: NumberFromZero = 0.5
    consistency_weight: NumberFromZero = 4.0
    consistency_from: CountFromZero = 3
    confidence_weight: NumberFromZero = 0.3
    no_speech: CountFromZero = 2
    average_decay: Share = 0.998
    half: Switch = False
    checkpoint_steps: CountFromZero = 100
    tensorboard: Switch = True
    threads: CountFromZero = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: CountFromZero = 1
    rated: str = ""
    corpora: tuple[str, ...] = TRAINING_CORPORA
    layers: Count = LiteConfig.layers
    beside: CountFromZero = LiteConfig.beside
    random_positions: Switch = True
    start: str = ""
    lower_share: tuple[Share, Share, Share] = (0.5, 0.5, 0.5)
    lower_dropout: Share = 0.6
    spread: PositiveNumber = 1.0
    noises: str = ""
    rooms: str = ""

    def __post_init__(self) -> None:
        shortest, longest = self.crop_seconds
        if not SHORTEST_S <= shortest <= longest <= LONGEST_S or not SHORTEST_S <= self.long_seconds <= LONGEST_S:
            raise FormatError(
                f"A recipe's crops last from {shortest:g} to {longest:g} s, and long ones {self.long_seconds:g} s; "
                f"expected {SHORTEST_S:g} to {LONGEST_S:g} s, the shortest first."
            )
        if self.no_speech > self.batch_size - 2:
            raise FormatError(
                f"'no_speech' of a recipe is {self.no_speech} of {self.batch_size} rows; expected two rows with speech or "
                "more."
            )
        if self.beside and not LiteConfig.halve_after <= self.beside < self.layers:
            raise FormatError(
                f"'beside' of a recipe is {self.beside}; expected 0, or {LiteConfig.halve_after} to {self.layers - 1}."
            )
        if self.beside and not self.start:
            raise FormatError("'beside' of a recipe is given without 'start'; add start=PACKAGE.")

    def numbers(self) -> dict[str, Any]:
        """The settings on which the result of a run depends, beside its corpus and first weights."""
        defaults = asdict(type(self)())
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in FREE and not (name in LATER and value == defaults[name])
        }
