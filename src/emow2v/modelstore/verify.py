"""Verification: whether a model gives the numbers that it must, on every engine, for inputs that anybody can make."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emow2v._version import __version__
from emow2v.audio import recording as audio
from emow2v.cards import CARD_FILE, Card, file_sha256, is_pulled, read_card, update_card
from emow2v.cards.published import PUBLISHED, Expectation
from emow2v.engines import Engine, Outputs, choose, engines_for, installed, open_graph, precisions
from emow2v.errors import ModelError
from emow2v.framing import SAMPLING_RATE
from emow2v.rows import Floats as Floats
from emow2v.storage.home import models_folder

Run = Callable[[Floats], Outputs]

EXAMPLE = Path(__file__).parents[1] / "data" / "example.flac"  # 12.86 s of synthetic speech, part of the package
ENDS = 3  # hidden states that are compared at either end
LOGITS = 1e-4  # largest difference of equal logits; two engines in float32 differ by about 1e-6
HALF_LOGITS = 1e-2  # likewise where the weights were rounded to float16
BF16_LOGITS = 3e-2  # likewise where the arithmetic is bf16, with 8 bits of precision
_PREFIX = ".verify."  # of folders with a graph without normalisation
_ABANDONED_S = 3600  # a folder that was not changed for an hour has no process any more
HIDDEN = 1e-3  # largest difference of equal hidden states, as a share of the largest one


@dataclass(frozen=True)
class Row:
    """The comparison of one input on one engine.

    Attributes:
        engine, precision: name and arithmetic of the engine
        input: the input in words
        source: origin of the expected numbers
        expected, got: logits
        difference: largest difference of the logits
        hidden_difference: largest difference of the hidden states, as a share of the largest expected one; None where
            none are known
        passed: both differences are small enough
        note: a remark, or ""
    """

    engine: str
    precision: str
    input: str
    source: str
    expected: tuple[float, ...]
    got: tuple[float, ...]
    difference: float
    hidden_difference: float | None
    passed: bool
    note: str = ""


def verify(card: Card, *, speech: Path | None = None) -> list[Row]:
    """Run every known input on every installed engine that can run the model.

    Args:
        speech: the recording to which some of the published numbers belong

    Raises:
        ModelError: no numbers are known for the model, its files are damaged, or `speech` is another recording
    """
    published = PUBLISHED.get(card.name)
    expectations = [*(published.expectations if published else ()), *expectations_of(card)]
    if speech is not None:
        if published is None:
            raise ModelError(f"No recording is known for {card.name}; leave --speech out.")
        if file_sha256(speech) != published.speech_sha256:
            raise ModelError(f"{speech} is another recording; expected {published.speech}, unchanged.")
    else:
        expectations = [one for one in expectations if one.input != "speech"]
    if not expectations:
        raise ModelError(
            f"No expected scores are known for {card.name}; verify a published model, or a package that emow2v export made."
        )
    card.verify_files()
    rows = []
    for name in engines_for(card):
        if installed(name):
            raw = _RawEngine(lambda name=name: _raw(card, name))  # type: ignore[misc]
            with contextlib.closing(raw):
                engine = choose(card, name)
                rows += [_row(card, engine, raw, one, speech) for one in expectations]
            for precision in precisions(card, name)[1:]:
                rows += _lower(engine, choose(card, name, precision=precision), expectations, speech)
    if not rows:
        raise ModelError(
            f"No engine is installed that can run {card.name}; run: pip install 'emow2v[{engines_for(card)[0]}]'"
        )
    return rows


def record(card: Card, rows: Iterable[Row]) -> bool:
    """Write the result into the card of an installed model; False where the card cannot or must not be changed."""
    if not is_pulled(card.folder):
        return False
    rows = list(rows)
    content = _content(card)
    content["verified"] = {
        "on": f"{datetime.now(UTC):%Y-%m-%d}",
        "with": f"emow2v {__version__}",
        "passed": all(row.passed for row in rows),
        "rows": [
            {"engine": row.engine, "precision": row.precision, "input": row.input, "source": row.source,
             "difference": float(f"{row.difference:.2g}"), "passed": row.passed, "note": row.note}
            for row in rows
        ],
    }  # fmt: skip
    try:
        update_card(card.folder, content)
    except OSError:  # a folder of another user; the caller shows the result all the same
        return False
    return True


def verdict(card: Card) -> str:
    """The word for a list of models: a date, "failed", "no", or "shipped" for a model that is part of emow2v."""
    record = card.details.get("verified")
    if isinstance(record, Mapping):
        return str(record.get("on")) if record.get("passed") else "failed"
    return "no" if is_pulled(card.folder) else "shipped"


def own_expectations(run: Run, source: str) -> list[dict[str, Any]]:
    """The numbers that a model gives now for inputs that anybody can make, for its card."""
    result = []
    for name, end in (("zeros", SAMPLING_RATE), ("noise", SAMPLING_RATE), ("example", 3 * SAMPLING_RATE)):
        embeddings, scores, _ = run(signal(name, 0, end))
        result.append(
            {"input": name, "begin": 0, "end": end, "logits": _floats(scores[0]), "first": _floats(embeddings[0, :ENDS]),
             "last": _floats(embeddings[0, -ENDS:]), "source": source}
        )  # fmt: skip
    return result


def expectations_of(card: Card) -> list[Expectation]:
    """The expected numbers in a card.

    Raises:
        ModelError: they are impossible
    """
    written = card.details.get("expected", [])
    if not isinstance(written, list) or not all(_is_expectation(one, card) for one in written):
        raise ModelError(
            f"{card.folder / CARD_FILE} holds expectations that cannot be read; install the package again."
        )
    return [
        Expectation(
            input=one["input"],
            begin=one["begin"],
            end=one["end"],
            logits=tuple(map(float, one["logits"])),
            first=tuple(map(float, one["first"])),
            last=tuple(map(float, one["last"])),
            source=one["source"],
        )
        for one in written
    ]


def _is_expectation(one: object, card: Card) -> bool:
    """Whether an entry of a card is complete: texts, samples within the model's limits, and as many numbers as are compared."""
    if not isinstance(one, dict) or not all(isinstance(one.get(name), str) for name in ("input", "source")):
        return False
    begin, end = one.get("begin"), one.get("end")
    if type(begin) is not int or type(end) is not int or begin < 0:
        return False
    rows = [one.get(name) for name in ("logits", "first", "last")]
    if not all(isinstance(row, list) and all(type(value) in (int, float) for value in row) for row in rows):
        return False
    logits, first, last = map(len, rows)  # type: ignore[arg-type]
    return card.min_samples <= end - begin <= card.max_samples and logits == 3 and max(first, last) <= ENDS


