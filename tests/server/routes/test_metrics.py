"""What Prometheus is told, read by its own parser."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import soundfile
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from emow2v.cards import find
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.server.jobs.store import Store
from emow2v.server.routes import metrics
from servers import app
from waiting import until


def never(name: str):
    raise AssertionError("no job runs here")


def told(client: TestClient) -> dict[tuple[str, ...], float]:
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain") and "secret" not in answer.text
    samples = [one for family in text_string_to_metric_families(answer.text) for one in family.samples]
    return {(one.name, *sorted(one.labels.values())): one.value for one in samples}


def test_metrics(tmp_path: Path) -> None:
    with TestClient(app(find("lite"), [tmp_path], tmp_path / "work", never)) as client:
        client.get("/data")
        client.post("/cancel", data={"jobID": "never"})
        client.get("/v1/jobs/secret-id")
        client.get("/secret-path")
        values = told(client)
    assert values["emow2v_jobs", "waiting"] == 0
    assert (
        values["emow2v_requests_total", "/data", "200"] == 1 and values["emow2v_requests_total", "/cancel", "404"] == 1
    )
    assert values["emow2v_requests_total", "/v1/jobs/...", "404"] == 1
    assert values["emow2v_requests_total", "404", "other"] == 1
    assert values["emow2v_request_seconds_count", "/data"] == 1


def test_workers_that_are_ready_are_counted(tmp_path: Path) -> None:
    served = app(find("lite"), [tmp_path], tmp_path / "work", never)
    with TestClient(served) as client:
        assert told(client)["emow2v_workers_ready",] == 1 and client.get("/readyz").status_code == 200
        workers = served.state.server.workers
        workers.stop(0)
        assert told(client)["emow2v_workers_ready",] == 0 and client.get("/readyz").status_code == 503
        workers.start()
        assert told(client)["emow2v_workers_ready",] == 1 and client.get("/readyz").json()["workers"] == 1


def test_jobs_and_their_sound_by_model(lite: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "KEPT_S", 0)
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write(tmp_path / "talk.wav", signal[: 3 * rate], rate)

    def load(name: str) -> Model:
        return lite

    work = tmp_path / "work"
    with TestClient(app(lite.card, [tmp_path], work, load)) as client:
        before = told(client)
        sent = {"file": ("talk.wav", (tmp_path / "talk.wav").read_bytes())}
        begun = time.monotonic()
        ids = [client.post("/v1/predictions", files=sent, data={"wait": "false"}).json()["id"] for _ in range(2)]
        until(lambda: all(client.get(f"/v1/jobs/{one}").json()["state"] == "finished" for one in ids))
        passed = time.monotonic() - begun
        values = told(client)
        assert values["emow2v_job_seconds_count", "finished", "lite"] == 2
        assert 0 < values["emow2v_job_seconds_sum", "finished", "lite"] <= passed
        buckets = {key[1]: value for key, value in values.items() if key[0] == "emow2v_job_seconds_bucket"}
        assert buckets["+Inf"] == 2 and buckets["36000.0"] == 2
        ordered = [buckets[bound] for bound in sorted(buckets, key=float)]
        assert ordered == sorted(ordered)
        assert values["emow2v_sound_seconds_total", "finished", "lite"] == pytest.approx(6, abs=0.1)
        assert values["emow2v_kept_bytes", "uploads"] == 2 * (tmp_path / "talk.wav").stat().st_size
        assert values["emow2v_kept_bytes", "results"] > 0
        assert values["emow2v_kept_bytes", "database"] >= (work / "jobs.sqlite").stat().st_size
        assert ("emow2v_job_seconds_count", "finished", "lite") not in before
        for one in ids:
            assert client.delete(f"/v1/jobs/{one}").status_code == 200
        after = told(client)
        assert after["emow2v_job_seconds_count", "finished", "lite"] == 2  # erased jobs still count
        assert after["emow2v_kept_bytes", "uploads"] == 0
    with TestClient(app(lite.card, [tmp_path], work, load)) as client:  # the next start
        assert told(client)["emow2v_job_seconds_count", "finished", "lite"] == 2


def test_live_sound_counts_as_it_comes(lite: Model, tmp_path: Path) -> None:
    with TestClient(app(lite.card, [tmp_path], tmp_path / "work", lambda name: lite)) as client:
        with client.websocket_connect("/v1/stream?sampling_rate=8000") as socket:
            socket.receive_json()
            socket.send_bytes(bytes(2 * 8000))
            socket.send_text("end")
            while "done" not in socket.receive_json():
                pass
        assert told(client)["emow2v_sound_seconds_total", "lite", "live"] == 1


def test_the_age_of_the_queue(tmp_path: Path) -> None:
    served = app(find("lite"), [tmp_path], tmp_path / "work", never)
    with TestClient(served) as client:
        assert told(client)["emow2v_queue_age_seconds",] == 0
        served.state.server.workers.stop(0)
        store: Store = served.state.server.store
        store.submit("a", {})
        store.submit("b", {})
        ago = (datetime.now(UTC) - timedelta(seconds=100)).isoformat(timespec="milliseconds")
        with store.locked():
            store._database().execute("UPDATE jobs SET posted = ? WHERE id = 'a'", (ago,))
        assert 100 <= told(client)["emow2v_queue_age_seconds",] < 400
        store.cancel("a")
        store.cancel("b")
        assert told(client)["emow2v_queue_age_seconds",] == 0
        served.state.server.workers.start()


def test_every_metric_is_in_the_documentation(tmp_path: Path) -> None:
    documented = (Path(__file__).parents[3] / "docs" / "server.md").read_text(encoding="utf-8")
    with TestClient(app(find("lite"), [tmp_path], tmp_path / "work", never)) as client:
        families = text_string_to_metric_families(client.get("/metrics").text)
        names = {f"{one.name}_total" if one.type == "counter" else one.name for one in families}
    own = {name for name in names if name.startswith("emow2v_")}
    assert len(own) > 10 and {name for name in own if f"`{name}`" not in documented} == set()
