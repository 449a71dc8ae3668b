"""A worker takes a package only with the weights of the command, and gets it from there if it has none."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emow2v.cluster.jobs import Settings, Task
from emow2v.cluster.worker import Worker, versions
from emow2v.errors import ModelError
from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.prediction.processes import ModelReference

SETTINGS = Settings("mix", turns=False, embeddings=False)


def reference(lite: Model) -> ModelReference:
    made: ModelReference = lite.__reduce__()[1][0]
    return made


def package(lite: Model) -> dict[str, np.ndarray]:
    return {path.name: np.fromfile(path, np.uint8) for path in lite.card.folder.iterdir() if path.is_file()}


def test_a_package_is_found_by_its_name_where_its_folder_is_another(lite: Model) -> None:
    assert Worker().open(replace(reference(lite), folder="/absent"), "lite", SETTINGS) == versions(lite)


def test_other_weights_are_not_taken(lite: Model) -> None:
    assert Worker().open(replace(reference(lite), sha256="0" * 64), "lite", SETTINGS) is None


def test_a_worker_without_the_package_gets_it(lite: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    elsewhere = replace(reference(lite), folder="/absent")
    worker = Worker()
    assert worker.open(elsewhere, "absent", SETTINGS) is None
    assert worker.open(elsewhere, "absent", SETTINGS, package(lite)) == versions(lite)
    [answer] = worker.compute([Task(str(EXAMPLE), {"framing": Framing(frame_step_ms=1000)})])
    alone = lite.predict(EXAMPLE, framing=Framing(frame_step_ms=1000))
    assert np.abs(answer.found[0].rows.scores - alone.scores).max() < 1e-5
    worker.close()
    assert list(tmp_path.iterdir()) == []  # nothing is left on the node


def test_a_package_that_came_damaged_is_refused(lite: Model) -> None:
    files = package(lite)
    name = max(files, key=lambda name: len(files[name]))
    files[name] = files[name].copy()
    files[name][1000] ^= 1
    with pytest.raises(ModelError, match="is damaged"):
        Worker().open(replace(reference(lite), folder="/absent"), "absent", SETTINGS, files)


def test_a_worker_works_in_the_folder_of_the_command(
    lite: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path.cwd())  # restored afterwards
    shutil.copy(EXAMPLE, tmp_path / "talk.flac")
    worker = Worker()
    worker.open(reference(lite), "lite", replace(SETTINGS, folder=str(tmp_path)))
    [answer] = worker.compute([Task("talk.flac", {"framing": Framing.files()})])
    assert answer.found[0].info.source == "talk.flac"