def signal(name: str, begin: int, end: int, speech: Path | None = None) -> Floats:
    """A window of one of the known inputs, float32 [1, end - begin]."""
    if name == "zeros":
        return np.zeros((1, end - begin), np.float32)
    if name == "noise":  # NumPy's old generator, whose numbers are fixed for good
        return np.random.RandomState(0).normal(size=end).astype(np.float32)[None, begin:end]
    path = EXAMPLE if name == "example" else speech
    if path is None:
        raise ModelError(
            f"The input '{name}' is not known here; expected zeros, noise, example, or speech with a recording."
        )
    recording = audio.open_recording(path)
    try:
        samples = np.concatenate(list(recording))
    finally:
        recording.close()
    if samples.size < end:
        raise ModelError(
            f"The input '{name}' has {samples.size} samples; expected {end} or more; choose the whole recording."
        )
    return samples[None, begin:end]


class _RawEngine:
    """The engine that skips normalisation, loaded for the first number that requires it; most require none."""

    def __init__(self, make: Callable[[], contextlib.AbstractContextManager[Engine | None]]) -> None:
        self._make = make
        self._stack = contextlib.ExitStack()
        self._made: list[Engine | None] = []

    def get(self) -> Engine | None:
        if not self._made:
            self._made.append(self._stack.enter_context(self._make()))
        return self._made[0]

    def close(self) -> None:
        self._made.clear()
        self._stack.close()


