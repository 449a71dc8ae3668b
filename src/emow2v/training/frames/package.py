"""Makes the package of a trained model of frames: its two graphs with their weights, and its card.

python -m emow2v.training.frames.package RUN/model.pt -o PACKAGE
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import external_data_helper

from emow2v import cards
from emow2v.engines import onnx_graph
from emow2v.engines.frames import open_frames
from emow2v.engines.torch import packaged_network
from emow2v.errors import exit_with_message
from emow2v.framing import SAMPLING_RATE
from emow2v.modelstore.verify import own_expectations
from emow2v.networks.lite_frames import FRAME, LiteFrames
from emow2v.networks.trace import MIN_SAMPLES, trace_readout, trace_step
from emow2v.training.frames.run import read_frames
from emow2v.training.lite.package import lite_card, multiply_adds

READOUT, SHORT = "readout.onnx", "short.onnx"
SHORT_BLOCK = 4  # frames of 20 ms whose attention is computed together in steps of 40 to 160 ms
_SHARED = 1024  # bytes of a tensor that is not written again
VERSION = "1.0"
_COUNTED_S = 8  # of a step whose multiply-adds are counted
_DESCRIPTION = (
    "A model of frames, taught by lite {teacher}: computes a recording or a stream in one pass, from a bounded past and "
    "look-ahead; says how sure it is, and where somebody speaks."
)
_TARGETS = (
    "The teacher, lite {teacher}, heard a random window of each crop alone and unchanged: its frames, scores and confidence "
    "were the targets for that window. The values of classes, on which it was trained, had {share} beside them. "
    "Probabilities of speech were those of silero's detector for the sound before it was changed."
)
_START = " What lies before the first sample does not exist: values at the start of a recording depend on less sound."


def write_graphs(model: LiteFrames, folder: Path, *, half_weights: bool = True) -> dict[str, Any]:
    """Write the two graphs; returns what the card says about them.

    Args:
        half_weights: keep large weights as float16 in the files; see `emow2v.training.lite.package.write_graph`
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, graph in ((onnx_graph.SINGLE, trace_step(model)), (READOUT, trace_readout(model))):
        if half_weights:
            onnx_graph.halve(graph, keep="log_mel")
        onnx.checker.check_model(graph)
        onnx.save(graph, str(folder / name))
    short = trace_step(model, SHORT_BLOCK)
    if half_weights:
        onnx_graph.halve(short, keep="log_mel")
    write_beside(short, folder / SHORT)
    return {
        "graph": onnx_graph.SINGLE,
        "readout": READOUT,
        "short": SHORT,
        "frame_hop": FRAME,
        "states": {name: list(size) for name, size in model.states().items()},
        "delay": model.delay,
        "look_back": model.look_back,
        "look_ahead": model.look_ahead,
        "min_samples": MIN_SAMPLES,
        "max_samples": model.max_samples,
    }


def write_beside(graph: onnx_graph.Graph, path: Path) -> None:
    """Write a graph whose weights are bytes of `model.onnx` in the same folder."""
    content = (path.parent / onnx_graph.SINGLE).read_bytes()
    for tensor in graph.graph.initializer:
        offset = content.find(tensor.raw_data)
        if len(tensor.raw_data) >= _SHARED and offset >= 0:
            external_data_helper.set_external_data(tensor, onnx_graph.SINGLE, offset, len(tensor.raw_data))
            tensor.ClearField("raw_data")
    onnx.save(graph, str(path))
    onnx.checker.check_model(str(path))


def frames_card(model: LiteFrames, stored: Mapping[str, Any]) -> dict[str, Any]:
    """The card of a model of frames, without its graphs."""
    card = lite_card(model, stored)
    whole = torch.tensor([_COUNTED_S * SAMPLING_RATE])
    weight = float(stored["recipe"]["label_weight"])
    targets = _TARGETS.format(teacher=card["version"], share=f"a weight of {weight:g}" if weight else "no part")
    return {
        **card,
        "name": "lite-frames",
        "version": VERSION,
        "description": _DESCRIPTION.format(teacher=card["version"]),
        "citation": str(card["citation"]).replace(f"lite {card['version']}", f"lite-frames {VERSION}"),
        "multiply_adds": multiply_adds(lambda signal: model.step(signal, whole, model.start(1)), _COUNTED_S),
        "targets": f"{targets} {card['targets']}",
        "limits": f"{card['limits']}{_START}",
        "held_out": {
            **card["held_out"],
            "command": "emow2v train lite-frames data=CORPORA teacher=RUN/model.pt rated=RATINGS.csv noises=NOISES "
            "rooms=ROOMS -o RUN_FRAMES",
        },
    }


@exit_with_message
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m emow2v.training.frames.package", description="Package a trained model of frames."
    )
    parser.add_argument("checkpoint", type=Path, help="model.pt of the training")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the graphs and card.json")
    options = parser.parse_args(arguments)
    model, stored = read_frames(options.checkpoint)
    facts = {**frames_card(model, stored), **write_graphs(model, options.output)}
    card = cards.write_card(options.output, facts)
    expected = own_expectations(open_frames("openvino", card).run, "OpenVINO at packaging")
    card = cards.write_card(options.output, {**facts, "expected": expected})
    packaged_network(card)  # refuses a graph that does not hold all weights by name
    print(f"wrote {options.output} ({card.size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
