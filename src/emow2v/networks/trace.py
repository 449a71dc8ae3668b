"""Tracing of a PyTorch network to an ONNX graph whose weights keep their names."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from emow2v.framing import SAMPLING_RATE
from emow2v.networks.lite_frames import FRAME, LiteFrames

Graph = Any  # onnx.ModelProto, whose annotations are not complete

MIN_SAMPLES = 400  # 25 ms: one frame of every network here
OPSET = 18


def trace(model: nn.Module, outputs: Sequence[str] = ("hidden_states", "logits")) -> Graph:
    """The graph from signal [batch, samples] to hidden_states [batch, hidden] and logits [batch, 3], of any batch and length."""
    samples = torch.export.Dim("samples", min=MIN_SAMPLES)
    shapes = {0: torch.export.Dim("batch"), 1: samples}
    return _traced(model.eval(), {"signal": (torch.randn(2, SAMPLING_RATE), shapes)}, outputs)


def trace_step(model: LiteFrames, block: int = 32) -> Graph:
    """The graph of `LiteFrames.step`, of any number of streams and any multiple of 640 samples (640 times two or more).

    Its inputs are signal, length and the tensors of the state by name; its outputs are frames, speech and the tensors of
    the next state, with `next.` before their names.
    """

    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, signal: Tensor, length: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
            frames, speech, following = model.step(signal, length, dict(zip(names, state, strict=True)), block)
            return frames, speech, *(following[name] for name in names)

    names = list(model.states())
    batch, chunk = torch.export.Dim("batch"), torch.export.Dim("chunk", min=2)
    # frames of the chunk that is traced: several blocks and a rest, so that no length is taken for fixed
    few = 3 * block + 5
    inputs: dict[str, tuple[Tensor, Any]] = {
        "signal": (torch.randn(2, few * FRAME), {0: batch, 1: FRAME * chunk}),
        "length": (torch.full((2,), few * FRAME), {0: batch}),
    }
    for name, tensor in model.start(2).items():
        inputs[name] = tensor, {0: batch}
    graph = _traced(Step().eval(), inputs, ["frames", "speech", *(f"next.{name}" for name in names)], len(names))
    del graph.graph.value_info[:]  # the exporter gives one name to lengths that differ where a block is not full
    return graph


def trace_readout(model: LiteFrames) -> Graph:
    """The graph from mean and variance of frames over time [batch, 1024] to hidden_states, logits, and confidence if there is
    one."""

    class Read(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, ...]:
            return model.read(model.moments(mean, variance))

    axes = {0: torch.export.Dim("batch")}
    inputs: dict[str, tuple[Tensor, Any]] = {
        name: (torch.rand(2, 2 * model.config.width), axes) for name in ("mean", "variance")
    }
    outputs = ["hidden_states", "logits", "confidence"]
    return _traced(Read().eval(), inputs, outputs if model.certainty else outputs[:2])


def _traced(model: nn.Module, inputs: dict[str, tuple[Tensor, Any]], outputs: Sequence[str], rest: int = 0) -> Graph:
    """A graph from inputs, each with the example from which it is traced and its axes of any length.

    Args:
        rest: how many of the inputs the last parameter takes, a starred one

    Small constants are folded; weights are not, so that each one stays the tensor of that name in the checkpoint.
    """
    from onnxscript import optimizer

    shapes = tuple(shape for _, shape in inputs.values())
    if rest:  # what the last parameter, *state, takes
        shapes = (*shapes[:-rest], shapes[-rest:])
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            model,
            tuple(example for example, _ in inputs.values()),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            optimize=False,
            verbose=False,
        )
        assert program is not None
        optimizer.optimize_ir(program.model, input_size_limit=512, output_size_limit=4096, should_fold=_small)
        graph = program.model_proto
    for node in graph.graph.node:  # each holds the stack of calls of its tracing, with paths of this computer
        del node.metadata_props[:]
        node.doc_string = ""
    del graph.graph.metadata_props[:]
    for value in [*graph.graph.value_info, *graph.graph.initializer, *graph.graph.input, *graph.graph.output]:
        del value.metadata_props[:]
    return graph


def _small(node: Any) -> bool | None:
    # otherwise transposes of weights would be folded at any size
    return False if node.op_type == "Transpose" else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the exporter's messages about its own parts, which are of no use to users."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
