"""Trains the baseline of `lite`: the same encoder, not trained, with a small head on its pooled layer; the same data.

python tools/baseline.py --data CORPORA --encoder WHISPER -o DIR writes a package that emow2v loads.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from emow2v import cards
from emow2v.corpora.clip import Clip
from emow2v.engines import onnx_graph
from emow2v.engines.openvino import OpenVINOEngine
from emow2v.errors import exit_with_message
from emow2v.framing import SAMPLING_RATE
from emow2v.modelstore.verify import own_expectations
from emow2v.networks.lite import Lite, LiteConfig, load_whisper
from emow2v.networks.trace import MIN_SAMPLES
from emow2v.training.finetune.prune import source
from emow2v.training.lite.package import write_graph
from emow2v.training.lite.signals import Signals, decode
from emow2v.training.lite.targets import EMOTIONS, emotion_of, is_held_out, read_acted_clips, target_of
from emow2v.training.losses import ccc_loss

STEPS = 3000
BATCH = 64
EMOTION_WEIGHT = 0.5


def frozen(encoder: str, layers: int = 3) -> Lite:
    """The lower layers of the encoder, unchanged, at their own frame rate, not normalised behind the last one.

    `fit_head` sets the standardisation of the embeddings and the head.
    """
    model = Lite(LiteConfig(layers=layers, halve_after=0, emotions=len(EMOTIONS)))
    load_whisper(model, source(encoder))
    torch.nn.init.ones_(model.layer_norm.weight)
    torch.nn.init.zeros_(model.layer_norm.bias)
    return model.eval()


def embeddings(model: Lite, clips: list[Clip], signals: Signals, indices: list[int]) -> Tensor:
    """Mean and standard deviation over time of whole clips (up to 10 s), not yet standardised, [clips, 1024]."""
    standardise, model.standardise = model.standardise, torch.nn.Identity()  # type: ignore[assignment]
    with torch.no_grad():
        rows = [
            model.embed(model.log_mel(torch.from_numpy(signals[index][: model.max_samples])[None])) for index in indices
        ]
    model.standardise = standardise
    return torch.cat(rows)


def fit_head(model: Lite, values: Tensor, targets: Tensor, emotions: Tensor, seed: int = 1) -> None:
    """Set the layers behind the pooled one by the loss of `lite`: standardisation, head and auxiliary head."""
    assert model.emotion is not None
    model.standardise.running_mean, model.standardise.running_var = values.mean(dim=0), values.var(dim=0)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    standard = model.standardise(values).detach()
    parameters = [*model.head.parameters(), *model.emotion.parameters()]
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 7e-4, total_steps=STEPS + 1)
    model.head.train()
    for _ in range(STEPS):
        batch = torch.from_numpy(rng.choice(len(standard), BATCH))
        loss = ccc_loss(targets[batch], model.head(standard[batch]))
        if bool((emotions[batch] >= 0).any()):
            classes = model.emotion(standard[batch])
            loss = loss + EMOTION_WEIGHT * functional.cross_entropy(classes, emotions[batch], ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()


@exit_with_message
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python tools/baseline.py", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.csv and the corpora")
    parser.add_argument("--encoder", default="openai/whisper-base", help="folder or name of the Whisper encoder")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the package")
    options = parser.parse_args(arguments)
    clips = read_acted_clips(options.data / "manifest.csv")
    clips, signals = decode(clips).usable(clips)
    indices = [index for index, clip in enumerate(clips) if not is_held_out(clip)]
    model = frozen(options.encoder)
    targets = torch.tensor([target_of(clips[index]) for index in indices], dtype=torch.float32)
    emotions = torch.tensor([emotion_of(clips[index]) for index in indices])
    fit_head(model, embeddings(model, clips, signals, indices), targets, emotions)
    model.emotion = None
    path = options.output / onnx_graph.SINGLE
    cuts = write_graph(model, path, half_weights=False)
    card = {
        "name": "frozen-encoder",
        "version": "1",
        "description": "Lower three layers of the Whisper base encoder, as they are, with a small head: a baseline.",
        "licence": "CC-BY-NC-SA-4.0",
        "citation": "",
        "graph": onnx_graph.SINGLE,
        "sampling_rate": SAMPLING_RATE,
        "min_samples": MIN_SAMPLES,
        "max_samples": model.max_samples,
        "expected": own_expectations(OpenVINOEngine(path).run, "OpenVINO at packaging"),
    }
    cards.write_card(options.output, {**card, **cuts})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
