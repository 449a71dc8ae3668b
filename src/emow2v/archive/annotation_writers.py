"""Writers for annotation programs: turns as .eaf and TextGrid, curves as time series of ELAN and as Tables of Praat."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from emow2v.rows import DIMENSIONS, Block, Info
from emow2v.speech.segmentation.elan_write import add_tiers, eaf, time_series
from emow2v.speech.segmentation.files import marked
from emow2v.speech.segmentation.praat import praat_table, textgrid
from emow2v.speech.segmentation.text import naming
from emow2v.speech.segments import Segment, Segmentation, Turn, time_origin
from emow2v.storage.files import StagedFiles


class TurnsWriter:
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
            return add_tiers(
                found.source.read_bytes(),
                self._turns,
                origin=origin or 0.0,
                provenance=facts,
                moved=(found.source, self.path),
                recording=self._recording,
            )


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


class SeriesWriter(_Curves):
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


class PraatTableWriter(_Curves):
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
