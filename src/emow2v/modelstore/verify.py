"""Does a model here give the numbers it must: on every engine, on inputs that anybody can make."""

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
from emow2v.engines import Engine, Outputs, able, choose, installed, open_graph, precisions
from emow2v.errors import ModelError
from emow2v.storage.home import models_folder

Floats = npt.NDArray[np.float32]
Run = Callable[[Floats], Outputs]

EXAMPLE = Path(__file__).parents[1] / "data" / "example.flac"  # 12.86 s of made speech, ships with the package
SHOWN = 3  # hidden states compared at either end
LOGITS = 1e-4  # largest difference that still counts as the same; two engines in float32 are some 1e-6 apart
HALF_LOGITS = 1e-2  # the same where the weights were rounded to float16
BF16_LOGITS = 3e-2  # the same where the arithmetic is bf16: 8 bits of precision
_RAW = ".verify."  # how folders begin in which a graph lies without normalisation
_ABANDONED_S = 3600  # what nobody has touched for an hour has no process any more
HIDDEN = 1e-3  # likewise of the hidden states, as a share of the largest one expected


@dataclass(frozen=True)
class Row:
    """One input on one engine.

    Attributes:
        engine, precision: what ran it
        input: in words
        source: who says what is expected
        expected, got: logits
        difference: largest, of the logits
        hidden_difference: likewise of the hidden states, as a share of the largest expected; None where none are known
        passed: both small enough
        note: what else there is to say
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
    """Run every known input through every installed engine that can run the model.

    Args:
        speech: the recording that the publication's other numbers belong to

    Raises:
        ModelError: nothing is known of this model, its files are damaged, or that is another recording
    """
    known = PUBLISHED.get(card.name)
    expectations = [*(known.expectations if known else ()), *stated(card)]
    if speech is not None:
        if known is None:
            raise ModelError(f"No recording is known for {card.name}; leave --speech out.")
        if file_sha256(speech) != known.speech_sha256:
            raise ModelError(f"{speech} is another recording; expected {known.speech}, unchanged.")
    else:
        expectations = [one for one in expectations if one.input != "speech"]
    if not expectations:
        raise ModelError(
            f"No expected scores are known for {card.name}; verify a published model, or a package that emow2v export made."
        )
    card.verify_files()
    rows = []
    for name in able(card):
        if installed(name):
            raw = _Lazy(lambda name=name: _raw(card, name))  # type: ignore[misc]
            with contextlib.closing(raw):
                engine = choose(card, name)
                rows += [_row(card, engine, raw, one, speech) for one in expectations]
            for precision in precisions(card, name)[1:]:
                rows += _lower(engine, choose(card, name, precision=precision), expectations, speech)
    if not rows:
        raise ModelError(f"No engine is installed that can run {card.name}; run: pip install 'emow2v[{able(card)[0]}]'")
    return rows


def record(card: Card, rows: Iterable[Row]) -> bool:
    """Write the outcome into the card of a pulled model; False where the card is not ours to change."""
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
    except OSError:  # a folder that others keep: what was found is printed all the same
        return False
    return True


def verdict(card: Card) -> str:
    """What a list of models says: a date, "failed", "no", or where the model ships with the package, "shipped"."""
    found = card.details.get("verified")
    if isinstance(found, Mapping):
        return str(found.get("on")) if found.get("passed") else "failed"
    return "no" if is_pulled(card.folder) else "shipped"


def own_expectations(run: Run, source: str) -> list[dict[str, Any]]:
    """What a model gives today for inputs that need nobody's recording, for its card."""
    result = []
    for name, end in (("zeros", 16000), ("noise", 16000), ("example", 48000)):
        embeddings, scores, _ = run(signal(name, 0, end))
        result.append(
            {"input": name, "begin": 0, "end": end, "logits": _floats(scores[0]), "first": _floats(embeddings[0, :SHOWN]),
             "last": _floats(embeddings[0, -SHOWN:]), "source": source}
        )  # fmt: skip
    return result


