"""Jobs that go on after a kill -9 of the worker or of the server where their values ended, to the last byte."""

import random
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from killed_servers import Served, talk
from waiting import until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills by signals")

FORMS: dict[str, dict[str, str]] = {
    "windows": {"embeddings": "true", "frame_step": "40ms"},
    "speech": {"speech": "true", "frame_step": "40ms", "format": "csv"},
    "turns": {"unit": "turns", "pool": "true"},
    "frames": {"model": "lite-frames", "frame_step": "20ms"},
}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    server = Served(tmp_path)
    server.start()
    yield server
    server.stop()


def test_a_job_goes_on_behind_a_killed_server(served: Served) -> None:
    talk(served.folder, 15)
    undisturbed = served.results(served.post(**FORMS["windows"]))
    name = until(lambda: served.begun(50, **FORMS["windows"]))
    served.kill_server()
    served.start()
    assert served.results(name) == undisturbed
    log = served.log(name)
    assert "it goes on where its values ended" in log and re.search(r"goes on: \d+ batch", log)
    until(lambda: not list((served.places.work_dir / "computed").iterdir()))  # they go just after the job's end
    assert served.client.delete(f"/v1/jobs/{name}").status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_kills_at_many_moments_change_no_byte(served: Served, form: dict[str, str]) -> None:
    moments = random.Random(7)
    talk(served.folder, 200 if "model" in form else 30)
    undisturbed = served.results(served.post(**form))
    went_on = 0
    for turn in range(2):
        name = served.post(**form)
        for attempt in range(2):  # the third one counts
            moment = time.monotonic() + moments.uniform(0.7, 3)
            until(lambda moment=moment: time.monotonic() > moment)
            if not turn and not attempt:
                until(lambda name=name: served.keeps() or not served.goes_on(name))
            if (turn + attempt) % 2:
                served.kill_server()
                served.start()
            else:
                served.kill_worker()
        assert served.results(name) == undisturbed
        went_on += "goes on:" in served.log(name)
    assert went_on
