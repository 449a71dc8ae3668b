"""Quantisation: an int8 package of a model, with its transformer in 8 bits, calibrated on speech (extra quantize).

NNCF quantises after training. The front end stays in float32. The error is measured on speech that was not used for the
calibration, and stands in the card.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from emow2v import agreement, cards
from emow2v.audio import recording
from emow2v.cards import Card
from emow2v.engines import installed
from emow2v.engines.openvino import OpenVINOEngine, find_port, import_openvino, import_silent, openvino_core
from emow2v.engines.openvino_rewrites import keep_channels_last
from emow2v.errors import AudioError, ModelError
from emow2v.modelstore.verify import EXAMPLE, own_expectations
from emow2v.rows import Floats as Floats
from emow2v.storage.folders import atomic_folder
from emow2v.storage.home import models_folder

GRAPH = "model.xml"  # OpenVINO's own form: its 8-bit operations have no ONNX that every engine reads alike
WEIGHTS = "model.bin"
CALIBRATION_WINDOWS = 300  # NNCF's default
HELD_BACK = 3  # the last third of each recording measures the error
MEASURED_WINDOWS = 300
_STEP = 4000  # samples between the windows that are drawn, at least


def default_place(source: Card) -> Path:
    """The folder in which `--precision int8` expects the quantised package of a model."""
    return models_folder() / f"{source.name}-{cards.INT8}"


def quantize(
    source: Card,
    output: Path,
    *,
    speech: Sequence[str | Path] = (),
    replace: bool = False,
    say: Callable[[str], None] = lambda what: None,
) -> Card:
    """Write the int8 package of a model, whole or not at all.

    Args:
        source: a model with a graph, in float32
        output: folder of the package
        speech: recordings like those that the package will be used for; default: the example in emow2v
        replace: replace a folder that is not empty
        say: called with a sentence at each step

    Raises:
        ModelError: NNCF is not installed, the model has no graph, or this processor cannot run the package
        AudioError: a recording cannot be read, or all of them together are too short
        FormatError: the output cannot be written
    """
    if source.precision != "fp32":
        raise ModelError(f"Model {source.name} is in {source.precision} already; expected one in fp32.")
    if not installed("nncf"):
        raise ModelError("Quantising requires NNCF; run: pip install 'emow2v[quantize]'")
    graph = source.verified_graph()
    length = min(source.sampling_rate, source.max_samples)
    calibration, held_back = _windows(speech or [EXAMPLE], source.sampling_rate, length)
    exact = OpenVINOEngine(graph)
    say(f"calibrating on {len(calibration)} windows")
    model = _quantized(graph, source.features, calibration)
    with atomic_folder(output, replace=replace) as folder:
        import_openvino().save_model(model, folder / GRAPH, compress_to_fp16=False)
        say(f"measuring the error on {len(held_back)} windows")
        engine = OpenVINOEngine(folder / GRAPH, precision=cards.INT8)
        cards.write_card(
            folder,
            {
                "name": f"{source.name}-{cards.INT8}",
                "version": source.version,
                "description": f"{source.description.rstrip('.')}, quantised to int8.",
                "licence": source.licence,
                "citation": source.citation,
                "graph": GRAPH,
                "weights": WEIGHTS,
                "precision": cards.INT8,
                "frames": source.frames,
                "frame_hop": source.frame_hop,
                "sampling_rate": source.sampling_rate,
                "min_samples": source.min_samples,
                "max_samples": source.max_samples,
                "max_batch": source.max_batch,
                "batch_samples": source.batch_samples,
                "quantized_from": {"name": source.name, "version": source.version, "sha256": source.sha256},
                "calibration": {
                    "with": f"NNCF {version('nncf')}, OpenVINO {version('openvino')}",
                    "recordings": "the shipped example of made speech" if not speech else len(speech),
                    "windows": len(calibration),
                },
                "error_against_fp32": _error(exact, engine, held_back),
                "expected": own_expectations(engine.run, f"OpenVINO {version('openvino')} in int8 at quantising"),
            },
        )
    return cards.read_card(output)


def _windows(speech: Sequence[str | Path], rate: int, length: int) -> tuple[list[Floats], list[Floats]]:
    """Windows [1, length] to calibrate on, and others, from the recordings' ends, to measure the error on."""
    parts: tuple[list[Floats], list[Floats]] = ([], [])
    for path in speech:
        signal, _ = recording.read(path, target_rate=rate)
        border = signal.size * (HELD_BACK - 1) // HELD_BACK
        for part, piece in zip(parts, (signal[:border], signal[border:]), strict=True):
            part += [piece[begin : begin + length][None] for begin in range(0, piece.size - length + 1, _STEP)]
    if not parts[0] or not parts[1]:
        raise AudioError(
            f"The recordings are too short to calibrate on; expected one of {HELD_BACK * length / rate:g} s or more."
        )
    return _spread(parts[0], CALIBRATION_WINDOWS), _spread(parts[1], MEASURED_WINDOWS)


