"""Writers of SSI and NOVA files: scores as continuous annotations, embeddings as streams. `ssi_read` reads them.

Each result is a pair of files: an XML header `X.annotation` or `X.stream`, and the data in a file of the same name with
`~`. Row k begins at k / sr. Therefore rows before `start`, which were not computed, are written as zeros (in annotations
with confidence 0). The header contains a mark that covers both files (see `storage.marks`).
"""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from abc import ABC, abstractmethod
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import IO

import numpy as np

from emow2v.errors import FormatError
from emow2v.formats import PLAIN, AnnotationFacts
from emow2v.formats.ssi_read import Annotation, StreamData, data_path, read_annotation, read_stream
from emow2v.rows import DIMENSIONS, EMBEDDING_SIZE, SPEECH_THRESHOLD, Block, Info
from emow2v.storage import marks
from emow2v.storage.files import StagedFiles

__all__ = ["Annotation", "AnnotationWriter", "StreamData", "StreamWriter", "read_annotation", "read_stream"]

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, production 2


class _PairWriter(ABC):
    """The common part of both writers. Data are written block by block; the header is written last."""

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path = Path(path)
        # the data are published before the header, so that a header never appears without data
        self.staged = StagedFiles({data_path(self.path): self.path, self.path: None}, overwrite=overwrite)
        self.clipped = 0
        self._rows = 0
        self._info: Info | None = None
        self._rate = Fraction(1)  # for a whole recording without a row
        self._data: IO[bytes] | None = None
        self._header: IO[bytes] | None = None

    def open(self, info: Info) -> None:
        """Create the temporary files.

        Raises:
            PlaceTaken: another program wrote a file there, or changed it
            FormatError: the folder cannot be written, or rows are turns, which have no value every step
        """
        if info.turns:
            raise FormatError(
                f"{self.path} has a value every step; turns have none; expected .csv, .json or .npz for turns; "
                "emow2v predict --format annotation writes turns for NOVA."
            )
        self._info = info
        if not info.framing.whole:
            self._rate = 1000 / info.framing.step_ms
        self.staged.check()
        self._data = self.staged.open(data_path(self.path))
        self._header = self.staged.open(self.path)

    def add(self, block: Block) -> None:
        """Write the next rows. Rows that are missing before them are written as zeros.

        Raises:
            FormatError: the rows were written already
        """
        assert self._info is not None and self._data is not None
        if not len(block):
            return
        missing = block.first - self._rows
        if missing < 0:
            raise FormatError(
                f"{self.path}: row {block.first} came after row {self._rows - 1}; expected rows in order."
            )
        if self._info.framing.whole:
            seconds = Fraction(float(block.ends[0] - block.starts[0])).limit_denominator(10**9)
            self._rate = 1 / seconds if seconds else Fraction(1)
        for begin in range(0, missing, 1000):  # in pieces, so that memory does not grow with a late start
            self._data.write(self._zeros(block) * min(1000, missing - begin))
        self._data.write(self._encode(block))
        self._rows = block.first + len(block)

    def close(self) -> None:
        """Write the header. The files are not published yet."""
        assert self._info is not None and self._header is not None
        write_header(self._header, self._header_element(self._info), self.staged.digest(data_path(self.path)))

    @abstractmethod
    def _zeros(self, block: Block) -> bytes:
        """A row of zeros, as wide as the rows of a block."""

    @abstractmethod
    def _encode(self, block: Block) -> bytes:
        """The rows of a block in the form of the data file."""

    @abstractmethod
    def _header_element(self, info: Info) -> ET.Element:
        """The header's root element."""


