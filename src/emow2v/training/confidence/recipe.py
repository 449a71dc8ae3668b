"""The settings of a training of the confidence of a `lite`."""

from __future__ import annotations

from dataclasses import asdict, field
from typing import Any

from pydantic.dataclasses import dataclass

from emow2v.errors import FormatError
from emow2v.training import recipe as recipes
from emow2v.training.lite.recipe import LONGEST_S, SHORTEST_S
from emow2v.training.lite.targets import TRAINING_CORPORA
from emow2v.training.recipe import Count, CountFromZero, Number, NumberFromZero, PositiveNumber, Share

FREE = ("data", "start", "rated", "noises", "rooms", "threads")  # keys on which the numbers of a run do not depend


@dataclass(frozen=True, config=recipes.CONFIG)
class ConfidenceRecipe:
    """The settings of a training of confidence. The same recipe, data and number of threads give the same network.

    Attributes:
        data: folder with the corpora and their manifest.csv, on which the network was trained
        start: model.pt of a network with two heads (`lite-2` or `lite-frames`), whose scores and embeddings stay as they are
        rated: CSV with people's ratings (`emow2v.training.lite.rated`); confidence is calibrated by the speakers for choosing
        noises: folder of recorded noises; those in which nobody speaks are examples of no speech; "" for none
        rooms: folder of measured impulse responses, for half of the rooms in which crops are put; "" for none
        corpora, corpus_shares: to learn classes and speech from, and the share of each of these in the crops
        batches, batch_size: crops from which classes and speech are learnt
        no_speech: rows beside each batch that hold none, half of them recorded where there are noises
        crop_seconds, repeat_short, speed: as in `LiteRecipe`
        steps, speech_steps: of the optimiser, for the classes and for speech; 128 rows each
        dropout: share of the values of both layers that are left out in a step
        temperature: by which the logits of the classes are divided afterwards: few classes are certain for new speakers
    """

    data: str = ""
    start: str = ""
    rated: str = ""
    noises: str = ""
    rooms: str = ""
    corpora: tuple[str, ...] = TRAINING_CORPORA
    corpus_shares: dict[str, NumberFromZero] = field(
        default_factory=lambda: {"nemo": 0.48, "ravdess": 0.32, "baved": 0.20}
    )
    batches: Count = 240
    batch_size: Count = 32
    no_speech: Count = 12
    crop_seconds: tuple[Number, Number] = (0.9, 4.0)
    repeat_short: Share = 0.7
    speed: Share = 0.1
    steps: Count = 150
    speech_steps: Count = 2000
    rate: PositiveNumber = 1e-3
    weight_decay: NumberFromZero = 0.02
    dropout: Share = 0.6
    temperature: PositiveNumber = 3.0
    threads: CountFromZero = 0
    seed: CountFromZero = 1

    def __post_init__(self) -> None:
        shortest, longest = self.crop_seconds
        if not SHORTEST_S <= shortest <= longest <= LONGEST_S:
            raise FormatError(
                f"'crop_seconds' of a recipe is {shortest:g} to {longest:g}; expected {SHORTEST_S:g} to {LONGEST_S:g} s, the "
                "shortest first."
            )

    def numbers(self) -> dict[str, Any]:
        """The settings on which the result depends, beside the corpora and the network."""
        return {name: value for name, value in asdict(self).items() if name not in FREE}