def _row(card: Card, engine: Engine, raw: _RawEngine, one: Expectation, speech: Path | None) -> Row:
    samples = signal(one.input, one.begin, one.end, speech)
    half = card.details.get("weights_precision") == "fp16"
    row = _compared(engine, one, engine.run(samples), half)
    if not row.passed and one.onnx and (plain := raw.get()) is not None:
        without = _compared(plain, one, plain.run(samples), half)
        if without.passed:
            note = f"published without normalisation of the input; with it, as here: {words(row.got)}"
            return Row(**{**vars(without), "engine": row.engine, "note": note})
    return row


def _lower(exact: Engine, engine: Engine, expectations: list[Expectation], speech: Path | None) -> list[Row]:
    """A lower precision compared with float32 on the same engine; no numbers are published for it."""
    rows = []
    for one in expectations:
        samples = signal(one.input, one.begin, one.end, speech)
        embeddings, scores, _ = exact.run(samples)
        first, last = (tuple(_floats(part)) for part in (embeddings[0, :ENDS], embeddings[0, -ENDS:]))
        reference = Expectation(one.input, one.begin, one.end, tuple(_floats(scores[0])), first, last, "fp32 here")
        rows.append(_compared(engine, reference, engine.run(samples), False))
    return rows


def _compared(engine: Engine, one: Expectation, outputs: Outputs, half: bool) -> Row:
    embeddings, scores, _ = outputs
    got = tuple(_floats(scores[0]))
    difference = float(np.abs(np.subtract(got, one.logits)).max())
    hidden = None
    if one.first:
        expected = np.array([*one.first, *one.last])
        own = np.concatenate([embeddings[0, : len(one.first)], embeddings[0, -len(one.last) :]])
        hidden = float(np.abs(own - expected).max() / max(np.abs(expected).max(), 1e-12))
    exact = engine.precision == "fp32" and not half
    limit = LOGITS if exact else HALF_LOGITS if engine.precision == "fp32" else BF16_LOGITS
    small = difference <= limit and (hidden is None or not exact or hidden <= HIDDEN)
    return Row(
        engine.name, engine.precision, _input_words(one), one.source, one.logits, got, difference, hidden, bool(small)
    )


@contextlib.contextmanager
def _raw(card: Card, name: str) -> Iterator[Engine | None]:
    """The model without the normalisation that we put in front; None where we put none there."""
    if name == "torch":
        from emow2v.engines.torch import TorchEngine

        yield TorchEngine(card, normalise=False)
        return
    from emow2v.engines import onnx_graph

    graph = onnx_graph.read_bare(card.folder / card.graph)
    if not onnx_graph.normalises(graph):
        yield None
        return
    onnx_graph.strip_normalisation(graph)
    # beside an installed model its weights can be linked instead of copied; folders of others are never written to
    beside = is_pulled(card.folder) and os.access(models_folder(), os.W_OK)
    if beside:
        remove_abandoned(models_folder())
    place = models_folder() if beside else None
    with tempfile.TemporaryDirectory(dir=place, prefix=_PREFIX, ignore_cleanup_errors=True) as folder:
        if card.weights:
            _link(card.folder / card.weights, Path(folder) / card.weights)
        path = Path(folder) / "raw.onnx"
        path.write_bytes(graph.SerializeToString())
        yield open_graph(name, path)


def remove_abandoned(folder: Path) -> None:
    """Remove the folders of verifications that were killed, and on Windows, which keeps mapped files, those of all."""
    with contextlib.suppress(OSError):
        for path in folder.glob(f"{_PREFIX}*"):
            if time.time() - path.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(path, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)


def _content(card: Card) -> dict[str, Any]:
    import json

    read_card(card.folder)  # raises where it is damaged
    content: dict[str, Any] = json.loads((card.folder / CARD_FILE).read_text(encoding="utf-8"))
    return content


def _input_words(one: Expectation) -> str:
    span = f"{(one.end - one.begin) / SAMPLING_RATE:g} s" + (
        f" from {one.begin / SAMPLING_RATE:g} s" if one.begin else ""
    )
    return f"{one.input}, {span}"


def words(values: Iterable[float]) -> str:
    """Numbers as a terminal shows them: five digits behind the point."""
    return " ".join(f"{value:.5f}" for value in values)


def _floats(values: npt.NDArray[np.float32]) -> list[float]:
    return [float(str(value)) for value in values]  # the shortest text that gives the same float32
