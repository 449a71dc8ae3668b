"""Outputs: the files that a request asks for, their places, and the values that they hold afterwards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emow2v.discover.database.files import output_uri
from emow2v.discover.descriptors import Descriptor
from emow2v.discover.places import Places, safe_name
from emow2v.discover.recordings import Found
from emow2v.errors import FormatError, RequestError
from emow2v.formats import AnnotationFacts, Writer
from emow2v.formats.ssi import AnnotationWriter, StreamWriter
from emow2v.formats.ssi_read import read_annotation
from emow2v.formats.table_read import Table
from emow2v.trajectory import DIMENSIONS


@dataclass(frozen=True)
class Output:
    """A file to write.

    Attributes:
        port: id of the module's output
        path: of the file
        descriptor: the entry of the request's `data`
    """

    port: str
    path: Path
    descriptor: Descriptor

    def writer(self, *, overwrite: bool = False, gaps: bool = False) -> Writer:
        """A writer for the file.

        Args:
            overwrite: also replace a file that emow2v did not write
            gaps: annotations have NaN where nobody speaks
        """
        entry = self.descriptor
        kept = entry.origin == "request" or (entry.origin == "db" and self.port != "embedding")
        overwrite = overwrite or kept  # in a folder of the job's own
        if self.port == "embedding":
            return StreamWriter(self.path, overwrite=overwrite)
        return AnnotationWriter(
            self.path,
            self.port,
            scheme=entry.scheme,
            facts=AnnotationFacts(role=entry.role),
            annotator=entry.annotator,
            gaps=gaps,
            overwrite=overwrite,
        )


@dataclass(frozen=True)
class Session:
    """One recording, a path or the bytes of a file, its outputs, and files with its turns."""

    name: str
    recording: Found
    outputs: tuple[Output, ...]
    turns: tuple[Path, ...] = ()


def place(
    session: str, dataset: str, job_id: str, ports: Iterable[tuple[str, Descriptor]], places: Places
) -> tuple[Output, ...]:
    """The outputs of a session at their places.

    What goes to NOVA's database is also kept as a hidden file among the job's results, for its page and its turns.

    Args:
        ports: each output's port and descriptor

    Raises:
        RequestError: a place outside the data folders
    """
    results = places.results(job_id) / safe_name(dataset, "dataset") / safe_name(session, "session")
    placed = []
    for port, descriptor in ports:
        ending = ".stream" if port == "embedding" else ".annotation"
        if descriptor.origin == "db" and port != "embedding":
            names = json.dumps([session, descriptor.role, descriptor.scheme, descriptor.annotator])
            path = places.results(job_id) / f".{hashlib.sha256(names.encode()).hexdigest()[:16]}.{port}.annotation"
        elif descriptor.origin == "db":
            file = f"{descriptor.role}.{descriptor.name}{ending}"
            path = places.output(output_uri(places, dataset, session, file), ending)
        elif descriptor.origin == "request":
            path = results / (safe_name(descriptor.name, descriptor.id).removesuffix(ending) + ending)
        else:
            path = places.output(descriptor.path(dataset, session), ending)
        placed.append(Output(port, path, descriptor))
    return tuple(placed)


def refuse_clashes(sessions: Sequence[Session]) -> None:
    """Refuse two outputs at one place, and an output that would replace its own recording.

    Raises:
        RequestError: names the place
    """
    seen: set[Path] = set()
    for session in sessions:
        for output in session.outputs:
            files = (output.path, output.path.with_name(output.path.name + "~"))
            if session.recording in files:
                raise RequestError(f"The output {output.path} is the recording itself; choose another name.")
            if any(one in files for one in session.turns):
                raise RequestError(f"The output {output.path} is the input with the turns; choose another name.")
            if output.path in seen:
                raise RequestError(
                    f"Two outputs go to {output.path}; expected a place for each"
                    + (" (uri_template with {session}, for several sessions)." if len(sessions) > 1 else ".")
                )
            seen.add(output.path)


def read_table(outputs: Iterable[Output]) -> Table:
    """The values of a session, from the annotations that it wrote; dimensions without an annotation are NaN.

    Raises:
        RequestError: no annotation is among the outputs
        FormatError: an annotation is gone, or another file lies at its place
    """
    curves = {output.port: read_annotation(output.path) for output in outputs if output.port in DIMENSIONS}
    if not curves:
        raise RequestError("The job wrote no annotations; expected arousal, dominance or valence among its outputs.")
    longest = max(curves.values(), key=len)
    rows = len(longest)
    scores, confidence = np.full((rows, len(DIMENSIONS)), np.nan), np.ones((rows, len(DIMENSIONS)))
    for port, curve in curves.items():
        if curve.scheme != "CONTINUOUS":
            raise FormatError(f"The annotation of {port} is {curve.scheme} by now; expected CONTINUOUS; run it again.")
        column = DIMENSIONS.index(port)
        scores[: len(curve), column] = curve.scores
        confidence[: len(curve), column] = curve.confidence
    return Table(longest.starts, longest.ends, scores, confidence.min(axis=1))
