"""The turns of a recording whose values were computed over time: kept beside the values, and joined with them on request.

The file holds the turns of a segmentation, or how those of the detector are found, and the probability of speech of every
frame. Its name begins with a dot, so that it is not among the results that clients fetch.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np

from emow2v.errors import FormatError
from emow2v.formats.table import json_text
from emow2v.formats.table_read import Table
from emow2v.framing import Framing, Signal, exact
from emow2v.rows import SPEECH_THRESHOLD, Block, Info
from emow2v.speech.activity import FRAME_MS, ValueSpeech
from emow2v.speech.segments import Segment, Segmentation, fit_to_recording
from emow2v.speech.turns import turns as turns_of
from emow2v.storage import one_line
from emow2v.storage.files import StagedFiles

_FIELDS = tuple(field.name for field in fields(Segment))
_TOLERANCE_S = 1e-6  # times are decimal fractions, floats are not


@dataclass(frozen=True)
class ListedTurn:
    """A turn with its values.

    Attributes:
        segment: in seconds of the recording
        scores: arousal, dominance, valence; NaN where there is none
        confidence: NaN where there is none
        count: values that the scores stand for
        speech: share of the turn in which somebody speaks
    """

    segment: Segment
    scores: tuple[float, float, float]
    confidence: float
    count: int
    speech: float


@dataclass(frozen=True, eq=False)
class TurnList:
    """What is known of the turns of a recording.

    Attributes:
        name: of the file with the turns; "" for those of the detector
        segments: by their time
        frames: float32, the probability of speech in every frame
        notices: sentences on unusual turns
        frame_ms: length of a frame
    """

    name: str
    segments: tuple[Segment, ...]
    frames: Signal
    notices: tuple[str, ...]
    frame_ms: float = FRAME_MS

    def with_values(self, values: Table, framing: Framing) -> list[ListedTurn]:
        """The turns with the means of the values whose window lies inside them and which have speech.

        Args:
            values: in time, as `framing` places them
        """
        lead = float(framing.left_context_ms) / 1000
        reach = float(framing.core_ms + exact(framing.right_context_ms)) / 1000
        of_values, shares = (ValueSpeech(framing, self.frame_ms) for _ in range(2))
        of_values.add(self.frames)
        shares.add((self.frames >= SPEECH_THRESHOLD).astype(np.float32))
        first = round(float(values.starts[0]) * 1000 / float(framing.step_ms)) if len(values.starts) else 0
        spoken = of_values.of(first, len(values.starts)) >= SPEECH_THRESHOLD
        spoken &= values.starts >= float(framing.start_ms) / 1000 - _TOLERANCE_S  # annotations have zeros before it
        numbers = np.column_stack([values.scores, values.confidence])
        listed = []
        for one in self.segments:
            begin = int(np.searchsorted(values.starts, one.start + lead - _TOLERANCE_S))
            end = int(np.searchsorted(values.starts, one.end - reach + _TOLERANCE_S, side="right"))
            inside = numbers[begin:end][spoken[begin:end]]
            means = inside.mean(axis=0) if len(inside) else np.full(4, np.nan)
            arousal, dominance, valence, confidence = means.tolist()
            speech = shares.between(one.start, one.end)
            listed.append(ListedTurn(one, (arousal, dominance, valence), confidence, len(inside), speech))
        return listed


class TurnListWriter:
    """Writes the turns of a recording while its values are computed; a writer as in `formats`.

    Args:
        path: see `path_of`
        segmentation: the turns; None for those of the detector
        detection: options of `speech.turns.turns`
        frame_ms: length of the frames that have a probability of speech

    Attributes:
        notices: sentences on unusual turns, once the writer is closed
    """

    clipped = 0
    notices: tuple[str, ...] = ()

    def __init__(
        self, path: Path, segmentation: Segmentation | None, detection: Mapping[str, float], frame_ms: float = FRAME_MS
    ) -> None:
        self.staged = StagedFiles(overwrite=True)
        self._path, self._segmentation, self._detection = path, segmentation, detection
        self._frame_ms, self._frames = frame_ms, list[Signal]()

    def add_speech(self, frames: Signal) -> None:
        """Take the probabilities of speech of the frames that follow."""
        self._frames.append(frames)

    def open(self, info: Info) -> None:
        self._info = info
        self._file = self.staged.open(self._path)

    def add(self, block: Block) -> None:
        """Rows are kept in the results."""

    def close(self) -> None:
        frames = np.concatenate([np.zeros(0, np.float32), *self._frames])
        framing = self._info.framing
        duration = float(self._info.provenance["duration_s"])
        if framing.end_ms:
            duration = min(duration, float(framing.end_ms) / 1000)
        if self._segmentation is None:
            found = turns_of(frames, **self._detection, duration_s=duration, frame_ms=self._frame_ms)
            first = float(framing.start_ms) / 1000
            content = _Content("", [Segment(*times) for times in found if times[1] > first], [])
        else:
            fitted = self._fitted(self._segmentation, None if framing.end_ms else duration)
            segments = [replace(one, end=min(one.end, duration)) for one in fitted.segments if one.start < duration]
            self.notices = fitted.notices
            content = _Content(fitted.name, segments, fitted.notices)
        self._file.write(content.encoded(frames, self._frame_ms).encode())

    def _fitted(self, segmentation: Segmentation, duration: float | None) -> Segmentation:
        """The turns within the recording. The values are computed, so that none among them is no error any more."""
        try:
            return fit_to_recording(segmentation, duration, one_line(Path(self._info.source).name))
        except FormatError as error:
            return replace(segmentation, segments=()).with_notices(str(error))


@dataclass(frozen=True)
class _Content:
    name: str
    segments: Sequence[Segment]
    notices: Sequence[str]

    def encoded(self, frames: Signal, frame_ms: float) -> str:
        data = base64.b64encode(frames.astype("<f4").tobytes()).decode()
        return json_text({**asdict(self), "frames": data, "frame_ms": frame_ms})


def path_of(folder: Path, number: int) -> Path:
    """The place of a session's turns in the folder of a job's results."""
    return folder / f".turns-{number}.json"


def read_turn_list(path: Path) -> TurnList | None:
    """The turns of a recording; None where there are none.

    Raises:
        FormatError: the file cannot be read
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not content.keys() >= {"name", "segments", "notices", "frames"}:
            raise ValueError("it is another file")
        frames = np.frombuffer(base64.b64decode(content["frames"]), "<f4")
        segments = tuple(Segment(*(one[name] for name in _FIELDS)) for one in content["segments"])
        frame_ms = content.get("frame_ms", FRAME_MS)  # a table of an older version has none
        if not isinstance(frame_ms, float | int):
            raise ValueError("frame_ms is no number")
    except FileNotFoundError:
        return None
    except (OSError, KeyError, ValueError, binascii.Error) as error:
        raise FormatError(f"The job's turns cannot be read ({error}); post the recording again.") from None
    return TurnList(content["name"], segments, frames, tuple(content["notices"]), frame_ms)
