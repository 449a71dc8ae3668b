"""Tracing of a PyTorch network to an ONNX graph whose weights keep their names."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from emow2v.framing import SAMPLING_RATE

Graph = Any  # onnx.ModelProto, whose annotations are not complete

MIN_SAMPLES = 400  # 25 ms: one frame of every network here
OPSET = 18


def trace(model: nn.Module, outputs: Sequence[str] = ("hidden_states", "logits")) -> Graph:
    """The graph from signal [batch, samples] to hidden_states [batch, hidden] and logits [batch, 3], of any batch and length.

    Small constants are folded; weights are not, so that each one stays the tensor of that name in the checkpoint.
    """
    from onnxscript import optimizer

    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            model.eval(),
            (torch.randn(2, SAMPLING_RATE),),
            input_names=["signal"],
            output_names=list(outputs),
            dynamic_shapes=({0: torch.export.Dim("batch"), 1: torch.export.Dim("samples", min=MIN_SAMPLES)},),
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
