"""Tasks of both kinds: carried out without a server, with an observer of their events."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from emow2v.cli.demo import request
from emow2v.discover.observer import Observer
from emow2v.discover.places import Places
from emow2v.discover.task import DiscoverTask
from emow2v.model import Model
from emow2v.server.jobs.prediction import PredictionTask
from emow2v.server.jobs.task import Task
from emow2v.storage.files import Move


class Recorder(Observer):
    """Keeps the names of events in order, and the rows at each."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.rows: list[tuple[int, int | None]] = []
        self.moves: list[Path] = []

    def on_rows(self, rows: int, expected: int | None) -> None:
        self.events.append("rows")
        self.rows.append((rows, expected))

    def before_publish(self, moves: Sequence[Move]) -> None:
        self.events.append("publish")
        self.moves = [path for _, path in moves]
        assert not any(path.exists() for path in self.moves)

    def on_provenance(self, provenance: object) -> None:
        self.events.append("provenance")


class Refusing(Recorder):
    def before_publish(self, moves: Sequence[Move]) -> None:
        raise KeyboardInterrupt


class Stopping(Recorder):
    def on_step(self) -> None:
        raise KeyboardInterrupt


def discover_task(data: Path, work: Path) -> Task:
    return DiscoverTask("job", request(data, data / "talk.wav") | {"jobID": "job"}, Places([data], work))


def prediction_task(data: Path, work: Path) -> Task:
    return PredictionTask("job", {"path": "talk.wav", "format": "csv"}, Places([data], work))


@pytest.fixture(params=[discover_task, prediction_task])
def task(request: pytest.FixtureRequest, data: Path, tmp_path: Path) -> Task:
    made: Task = request.param(data, tmp_path / "work")
    return made


def test_events_of_a_task(task: Task, lite: Model) -> None:
    task.check(lite.card)
    recorder = Recorder()
    assert task.run(lite, recorder) == 25  # a second, a value every 40 ms
    assert recorder.rows[-1] == (25, 25) and recorder.events[-2:] == ["publish", "provenance"]
    assert set(recorder.events[:-2]) == {"rows"}
    assert recorder.moves and all(path.is_file() for path in recorder.moves)
    assert {path.parent for path in recorder.moves} == task.folders()
    assert len(task.table(0).starts) == 25 and isinstance(task.recording(0), Path)


@pytest.mark.parametrize("observer", [Stopping, Refusing])
def test_a_task_that_is_stopped_leaves_no_file(task: Task, lite: Model, data: Path, observer: type[Recorder]) -> None:
    task.check(lite.card)
    with pytest.raises(KeyboardInterrupt):
        task.run(lite, observer())
    assert [path.name for path in data.iterdir()] == ["talk.wav"]
    assert not any(folder.exists() and any(folder.iterdir()) for folder in task.folders() - {data})


def test_a_task_runs_without_an_observer(task: Task, lite: Model) -> None:
    task.check(lite.card)
    assert task.run(lite) == 25
