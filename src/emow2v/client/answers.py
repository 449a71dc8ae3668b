"""What a server answers, as types: jobs, results, models. Fields that a newer server adds are ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

State: TypeAlias = Literal["waiting", "running", "finished", "error", "canceled"]
ENDED = ("finished", "error", "canceled")


class Unfit(ValueError):
    """An answer has not the form that is expected; the text says what is wrong."""


@dataclass(frozen=True)
class Counts:
    """Recordings of a job of many: done, failed, and all; `seconds_left` as far as that is known."""

    all: int = 0
    done: int = 0
    failed: int = 0
    seconds_left: float | None = None


@dataclass(frozen=True)
class Recording:
    """A recording of a job of many.

    Attributes:
        number: by which `result` and `download` know it, as `session`
        state: "waiting", "done" or "failed"
        rows: number of its values
        seconds: of its sound
        error: one sentence where it failed
        notices: sentences on what is missing or unusual in it
    """

    number: int
    name: str
    state: str
    rows: int = 0
    seconds: float = 0.0
    error: str = ""
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """A job of a server.

    Attributes:
        id: by which the server knows it
        name: of the recording
        kind: "prediction", "batch" for many recordings, or "process" for one of DISCOVER and NOVA
        state: what it does
        rows, expected_rows: values so far, and in the end as far as the recording says
        position: number of jobs that wait before it; None unless it waits
        posted, started, ended: times with their zone; None before the event
        error: one sentence where it failed
        model, provenance: what it was computed with; empty before its end
        owner: name of the person who posted it
        notices: sentences on what is missing or unusual in the recording
        files: of a job of many recordings: how many are done; else None
    """

    id: str
    name: str
    state: State
    kind: str = "prediction"
    rows: int = 0
    expected_rows: int | None = None
    position: int | None = None
    posted: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    error: str = ""
    model: str = ""
    provenance: Mapping[str, str | float] = field(default_factory=dict, hash=False)
    owner: str = ""
    notices: tuple[str, ...] = ()
    files: Counts | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it is finished, failed or cancelled."""
        return self.state in ENDED

    @property
    def progress(self) -> float:
        """How far it is, 0..1, as far as the recording says."""
        if self.state == "finished":
            return 1.0
        if self.files is not None:
            return (self.files.done + self.files.failed) / max(1, self.files.all)
        return min(self.rows / self.expected_rows, 1.0) if self.expected_rows else 0.0


@dataclass(frozen=True)
class ModelInfo:
    """A model of a server; lengths of windows in seconds, the sampling rate in Hz.

    Attributes:
        served: whether it is used where a request names none
        in_memory: number of the server's processes that hold it
        memory_mb: the most that it takes in one of them; None where none holds it
    """

    name: str
    version: str
    description: str
    licence: str
    sampling_rate: int
    min_seconds: float
    max_seconds: float
    served: bool
    in_memory: int = 0
    memory_mb: float | None = None


@dataclass(frozen=True)
class Citation:
    """How to name the values in a paper: a paragraph for the methods section, and references in BibTeX."""

    methods: str
    bibtex: str


@dataclass(frozen=True)
class Turns:
    """Speakers, tiers and labels of rows that are turns, and the number of values that each row stands for."""

    speakers: tuple[str, ...]
    tiers: tuple[str, ...]
    labels: tuple[str, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Result:
    """The values of a recording; rows are steps in time, turns, or the whole recording.

    Attributes:
        name: of the recording
        starts, ends: float64 [rows], seconds
        scores: float64 [rows, 3], arousal, dominance, valence, about 0..1; NaN where nobody speaks, if speech was looked for
        confidence: float64 [rows], 0..1, the lowest of the three
        speech: float64 [rows], the probability of speech; None if it was not looked for
        turns: of each row, if rows are turns; else None
        embeddings: float32 [rows, 1024]; None unless the job was posted with embeddings=True
        provenance: model, weights, engine, windows, licence, and what was read
        job: that computed it
    """

    name: str
    starts: npt.NDArray[np.float64]
    ends: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float64]
    speech: npt.NDArray[np.float64] | None
    turns: Turns | None
    embeddings: npt.NDArray[np.float32] | None
    provenance: Mapping[str, str | float]
    job: Job

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def arousal(self) -> npt.NDArray[np.float64]:
        """float64 [rows]"""
        return self.scores[:, 0]

    @property
    def dominance(self) -> npt.NDArray[np.float64]:
        """float64 [rows]"""
        return self.scores[:, 1]

    @property
    def valence(self) -> npt.NDArray[np.float64]:
        """float64 [rows]"""
        return self.scores[:, 2]

    def to_frame(self) -> pd.DataFrame:
        """A table with a row for each value: start and end in seconds, scores, confidence, and what else there is."""
        import pandas as pd

        columns: dict[str, Any] = {"start": self.starts, "end": self.ends}
        if self.turns is not None:
            columns |= {"speaker": self.turns.speakers, "tier": self.turns.tiers, "label": self.turns.labels}
        columns |= {"arousal": self.arousal, "dominance": self.dominance, "valence": self.valence}
        columns["confidence"] = self.confidence
        if self.turns is not None:
            columns["n"] = self.turns.counts
        if self.speech is not None:
            columns["speech"] = self.speech
        return pd.DataFrame(columns)


