"""Makes the package of a trained `lite`: one graph with its weights, and its card.

python -m emow2v.training.lite.package DIR/model.pt -o src/emow2v/weights/lite
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor

from emow2v import cards
from emow2v.engines import onnx_graph
from emow2v.engines.openvino import OpenVINOEngine
from emow2v.engines.torch import packaged_network
from emow2v.errors import exit_with_message
from emow2v.framing import SAMPLING_RATE
from emow2v.modelstore.verify import own_expectations
from emow2v.networks.lite import FRAME_HOP, Lite, LiteConfig
from emow2v.networks.lite_frames import LiteFrames
from emow2v.networks.trace import MIN_SAMPLES, trace
from emow2v.training import state
from emow2v.training.lite.targets import EXPRESSIVENESS, TARGETS, TRAINING_CORPORA

VERSION, BESIDE_VERSION = "1.0", "2.0"  # of a network with one head, and of one with another on a lower layer
_CORPORA = {
    "nemo": ("nEMO", "Polish", "CC-BY-NC-SA-4.0", "six acted emotions"),
    "ravdess": ("RAVDESS (speech)", "English", "CC-BY-NC-SA-4.0", "eight acted emotions, two intensities"),
    "baved": ("BAVED", "Arabic", "CC-BY-4.0", "three levels of expressiveness, used for arousal only"),
    "emospeech": (
        "Indian EmoSpeech Command (a part)", "Indian English and Hindi", "CC-BY-NC-SA-4.0", "four emotions, meant by lay people",
    ),
}  # fmt: skip
_DESCRIPTION = (
    "Lower three layers of the Whisper base encoder, fine-tuned on acted emotional speech; says how sure it is."
)
_BESIDE_DESCRIPTION = (
    "Lower three layers of the Whisper base encoder: scores are the weighted mean of a head on layers that were fine-tuned on "
    "acted emotional speech and of one on a layer that was not; says how sure it is."
)
_BEGINNING = " The fine-tuned layers and their head are those of the lite that the training began with."
_COMMAND = "emow2v train lite data=CORPORA encoder=openai/whisper-base -o RUN"
_BESIDE_COMMAND = "emow2v train lite-2 data=CORPORA start=LITE rated=RATINGS.csv noises=NOISES rooms=ROOMS -o RUN"

_CERTAINTY = (
    "Confidence is learnt from the same values: it tells noise and silence from speech, and clear cases from others, not how "
    "far a listener would agree."
)
_CONFIDENCE = (
    "Confidence is the probability that a score lies within 0.1 of what people would rate, and about 0 where nobody speaks. It "
    "was calibrated on acted German of five speakers, whole clips and windows of 1 s; nobody rated dominance there, which has the "
    "calibration of arousal. Other speech, noise and rooms may need another one."
)


def write_graph(model: Lite, path: Path, *, half_weights: bool = True) -> dict[str, str | int]:
    """Write the network as one ONNX file; returns the tensors at which it can be cut, for the card.

    Args:
        half_weights: keep large weights as float16 in the file; arithmetic stays float32, and so
            does the front end, whose tables are never rounded
    """
    graph = trace(model, ("hidden_states", "logits", "confidence") if model.certainty else ("hidden_states", "logits"))
    if half_weights:
        onnx_graph.halve(graph, keep="log_mel")
    onnx.checker.check_model(graph)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(graph, str(path))
    hop = FRAME_HOP * (2 if model.config.halve_after else 1)
    return {
        "features": onnx_graph.front_end(graph, "conv1.weight"),
        "frames": onnx_graph.frames(graph),
        "frame_hop": hop,
    }


def multiply_adds(model: Callable[[Tensor], Any], seconds: int = 1) -> int:
    """Multiply-adds for a second of sound, as PyTorch counts them (matrix products, convolutions and attention).

    Args:
        model: what takes a signal [1, samples]
        seconds: of the signal for which they are counted
    """
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, seconds * SAMPLING_RATE))
    return counter.get_total_flops() // (2 * seconds)


def load_lite(path: Path) -> tuple[Lite, dict[str, Any]]:
    """The network in a model.pt of the training, without its auxiliary head, and the other content of the file."""
    stored = state.read_network(path, "the model.pt of a lite")
    model = Lite(LiteConfig(**{**stored["config"], "emotions": 0}))
    left_out = ("emotion.", "lower.emotion.")
    model.load_state_dict({name: value for name, value in stored["model"].items() if not name.startswith(left_out)})
    return model.eval(), stored


def lite_card(model: Lite | LiteFrames, stored: Mapping[str, Any]) -> dict[str, Any]:
    version = BESIDE_VERSION if model.config.beside else VERSION
    corpora = stored["recipe"].get("corpora", TRAINING_CORPORA)
    *most, last = (_CORPORA[name][0].split(" (")[0] for name in corpora)
    names = f"{', '.join(most)} and {last}" if most else last
    return {
        "name": "lite",
        "version": version,
        "description": _BESIDE_DESCRIPTION if model.config.beside else _DESCRIPTION,
        "licence": "CC-BY-NC-SA-4.0",
        "citation": f"emow2v lite {version}, trained on {names} from the Whisper base encoder",
        "multiply_adds": multiply_adds(model),
        "graph": onnx_graph.SINGLE,
        "sampling_rate": SAMPLING_RATE,
        "min_samples": MIN_SAMPLES,
        "max_samples": model.max_samples,
        "batch_samples": 256_000,  # 16 windows of 1 s: more brought nothing
        "network": model.config.to_dict(),
        "encoder": {"name": "openai/whisper-base", "licence": "MIT", "layers": model.config.layers},
        "training_data": [
            dict(zip(("corpus", "language", "licence", "labels"), _CORPORA[name], strict=True)) for name in corpora
        ],
        "targets": (
            "No listener rated these recordings: classes were given values between the norms of Mehrabian and Russell "
            "(1977) and the means of rated podcast speech; dominance follows arousal, leaning to the norms a little. "
            "RAVDESS was acted twice: its values lie 15 % nearer to the middle, or further from it. BAVED's three levels were "
            f"given arousal of {', '.join(f'{value:g}' for value in EXPRESSIVENESS.values())}."
            f"{_BEGINNING if model.config.beside else ''}"
        ),
        "target_table": {name: list(values) for name, values in TARGETS.items()},
        "recipe": stored["recipe"],
        "held_out": {
            "what": "CCC against those values on speakers of these corpora who were never trained on",
            "command": _BESIDE_COMMAND if model.config.beside else _COMMAND,
            **stored["figures"],
        },
        "limits": (
            "Acted speech of few speakers and languages, and values assigned by class: read scores as a tendency, "
            "compare within a recording and a speaker, and do not decide about people by them. Valence is the weakest "
            "dimension, as for every model that hears only the voice. Speakers and rooms shift scores as a whole; spontaneous "
            "speech is often scored too aroused. "
        )
        + (_CONFIDENCE if model.confidence else _CERTAINTY),
    }  # fmt: skip


@exit_with_message
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m emow2v.training.lite.package", description="Package a trained lite."
    )
    parser.add_argument("checkpoint", type=Path, help="model.pt of the training")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for model.onnx and card.json")
    options = parser.parse_args(arguments)
    model, stored = load_lite(options.checkpoint)
    path = options.output / onnx_graph.SINGLE
    cuts = write_graph(model, path)
    expected = own_expectations(OpenVINOEngine(path).run, "OpenVINO at packaging")
    # refuses a graph that does not hold all weights by name
    packaged_network(cards.write_card(options.output, {**lite_card(model, stored), **cuts, "expected": expected}))
    print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB) and its card")


if __name__ == "__main__":
    main()
