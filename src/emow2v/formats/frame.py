"""Tables in pandas, indexed (file, start, end) as audformat and audinterface do it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from emow2v.rows import DIMENSIONS, Block, Info, concatenate

if TYPE_CHECKING:
    import pandas as pd


def frame_of(info: Info, rows: Block, *, embeddings: bool = False) -> pd.DataFrame:
    """Rows of one recording as a table; `attrs` has the provenance.

    Args:
        embeddings: add the columns embedding_0 .. embedding_1023
    """
    frame = frame_of_many([(info, rows)], embeddings=embeddings)
    frame.attrs.update(info.provenance)
    return frame


def frame_of_many(parts: Sequence[tuple[Info, Block]], *, embeddings: bool = False) -> pd.DataFrame:
    """Rows of many recordings, one after the other, as one table.

    The columns are arousal, dominance, valence and confidence (the lowest of the three); with embeddings also
    embedding_0 .. embedding_1023; and channel if each channel of a recording has its own rows. If the probability of
    speech is known, it is the column speech, and scores are NaN in rows without speech. Turns have speaker, tier and
    label before their scores, and n (number of values) after them.
    """
    import pandas as pd

    rows = concatenate([block for _, block in parts])
    counts = [len(block) for _, block in parts]
    files = [info.source for (info, _), count in zip(parts, counts, strict=True) for _ in range(count)]
    times = (pd.to_timedelta(edges, unit="s").as_unit("ns") for edges in (rows.starts, rows.ends))
    index = pd.MultiIndex.from_arrays([pd.Index(files, dtype="str"), *times], names=["file", "start", "end"])
    frame = pd.DataFrame(rows.scores_of_speech, index=index, columns=list(DIMENSIONS))
    frame["confidence"] = rows.confidence.min(axis=1)
    if rows.speech is not None:
        frame["speech"] = rows.speech
    if rows.turns is not None:
        texts = {"speaker": rows.turns.speakers, "tier": rows.turns.tiers, "label": rows.turns.labels}
        for place, (name, values) in enumerate(texts.items()):
            frame.insert(place, name, pd.Series(values, index=index, dtype="str"))
        frame["n"] = np.array(rows.turns.counts, np.int64)
    if embeddings:
        names = [f"embedding_{number}" for number in range(rows.embeddings.shape[1])]
        frame = pd.concat([frame, pd.DataFrame(rows.embeddings, index=index, columns=names)], axis=1)
    if any(info.channel for info, _ in parts):
        frame["channel"] = [info.channel for (info, _), count in zip(parts, counts, strict=True) for _ in range(count)]
    return frame
