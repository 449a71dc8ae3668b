"""The settings of a training of `lite` as a model of frames."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic.dataclasses import dataclass

from emow2v.errors import FormatError
from emow2v.framing import SAMPLING_RATE
from emow2v.networks.lite_frames import FRAME, FramesConfig
from emow2v.training import recipe as recipes
from emow2v.training.lite.recipe import FREE, LiteRecipe
from emow2v.training.recipe import Count, CountFromZero, Number, NumberFromZero, PositiveNumber

SHORTEST_SPAN_S = 0.52  # of a teacher's window
SHORTEST = round(SHORTEST_SPAN_S * SAMPLING_RATE / FRAME)  # frames of it
# Keys of `lite` that the teacher decides, or that have no part here
_NOT_HERE = (
    "encoder", "start", "layers", "beside", "lower_share", "lower_dropout", "random_positions",
    "consistency_weight", "consistency_from",
)  # fmt: skip


@dataclass(frozen=True, config=recipes.CONFIG)
class FramesRecipe(LiteRecipe):
    """The settings of a training of `LiteFrames`, which has the keys of `lite` (corpora, crops, rates) and these.

    Attributes:
        teacher: model.pt of a lite with a head on a lower layer; its tensors are the first weights, too
        back, ahead: frames to which each layer attends, as in `FramesConfig`
        level_back, level_ahead: hops of the level
        floor: least logarithm of the spectrum; null for 8 decades below the largest value of the last hops
        pause_seconds: of each row that are no crop: silence or noise before and behind it
        frame_weight, score_weight, label_weight, speech_weight: of the parts of the loss: distance from the teacher's
            frames; from its scores of a window; from the values and classes of the corpora; from the detector of speech
        workers: processes that compose rows ahead, for a GPU; 0 composes them between steps
    """

    teacher: str = ""
    back: tuple[CountFromZero, ...] = (25, 25, 25)
    ahead: tuple[CountFromZero, ...] = (5, 5, 5)
    level_back: Count = FramesConfig.level_back
    level_ahead: CountFromZero = FramesConfig.level_ahead
    floor: Number | None = -6.0  # as of a whole window of speech
    pause_seconds: NumberFromZero = 1.2
    frame_weight: NumberFromZero = 1.0
    score_weight: PositiveNumber = 10.0
    label_weight: NumberFromZero = 0.5
    speech_weight: NumberFromZero = 1.0
    workers: CountFromZero = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop_seconds[0] < SHORTEST_SPAN_S:
            raise FormatError(
                f"A recipe's crops last {self.crop_seconds[0]:g} s and longer; expected {SHORTEST_SPAN_S:g} s or more."
            )
        if self.level_ahead % 4:
            raise FormatError(f"'level_ahead' of a recipe is {self.level_ahead}; expected a multiple of 4.")
        for name in _NOT_HERE:
            if getattr(self, name) != getattr(LiteRecipe, name):
                raise FormatError(f"'{name}' of a recipe has no part in a training of frames; leave it out.")

    def numbers(self) -> dict[str, Any]:
        return {
            name: value for name, value in asdict(self).items() if name not in (*FREE, *_NOT_HERE, "teacher", "workers")
        }
