"""Citations: a methods paragraph from the provenance of a result, and BibTeX of software, model and corpora."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from emow2v.cards import Card

REFERENCES = Path(__file__).parent / "data" / "references.bib"

# Names of models, encoders and corpora in cards, and the keys of their references
_KEYS = {
    "msp-dim": "wagner2023dawn",
    "openai/whisper-base": "radford2022whisper",
    "nEMO": "christop2024nemo",
    "RAVDESS (speech)": "livingstone2018ravdess",
    "BAVED": "aouf2019baved",
    "Indian EmoSpeech Command (a part)": "banga2019emospeech",
}
_ENGINES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "torch": "PyTorch"}
_PRECISIONS = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "int8": "8-bit integers"}

Facts = Mapping[str, str | float]


def methods(facts: Facts) -> str:
    """A paragraph for the methods section.

    Args:
        facts: provenance of a result, or `Model.provenance` of a prediction to come

    Returns:
        Plain English sentences.
    """
    sentences = [
        f"Arousal, dominance and valence were estimated with {facts['software']} (model {facts['model']} "
        f"{facts['model_version']}, {_engine(str(facts['engine']))}, {_prose_name(_PRECISIONS, facts['precision'])}).",
        *_turns(facts),
        *_windows(facts),
        *_speech(facts),
        *_sound(facts),
        "The scores lie at about 0 to 1 and were used as the model gives them.",
    ]
    return " ".join(sentences)


def references(facts: Facts, card: Card | None) -> str:
    """BibTeX of emow2v, and of the model, its encoder and its corpora if their references are known.

    Args:
        facts: provenance, as for `methods`
        card: of the model; None if the model is not installed here

    Returns:
        Entries, separated by empty lines. If the model has no entry, its own citation follows as a comment.
    """
    entries = dict(_entries(REFERENCES.read_text("utf-8")))
    names = [str(facts["model"]), *(_cited_names(card) if card else ())]
    keys = list(dict.fromkeys(_KEYS[name] for name in names if name in _KEYS))
    parts = [entries["emow2v"].replace("VERSION", str(facts["software"]).removeprefix("emow2v "))]
    parts += [entries[key] for key in keys]
    if "speech_detector" in facts:
        parts.append(entries["silero2024vad"])
    if not keys and facts.get("citation"):
        parts.append(f"% The model: {' '.join(str(facts['citation']).split())}")
    return "\n\n".join(parts)


def _windows(facts: Facts) -> Iterator[str]:
    step, core = float(facts["frame_step_ms"]), float(facts["frame_size_ms"])
    left, right = float(facts["left_context_ms"]), float(facts["right_context_ms"])
    if step == 0:
        yield "Each turn got one value for its sound." if "turns" in facts else "Each recording got one value."
        return
    yield (
        f"Each value describes {_time(core + left + right)} of sound: its own step of {_time(core)}, {_time(left)} before "
        f"and {_time(right)} after; values follow each other every {_time(step)}."
    )
    if facts.get("context") == "shared":
        yield "Stretches of the recording were computed once and pooled for every window in them (shared context)."


def _turns(facts: Facts) -> Iterator[str]:
    if "turns" not in facts:
        return
    if facts.get("turns_from") == "the detector":
        shortest, longest, pause = (
            float(facts[f"{name}_ms"]) for name in ("shortest_turn", "longest_turn", "bridged_pause")
        )
        lengths = f"{_time(shortest)} to {_time(longest)}" if longest else f"{_time(shortest)} or more"
        yield (
            f"Turns were found with {_detector(facts)}: they last {lengths}, and pauses up to {_time(pause)} do not end them."
        )
    else:
        yield (
            f"Turns are those of {facts['turns_from']}." if "turns_from" in facts else "Turns are those of annotations."
        )


def _speech(facts: Facts) -> Iterator[str]:
    if "speech_detector" not in facts:
        return
    if "turns" not in facts:
        yield (
            f"Values with a probability of speech below {facts['speech_threshold']:g} ({_detector(facts)}, mean over the "
            "value's window) were left out."
        )
    elif float(facts["frame_step_ms"]):
        yield (
            "The scores of a turn are the mean of the values with speech whose windows lie inside it; a turn that is shorter "
            "than a window has its last value."
        )


def _detector(facts: Facts) -> str:
    return str(facts["speech_detector"]).partition(" (")[0]


def _sound(facts: Facts) -> Iterator[str]:
    channel = str(facts.get("channel", "mix"))
    how = "mixed down to one channel" if channel == "mix" else f"reduced to one channel ({channel})"
    if "turns_channels" in facts:
        how = f"reduced to the channel of each tier ({facts['turns_channels']})"
    yield f"Recordings were {how} and resampled to 16 kHz."
    begin, end = float(facts.get("start_ms", 0)), float(facts.get("end_ms", 0))
    if begin or end:
        until = f"to {_time(end)}" if end else "to its end"
        yield f"The part from {_time(begin)} {until} was used."


def _cited_names(card: Card) -> Iterator[str]:
    yield card.name.removesuffix("-int8")
    encoder = card.details.get("encoder")
    if isinstance(encoder, Mapping):
        yield str(encoder.get("name"))
    for corpus in card.details.get("training_data") or ():
        if isinstance(corpus, Mapping):
            yield str(corpus.get("corpus"))


def _entries(text: str) -> Iterator[tuple[str, str]]:
    for entry in re.split(r"\n\n(?=@)", text.strip()):
        yield entry[entry.index("{") + 1 : entry.index(",")], entry


def _engine(name: str) -> str:
    """The engine's name in prose: "openvino 2026.4" is OpenVINO 2026.4."""
    engine, _, version = name.partition(" ")
    return f"{_prose_name(_ENGINES, engine)} {version}".rstrip()


def _prose_name(names: Mapping[str, str], value: str | float) -> str:
    return names.get(str(value), str(value))


def _time(milliseconds: float) -> str:
    return f"{milliseconds / 1000:g} s" if milliseconds >= 1000 else f"{milliseconds:g} ms"
