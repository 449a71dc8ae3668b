"""`emow2v live`: a line for every step of what a microphone or a pipe brings."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from emow2v.cli.console import (
    DeviceOption,
    EngineOption,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
    errors,
    stoppable,
)
from emow2v.errors import AudioError, FormatError

if TYPE_CHECKING:
    from emow2v.framing import Framing, Signal
    from emow2v.model import Model
    from emow2v.trajectory import Block

WIDTH = 20  # characters of a bar


@stoppable
def live(
    source: Annotated[
        str, typer.Argument(metavar="-", help="- for raw mono PCM on standard input. [default: microphone]")
    ] = "",
    sampling_rate: Annotated[int, typer.Option(min=0, help="Hz; 0: the microphone's own, 16000 of a pipe.")] = 0,
    encoding: Annotated[str, typer.Option(help="Encoding of a pipe: s16le or f32le.")] = "s16le",
    microphone: Annotated[str, typer.Option(help="Part of the microphone's name, or its number.")] = "",
    frame_step: Annotated[str, typer.Option(help="From one value to the next.")] = "200ms",
    left_context: Annotated[str, typer.Option(help="How far a window reaches back before its step.")] = "800ms",
    model: ModelOption = "lite",
    engine: EngineOption = "auto",
    precision: PrecisionOption = "",
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
) -> None:
    """Arousal, dominance and valence as somebody speaks: bars on a terminal, NDJSON in a pipe."""
    from emow2v.audio import microphone as source_of
    from emow2v.formats.table import ndjson_row, rows
    from emow2v.framing import Framing, parse_time
    from emow2v.model import load

    if source not in ("", "-"):
        raise FormatError(f"'{source}' is neither a microphone nor -; for a recording use emow2v predict.")
    if encoding not in source_of.ENCODINGS:
        raise FormatError(f"--encoding is '{encoding}'; expected {' or '.join(source_of.ENCODINGS)}.")
    framing = Framing(
        frame_step_ms=parse_time(frame_step, "--frame-step"), left_context_ms=parse_time(left_context, "--left-context")
    )
    loaded = load(model, engine=engine, precision=precision, threads=threads, device=device)
    if source == "-":
        if sys.stdin.isatty():
            raise FormatError(
                "Standard input is a terminal; expected raw PCM, for instance from ffmpeg -f s16le -ac 1 -ar 16000 -."
            )
        rate, blocks = sampling_rate or 16000, source_of.pipe(sys.stdin.buffer, encoding)
    else:
        rate, blocks = source_of.microphone(sampling_rate or None, microphone)
        errors.print(f"listening at {rate} Hz; Ctrl+C stops")
    shown, count = sys.stdout.isatty(), 0
    for block in predicted(loaded, blocks, rate, framing):
        for row in rows(block):
            sys.stdout.write((_line(row) if shown else ndjson_row(row)) + "\n")
        sys.stdout.flush()
        count += len(block)
    if not count:
        raise AudioError(
            f"The sound ended before the first value; expected {float(framing.frame_step_ms):g} ms of samples or more "
            f"({encoding}, mono, {rate} Hz)."
        )


def predicted(
    model: Model, blocks: Iterator[Signal], sampling_rate: int, framing: Framing | None = None
) -> Iterator[Block]:
    """Rows as soon as their audio is there, and the last ones when the blocks end."""
    session = model.stream(framing, sampling_rate=sampling_rate)
    for block in blocks:
        yield from session.add(block, flush=True)
    yield from session.finish()


def _line(row: tuple[str, ...]) -> str:
    """A row with a bar for each dimension."""
    _, end, *scores, _ = row
    bars = []
    for name, text in zip("ADV", scores, strict=True):
        filled = round(min(1.0, max(0.0, float(text) if text != "null" else 0.0)) * WIDTH)
        bars.append(f"{name} {'█' * filled}{'·' * (WIDTH - filled)} {float(text) if text != 'null' else 0.0:.2f}")
    return f"{float(end):8.2f} s  " + "  ".join(bars)
