"""Probing: the first frame of a recording is decoded before a job is taken."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from emow2v.audio import recording as audio
from emow2v.blocks import no_values
from emow2v.errors import AudioError, RequestError, TooLong
from emow2v.framing import Framing

_PROBED_S = 60  # of sound at most, where a request begins late in its recording


def probe(recording: Path | bytes, framing: Framing, longest_s: float = 0, **heard: Any) -> None:
    """Decode a recording's first frame as the job will, so that what cannot be done is refused now.

    Args:
        longest_s: of a recording; 0 for any length
        heard: `track` and `channel`, where they were asked for

    Raises:
        RequestError: it cannot be decoded, or has no value in it
        TooLong: by what it says of itself, which need not be true
    """
    source = io.BytesIO(recording) if isinstance(recording, bytes) else recording
    end_s = float(framing.end_ms or 0) / 1000
    try:
        opened = audio.open_recording(source, **heard)
        try:
            opened.longest_s = longest_s
            stated = opened.expected_duration or 0
            opened.check(min(stated, end_s) if end_s else stated)
            for _ in opened:
                if framing.count(opened.duration) > framing.first_frame or opened.duration > _PROBED_S:
                    return
            raise no_values(opened.name, opened.duration, framing)
        finally:
            opened.close()
    except TooLong:
        raise
    except AudioError as error:
        raise RequestError(str(error)) from None
