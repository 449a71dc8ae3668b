"""Import of ONNX graphs that others exported: they are examined and rewritten for our engines, without PyTorch."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emow2v import cards
from emow2v.cards import Card
from emow2v.engines import CutPoints, Engine, installed, onnx_graph, open_graph
from emow2v.errors import ModelError
from emow2v.framing import SAMPLING_RATE
from emow2v.modelstore import verify
from emow2v.storage.folders import atomic_folder
from emow2v.trajectory import DIMENSIONS

logger = logging.getLogger("emow2v.modelstore.onnx_import")

SAME = 1e-4  # largest difference of a clip in a batch and by itself, hidden states as a share of the largest
LEVEL = 0.05  # at a tenth of the loudness a graph that normalises changes less than this share of its change to another clip


def import_graph(path: Path, output: Path, identity: Mapping[str, Any], *, replace: bool = False) -> Card:
    """Make a package of a graph from `signal` [1, samples] to `hidden_states` and `logits`, the form of audonnx.

    A trial shows whether the graph normalises its input; where it does not, normalisation is put in front. A second graph,
    for batches, is made by rewriting the shapes that tracing fixed; where its results differ from those of single clips,
    the package runs clips one by one.

    Args:
        path: the ONNX file
        output: folder of the package
        identity: name, version, licence and so on, for the card
        replace: replace a folder that is not empty

    Raises:
        ModelError: the graph is damaged, or of another form
        FormatError: the output cannot be written
    """
    graph = onnx_graph.read(path)
    onnx_graph.check_ports(graph, path)
    _check_labels(path.with_name(onnx_graph.LABELS))
    name = next((one for one in ("openvino", "onnxruntime") if installed(one)), None)
    if name is None:
        raise ModelError("No engine for ONNX graphs is installed; run: pip install openvino")
    original = open_graph(name, path)
    inside, change = _normalises(original)
    with atomic_folder(output, replace=replace) as folder:
        onnx_graph.write_weights(onnx_graph.take_out(graph), folder / onnx_graph.WEIGHTS)
        if not inside:
            onnx_graph.add_normalisation(graph)
        onnx_graph.point_at(graph, folder / onnx_graph.WEIGHTS)
        onnx_graph.set_batch(graph, 1)
        onnx_graph.save(graph, folder / onnx_graph.SINGLE)
        del original  # releases its weights before the next graph is loaded
        difference = _try_batches(graph, folder, name)
        batched = difference is not None and difference <= SAME
        if not batched:
            (folder / onnx_graph.BATCHED).unlink(missing_ok=True)
        (folder / onnx_graph.LABELS).write_text(onnx_graph.labels_yaml(), encoding="utf-8")
        content = {
            **cards.WAV2VEC2_LIMITS,
            **identity,
            **_frames(graph, folder / (onnx_graph.BATCHED if batched else onnx_graph.SINGLE), name),
            "graph": onnx_graph.BATCHED if batched else onnx_graph.SINGLE,
            "weights": onnx_graph.WEIGHTS,
            "features": onnx_graph.front_end(graph),
            "max_batch": None if batched else 1,
            "normalisation": "inside the graph" if inside else "added in front of the graph, which had none",
            "normalisation_test": {
                "what": "change by a tenth of the loudness, as a share of the change to another clip",
                "measured": float(f"{change:.2g}"),
                "normalises_below": LEVEL,
            },
            "batches": {
                "difference_from_single": None if difference is None else float(f"{difference:.2g}"),
                "rewritten": batched,
            },
            "origin": {"file": path.name, "sha256": cards.file_sha256(path)},
        }
        cards.write_card(folder, content)
    return cards.read_card(output)


def _frames(graph: onnx_graph.Graph, path: Path, name: str) -> dict[str, str | int]:
    """For the card: the tensor that the graph pools over time, where pooling a window's frames gives the window's result."""
    engine = open_graph(name, path, cuts=CutPoints(frames=onnx_graph.frames(graph)))
    short, long = (verify.signal("example", 0, samples) for samples in (SAMPLING_RATE, 9 * SAMPLING_RATE))
    try:
        states = engine.frames(short)
        more = engine.frames(long).shape[1] - states.shape[1]
        pooled = engine.pooled(states)
    except ModelError:  # the graph cannot be cut
        return {"frame_hop": 0}
    hidden, logits, _ = engine.run(short)
    difference = max(np.abs(pooled[0] - hidden).max() / np.abs(hidden).max(), np.abs(pooled[1] - logits).max())
    hop, rest = divmod(long.shape[1] - short.shape[1], more) if more else (0, 1)
    if difference > SAME or rest:
        return {"frame_hop": 0}
    return {"frames": onnx_graph.frames(graph), "frame_hop": hop}


def _check_labels(path: Path) -> None:
    """Refuse another order of the scores, where an audonnx description lies beside the graph."""
    if not path.is_file():
        return
    text = re.sub(r"#.*", "", path.read_text(encoding="utf-8", errors="replace")).lower()
    labels = re.findall(r"\b(arousal|dominance|valence)\b", text)
    if labels and labels != list(DIMENSIONS):
        raise ModelError(f"{path} lists {', '.join(labels)}; expected {', '.join(DIMENSIONS)}, in this order.")


def _normalises(engine: Engine) -> tuple[bool, float]:
    """Whether the graph normalises: its change from x to 0.1 x, as a share of its change to another x."""
    first, second = (_loud(verify.signal("example", SAMPLING_RATE * k, SAMPLING_RATE * (k + 2))) for k in (1, 5))
    outputs = [engine.run(signal) for signal in (first, np.float32(0.1) * first, second)]
    if not all(np.isfinite(values).all() for hidden, logits, _ in outputs for values in (hidden, logits)):
        raise ModelError("The graph gives values that are no numbers for speech; expected trained weights.")
    states = [hidden for hidden, _, _ in outputs]
    change = float(np.linalg.norm(states[1] - states[0])) / max(float(np.linalg.norm(states[2] - states[0])), 1e-12)
    return change < LEVEL, change


def _loud(signal: verify.Floats) -> verify.Floats:
    # with a variance of 1, or a hundredth, the 1e-7 in the normalisation changes nothing
    loud: verify.Floats = ((signal - signal.mean()) / signal.std()).astype(np.float32)
    return loud


def _try_batches(graph: onnx_graph.Graph, folder: Path, name: str) -> float | None:
    """Write the graph for batches; gives the largest difference between a clip in a batch and by itself, None where it fails."""
    single = open_graph(name, folder / onnx_graph.SINGLE)
    clips = np.concatenate(
        [
            verify.signal("example", 2 * SAMPLING_RATE, 3 * SAMPLING_RATE),
            verify.signal("noise", 0, SAMPLING_RATE),
            verify.signal("zeros", 0, SAMPLING_RATE),
        ]
    )
    expected = [single.run(clip[None]) for clip in clips]
    short = [single.run(clip[None, :8000]) for clip in clips]
    del single
    try:
        onnx_graph.free_batch(graph)
        onnx_graph.save(graph, folder / onnx_graph.BATCHED)
        batched = open_graph(name, folder / onnx_graph.BATCHED)
        results = [batched.run(clips), batched.run(clips[:, :8000])]
    except ModelError as error:  # the engine refuses the rewritten graph
        logger.warning("the graph takes no batches; clips are run one by one, which is slower: %s", error)
        return None
    if any(len(values) != len(clips) for hidden, logits, _ in results for values in (hidden, logits)):
        logger.warning(
            "the graph takes batches but gives no result for some clips; clips are run one by one, which is slower"
        )
        return None
    difference = 0.0
    for (hidden, logits, _), singles in zip(results, (expected, short), strict=True):
        for k, (own_hidden, own_logits, _) in enumerate(singles):
            if not (np.isfinite(hidden[k]).all() and np.isfinite(logits[k]).all()):
                return None
            difference = max(difference, float(np.abs(hidden[k] - own_hidden[0]).max() / np.abs(own_hidden).max()))
            difference = max(difference, float(np.abs(logits[k] - own_logits[0]).max()))
    return difference
