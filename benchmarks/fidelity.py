"""How far faster ways of computing lie from exact windows in float32, on speech, and how much faster they are.

python benchmarks/fidelity.py [--models lite] [--speech FILES_OR_FOLDERS...] [--json results.json]

By default the shipped example (13 s of made speech); give your own recordings for figures that mean something to you.
Only trained weights say something about errors: lite, or msp-dim where it was pulled. Recordings shorter than 20 s are put
behind each other, for shared context needs something to share. The same figures for results on disk: emow2v compare.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

import fullsize
from common import console, keep, parser, show
from emow2v import cards
from emow2v.agreement import Agreement, agreement, relative_distance
from emow2v.audio import recording
from emow2v.engines import choose, precisions
from emow2v.inputs.expand import expand
from emow2v.model import Context, Model
from emow2v.modelstore.quantize import quantize
from emow2v.modelstore.verify import EXAMPLE

SHORTEST_S = 20


def recordings(names: list[str]) -> list[np.ndarray]:
    found, failed = expand(names)
    if failed:
        raise SystemExit(failed[0].error)
    signals, waiting, samples = [], [], 0
    for one in found:
        signal, _ = recording.read(one.path)
        waiting.append(signal)
        samples += signal.size
        if samples >= SHORTEST_S * 16000:
            signals.append(np.concatenate(waiting))
            waiting, samples = [], 0
    return signals + ([np.concatenate(waiting)] if waiting else [])


def ways(name: str, speech: list[str]) -> Iterator[tuple[str, Model, Context]]:
    card = cards.find(name)
    for precision in precisions(card, "openvino"):
        model = Model(card, choose(card, "openvino", precision=precision))
        yield f"{precision}", model, "window"
        yield f"{precision}, shared", model, "shared"
    if fullsize.has_int8():
        low = quantize(card, fullsize.FOLDER / f"{card.name}-int8-here", speech=speech, replace=True)
        model = Model(low, choose(low))
        yield "int8", model, "window"
        yield "int8, shared", model, "shared"


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--models", nargs="+", default=["lite"], help="names or folders of trained models")
    arguments.add_argument("--speech", nargs="+", default=[str(EXAMPLE)], help="files, folders, patterns")
    arguments.add_argument(
        "--calibrate", nargs="+", default=[], help="other speech to calibrate int8 on; the example by default"
    )
    options = arguments.parse_args()
    signals = recordings(options.speech)
    total = sum(signal.size for signal in signals) / 16000
    console.print(f"{total:.0f} s of speech in {len(signals)} pieces")
    figures: dict[str, object] = {"seconds": total}
    for name in options.models:
        rows: list[tuple[str, float, Agreement, float]] = []
        exact: tuple[np.ndarray, np.ndarray] | None = None
        exact_s = 0.0
        for way, model, context in ways(name, [one.path for one in expand(options.calibrate)[0]]):
            list(model.predict(signals[0][:160_000], 16000, context=context))
            started = time.perf_counter()
            found = [model.predict(signal, 16000, context=context) for signal in signals]
            scores = np.concatenate([one.scores for one in found])
            taken = time.perf_counter() - started
            embeddings = np.concatenate([one.embeddings for one in found])
            if exact is None:
                exact, exact_s = (scores, embeddings), taken
                continue
            moved = float(np.mean(relative_distance(exact[1], embeddings)))
            rows += [(way, exact_s / taken, one, moved) for one in agreement(exact[0], scores)]
        show(
            f"{name}: from exact windows in float32",
            ("way", "x faster", "dimension", "mean", "largest", "correlation", "CCC", "embeddings moved by"),
            [(way, f"{faster:.1f}", one.name, one.mean, one.largest, f"{one.correlation:.4f}", f"{one.ccc:.4f}", f"{moved:.1%}")
             for way, faster, one, moved in rows],
        )  # fmt: skip
        figures[name] = [{"way": way, "faster": faster, "dimension": one.name, **one.figures(), "embeddings_moved": moved}
                         for way, faster, one, moved in rows]  # fmt: skip
    keep("fidelity", figures, options.json)


if __name__ == "__main__":
    main()
