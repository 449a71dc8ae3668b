"""One table for a run, and its description: shared provenance, facts of each recording, and failures."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from emow2v.errors import Emow2vError, FormatError
from emow2v.formats import run_table
from emow2v.formats.table import described, json_text, value_columns
from emow2v.framing import Framing
from emow2v.rows import DIMENSIONS, EMBEDDING_SIZE, Block, Info
from emow2v.storage import exists, marks, shown
from emow2v.storage.files import StagedFiles, publish


class RunTable:
    """A table of many recordings. It appears with `publish`; without, it is discarded at the end of `with`.

    Args:
        path: its ending chooses the format, see `formats.run_table`
        speech, turns, channels: whether rows have a probability of speech, are turns, or belong to single channels
        only: whether there are no other results; a recording then fails with the table

    Attributes:
        broken: a sentence if the table cannot be written any more; else ""

    Raises:
        FormatError: the table cannot be written
        PlaceTaken: there is a file that emow2v did not write, or that was changed since
    """

    def __init__(
        self, path: Path, *, speech: bool = False, turns: bool = False, channels: bool = False,
        embeddings: bool = False, decimal: str = ".", overwrite: bool = False, only: bool = False,
    ) -> None:  # fmt: skip
        self.only = only
        run_table.check(path, decimal=decimal, embeddings=embeddings)
        self.path = path
        self._described = path.with_name(path.name + "-metadata.json")
        self._staged = StagedFiles({path: self._described, self._described: None}, overwrite=overwrite)
        self._staged.check()
        self._info = Info("", Framing(), {}, channel="each" if channels else "", speech=speech or turns, turns=turns)
        names = ("file", *value_columns(self._info), *(["channel"] if channels else []))
        self._layout = run_table.Layout(names, {}, EMBEDDING_SIZE if embeddings else 0, decimal)
        self._file: run_table.TableFile | None = None
        self._rows, self.broken = 0, ""
        self._facts: list[tuple[dict[str, str | float], dict[str, str | float]]] = []
        self._failed: list[dict[str, str]] = []

    def __enter__(self) -> RunTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._staged.discard()

    def writer(self) -> RecordingRows:
        """A writer for one recording, or for one of its channels."""
        return RecordingRows(self, embeddings=bool(self._layout.embeddings))

    def failed(self, path: str, error: str) -> None:
        """Record the error of a recording that has no rows."""
        self._failed.append({"file": path, "error": error})

    def add(self, info: Info, blocks: Iterator[Block], rows: int) -> None:
        """Add all rows of a recording; `rows` is their number. If the table breaks, nothing is added.

        Raises:
            FormatError: the table has no room for them; or it is broken, and there are no other results
        """
        if not self.broken:
            self._add(info, blocks, rows)
        if self.broken and self.only:
            raise FormatError(self.broken)

    def _add(self, info: Info, blocks: Iterator[Block], rows: int) -> None:
        run_table.check_rows(self.path, self._rows + rows)
        self._rows += rows
        self.broken = f"{shown(self.path)} was not written: the run was stopped within a recording."
        try:
            if self._file is None:
                descriptions = described(replace(self._info, provenance=info.provenance))
                self._layout = replace(self._layout, descriptions=descriptions)
                opened = self._staged.open(self.path)
                self._file = run_table.table_file(self.path.suffix, opened, self._layout)
            for block in blocks:
                columns = _columns(info, block)
                self._file.add({name: columns[name] for name in self._layout.names}, block.embeddings)
        except (Emow2vError, OSError) as error:  # a part of the recording may stand in it
            self.broken = f"{shown(self.path)} was not written: {error}"
            return
        self.broken = ""
        name: dict[str, str | float] = {"file": info.source}
        if info.channel:
            name["channel"] = info.channel
        self._facts.append((name, dict(info.provenance)))

    def publish(self, *, stopped: bool = False) -> bool:
        """Put the table in its place; whether there is one.

        Args:
            stopped: the run ended early; the table has the recordings that were done, unless another table is there

        Raises:
            FormatError: it cannot be written
        """
        if stopped and (self.broken or exists(self.path)):
            return False
        if self.broken:
            raise FormatError(self.broken)
        if self._file is None:
            return False
        self._file.close()
        shared = {
            name: value
            for name, value in self._facts[0][1].items()
            if all(facts.get(name) == value for _, facts in self._facts)
        }
        content = {
            "columns": {name: self._layout.descriptions[name] for name in self._layout.names},
            "provenance": shared,
            "recordings": [
                name | {key: value for key, value in facts.items() if key not in shared} for name, facts in self._facts
            ],
            "failed": self._failed,
            **({"stopped": "before the last recording"} if stopped else {}),
            "mark": marks.text(self._staged.digest(self.path)),
        }
        file = self._staged.open(self._described)
        file.write((json_text(content, 2) + "\n").encode())
        marks.seal(file)
        publish([self._staged])
        return True


class RecordingRows:
    """Rows of one recording, in a temporary file until all are there. A recording that fails leaves none in the table."""

    def __init__(self, table: RunTable, *, embeddings: bool) -> None:
        self.staged = StagedFiles()
        self.clipped = 0
        self._table, self._embeddings, self._count = table, embeddings, 0

    def open(self, info: Info) -> None:
        self._info = info
        self._rows = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the writer, or when it is forgotten)

    def add(self, block: Block) -> None:
        kept = block.embeddings if self._embeddings else block.embeddings[:, :0]
        scores, confidence = block.scores_of_speech, block.confidence.min(axis=1)
        parts = (block.starts, block.ends, scores, confidence, block.speech, block.turns, np.ascontiguousarray(kept))
        self._count += len(block)
        pickle.dump(parts, self._rows, pickle.HIGHEST_PROTOCOL)

    def close(self) -> None:
        with self._rows:
            self._rows.seek(0)
            self._table.add(self._info, self._blocks(), self._count)

    def _blocks(self) -> Iterator[Block]:
        while True:
            try:
                starts, ends, scores, confidence, speech, turns, embeddings = pickle.load(self._rows)
            except EOFError:
                return
            yield Block(0, starts, ends, embeddings, scores, confidence[:, None], speech, turns)


def _columns(info: Info, block: Block) -> Mapping[str, Any]:
    columns: dict[str, Any] = {"file": [info.source] * len(block), "start": block.starts, "end": block.ends}
    columns |= {name: block.scores[:, place] for place, name in enumerate(DIMENSIONS)}
    columns |= {"confidence": block.confidence[:, 0], "channel": [info.channel] * len(block)}
    if block.speech is not None:
        columns["speech"] = block.speech
    if block.turns is not None:
        turns = block.turns
        columns |= {"speaker": turns.speakers, "tier": turns.tiers, "label": turns.labels, "n": turns.counts}
    return columns
