"""Pieces of a long recording have the rows of one pass over it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from emow2v.cluster import jobs
from emow2v.cluster.jobs import Answer, Settings, Task
from emow2v.cluster.worker import Worker
from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE

SETTINGS = Settings("mix", turns=False, embeddings=True)


def worker(lite: Model, settings: Settings = SETTINGS) -> Worker:
    made = Worker()
    made.open(lite.__reduce__()[1][0], lite.name, settings)
    return made


@pytest.mark.parametrize(
    "framing",
    [
        Framing(frame_step_ms=500),
        Framing(frame_step_ms=400, left_context_ms=300, right_context_ms=700),
        Framing(frame_step_ms=480, align="centre", padding="zeros"),
    ],
)
def test_pieces_have_the_rows_of_one_pass(lite: Model, framing: Framing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "PIECE_S", 3)
    task = Task(str(EXAMPLE), {"framing": framing}, divisible=True)
    computing = worker(lite)
    [undone] = computing.compute([task])
    assert undone.long and not undone.found
    parts = jobs.pieces(task, undone.long)
    assert len(parts) == 4
    joined = jobs.join([computing.compute([part])[0] for part in parts], task.options)
    [whole] = computing.compute([replace(task, divisible=False)])
    [one], [other] = joined.found, whole.found
    for name in ("starts", "ends"):
        assert np.array_equal(getattr(one.rows, name), getattr(other.rows, name))
    for name in ("scores", "embeddings", "confidence"):
        assert np.abs(getattr(one.rows, name) - getattr(other.rows, name)).max() < 1e-5
    assert one.rows.first == other.rows.first
    assert one.info == other.info
    assert (joined.content, joined.duration_s) == (whole.content, whole.duration_s)


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({"framing": Framing.files()}, SETTINGS),
        ({"framing": Framing(start_ms=40)}, SETTINGS),
        ({"framing": Framing(end_ms=400)}, SETTINGS),
        ({"speech": True}, SETTINGS),
        ({"context": "shared"}, SETTINGS),
        ({}, replace(SETTINGS, turns=True)),
        ({}, replace(SETTINGS, channel="each")),
    ],
)
def test_what_depends_on_the_whole_recording_is_done_in_one_piece(options: dict[str, Any], settings: Settings) -> None:
    assert jobs.is_divisible({}, SETTINGS, one_pass=False)
    assert not jobs.is_divisible(options, settings, one_pass=False)
    assert not jobs.is_divisible({}, SETTINGS, one_pass=True)


def test_a_long_recording_has_no_more_than_eight_pieces() -> None:
    ten_hours = jobs.pieces(Task("long.wav", {}), 25 * 36000)
    edges = [(part.options["framing"].start_ms, part.options["framing"].end_ms) for part in ten_hours]
    assert len(edges) == 8
    assert edges[0][0] == 0 and edges[-1][1] is None
    assert all(end == begin for (_, end), (begin, _) in pairwise(edges))
    assert not jobs.is_long(25 * 599, {}) and jobs.is_long(25 * 600, {})


def test_each_recording_of_a_job_has_its_rows_or_its_error(lite: Model, tmp_path: Path) -> None:
    sound, rate = soundfile.read(EXAMPLE, dtype="float32")
    paths = [tmp_path / name for name in ("one.wav", "bad.wav", "two.wav", "absent.wav")]
    soundfile.write(paths[0], sound[:rate], rate)
    paths[1].write_text("no sound")
    soundfile.write(paths[2], sound[rate : 3 * rate], rate)
    options = {"framing": Framing.files()}
    settings = replace(SETTINGS, embeddings=False)
    answers = worker(lite, settings).compute([Task(str(path), options) for path in paths])
    assert [bool(answer.found) for answer in answers] == [True, False, True, False]
    assert "bad.wav is not a recording that can be decoded" in answers[1].error
    assert answers[3] == Answer(missing=True)
    for answer, path in ((answers[0], paths[0]), (answers[2], paths[2])):
        alone = lite.predict(path, unit="files")
        assert np.abs(answer.found[0].rows.scores - alone.scores).max() < 1e-5
        assert answer.found[0].rows.embeddings.shape == (1, 0)
        assert answer.found[0].info.provenance == dict(alone.provenance)
        assert answer.duration_s == float(alone.ends[-1])
