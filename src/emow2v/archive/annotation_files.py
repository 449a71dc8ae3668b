"""Results for annotation programs: turns as .eaf and TextGrid, curves as time series of ELAN and as Tables of Praat."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from emow2v.errors import FormatError
from emow2v.formats import Writer, shorten
from emow2v.rows import DIMENSIONS, Block, Info
from emow2v.speech.segmentation.elan_write import add_tiers, eaf, time_series
from emow2v.speech.segmentation.files import marked
from emow2v.speech.segmentation.praat import praat_table, textgrid
from emow2v.speech.segmentation.text import naming
from emow2v.speech.segments import Segment, Segmentation, Turn, time_origin
from emow2v.storage.files import StagedFiles

FORMATS = ("eaf", "textgrid", "praat")


def check(names: Sequence[str], *, turns: bool) -> None:
    """Refuse formats that cannot hold what was asked for.

    Raises:
        FormatError: values over time in a TextGrid, or turns in a Table
    """
    if turns and "praat" in names:
        raise FormatError("The format praat is a Table of values over time; expected textgrid or eaf for turns.")
    if not turns and "textgrid" in names:
        raise FormatError("The format textgrid holds turns; expected --unit turns or --segments with it, or praat.")


def writers(
    names: Sequence[str],
    folder: Path,
    stem: str,
    recording: Path | None,
    segmentation: Segmentation | None,
    *,
    turns: bool,
    overwrite: bool = False,
) -> list[Writer]:
    """Writers for results named after a recording.

    Args:
        names: of formats; those that are not in `FORMATS` are left to `formats.writers`
        recording: linked in .eaf files; None where it has no file
        segmentation: where turns came from; an .eaf becomes a copy of it with more tiers
    """
    stem = shorten(stem)
    kinds: dict[str, Callable[[], Writer]] = {
        "eaf": lambda: (
            _Turns(folder / f"{stem}.eaf", recording, segmentation, overwrite=overwrite)
            if turns
            else _Series(folder / f"{stem}.eaf", recording, overwrite=overwrite)
        ),
        "textgrid": lambda: _Turns(folder / f"{stem}.TextGrid", recording, segmentation, overwrite=overwrite),
        "praat": lambda: _PraatTable(folder / f"{stem}.Table", overwrite=overwrite),
    }
    return [kinds[name]() for name in names if name in kinds]


class _Turns:
    """`NAME.eaf` or `NAME.TextGrid`: turns with their values."""

    def __init__(
        self, path: Path, recording: Path | None, segmentation: Segmentation | None, *, overwrite: bool
    ) -> None:
        self.path, self.clipped = path, 0
        self.staged = StagedFiles({path: None}, overwrite=overwrite)
        self._recording, self._segmentation = recording, segmentation
        self._turns: list[Turn] = []

    def open(self, info: Info) -> None:
        self._info = info
        self._file = self.staged.open(self.path)

    def add(self, block: Block) -> None:
        assert block.turns is not None and block.speech is not None
        rows = zip(
            block.starts.tolist(), block.ends.tolist(), block.turns.speakers, block.turns.tiers, block.turns.labels,
            block.scores.tolist(), block.turns.counts, block.speech.tolist(), strict=True,
        )  # fmt: skip
        for start, end, speaker, tier, label, scores, count, speech in rows:
            self._turns.append(Turn(Segment(start, end, speaker, tier, label), tuple(scores), count, speech))

    def close(self) -> None:
        content = self._textgrid() if self.path.suffix == ".TextGrid" else self._eaf()
        self._file.write(marked(content, self.path.suffix.lower()))

    def _textgrid(self) -> bytes:
        return textgrid(self._turns, float(self._info.provenance["duration_s"])).encode()

    def _eaf(self) -> bytes:
        found, facts = self._segmentation, self._info.provenance
        if found is None or found.source is None or found.format != "ELAN":
            recordings = [] if self._recording is None else [self._recording]
            return eaf(self._turns, self.path, recordings, provenance=facts).encode()
        origin = time_origin(found, self._recording) if self._recording else 0.0
        with naming(found.source):
            return add_tiers(found.source.read_bytes(), self._turns, origin=origin or 0.0, provenance=facts)


class _Curves:
    """Columns of values over time; scores are NaN without speech."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []

    def add(self, block: Block) -> None:
        parts = (block.starts, block.ends, block.embeddings[:, :0].copy(), block.scores_of_speech, block.confidence)
        self._blocks.append(Block(block.first, *parts, block.speech))

    def _column(self, name: str) -> list[float]:
        return [float(value) for block in self._blocks for value in getattr(block, name)]

    def _values(self) -> dict[str, list[float]]:
        scores = np.concatenate([block.scores for block in self._blocks])
        columns = {name: scores[:, place].tolist() for place, name in enumerate(DIMENSIONS)}
        columns["confidence"] = [float(value) for block in self._blocks for value in block.confidence.min(axis=1)]
        if self._blocks[0].speech is not None:
            columns["speech"] = self._column("speech")
        return columns


class _Series(_Curves):
    """`NAME.eaf` without tiers, which links the recording, and the curves in `NAME.emow2v.csv` and `NAME_tsconf.xml`."""

    def __init__(self, path: Path, recording: Path | None, *, overwrite: bool) -> None:
        super().__init__()
        self.path, self.clipped = path, 0
        self._recording = recording
        self._data = path.with_name(f"{path.stem}.emow2v.csv")
        self._configuration = path.with_name(f"{path.stem}_tsconf.xml")
        places = {path: None, self._data: self._configuration, self._configuration: None}
        self.staged = StagedFiles(places, overwrite=overwrite)

    def open(self, info: Info) -> None:
        self._info = info
        self._files = {place: self.staged.open(place) for place in self.staged.places}

    def close(self) -> None:
        middles = (np.array(self._column("starts")) + np.array(self._column("ends"))) / 2
        data, configuration = time_series(self._values(), middles.tolist(), self._data)
        recordings = [] if self._recording is None else [self._recording]
        linked = [self._data, self._configuration]
        document = eaf([], self.path, recordings, series=linked, provenance=self._info.provenance)
        digest = hashlib.sha256(data.encode()).hexdigest()
        self._files[self.path].write(marked(document.encode(), ".eaf"))
        self._files[self._data].write(data.encode())
        self._files[self._configuration].write(marked(configuration.encode(), ".xml", digest))


class _PraatTable(_Curves):
    """`NAME.Table`: a row for each value, with its times."""

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        super().__init__()
        self.path, self.clipped = path, 0
        self.staged = StagedFiles({path: None}, overwrite=overwrite)

    def open(self, info: Info) -> None:
        self._file = self.staged.open(self.path)

    def close(self) -> None:
        columns = {"start": self._column("starts"), "end": self._column("ends"), **self._values()}
        self._file.write(marked(praat_table(columns).encode(), ".table"))
