"""ONNX packages that others exported: found out about, made fit for our engines, without PyTorch."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emow2v import cards
from emow2v.cards import Card
from emow2v.engines import Cuts, Engine, installed, onnx_graph, open_graph
from emow2v.errors import ModelError
from emow2v.modelstore import verify
from emow2v.storage.folders import atomic_folder
from emow2v.trajectory import DIMENSIONS

logger = logging.getLogger("emow2v.modelstore.onnx_import")

SAME = 1e-4  # a clip in a batch and alone: largest difference, hidden states against their largest
LEVEL = 0.05  # a tenth of the loudness moves a graph that normalises less than this share of what another clip does


def import_graph(path: Path, output: Path, identity: Mapping[str, Any], *, replace: bool = False) -> Card:
    """Make a package of a graph from `signal` [1, samples] to `hidden_states` and `logits`, as audonnx users have.

    Whether the graph normalises its input is tried out; where it does not, normalisation is put in front. A second
    graph for batches is made by rewriting what tracing fixed; where it does not answer as single clips do, the
    package runs clips one by one.

    Raises:
        ModelError: another kind of graph, or a damaged one
        FormatError: the output cannot be written
    """
    graph = onnx_graph.read(path)
    onnx_graph.check_ports(graph, path)
    _check_labels(path.with_name(onnx_graph.LABELS))
    name = next((one for one in ("openvino", "onnxruntime") if installed(one)), None)
    if name is None:
        raise ModelError("No engine for ONNX graphs is installed; run: pip install openvino")
    original = open_graph(name, path)
    inside, moved = _normalises(original)
    with atomic_folder(output, replace=replace) as folder:
        onnx_graph.write_weights(onnx_graph.take_out(graph), folder / onnx_graph.WEIGHTS)
        if not inside:
            onnx_graph.add_normalisation(graph)
        onnx_graph.point_at(graph, folder / onnx_graph.WEIGHTS)
        onnx_graph.set_batch(graph, 1)
        onnx_graph.save(graph, folder / onnx_graph.SINGLE)
        del original  # its weights, before those of the next
        apart = _try_batches(graph, folder, name)
        batched = apart is not None and apart <= SAME
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
                "measured": float(f"{moved:.2g}"),
                "normalises_below": LEVEL,
            },
            "batches": {
                "difference_from_single": None if apart is None else float(f"{apart:.2g}"),
                "rewritten": batched,
            },
            "origin": {"file": path.name, "sha256": cards.file_sha256(path)},
        }
        cards.write_card(folder, content)
    return cards.read_card(output)


def _frames(graph: onnx_graph.Graph, path: Path, name: str) -> dict[str, str | int]:
    """Where the graph pools over time, if a window's frames give what the window gives; for the card."""
    engine = open_graph(name, path, cuts=Cuts(frames=onnx_graph.frames(graph)))
    short, long = (verify.signal("example", 0, samples) for samples in (16000, 144_000))
    try:
        states = engine.frames(short)
        more = engine.frames(long).shape[1] - states.shape[1]
        pooled = engine.pooled(states)
    except ModelError:  # a graph that cannot be cut is run as it is
        return {"frame_hop": 0}
    hidden, logits, _ = engine.run(short)
    apart = max(np.abs(pooled[0] - hidden).max() / np.abs(hidden).max(), np.abs(pooled[1] - logits).max())
    hop, rest = divmod(long.shape[1] - short.shape[1], more) if more else (0, 1)
    return {"frames": onnx_graph.frames(graph), "frame_hop": hop} if apart <= SAME and not rest else {"frame_hop": 0}


def _check_labels(path: Path) -> None:
    """The order of the scores, where an audonnx description stands beside the graph."""
    if not path.is_file():
        return
    text = re.sub(r"#.*", "", path.read_text(encoding="utf-8", errors="replace")).lower()
    found = re.findall(r"\b(arousal|dominance|valence)\b", text)
    if found and found != list(DIMENSIONS):
        raise ModelError(f"{path} lists {', '.join(found)}; expected {', '.join(DIMENSIONS)}, in this order.")


def _normalises(engine: Engine) -> tuple[bool, float]:
    """Compare x with 0.1 x, measured by what a different x changes."""
    first, second = (_loud(verify.signal("example", 16000 * k, 16000 * (k + 2))) for k in (1, 5))
    outputs = [engine.run(signal) for signal in (first, np.float32(0.1) * first, second)]
    if not all(np.isfinite(values).all() for hidden, logits, _ in outputs for values in (hidden, logits)):
        raise ModelError("The graph answers speech with values that are no numbers; expected trained weights.")
    given = [hidden for hidden, _, _ in outputs]
    moved = float(np.linalg.norm(given[1] - given[0])) / max(float(np.linalg.norm(given[2] - given[0])), 1e-12)
    return moved < LEVEL, moved


def _loud(signal: verify.Floats) -> verify.Floats:
    # at unit variance the 1e-7 in the normalisation plays no part, at a tenth of it neither
    loud: verify.Floats = ((signal - signal.mean()) / signal.std()).astype(np.float32)
    return loud


def _try_batches(graph: onnx_graph.Graph, folder: Path, name: str) -> float | None:
    """Write the graph for batches; how far a batch is from its clips alone, None where it does not run."""
    single = open_graph(name, folder / onnx_graph.SINGLE)
    clips = np.concatenate(
        [verify.signal("example", 32000, 48000), verify.signal("noise", 0, 16000), verify.signal("zeros", 0, 16000)]
    )
    expected = [single.run(clip[None]) for clip in clips]
    short = [single.run(clip[None, :8000]) for clip in clips]
    del single
    try:
        onnx_graph.free_batch(graph)
        onnx_graph.save(graph, folder / onnx_graph.BATCHED)
        batched = open_graph(name, folder / onnx_graph.BATCHED)
        results = [batched.run(clips), batched.run(clips[:, :8000])]
    except ModelError as error:  # an engine refuses the rewritten graph
        logger.warning("the graph takes no batches and is run clip by clip, which is slower: %s", error)
        return None
    if any(len(values) != len(clips) for hidden, logits, _ in results for values in (hidden, logits)):
        logger.warning(
            "the graph takes batches but does not answer every clip; it is run clip by clip, which is slower"
        )
        return None
    apart = 0.0
    for (hidden, logits, _), alone in zip(results, (expected, short), strict=True):
        for k, (own_hidden, own_logits, _) in enumerate(alone):
            if not (np.isfinite(hidden[k]).all() and np.isfinite(logits[k]).all()):
                return None
            apart = max(apart, float(np.abs(hidden[k] - own_hidden[0]).max() / np.abs(own_hidden).max()))
            apart = max(apart, float(np.abs(logits[k] - own_logits[0]).max()))
    return apart
