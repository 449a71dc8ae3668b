"""Writers for annotation programs: turns as .eaf, TextGrid, WebVTT and RTTM, curves as time series of ELAN and as Tables of Praat."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from emow2v.rows import DIMENSIONS, Block, Info
from emow2v.speech.segmentation.elan_write import add_tiers, eaf, has_time_series, time_series
from emow2v.speech.segmentation.files import marked, utf8
from emow2v.speech.segmentation.praat import praat_table, textgrid
from emow2v.speech.segmentation.rttm import rttm
from emow2v.speech.segmentation.subtitles import vtt
from emow2v.speech.segmentation.text import naming
from emow2v.speech.segments import Segment, Segmentation, Turn, time_origin
from emow2v.storage.files import StagedFiles


class Curves:
    """Columns of values over time; scores are NaN without speech."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self.passes = 0  # over the recording

    def clear(self) -> None:
        """Forget the values of an earlier recording or channel."""
        self._blocks.clear()
        self.passes = 0

    def add(self, block: Block) -> None:
        self.passes += not self._blocks or block.first <= self._blocks[-1].first
        parts = (block.starts, block.ends, block.embeddings[:, :0].copy(), block.scores_of_speech, block.confidence)
        self._blocks.append(Block(block.first, *parts, block.speech))

    def column(self, name: str) -> list[float]:
        return [float(value) for block in self._blocks for value in getattr(block, name)]

    def columns(self) -> dict[str, list[float]]:
        """Scores, confidence, and speech where it is known."""
        scores = np.concatenate([block.scores for block in self._blocks])
        columns = {name: scores[:, place].tolist() for place, name in enumerate(DIMENSIONS)}
        columns["confidence"] = [float(value) for block in self._blocks for value in block.confidence.min(axis=1)]
        if self._blocks[0].speech is not None:
            columns["speech"] = self.column("speech")
        return columns


class _SeriesFiles:
    """The files of ELAN's time series beside an .eaf: `NAME.emow2v.csv` and `NAME_tsconf.xml`."""

    def __init__(self, path: Path) -> None:
        self.data = path.with_name(f"{path.stem}.emow2v.csv")
        self.configuration = path.with_name(f"{path.stem}_tsconf.xml")
        self.linked = [self.data, self.configuration]
        self.places = {self.data: self.configuration, self.configuration: None}

    def write(self, staged: StagedFiles, curves: Curves, origin: float = 0.0) -> None:
        """Write curves; `origin` is the second of the recording at which the .eaf begins."""
        middles = (np.array(curves.column("starts")) + np.array(curves.column("ends"))) / 2 - origin
        data, configuration = time_series(curves.columns(), middles.tolist(), self.data)
        digest = hashlib.sha256(data.encode()).hexdigest()
        staged.open(self.data).write(data.encode())
        staged.open(self.configuration).write(marked(configuration.encode(), ".xml", digest))


class TurnsWriter:
    """`NAME.eaf`, `.TextGrid`, `.vtt` or `.rttm`: turns with their values; with curves, an .eaf also has them as time series.

    Args:
        curves: the values whose mean is taken; they are written where they come from one channel, and where the .eaf of the
            turns has no time series of its own
    """

    def __init__(
        self, path: Path, recording: Path | None, segmentation: Segmentation | None, *, overwrite: bool,
        curves: Curves | None = None,
    ) -> None:  # fmt: skip
        self.path, self.clipped = path, 0
        self._curves, self._series = curves, _SeriesFiles(path)
        self.staged = StagedFiles({path: None, **(self._series.places if curves else {})}, overwrite=overwrite)
        self._recording, self._segmentation = recording, segmentation
        self._turns: list[Turn] = []

    def open(self, info: Info) -> None:
        self._info = info
        self._file = self.staged.open(self.path)
        if self._curves is not None:
            self._curves.clear()

    def add(self, block: Block) -> None:
        assert block.turns is not None and block.speech is not None
        rows = zip(
            block.starts.tolist(), block.ends.tolist(), block.turns.speakers, block.turns.tiers, block.turns.labels,
            block.scores.tolist(), block.turns.counts, block.speech.tolist(), strict=True,
        )  # fmt: skip
        for start, end, speaker, tier, label, scores, count, speech in rows:
            self._turns.append(Turn(Segment(start, end, speaker, tier, label), tuple(scores), count, speech))

    def close(self) -> None:
        ending = self.path.suffix.lower()
        if ending == ".textgrid":
            content = utf8(textgrid(self._turns, float(self._info.provenance["duration_s"])))
        elif ending == ".vtt":
            content = utf8(vtt(self._turns))
        elif ending == ".rttm":
            content = utf8(rttm(self._turns, Path(self._info.source).stem))
        else:
            content = self._eaf()
        self._file.write(marked(content, ending))

    def _eaf(self) -> bytes:
        found, facts = self._segmentation, self._info.provenance
        if found is None or found.source is None or found.format != "ELAN":
            recordings = [] if self._recording is None else [self._recording]
            series = self._series.linked if self._has_curves() else []
            return utf8(eaf(self._turns, self.path, recordings, series=series, provenance=facts))
        origin = (time_origin(found, self._recording) if self._recording else 0.0) or 0.0
        with naming(found.source):
            content = found.source.read_bytes()
            own = has_time_series(content)
            return add_tiers(
                content,
                self._turns,
                origin=origin,
                provenance=facts,
                moved=(found.source, self.path),
                recording=self._recording,
                series=(self.path, self._series.linked) if not own and self._has_curves(origin) else None,
            )

    def _has_curves(self, origin: float = 0.0) -> bool:
        """Write the curves if there are any of one channel; whether they were written."""
        if self._curves is None or self._curves.passes != 1:
            return False
        self._series.write(self.staged, self._curves, origin)
        return True


class SeriesWriter(Curves):
    """`NAME.eaf` without tiers, which links the recording, and the curves in `NAME.emow2v.csv` and `NAME_tsconf.xml`."""

    def __init__(self, path: Path, recording: Path | None, *, overwrite: bool) -> None:
        super().__init__()
        self.path, self.clipped = path, 0
        self._recording, self._series = recording, _SeriesFiles(path)
        self.staged = StagedFiles({path: None, **self._series.places}, overwrite=overwrite)

    def open(self, info: Info) -> None:
        self._info = info
        self._file = self.staged.open(self.path)

    def close(self) -> None:
        self._series.write(self.staged, self)
        recordings = [] if self._recording is None else [self._recording]
        document = eaf([], self.path, recordings, series=self._series.linked, provenance=self._info.provenance)
        self._file.write(marked(utf8(document), ".eaf"))


class PraatTableWriter(Curves):
    """`NAME.Table`: a row for each value, with its times."""

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        super().__init__()
        self.path, self.clipped = path, 0
        self.staged = StagedFiles({path: None}, overwrite=overwrite)

    def open(self, info: Info) -> None:
        self._file = self.staged.open(self.path)

    def close(self) -> None:
        columns = {"start": self.column("starts"), "end": self.column("ends"), **self.columns()}
        self._file.write(marked(praat_table(columns).encode(), ".table"))