def read_job(body: Any) -> Job:
    """A job.

    Raises:
        Unfit: it is none
    """
    known = _known(body, Job, ("id", "name", "state"))
    for name in ("posted", "started", "ended"):
        known[name] = _time(known.get(name))
    known["files"] = Counts(**_known(known["files"], Counts, ())) if known.get("files") is not None else None
    if known["state"] not in ("waiting", "running", *ENDED):
        raise Unfit("a job has no state")
    return Job(**known)


def read_model(body: Any) -> ModelInfo:
    """A model.

    Raises:
        Unfit: it is none
    """
    return ModelInfo(**_known(body, ModelInfo, tuple(one.name for one in fields(ModelInfo) if one.default is MISSING)))


def read_citation(body: Any) -> Citation:
    """A citation.

    Raises:
        Unfit: it is none
    """
    return Citation(**_known(body, Citation, ("methods", "bibtex")))


def read_recordings(body: Any) -> list[Recording]:
    """A page of the recordings of a job of many.

    Raises:
        Unfit: it is none
    """
    listed = read_list(body.get("files") if isinstance(body, dict) else None)
    return [Recording(**_known(one, Recording, ("number", "name", "state"))) for one in listed]


def read_object(body: Any) -> dict[str, Any]:
    """The fields of an object.

    Raises:
        Unfit: it is none
    """
    if not isinstance(body, dict):
        raise Unfit("it is no object")
    return body


def read_list(body: Any) -> list[Any]:
    """The elements of a list.

    Raises:
        Unfit: it is none
    """
    if not isinstance(body, list):
        raise Unfit("it is no list")
    return body


def read_result(table: Any, job: Job, arrays: bytes | None) -> Result:
    """A result.

    Args:
        table: the JSON document of a table
        arrays: the content of the job's .npz; None where it has none

    Raises:
        Unfit: one of them is none
    """
    import numpy as np

    names = table.get("columns") if isinstance(table, dict) else None
    rows = table.get("rows") if isinstance(table, dict) else None
    if not isinstance(names, list) or not isinstance(rows, list):
        raise Unfit("it is no table")
    if any(not isinstance(row, list) or len(row) != len(names) for row in rows):
        raise Unfit("a row of the table has more or fewer values than columns")
    columns = {str(name): [row[place] for row in rows] for place, name in enumerate(names)}

    def numbers(*wanted: str) -> npt.NDArray[np.float64]:
        kinds = {type(value) for name in wanted for value in columns.get(name, ("",))}
        try:
            if kinds <= {float, int, type(None)}:  # None becomes NaN
                return np.array([columns[name] for name in wanted], np.float64).T.reshape(len(rows), len(wanted))
        except (KeyError, OverflowError):  # no such column, or an integer that is too large
            pass
        raise Unfit(f"its column {' or '.join(wanted)} is missing or no numbers")

    turns = None
    if "speaker" in columns:
        speakers, tiers, labels = (tuple(map(str, columns.get(name, ()))) for name in ("speaker", "tier", "label"))
        turns = Turns(speakers, tiers, labels, tuple(numbers("n")[:, 0].astype(int).tolist()))
    embeddings = None if arrays is None else _embeddings(arrays)
    if embeddings is not None and len(embeddings) != len(rows):
        raise Unfit(f"it has {len(rows)} rows and {len(embeddings)} embeddings")
    return Result(
        name=str(table.get("file", job.name)),
        starts=numbers("start")[:, 0],
        ends=numbers("end")[:, 0],
        scores=numbers("arousal", "dominance", "valence"),
        confidence=numbers("confidence")[:, 0],
        speech=numbers("speech")[:, 0] if "speech" in columns else None,
        turns=turns,
        embeddings=embeddings,
        provenance=provenance if isinstance(provenance := table.get("provenance"), dict) else {},
        job=job,
    )


def _embeddings(content: bytes) -> npt.NDArray[np.float32]:
    import io
    import zipfile

    import numpy as np

    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return cast("npt.NDArray[np.float32]", archive["embeddings"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise Unfit("its arrays are damaged") from None


# What JSON has for the fields of the types, by their annotations
_KINDS: dict[str, tuple[type[Any], ...]] = {
    "str": (str,), "State": (str,), "int": (int,), "int | None": (int, type(None)), "float": (int, float), "bool": (bool,),
    "float | None": (int, float, type(None)), "datetime | None": (str,), "tuple[str, ...]": (list,),
    "Mapping[str, str | float]": (dict,), "Counts | None": (dict, type(None)),
}  # fmt: skip


def _known(body: Any, kind: type[Any], required: tuple[str, ...]) -> dict[str, Any]:
    """The fields of an object that a type has."""
    if not isinstance(body, dict) or any(name not in body for name in required):
        missing = ", ".join(name for name in required if not isinstance(body, dict) or name not in body)
        raise Unfit(f"{kind.__name__.lower()} without {missing or 'fields'}")
    known = {one.name: body[one.name] for one in fields(kind) if one.name in body}
    for one in fields(kind):
        if one.name in known and not isinstance(known[one.name], _KINDS[str(one.type)]):
            raise Unfit(f"{one.name} of a {kind.__name__.lower()} is {str(known[one.name])[:40]!r}")
        if one.name in known and one.type == "tuple[str, ...]":
            known[one.name] = tuple(map(str, known[one.name]))
    return known


def _time(text: Any) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        raise Unfit(f"a time is '{str(text)[:40]}'") from None
