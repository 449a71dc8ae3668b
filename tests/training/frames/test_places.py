"""What positions are for, taken over by distance: a network whose attention rests on positions alone attends alike."""

import pytest

pytest.importorskip("torch")
import torch

from emow2v.networks.lite import Lite, LiteConfig
from emow2v.networks.lite_frames import FramesConfig, LiteFrames
from emow2v.training.frames.places import WINDOW, take_places

SIZES = {"layers": 2, "width": 32, "heads": 2, "intermediate": 64, "hidden": 16}


@torch.no_grad()
def test_a_frame_attends_as_the_one_in_the_middle_of_a_window() -> None:
    torch.manual_seed(0)
    teacher = Lite(LiteConfig(**SIZES, beside=1, confidence=1)).eval()
    for layer in teacher.layers:
        for projection in ("q_proj", "k_proj"):
            layer.self_attn[projection].weight.mul_(4)
    model = LiteFrames(
        FramesConfig(**SIZES, back=(75, 37), ahead=(75, 37), level_back=150, level_ahead=152, floor=-9.0)
    ).eval()
    own = model.state_dict()
    model.load_state_dict({name: value for name, value in teacher.state_dict().items() if name in own}, strict=False)
    windows = 0.1 * torch.randn(32, WINDOW)
    middle = slice(36, 39)

    def away() -> float:
        said = teacher.frames(teacher.log_mel(windows))[:, middle]
        return float((model.frames(windows)[:, middle] - said).square().mean() / said.var())

    without = away()
    take_places(model, teacher, windows)
    assert away() < 0.6 * without
    assert model.layers[0].distant_keys[:, 75].abs().max() < 1e-6  # of a frame from itself
    assert not any(layer.self_attn["k_proj"]._forward_hooks for layer in teacher.layers)
