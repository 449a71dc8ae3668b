"""Probing: decodes the first frame of a recording before a job is queued."""

from __future__ import annotations

import io
from pathlib import Path

from emow2v.audio import recording as audio
from emow2v.discover.options import TrackChoice
from emow2v.errors import AudioError, RequestError, TooLong
from emow2v.framing import Framing
from emow2v.prediction.blocks import no_values

_PROBED_S = 60  # of sound at most, where a request begins late in its recording


def probe(
    recording: Path | bytes, framing: Framing, max_duration_s: float = 0, track_choice: TrackChoice | None = None
) -> float:
    """Decode the first frame of a recording as the job will, so that errors are found before the job is queued.

    Args:
        max_duration_s: longest recording in seconds; 0 for no limit
        track_choice: track and channel; default: the default track, all channels

    Returns:
        the duration that the recording states, in seconds; 0 where it states none

    Raises:
        RequestError: the recording cannot be decoded, or holds no value
        TooLong: the recording states a longer duration, which need not be true
    """
    source = io.BytesIO(recording) if isinstance(recording, bytes) else recording
    end_s = float(framing.end_ms or 0) / 1000
    try:
        opened = audio.open_recording(source, **(track_choice or TrackChoice()))
        try:
            opened.longest_s = max_duration_s
            stated = opened.expected_duration or 0
            opened.check(min(stated, end_s) if end_s else stated)
            for _ in opened:
                if framing.count(opened.duration) > framing.first_frame or opened.duration > _PROBED_S:
                    return stated
            raise no_values(opened.name, opened.duration, framing)
        finally:
            opened.close()
    except TooLong:
        raise
    except AudioError as error:
        raise RequestError(str(error)) from None
