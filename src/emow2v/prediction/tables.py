"""Predictions of many recordings: the methods of a model that `archive` carries out or calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Literal, Protocol

from emow2v.audio.recording import Channel, Source
from emow2v.framing import Context, Framing, Unit
from emow2v.prediction.computation import Computation
from emow2v.prediction.trajectories import Progress
from emow2v.trajectory import Trajectory

if TYPE_CHECKING:
    import pandas as pd

    from emow2v.archive.loop import Request
    from emow2v.archive.tables import Paths, Times


class _Model(Protocol):
    """The methods of `Model` that many recordings are predicted with."""

    @property
    def _computation(self) -> Computation: ...
    def predict(self, source: Source, *arguments: Any, **options: Any) -> Trajectory: ...
    def predict_turns(self, source: Source, *arguments: Any, **options: Any) -> Trajectory: ...
    def predict_channels(self, source: Source, *arguments: Any, **options: Any) -> list[Trajectory]: ...
    def predict_ahead(self, requests: Iterable[Request]) -> Generator[Callable[[], Trajectory]]: ...
    def predict_files(self, files: Paths, starts: Times = None, ends: Times = None, **options: Any) -> pd.DataFrame: ...
    def _framing(self, unit: Unit, framing: Framing | None, context: Context, batch_size: int | None) -> Framing: ...


class Tables:
    """Methods of `Model` for many recordings."""

    def predict_ahead(self: _Model, requests: Iterable[Request]) -> Generator[Callable[[], Trajectory]]:
        """The trajectories of many recordings in their order, as functions that return one or raise its error.

        Recordings are read ahead, and those of up to 30 s are computed together, ahead of the caller. The numbers are
        those of `predict`. `close` of the generator ends the work.
        """
        from emow2v.prediction.ahead import ahead

        return ahead(self, requests)

    def predict_files(
        self: _Model,
        files: Paths,
        starts: Times = None,
        ends: Times = None,
        *,
        root: str | os.PathLike[str] | None = None,
        unit: Unit = "windows",
        framing: Framing | None = None,
        context: Context = "window",
        batch_size: int | None = None,
        track: int | None = None,
        channel: Channel | Literal["each"] = "mix",
        speech: bool = False,
        embeddings: bool = False,
        errors: Literal["raise", "skip"] = "raise",
        progress: bool = False,
        on_progress: Progress | None = None,
    ) -> pd.DataFrame:
        """Scores of many recordings, or of segments of them, in one table.

        Args:
            files: paths; one that comes with several starts is repeated
            starts, ends: of segments: seconds or timedeltas, one for all or one for each file; None or NaT for the
                recording's own. A value belongs to a segment if its step lies in it; its window may begin before
            root: folder that relative paths begin at; the table has the paths as they are given
            unit, framing, context, batch_size, track: as `predict`
            channel: as `predict`, or "each" for rows of each channel, named in the column channel
            speech: add the column speech, the probability of speech; rows without speech have no scores
            embeddings: add the columns embedding_0 .. embedding_1023, 4 KB a row
            errors: "raise" stops at the first recording that fails; "skip" leaves it out, warns (`UserWarning`), and lists
                it in `attrs["errors"]`
            progress: show a bar on standard error
            on_progress: called after each segment with the number done and the number of all; may raise to stop

        Returns:
            Table indexed (file, start, end) as audformat and audinterface do it: arousal, dominance, valence and
            confidence (the lowest of the three). With unit "files" one row for each segment, with its start and end.
            `attrs` has the provenance that all recordings share, and as lists of {row, file, start, end, ...} with times in
            seconds "errors" (error: the sentence) and "notices" (notice: what is missing or unusual in the recording).

        Raises:
            AudioError: a recording cannot be decoded, or has no value in its segment
            FramingError: the times do not fit the files, or the model cannot compute such windows
        """
        from emow2v.archive import tables

        options: dict[str, Any] = {"framing": self._framing(unit, framing, context, batch_size), "context": context}
        options |= {"batch_size": batch_size, "track": track, "channel": channel, "speech": speech}
        request = tables.Request(options, embeddings, errors, progress, on_progress)
        return tables.predict(self, tables.segments_of_files(files, starts, ends, root), request)

    def predict_index(
        self: _Model,
        index: pd.Index,
        *,
        root: str | os.PathLike[str] | None = None,
        preserve_index: bool = False,
        **options: Any,
    ) -> pd.DataFrame:
        """Scores of the files or segments of an index of audformat, in one table.

        Args:
            index: levels file, or file, start and end; NaT as the end for the recording's own
            root: folder that relative paths begin at
            preserve_index: the table has this very index, also where an end is NaT; needs unit="files"
            options: those of `predict_files`, from unit on

        Returns:
            As `predict_files`; with unit "files" indexed as the argument is, but for NaT, which is the recording's end

        Raises:
            Emow2vError: as `predict_files`, or another index
        """
        from emow2v.archive import tables

        if preserve_index:
            tables.check_preserved(options.get("unit", "windows"), options.get("channel", "mix"))
        files, starts, ends = tables.columns_of_index(index)
        table = self.predict_files(files, starts, ends, root=root, **options)
        return tables.preserve(table, index) if preserve_index else table
