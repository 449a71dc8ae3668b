"""Plans: the recordings of a request, the files to write, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from emow2v.discover.descriptors import Descriptor
from emow2v.formats import Writer
from emow2v.formats.ssi import AnnotationWriter, StreamWriter
from emow2v.framing import Framing
from emow2v.model import Context


@dataclass(frozen=True)
class Output:
    """A file to write: which output of the module, where, and what its descriptor said."""

    port: str
    path: Path
    descriptor: Descriptor

    def writer(self, *, overwrite: bool = False) -> Writer:
        given = self.descriptor
        overwrite = overwrite or given.origin == "request"  # in a folder of the job's own
        if self.port == "embedding":
            return StreamWriter(self.path, overwrite=overwrite)
        return AnnotationWriter(
            self.path,
            self.port,
            scheme=given.scheme,
            role=given.role,
            annotator=given.annotator,
            overwrite=overwrite,
        )


@dataclass(frozen=True)
class Session:
    """One recording and its outputs."""

    name: str
    source: Path | bytes
    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class Plan:
    """A request that can be carried out.

    Attributes:
        job_id: checked
        model: name of the model to use
        sessions: what to do
        framing, context, batch_size: how
        heard: track and channel of the recordings, where they were asked for
        overwrite: whether also what emow2v did not write makes way
        notes: sentences on fields and options that are unknown and were ignored
        details: the form as it may be shown: passwords masked
        results: folder of the job's `request:` outputs
    """

    job_id: str
    model: str
    sessions: tuple[Session, ...]
    framing: Framing
    context: Context
    batch_size: int
    heard: Mapping[str, int | str]
    overwrite: bool
    notes: tuple[str, ...]
    details: Mapping[str, str]
    results: Path
