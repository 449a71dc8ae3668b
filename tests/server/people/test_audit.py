"""The audit log: who did what, without contents."""

import json
import logging
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from emow2v.server.people.audit import SAME_S, Audit
from emow2v.server.people.audited import action_of
from emow2v.server.people.person import EVERYBODY, Person

ANNA = Person("anna")


def entries(audit: Audit) -> list[dict[str, Any]]:
    return [json.loads(line) for line in audit.path.read_text().splitlines()]


def test_entries(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit.ndjson")
    audit.done(ANNA, "10.0.0.1", "post", jobs=[("anna", "talk1")])
    audit.done(EVERYBODY, "10.0.0.2", "read", "audio", [("anna", "talk1"), ("bob", "b")])
    audit.refused("10.0.0.3", "expired", "carla")
    first, second, third = entries(audit)
    assert first.pop("time") <= second.pop("time") <= third.pop("time")
    assert first == {
        "name": "anna", "role": "member", "client": "10.0.0.1", "action": "post",
        "jobs": [{"owner": "anna", "id": "talk1"}],
    }  # fmt: skip
    assert second["role"] == "administrator" and second["what"] == "audio" and len(second["jobs"]) == 2
    assert third == {"name": "carla", "client": "10.0.0.3", "action": "refuse", "why": "expired"}
    if sys.platform != "win32":
        assert audit.path.stat().st_mode & 0o077 == 0


def test_a_page_that_reads_again_and_again_is_one_entry(tmp_path: Path) -> None:
    now = 0.0
    audit = Audit(tmp_path / "audit.ndjson", lambda: now)
    for what in ("rows", "rows", "audio", "rows"):
        audit.done(ANNA, "", "read", what, [("anna", "a")])
    audit.done(ANNA, "", "read", "rows", [("anna", "b")])
    audit.done(Person("bob"), "", "read", "rows", [("anna", "a")])
    now = SAME_S
    audit.done(ANNA, "", "read", "rows", [("anna", "a")])
    assert [entry["what"] for entry in entries(audit)] == ["rows", "audio", "rows", "rows", "rows"]
    for _ in range(3):
        audit.done(ANNA, "", "erase", jobs=[("anna", "a")])
    assert len(entries(audit)) == 8


def test_lines_are_only_added_and_a_log_that_was_moved_begins_anew(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit.ndjson")
    audit.path.write_text("an earlier line\n")
    audit.done(ANNA, "", "post")
    assert audit.path.read_text().startswith("an earlier line\n{")
    audit.path.rename(tmp_path / "audit.1")
    audit.done(ANNA, "", "post")
    assert len(entries(audit)) == 1


def test_many_readings_of_many_jobs_take_little_memory(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit.ndjson")
    tracemalloc.start()
    try:
        for number in range(100):
            audit.done(ANNA, "", "read", "result", [("anna", f"{number}-{one}") for one in range(200)])
        assert tracemalloc.get_traced_memory()[0] < 500_000  # of 20,000 ids
    finally:
        tracemalloc.stop()


def test_threads_do_not_mix_their_lines(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit.ndjson")
    jobs = [("anna", "x" * 100)] * 50
    threads = [
        threading.Thread(target=lambda: [audit.done(ANNA, "", "upload", "", jobs) for _ in range(10)]) for _ in range(8)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(entries(audit)) == 80


def test_a_log_that_cannot_be_written_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    audit = Audit(tmp_path / "none" / "audit.ndjson")
    with caplog.at_level(logging.ERROR, "emow2v.server"):
        audit.done(ANNA, "10.0.0.1", "erase", jobs=[("anna", "a")])
    assert "cannot be written" in caplog.text and '"action": "erase"' in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/process", None),  # written down when the job is queued
        ("POST", "/v1/predictions", None),
        ("POST", "/upload", ("upload", "")),
        ("POST", "/login", ("login", "")),
        ("GET", "/login", None),
        ("POST", "/cancel", ("cancel", "")),
        ("POST", "/v1/jobs/a/cancel", ("cancel", "")),
        ("DELETE", "/v1/jobs/a", ("erase", "")),
        ("GET", "/v1/jobs/a", None),
        ("GET", "/v1/jobs/a/events", None),
        ("POST", "/job_status", None),
        ("GET", "/v1/jobs/a/audio", ("read", "audio")),
        ("GET", "/v1/jobs/a/rows", ("read", "rows")),
        ("GET", "/v1/results", ("read", "result")),
        ("GET", "/log/a", ("read", "log")),
        ("POST", "/log", ("read", "log")),
        ("POST", "/fetch_result", ("read", "files")),
        ("GET", "/jobs/a", None),
        ("GET", "/v1/jobs/a/new_route", ("read", "new_route")),
        ("POST", "/v1/new_route", ("post", "new_route")),
    ],
)
def test_what_requests_do(method: str, path: str, expected: object) -> None:
    assert action_of(method, path) == expected
