"""Reader of IEMOCAP in the folders of its release."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from emow2v import storage
from emow2v.corpora.clip import Clip
from emow2v.corpora.csv_rows import number, read_lines
from emow2v.corpora.partitions import DEVELOPMENT, TEST, TRAIN
from emow2v.corpora.scales import rescaled
from emow2v.errors import FormatError
from emow2v.trajectory import DIMENSIONS

_SCALE = 1.0, 5.0
_LINE = re.compile(r"\[\S+ - \S+\]\s+(\S+)\s+\S+\s+\[([^,\]]+),([^,\]]+),([^,\]]+)\]")
_ORDER = ("valence", "arousal", "dominance")  # of the values in a line


def read_iemocap(path: Path, *, test_session: int = 5, development_session: int = 4) -> list[Clip]:
    """The utterances of all sessions, with the means of their ratings (1 to 5). Two speakers speak in each session, and
    in no other, so that sessions are partitions.

    Raises:
        FormatError: sessions that are not there, or another form
    """
    path = path / "IEMOCAP_full_release" if storage.is_folder(path / "IEMOCAP_full_release") else path
    sessions = {int(folder.name[-1]): folder for folder in sorted(path.glob("Session[1-9]"))}
    partitions = {development_session: DEVELOPMENT, test_session: TEST}
    if len(partitions) < 2 or not set(partitions) < set(sessions):
        raise FormatError(
            f"{path} has the sessions {', '.join(map(str, sessions)) or 'of no kind'}; expected another one "
            f"to train on than test_session {test_session} and development_session {development_session}."
        )
    return [
        clip
        for session, folder in sessions.items()
        for file in sorted((folder / "dialog" / "EmoEvaluation").glob("Ses*.txt"))
        for clip in _dialog(file, folder / "sentences" / "wav", partitions.get(session, TRAIN))
    ]


def _dialog(file: Path, recordings: Path, partition: str) -> Iterator[Clip]:
    """The utterances of a dialog, from the file with its ratings."""
    for line, text in enumerate(read_lines(file), 1):
        match = _LINE.match(text)
        if text.startswith("[") and not match:
            raise FormatError(
                f"{file}, line {line}: '{text[:60]}'; expected [start - end] utterance emotion [valence, arousal, "
                "dominance]."
            )
        if match:
            name, *values = match.groups()
            row = dict(zip(_ORDER, map(str.strip, values), strict=True))
            dialog, _, turn = name.rpartition("_")
            yield Clip(
                file=recordings / dialog / f"{name}.wav",
                name=f"{name}.wav",
                speaker=name[:5] + turn[:1] if turn[:1] in ("F", "M") else "",
                ratings=rescaled([number(f"{file}, line {line}", row, one) for one in DIMENSIONS], _SCALE),
                partition=partition,
            )
