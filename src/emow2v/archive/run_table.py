"""One table for a run, and its description: shared provenance, facts of each recording, and failures."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from emow2v.archive.relative import COLUMNS as RELATIVE
from emow2v.archive.relative import Relative
from emow2v.errors import Emow2vError, FormatError
from emow2v.formats import audformat_tables, parquet, run_table
from emow2v.formats.audformat_tables import AudformatTables
from emow2v.formats.table import described, value_columns, write_description
from emow2v.framing import Framing
from emow2v.rows import EMBEDDING_SIZE, Block, Info, TurnRows
from emow2v.storage import exists, marks, shown
from emow2v.storage.entries import Entries, RecordingFacts
from emow2v.storage.files import Move, StagedFiles, publish
from emow2v.stores.results import StoredResults, in_order

if TYPE_CHECKING:
    from emow2v.archive.resume import CorpusRun


class Reports(Protocol):
    """Gets the path of the table, or a sentence why there is none."""

    table: Path | str | None

    def say(self, sentence: str) -> None: ...


_LENGTH_BYTES = 8  # of the facts at the end of a file that keeps rows


class RunTable:
    """A table of many recordings. It appears with `publish`; without, it is discarded at the end of `with`.

    Args:
        path: its ending chooses the format, see `formats.run_table`; or a folder for shards of Parquet
        speech, turns, channels: whether rows have a probability of speech, are turns, or belong to single channels
        only: whether there are no other results; a recording then fails with the table
        half: embeddings have 16 bit
        sharded: the path is a folder for shards of Parquet (see `formats.parquet`)
        files: each recording has one row for all of it, and a table of audformat no start and end
        relative: also adds scores relative to speakers or files; only rows that were kept have some
        stored: puts the table, which is in its folder, to an address

    Attributes:
        path, half, relative: as they are given
        broken: a sentence if the table cannot be written any more; else ""

    Raises:
        FormatError: the table cannot be written
        PlaceTaken: there is a file that emow2v did not write, or that was changed since
    """

    def __init__(
        self, path: Path, *, speech: bool = False, turns: bool = False, channels: bool = False,
        embeddings: bool = False, decimal: str = ".", overwrite: bool = False, only: bool = False,
        half: bool = False, sharded: bool = False, files: bool = False, relative: Relative | None = None,
        stored: StoredResults | None = None,
    ) -> None:  # fmt: skip
        self.only, self.relative, self._stored = only, relative, stored
        run_table.check(path, decimal=decimal, embeddings=embeddings, half=half, sharded=sharded)
        self.path, self.half, self._sharded, self._files = path, half, sharded, files
        self._described = path.with_name(path.name + "-metadata.json")
        places: dict[Path, Path | None] = {path: self._described}
        self._marked = sharded or path.suffix.lower() == audformat_tables.ENDING  # files hold their own marks
        if self._marked:
            places = dict.fromkeys(parquet.shards_in(path) if sharded else [path, audformat_tables.table_path(path)])
        self._staged = StagedFiles({**places, self._described: None}, overwrite=overwrite)
        self._staged.check()
        if stored is not None:
            older = {path.parent / name: None for name in stored.names if sharded and name.endswith(".parquet")}
            parquet.refuse_others(stored.address_of(path), older)
            stored.check(self._staged.vouchers | older)
        self._info = Info("", Framing(), {}, channel="each" if channels else "", speech=speech or turns, turns=turns)
        names = (
            "file",
            *value_columns(self._info),
            *(["channel"] if channels else []),
            *(RELATIVE if relative else []),
        )
        self._layout = run_table.Layout(names, {}, EMBEDDING_SIZE if embeddings else 0, decimal, half)
        self._file: run_table.TableFile | None = None
        self._rows, self.broken = 0, ""
        self._facts, self._failed = RecordingFacts(), Entries()

    def __enter__(self) -> RunTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(self._file, parquet.ParquetTable | AudformatTables):
            self._file.discard()
        self._staged.discard()
        self._facts.close()
        self._failed.close()

    def writer(self, kept: Path | None = None) -> RecordingRows:
        """A writer for one recording, or for one of its channels.

        Args:
            kept: file that keeps the rows until `add_kept`; None adds them when the recording is complete
        """
        return RecordingRows(self, embeddings=bool(self._layout.embeddings), kept=kept)

    def add_kept(self, kept: Callable[[], Iterable[tuple[Path, str]]]) -> None:
        """Add the rows of recordings from the files that kept them.

        Args:
            kept: returns the files, each with the recording's name in the table; called for each pass over them

        Raises:
            FormatError: as for `add`; or a file is damaged
        """
        for path, source in kept() if self.relative else ():
            self._read_kept(path, source, self._gather)
        for path, source in kept():
            self._read_kept(path, source, self.add)

    def _gather(self, info: Info, blocks: Iterator[Block], rows: int) -> None:
        assert self.relative is not None
        for block in blocks:
            self.relative.gather(info, block)

    def _read_kept(self, path: Path, source: str, take: Callable[[Info, Iterator[Block], int], None]) -> None:
        try:
            with path.open("rb") as file:
                facts = _read_facts(file)
                info = replace(self._info, source=source, channel=facts["channel"], provenance=facts["provenance"])
                take(info, _read_blocks(file, facts["blocks"]), facts["rows"])
        except (ValueError, KeyError, EOFError, OSError):
            raise FormatError(
                f"{shown(path)} is damaged; remove it, so that the next run computes {shown(source)} again."
            ) from None

    def failed(self, path: str, error: str) -> None:
        """Record the error of a recording that has no rows."""
        self._failed.add({"file": path, "error": error})

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
                if self.relative:
                    descriptions |= self.relative.descriptions
                self._layout = replace(self._layout, descriptions=descriptions)
                self._file = self._open()
            for block in blocks:
                columns = run_table.columns_of(info, block) | (
                    self.relative.columns(info, block) if self.relative else {}
                )
                self._file.add({name: columns[name] for name in self._layout.names}, block.embeddings)
            name: dict[str, str | float] = {"file": info.source}
            self._facts.add(name | ({"channel": info.channel} if info.channel else {}), info.provenance)
        except (Emow2vError, OSError) as error:  # a part of the recording may stand in it
            self.broken = f"{shown(self.path)} was not written: {error}"
            return
        self.broken = ""

    @contextlib.contextmanager
    def published(self, progress: Reports, run: CorpusRun | None = None) -> Iterator[None]:
        """Put the table in its place at the end of the block; if the run is stopped, with the recordings that were done.

        Args:
            progress: gets the path of the table, or a sentence why there is none
            run: keeps the rows; a run that was stopped has no table before it has ended
        """
        progress.table = None
        if run is not None:
            self._staged.owner = run.begin_table(self.path)
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            if run is None and self.publish(stopped=True):
                progress.table = self._shown
            else:
                progress.say(f"{self._shown} was not written, because the run was stopped.")
            raise
        said = self.broken if self.only else ""
        try:
            complete = run is not None and not run.fill(self)
            if complete or self.publish(run.table_publishing if run else lambda moves: None):
                progress.table = self._shown
            if run is not None and not complete:
                run.filled(self)
                for sentence in self.relative.warnings() if self.relative else ():
                    progress.say(sentence)
        except FormatError as error:
            self.broken = str(error)
            if self.broken != said:
                progress.say(self.broken)

    def _open(self) -> run_table.TableFile:
        if self._sharded:
            return run_table.table_of_shards(lambda name: self._staged.open(self.path / name), self._layout)
        if self._marked:
            return AudformatTables(self.path, self._staged.open, self._layout, filewise=self._files)
        return run_table.table_file(self.path.suffix, self._staged.open(self.path), self._layout)

    @property
    def _shown(self) -> Path | str:
        return self.path if self._stored is None else self._stored.address_of(self.path)

    @property
    def is_there(self) -> bool:
        """Whether an older table is there."""
        if self._stored is not None:
            return self._stored.has(self._described)
        return bool(parquet.shards_in(self.path)) if self._sharded else exists(self.path)

    def publish(self, before: Callable[[Sequence[Move]], None] = lambda moves: None, *, stopped: bool = False) -> bool:
        """Put the table in its place; whether there is one.

        Args:
            before: as for `storage.files.publish`
            stopped: the run ended early; the table has the recordings that were done, unless another table is there

        Raises:
            FormatError: it cannot be written
        """
        if stopped and (self.broken or self.is_there):
            return False
        if self.broken:
            raise FormatError(self.broken)
        if self._file is None:
            return False
        self._file.close()
        content = {
            "columns": {name: self._layout.descriptions[name] for name in self._layout.names},
            "provenance": self._facts.shared(),
            "recordings": [],
            "failed": [],
            **({"relative": self.relative.facts()} if self.relative else {}),
            **({"stopped": "before the last recording"} if stopped else {}),
            "mark": marks.text("" if self._marked else self._staged.digest(self.path)),
        }
        if isinstance(self._file, AudformatTables):
            self._file.write_header(self._staged.open(self.path), self._facts.shared())
        file = self._staged.open(self._described)
        write_description(file, content, {"recordings": self._facts, "failed": self._failed})
        marks.seal(file)
        if self._sharded:
            parquet.publish_shards(self.path, self._staged, before)
        else:
            publish([self._staged], before)
        if self._stored is not None:
            self._put(self._stored)
        return True

    def _put(self, stored: StoredResults) -> None:
        """Put the table to its address, its description last; shards of an older one that it has not are removed."""
        older = [self.path.parent / name for name in stored.names if self._sharded and name.endswith(".parquet")]
        new = [path for path in in_order(self._staged.vouchers) if exists(path) and path != self._described]
        stored.put([*new, self._described])
        for path in older:
            if path not in new:
                stored.remove(path)


class RecordingRows:
    """Rows of one recording, in a file until all are there. A recording that fails leaves none in the table."""

    def __init__(self, table: RunTable, *, embeddings: bool, kept: Path | None = None) -> None:
        self.staged = StagedFiles({kept: None} if kept else {}, overwrite=True)
        self.clipped = 0
        self._table, self._embeddings, self._kept = table, embeddings, kept
        self._count = self._blocks = 0

    def open(self, info: Info) -> None:
        self._info = info
        self._file: IO[bytes] = (
            self.staged.open(self._kept) if self._kept else tempfile.TemporaryFile()  # noqa: SIM115 (closed in close)
        )

    def add(self, block: Block) -> None:
        embeddings = block.embeddings if self._embeddings else block.embeddings[:, :0]
        _write_block(self._file, block, embeddings)
        self._count += len(block)
        self._blocks += 1

    def close(self) -> None:
        if self._kept is None:
            with self._file as file:
                file.seek(0)
                self._table.add(self._info, _read_blocks(file, self._blocks), self._count)
            return
        facts = {"channel": self._info.channel, "rows": self._count, "blocks": self._blocks}
        text = json.dumps(facts | {"provenance": dict(self._info.provenance)}).encode()
        self._file.write(text + len(text).to_bytes(_LENGTH_BYTES, "little"))


def _write_block(file: IO[bytes], block: Block, embeddings: npt.NDArray[np.float32]) -> None:
    """Write the columns of a table: arrays of NumPy, and texts of turns as JSON."""
    columns: list[npt.NDArray[Any]] = [
        block.starts,
        block.ends,
        block.scores_of_speech,
        block.confidence.min(axis=1),
        embeddings,
    ]
    turns = (
        [] if block.turns is None else [block.turns.speakers, block.turns.tiers, block.turns.labels, block.turns.counts]
    )
    columns += [np.zeros(0, np.float32) if block.speech is None else block.speech]
    columns += [np.frombuffer(json.dumps(turns).encode(), np.uint8)]
    for column in columns:
        np.save(file, np.ascontiguousarray(column), allow_pickle=False)


def _read_blocks(file: IO[bytes], count: int) -> Iterator[Block]:
    for _ in range(count):
        columns = [np.load(file, allow_pickle=False) for _ in range(7)]
        starts, ends, scores, confidence, embeddings, speech, texts = columns
        turns = json.loads(texts.tobytes())
        rows = TurnRows(*map(tuple, turns)) if turns else None
        known = speech if len(speech) == len(starts) else None
        yield Block(0, starts, ends, embeddings, scores, confidence[:, None], known, rows)


def kept_facts(path: Path) -> dict[str, Any]:
    """Channel, number of rows and provenance of a file that keeps rows; raises ValueError or OSError where it has none."""
    with path.open("rb") as file:
        return _read_facts(file)


def _read_facts(file: IO[bytes]) -> dict[str, Any]:
    """The facts at the end of a file that keeps rows; it is then at its beginning."""
    size = file.seek(0, os.SEEK_END)
    file.seek(size - _LENGTH_BYTES)
    length = int.from_bytes(file.read(), "little")
    file.seek(size - _LENGTH_BYTES - length)
    facts: dict[str, Any] = json.loads(file.read(length))
    file.seek(0)
    return facts