class AnnotationWriter(_PairWriter):
    """Writes one dimension as a continuous annotation in text, the only kind that NOVA draws as a curve.

    Scores are clipped to 0..1, which is mapped onto the range of the scheme; `clipped` is their number. A score that is not
    finite is written as the lowest value with confidence 0, so that the reference reads it. A whole recording is one row, and
    its sr is 1 / duration. A pair without rows is valid.

    Args:
        path: the header, X.annotation
        dimension: arousal, dominance or valence
        scheme: name of the scheme; "" for the dimension
        facts: role of the speaker, and range of the scheme
        annotator: name of the annotator; "" for emow2v with model and version
        gaps: write rows without speech as NaN, with their confidence
        overwrite: also replace files that emow2v did not write, or that were changed since

    Raises:
        FormatError: the dimension is unknown
    """

    def __init__(
        self,
        path: Path,
        dimension: str,
        *,
        scheme: str = "",
        facts: AnnotationFacts = PLAIN,
        annotator: str = "",
        gaps: bool = False,
        overwrite: bool = False,
    ) -> None:
        super().__init__(path, overwrite=overwrite)
        if dimension not in DIMENSIONS:
            raise FormatError(f"Dimension is '{dimension[:40]}'; expected one of {', '.join(DIMENSIONS)}.")
        self._column = DIMENSIONS.index(dimension)
        self._scheme = scheme or dimension
        self._facts = facts
        self._annotator = annotator
        self._gaps = gaps

    def _zeros(self, block: Block) -> bytes:
        return f"{self._facts.texts([0.0])[0]};0.000000\n".encode()

    def _encode(self, block: Block) -> bytes:
        scores = block.scores[:, self._column].astype(np.float64)
        finite = np.isfinite(scores)
        self.clipped += int(np.count_nonzero(finite & ((scores < 0) | (scores > 1))))
        scores = np.where(finite, np.clip(scores, 0, 1), 0) + 0.0  # + 0.0 turns -0.0 into 0.0
        confidence = np.where(finite, np.clip(np.nan_to_num(block.confidence[:, self._column]), 0, 1), 0) + 0.0
        texts = self._facts.texts(scores.tolist())
        for row in np.flatnonzero(block.silent) if self._gaps else ():
            texts[row] = "NaN"  # as .NET, and so NOVA, reads it
        return "".join(f"{a};{b:.6f}\n" for a, b in zip(texts, confidence.tolist(), strict=True)).encode()

    def _header_element(self, info: Info) -> ET.Element:
        note = f"speech: NaN where its probability is below {SPEECH_THRESHOLD:g}" if self._gaps else ""
        root = annotation_header(info, self._rows, self._facts.role, annotator=self._annotator, note=note)
        add_continuous_scheme(root, self._scheme, self._rate, self._facts)
        return root


