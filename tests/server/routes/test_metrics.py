"""What Prometheus is told, read by its own parser."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from emow2v.cards import find
from servers import app


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