def _spread(windows: list[Floats], most: int) -> list[Floats]:
    if len(windows) <= most:
        return windows
    return [windows[round(k)] for k in np.linspace(0, len(windows) - 1, most)]


def _quantized(graph: Path, features: str, windows: list[Floats]) -> Any:
    openvino = import_openvino()
    with _quiet():
        nncf = import_silent("nncf")
        nncf.set_log_level(logging.ERROR)
        model = openvino_core().read_model(str(graph))
        keep_channels_last(model, openvino.opset13)
        _turn_weights(model)
        front = _front_end(find_port(model, features, graph)) if features else []
        return nncf.quantize(
            model,
            nncf.Dataset(windows),
            subset_size=len(windows),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(names=front),
            # all 8 bits of the weights: a processor that would overflow is refused by the engine
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.quantization.advanced_parameters.OverflowFix.DISABLE
            ),
        )


def _turn_weights(model: Any) -> None:
    """Turn products with a transposed constant into products that transpose: NNCF quantises only direct weights."""
    operations = import_openvino().opset13
    for product in [one for one in model.get_ordered_ops() if one.get_type_name() == "MatMul"]:
        transpose = product.input(1).get_source_output().get_node()
        if transpose.get_type_name() != "Transpose":
            continue
        weights = transpose.input(0).get_source_output()
        node = weights.get_node()
        if node.get_type_name() == "Convert":  # stored in half precision, computed in single
            node = node.input(0).get_source_output().get_node()
        if node.get_type_name() != "Constant" or len(weights.get_shape()) != 2:
            continue
        if node is not weights.get_node() and weights.get_element_type().get_type_name() == "f32":
            weights = operations.constant(node.get_data().astype("float32")).output(0)
        flags = product.get_attributes()
        turned = operations.matmul(
            product.input(0).get_source_output(), weights, flags["transpose_a"], not flags["transpose_b"]
        )
        turned.set_friendly_name(product.get_friendly_name())
        turned.output(0).set_names(product.output(0).get_names())
        for user in list(product.output(0).get_target_inputs()):
            user.replace_source_output(turned.output(0))


def _front_end(port: Any) -> list[str]:
    """Names of the operations that lead to a tensor."""
    names: dict[str, Any] = {}
    waiting = [port.get_node()]
    while waiting:
        node = waiting.pop()
        if node.get_friendly_name() not in names:
            names[node.get_friendly_name()] = node
            waiting += [one.get_source_output().get_node() for one in node.inputs()]
    # constants and the signal are no operations
    return sorted(name for name, node in names.items() if node.get_type_name() not in ("Constant", "Parameter"))


def _error(exact: OpenVINOEngine, engine: OpenVINOEngine, windows: list[Floats]) -> dict[str, Any]:
    outputs = [[one.run(window)[:2] for window in windows] for one in (exact, engine)]
    (hidden, scores), (rounded, rounded_scores) = (
        [np.concatenate([result[k] for result in results]) for k in (0, 1)] for results in outputs
    )
    return {
        "windows": len(windows),
        **{one.name: one.figures() for one in agreement.agreement(scores, rounded_scores)},
        "embeddings_relative": float(f"{np.mean(agreement.relative_distance(hidden, rounded)):.2g}"),
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress bars of NNCF."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
