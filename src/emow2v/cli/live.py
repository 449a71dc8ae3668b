"""`emow2v live`: a line for every step of live speech, from a microphone or a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from emow2v.cli.console import errors, stoppable
from emow2v.cli.options import (
    DeviceOption,
    EngineOption,
    FrameStepOption,
    LeftContextOption,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
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
        str,
        typer.Argument(metavar="-", help="- reads raw mono samples (PCM) from a pipe.", show_default="the microphone"),
    ] = "",
    microphone: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Microphone: a part of its name, or its number.", show_default="the system's choice"
        ),
    ] = "",
    sampling_rate: Annotated[
        int,
        typer.Option(
            metavar="HZ", min=0, help="Sampling rate in Hz; 0: the microphone's own rate, or 16000 for a pipe."
        ),
    ] = 0,
    encoding: Annotated[
        str, typer.Option(metavar="NAME", help="Encoding of the samples in a pipe: s16le or f32le.")
    ] = "s16le",
    frame_step: FrameStepOption = "200ms",
    left_context: LeftContextOption = "800ms",
    model: ModelOption = "lite",
    engine: EngineOption = "auto",
    precision: PrecisionOption = "",
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
) -> None:
    """Score speech while somebody speaks: bars on a terminal, NDJSON in a pipe (extra live for the microphone)."""
    from emow2v.audio import microphone as sources
    from emow2v.formats.table import LIVE_COLUMNS, ndjson_row, rows
    from emow2v.framing import SAMPLING_RATE, Framing, parse_time
    from emow2v.model import load

    if source not in ("", "-"):
        raise FormatError(
            f"Got '{source}'; expected - for a pipe, or nothing for the microphone. For a recording, use emow2v predict."
        )
    if encoding not in sources.ENCODINGS:
        raise FormatError(f"--encoding is '{encoding}'; expected {' or '.join(sources.ENCODINGS)}.")
    framing = Framing(
        frame_step_ms=parse_time(frame_step, "--frame-step"), left_context_ms=parse_time(left_context, "--left-context")
    )
    loaded = load(model, engine=engine, precision=precision, threads=threads, device=device)
    if source == "-":
        if sys.stdin.isatty():
            raise FormatError(
                "Standard input is a terminal; expected raw PCM, for instance from ffmpeg -f s16le -ac 1 -ar 16000 -."
            )
        rate, signals = sampling_rate or SAMPLING_RATE, sources.pipe(sys.stdin.buffer, encoding)
    else:
        rate, signals = sources.microphone(sampling_rate or None, microphone)
        errors.print(f"listening at {rate} Hz; press Ctrl+C to stop")
    as_bars, count = sys.stdout.isatty(), 0
    for block in stream_rows(loaded, signals, rate, framing):
        for row in rows(block, every_score=True):
            sys.stdout.write((_line(row) if as_bars else ndjson_row(row, LIVE_COLUMNS)) + "\n")
        sys.stdout.flush()
        count += len(block)
    if not count:
        raise AudioError(
            f"The sound ended before the first value; expected {float(framing.frame_step_ms):g} ms of samples or more "
            f"({encoding}, mono, {rate} Hz)."
        )


def stream_rows(
    model: Model, signals: Iterator[Signal], sampling_rate: int, framing: Framing | None = None
) -> Iterator[Block]:
    """Rows as soon as their audio has arrived, and the last ones when the signals end."""
    stream = model.stream(framing, sampling_rate=sampling_rate, speech=True)
    for signal in signals:
        yield from stream.add(signal, flush=True)
    yield from stream.finish()


def _line(row: tuple[str, ...]) -> str:
    """A row with a bar for each dimension; bars are empty where nobody speaks."""
    from emow2v.rows import SPEECH_THRESHOLD

    _, end, *scores, _, speech = row
    bars = []
    for letter, text in zip("ADV", scores, strict=True):
        silent = text == "null" or float(speech) < SPEECH_THRESHOLD
        filled = 0 if silent else round(min(1.0, max(0.0, float(text))) * WIDTH)
        bars.append(f"{letter} {'█' * filled}{'·' * (WIDTH - filled)} {'   –' if silent else f'{float(text):.2f}'}")
    return f"{float(end):8.2f} s  " + "  ".join(bars)
