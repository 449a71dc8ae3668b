"""Loss and gradients of a whole batch, against one plain computation over Transformers' own model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from accelerate import Accelerator
from torch import nn

from emow2v.networks import wav2vec2
from emow2v.training.finetune.batches import order, padded
from emow2v.training.finetune.prune import prune
from emow2v.training.finetune.whole_batch_loss import backward
from emow2v.training.losses import ccc_loss
from encoders import pretrained, read


def plain_loss(truth: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """1 - CCC averaged over dimensions, from Lin's definition, one dimension after the other."""
    parts = []
    for k in range(truth.shape[1]):
        x, y = truth[:, k], scores[:, k]
        covariance = ((x - x.mean()) * (y - y.mean())).mean()
        parts.append(1 - 2 * covariance / (x.var(correction=0) + y.var(correction=0) + (x.mean() - y.mean()) ** 2))
    return torch.stack(parts).mean()


@pytest.mark.parametrize("micro", [1, 2, 5])
def test_gradients_are_those_of_a_plain_reference_on_the_whole_batch(tmp_path: Path, micro: int) -> None:
    """Five clips of different lengths, each alone through Transformers; ours masked together, in parts."""
    prune(pretrained(tmp_path / "whole"), tmp_path / "pruned", keep=2)
    rng = np.random.default_rng(0)
    signals = [rng.normal(0, 0.1, size).astype(np.float32) for size in (16000, 14000, 12345, 9000, 8000)]
    truth = torch.from_numpy(rng.uniform(0, 1, (5, 3)).astype(np.float32))

    judge = read(tmp_path / "pruned")
    normed = [(signal - signal.mean()) / np.sqrt(signal.var() + 1e-7) for signal in signals]
    reference = plain_loss(truth, torch.cat([judge(torch.from_numpy(one[None]))[1] for one in normed]))
    reference.backward()

    model = wav2vec2.load(tmp_path / "pruned", trainable=True).model
    parts = [np.arange(begin, min(begin + micro, 5)) for begin in range(0, 5, micro)]

    def forward(k: int) -> torch.Tensor:
        return model(*padded([signals[row] for row in parts[k]]))[1]

    value = backward(Accelerator(cpu=True), forward, parts, truth, model.parameters(), ccc_loss)
    assert value == pytest.approx(reference.item(), abs=1e-6)
    expected = {name: one.grad for name, one in judge.named_parameters() if one.grad is not None}
    found = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    assert found.keys() == expected.keys() and len(found) > 40
    for name, gradient in expected.items():
        scale = max(gradient.abs().max().item(), 1e-4)
        assert (found[name] - gradient).abs().max().item() < 1e-3 * scale, name


def test_parts_draw_the_same_dropout_on_their_way_back() -> None:
    """Against all parts held in memory at once, their graphs included."""

    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 3))

    given, truth = torch.randn(7, 4), torch.rand(7, 3)
    truth[2, 1] = torch.nan
    parts = [np.array([0, 3, 5]), np.array([1, 2]), np.array([4, 6])]

    def drawn(model: nn.Module, k: int) -> torch.Tensor:
        torch.manual_seed(100 + k)
        return model(given[parts[k]])

    held = network()
    ccc_loss(truth[np.concatenate(parts)], torch.cat([drawn(held, k) for k in range(3)])).backward()
    cached = network()
    backward(Accelerator(cpu=True), lambda k: drawn(cached, k), parts, truth, cached.parameters(), ccc_loss)
    for one, other in zip(cached.parameters(), held.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_a_batch_without_usable_clips_changes_nothing() -> None:
    model = nn.Linear(2, 3)
    truth = torch.full((4, 3), torch.nan)
    assert (
        backward(Accelerator(cpu=True), lambda k: model(torch.ones(1, 2)), [], truth, model.parameters(), ccc_loss) == 0
    )
    assert all(parameter.grad is None for parameter in model.parameters())


class TwoProcesses:
    """Accelerate's two calls that are used, for parts that another process has computed before."""

    num_processes = 2

    def __init__(self, others: list[torch.Tensor]) -> None:
        self.others = others
        self.sent: list[torch.Tensor] = []

    def reduce(self, tensor: torch.Tensor, reduction: str) -> torch.Tensor:
        assert reduction == "sum"
        self.sent.append(tensor.clone())
        return tensor + self.others.pop(0)

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()


def test_processes_add_up_to_the_whole_batch() -> None:
    torch.manual_seed(0)
    model, given, truth = nn.Linear(4, 3), torch.randn(6, 4), torch.rand(6, 3)
    ccc_loss(truth, model(given)).backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    rows = [np.arange(6)[rank::2] for rank in (0, 1)]

    def run(rank: int, others: list[Any]) -> TwoProcesses:
        model.zero_grad()
        process = TwoProcesses(others)
        backward(process, lambda k: model(given[rows[rank]]), [rows[rank]], truth, model.parameters(), ccc_loss)
        return process

    scores = torch.zeros(6, 3)
    scores[rows[1]] = model(given[rows[1]]).detach()
    zeros = [torch.zeros_like(parameter) for parameter in model.parameters()]
    first = run(0, [scores, *zeros])
    run(1, list(first.sent))
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_an_epoch_has_every_clip_once_with_its_like() -> None:
    durations = np.random.default_rng(0).uniform(0.5, 12, 1000)
    batches = order(durations, 8, seed=1, epoch=0)
    assert sorted(np.concatenate(batches)) == list(range(1000))
    spread = np.mean([np.ptp(durations[batch]) for batch in batches])
    assert spread < 0.05 * np.ptp(durations)
    again, next_one = order(durations, 8, seed=1, epoch=0), order(durations, 8, seed=1, epoch=1)
    assert all(np.array_equal(one, other) for one, other in zip(batches, again, strict=True))
    assert not np.array_equal(batches[0], next_one[0])
    lengths = [float(durations[batch].mean()) for batch in batches]
    assert abs(np.corrcoef(lengths, range(len(lengths)))[0, 1]) < 0.3  # the order of batches is not by length
    assert [len(batch) for batch in order(durations[:21], 8, seed=1, epoch=0)] == [8, 8]
    assert [len(batch) for batch in order(durations[:5], 8, seed=1, epoch=0)] == [5]
    few = [set(batch % 3) for batch in order(np.array([1.0, 2.0, 3.0] * 12), 12, seed=1, epoch=0)]
    assert few == [{0, 1, 2}] * 3  # length says nothing about the batch: a label may go with it
    assert math.isclose(sum(map(len, order(durations[:0], 8, seed=1, epoch=0))), 0)