class StreamWriter(_PairWriter):
    """Writes embeddings as a stream of little-endian float32, in one chunk from the beginning of the recording.

    Args:
        path: the header, X.stream
        overwrite: also replace files that emow2v did not write, or that were changed since
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        super().__init__(path, overwrite=overwrite)
        self._dim = EMBEDDING_SIZE

    def _zeros(self, block: Block) -> bytes:
        return bytes(block.embeddings.shape[1] * 4)

    def _encode(self, block: Block) -> bytes:
        self._dim = block.embeddings.shape[1]
        return block.embeddings.astype("<f4").tobytes()

    def _header_element(self, info: Info) -> ET.Element:
        root = ET.Element("stream", {"ssi-v": "2"})
        facts = {"ftype": "BINARY", "sr": _decimal(self._rate), "dim": str(self._dim)}
        ET.SubElement(root, "info", {**facts, "byte": "4", "type": "FLOAT", "delim": " "})
        meta = {"type": "feature", "annotator": _annotator(info), "description": _provenance(info)}
        ET.SubElement(root, "meta", {key: xml_text(text) for key, text in meta.items()})
        to = _decimal(self._rows / self._rate)
        ET.SubElement(root, "chunk", {"from": "0.000", "to": to, "byte": "0", "num": str(self._rows)})
        return root


def annotation_header(info: Info, rows: int, role: str, *, annotator: str = "", note: str = "") -> ET.Element:
    """The header of an annotation of a number of rows, without its scheme.

    Args:
        annotator: "" for emow2v with model and version
        note: behind the provenance
    """
    root = ET.Element("annotation", {"ssi-v": "3"})
    ET.SubElement(root, "info", {"ftype": "ASCII", "size": str(rows)})
    description = "; ".join(filter(None, (_provenance(info), note)))
    meta = {"role": role, "annotator": annotator or _annotator(info), "description": description}
    ET.SubElement(root, "meta", {key: xml_text(text) for key, text in meta.items()})
    return root


def add_continuous_scheme(root: ET.Element, name: str, rate: Fraction, facts: AnnotationFacts) -> None:
    """Add a scheme of values at a rate in Hz."""
    scheme = {"name": xml_text(name), "type": "CONTINUOUS", "sr": _decimal(rate)}
    ET.SubElement(root, "scheme", {**scheme, "min": f"{facts.low:.10g}", "max": f"{facts.high:.10g}"})


def write_header(file: IO[bytes], root: ET.Element, digest: str) -> None:
    """Write the header of a pair of files with its mark, which vouches for the data of that digest."""
    root.find("meta").set("mark", marks.text(digest))  # type: ignore[union-attr]
    ET.indent(root, space="    ")
    file.write(ET.tostring(root, encoding="us-ascii", xml_declaration=False))
    marks.seal(file)


def xml_text(text: str) -> str:
    """A text without the characters that XML cannot hold."""
    return _NOT_XML.sub("", text)


def _decimal(value: Fraction) -> str:
    """A decimal number with three to nine decimals, as many as are needed to be exact; small numbers have nine digits."""
    most = 9 if value >= 1 or not value else max(9, 8 - math.floor(math.log10(value)))
    for places in range(3, most):
        text = f"{float(value):.{places}f}"
        if Fraction(text) == value:
            return text
    return f"{float(value):.{most}f}"


def _annotator(info: Info) -> str:
    names = (str(info.provenance.get(key, "")) for key in ("model", "model_version"))
    return " ".join(["emow2v", *filter(None, names)])


def _source(facts: Mapping[str, str]) -> str:
    track = f"track {facts['track']} of {facts['tracks']}" if facts.get("tracks", "1") != "1" else ""
    channel = f"channel {facts['channel']} of {facts['channels']}" if facts.get("channels", "1") != "1" else ""
    return ", ".join(filter(None, (track, channel)))


def _provenance(info: Info) -> str:
    """One line: model, weights, engine, framing, software, licence, citation."""
    facts = {key: str(value) for key, value in info.provenance.items()}
    framing = info.framing
    windows = "one value for each turn" if info.turns else "one value for the whole recording"
    if not framing.whole:
        windows = (
            f"step {float(framing.step_ms):g} ms, frame {float(framing.core_ms):g} ms, context "
            f"{float(framing.left_context_ms):g} ms left and {float(framing.right_context_ms):g} ms right, "
            f"{framing.padding} padding" + (", shared context" if info.provenance.get("context") == "shared" else "")
        )
    limits = [f"{name} {float(ms):g} ms" for name, ms in (("start", framing.start_ms), ("end", framing.end_ms)) if ms]
    parts = {
        "model": " ".join(filter(None, (facts.get("model"), facts.get("model_version")))),
        "weights sha256": facts.get("weights_sha256", "")[:12],
        "engine": " ".join(filter(None, (facts.get("engine"), facts.get("precision")))),
        "framing": ", ".join([windows, *limits]),
        "heard": _source(facts),
        "notices": facts.get("notices", ""),
        "software": facts.get("software", ""),
        "licence": facts.get("licence", ""),
        "citation": facts.get("citation", ""),
    }
    return " ".join("; ".join(f"{name}: {text}" for name, text in parts.items() if text).split())