def stated(card: Card) -> list[Expectation]:
    """Expectations in a card.

    Raises:
        ModelError: they make no sense
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
    """Whether what a card says is one: texts, samples within the model's limits, and as many numbers as are compared."""
    if not isinstance(one, dict) or not all(isinstance(one.get(name), str) for name in ("input", "source")):
        return False
    begin, end = one.get("begin"), one.get("end")
    if type(begin) is not int or type(end) is not int or begin < 0:
        return False
    rows = [one.get(name) for name in ("logits", "first", "last")]
    if not all(isinstance(row, list) and all(type(value) in (int, float) for value in row) for row in rows):
        return False
    logits, first, last = map(len, rows)  # type: ignore[arg-type]
    return card.min_samples <= end - begin <= card.max_samples and logits == 3 and max(first, last) <= SHOWN


def signal(name: str, begin: int, end: int, speech: Path | None = None) -> Floats:
    """One of the known inputs, float32 [1, end - begin]."""
    if name == "zeros":
        return np.zeros((1, end - begin), np.float32)
    if name == "noise":  # NumPy's old generator, whose numbers are fixed for good
        return np.random.RandomState(0).normal(size=end).astype(np.float32)[None, begin:end]
    path = EXAMPLE if name == "example" else speech
    if path is None:
        raise ModelError(f"The input '{name}' is not known here.")
    recording = audio.open_recording(path)
    try:
        samples = np.concatenate(list(recording))
    finally:
        recording.close()
    if samples.size < end:
        raise ModelError(f"The input '{name}' has {samples.size} samples; {end} were asked for.")
    return samples[None, begin:end]


class _Lazy:
    """The engine that skips normalisation: loaded when a number asks for it, as most do not."""

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


def _row(card: Card, engine: Engine, raw: _Lazy, one: Expectation, speech: Path | None) -> Row:
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
    """A lower precision against float32 on the same engine: how far it may be off is no published number."""
    rows = []
    for one in expectations:
        samples = signal(one.input, one.begin, one.end, speech)
        embeddings, scores, _ = exact.run(samples)
        first, last = (tuple(_floats(part)) for part in (embeddings[0, :SHOWN], embeddings[0, -SHOWN:]))
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
    """The model without the normalisation in front; None where none of ours stands there."""
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
    # beside a pulled model its weights are linked and not copied; nobody else's folder is written to
    beside = is_pulled(card.folder) and os.access(models_folder(), os.W_OK)
    if beside:
        sweep(models_folder())
    place = models_folder() if beside else None
    with tempfile.TemporaryDirectory(dir=place, prefix=_RAW, ignore_cleanup_errors=True) as folder:
        if card.weights:
            _link(card.folder / card.weights, Path(folder) / card.weights)
        path = Path(folder) / "raw.onnx"
        path.write_bytes(graph.SerializeToString())
        yield open_graph(name, path)


def sweep(folder: Path) -> None:
    """Remove what verifications left: those that were killed, and on Windows, which keeps files that are mapped, all."""
    with contextlib.suppress(OSError):
        for left in folder.glob(f"{_RAW}*"):
            if time.time() - left.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(left, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)


def _content(card: Card) -> dict[str, Any]:
    import json

    read_card(card.folder)  # says so where it is damaged
    content: dict[str, Any] = json.loads((card.folder / CARD_FILE).read_text(encoding="utf-8"))
    return content


def _input_words(one: Expectation) -> str:
    span = f"{(one.end - one.begin) / 16000:g} s" + (f" from {one.begin / 16000:g} s" if one.begin else "")
    return f"{one.input}, {span}"


def words(values: Iterable[float]) -> str:
    return " ".join(f"{value:.5f}" for value in values)


def _floats(values: npt.NDArray[np.float32]) -> list[float]:
    return [float(str(value)) for value in values]  # the shortest text that gives the same float32
