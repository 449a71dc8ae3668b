"""Options that several commands share, each written once."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from emow2v.formats import AnnotationFacts

# Headings of `--help` below which options stand; those without one come first.
WINDOWS = "Windows"
RECORDING = "Recording"
TURNS = "Turns"
COMPUTATION = "Computation"


class ContextChoice(StrEnum):
    window = "window"
    shared = "shared"


class CheckChoice(StrEnum):
    time = "time"
    content = "content"


class UnitChoice(StrEnum):
    windows = "windows"
    files = "files"
    turns = "turns"


class AlignChoice(StrEnum):
    step = "step"
    centre = "centre"


class PaddingChoice(StrEnum):
    edge = "edge"
    zeros = "zeros"


class RelativeChoice(StrEnum):
    speaker = "speaker"
    file = "file"


OverwriteOption = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace existing files even if emow2v did not write them, or they were changed."),
]
RelativeOption = Annotated[
    RelativeChoice | None,
    typer.Option(
        "--relative",
        metavar="speaker|file",
        help="Add scores relative to the mean and spread of the speaker (of turns, over all recordings) or of the recording to "
        "--table.",
    ),
]
RoleOption = Annotated[
    str,
    typer.Option(
        "--role", metavar="NAME", help="Role of the person in annotations; of turns, where no speaker is named."
    ),
]
RangeOption = Annotated[
    str,
    typer.Option(
        "--range",
        metavar="LOW:HIGH",
        help="Range of the values in annotations, such as -1:1; tables have values as the model gives them.",
    ),
]
RetryFailedOption = Annotated[
    bool,
    typer.Option(
        "--retry-failed", help="Also try recordings again that failed in an earlier run into the same folder."
    ),
]
CheckOption = Annotated[
    CheckChoice,
    typer.Option(
        "--check",
        metavar="time|content",
        help="How recordings of an earlier run are compared: by size and time of the file, or by the sound in each of them.",
    ),
]
RayOption = Annotated[
    str,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Compute on a cluster of Ray: HOST:PORT; auto for the one that this computer belongs to; local for processes of "
        "this computer. --threads is the number of CPUs for each engine (0: one); --device cuda takes a GPU for each.",
        rich_help_panel=COMPUTATION,
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace an existing model of that name.")]

FrameStepOption = Annotated[
    str,
    typer.Option("--frame-step", metavar="TIME", help="One value every TIME (40ms, 0.5s).", rich_help_panel=WINDOWS),
]
LeftContextOption = Annotated[
    str,
    typer.Option(
        "--left-context",
        metavar="TIME",
        help="How far each value listens back before its step.",
        rich_help_panel=WINDOWS,
    ),
]


def turn_time(text: str) -> typer.models.OptionInfo:
    """An option for a time of the detector's turns."""
    option: typer.models.OptionInfo = typer.Option(metavar="TIME", help=text, rich_help_panel=TURNS)
    return option


ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME",
        envvar="EMOW2V_MODEL",
        help="Model: a name that emow2v models list shows, or a folder.",
        rich_help_panel=COMPUTATION,
    ),
]
EngineOption = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="NAME",
        envvar="EMOW2V_ENGINE",
        help="Library that runs the model: auto, openvino, onnxruntime or torch.",
        rich_help_panel=COMPUTATION,
    ),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="NAME",
        envvar="EMOW2V_PRECISION",
        help="Numeric precision: fp32, bf16, int8 (after emow2v models quantize) or fp16 (on a GPU). "
        "All but fp32 are faster and change the scores.",
        show_default="fp32",
        rich_help_panel=COMPUTATION,
    ),
]
ThreadsOption = Annotated[
    int,
    typer.Option(
        "--threads",
        metavar="N",
        envvar="EMOW2V_THREADS",
        min=0,
        help="Number of processor threads; 0: one for each core.",
        rich_help_panel=COMPUTATION,
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        envvar="EMOW2V_DEVICE",
        help="Device of the engine torch: auto, cpu, cuda or mps.",
        rich_help_panel=COMPUTATION,
    ),
]
ContextOption = Annotated[
    ContextChoice,
    typer.Option(
        "--context",
        metavar="window|shared",
        envvar="EMOW2V_CONTEXT",
        help="window: each window is computed by itself. shared: long stretches are computed once for all their "
        "windows; much faster, and the scores differ.",
        rich_help_panel=COMPUTATION,
    ),
]


def annotation_facts(role: str, text: str, names: list[str]) -> tuple[AnnotationFacts, dict[str, str]]:
    """What annotations state, and the options of it that decide on their content, by the words of refusals."""
    from emow2v.errors import FormatError
    from emow2v.formats import PLAIN, AnnotationFacts

    facts = AnnotationFacts.parse(role, text)
    stated = {"role": role} if role else {}
    if (facts.low, facts.high) != (PLAIN.low, PLAIN.high):
        stated["range"] = f"{facts.low:g}:{facts.high:g}"
    if stated and "annotation" not in names:
        raise FormatError(f"--{next(iter(stated))} belongs to annotations; expected --format annotation with it.")
    return facts, stated
