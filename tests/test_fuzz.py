"""Inputs that nobody meant: no error but the project's own, no 500, no hang.

`EMOW2V_FUZZ=5000 pytest tests/test_fuzz.py` tries more of them; benchmarks/fuzz.py counts.
"""

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.stateful import run_state_machine_as_test
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.transport.serialization import serialize_binary

import waiting
from emow2v.errors import Emow2vError
from emow2v.server.description.operations import OPERATIONS
from fuzzing import TARGETS, Ground

pytestmark = pytest.mark.hypothesis  # which Hypothesis itself gives only to tests that it wraps from outside

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
KEPT = ("unit", "format", "speech", "embeddings", "pool", "context", "padding")  # fields that do not make a post fail
EXAMPLES = int(os.environ.get("EMOW2V_FUZZ") or 200)
SETTINGS = settings(
    max_examples=EXAMPLES,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


@schemathesis.serializer("application/offset+octet-stream")
def of_an_upload(ctx: object, value: Any) -> bytes:
    return serialize_binary(value)


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with Ground() as made:
        yield made


@pytest.mark.parametrize("name", TARGETS)
def test_odd_inputs(ground: Ground, name: str) -> None:
    target = TARGETS[name]

    @SETTINGS
    @given(target.inputs(ground))
    def one(given: object) -> None:
        try:
            target.feed(ground, given)
        except Emow2vError as error:
            assert str(error)

    one()


@pytest.mark.slow
def test_the_description_of_v1_is_true(ground: Ground) -> None:
    """Schemathesis reads /v1/openapi.json, asks every operation what it allows and what it does not, and judges the answers."""
    schema = schemathesis.openapi.from_asgi("/v1/openapi.json", ground.client.app)
    assert len(list(schema.get_all_operations())) == len(OPERATIONS)

    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(SETTINGS, max_examples=EXAMPLES // 2)
        @given(operation.as_strategy())
        def one(case: Case) -> None:
            case.call_and_validate(checks=CHECKS)

        one()


@pytest.mark.slow
def test_the_description_of_v1_is_true_of_jobs_that_were_posted(ground: Ground) -> None:
    """Schemathesis posts jobs and follows the links of the answers: reads, cancels and erases them, in any order."""
    schema = schemathesis.openapi.from_asgi("/v1/openapi.json", ground.client.app)

    class Machine(schema.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            """Each run begins with no jobs, so that it can be repeated."""
            for job in ground.client.get("/v1/jobs", params={"limit": 10_000}).json():
                ground.client.delete(f"/v1/jobs/{job['id']}")

        def before_call(self, case: Case) -> None:
            if name(case) == "predict" and isinstance(case.body, dict):
                kept = {one: case.body[one] for one in KEPT if one in case.body}
                case.body = {"path": "talk.wav", "wait": "false", **kept}

        def validate_response(self, response: Any, case: Case, **more: Any) -> None:
            seen[name(case), response.status_code] += 1
            case.validate_response(response, checks=CHECKS)
            if response.status_code == 202:
                job = f"/v1/jobs/{response.json()['id']}"
                waiting.until(lambda: ground.client.get(job).json()["state"] not in ("waiting", "running"))

    def name(case: Case) -> str:
        return str(case.operation.definition.raw["operationId"])

    seen: Counter[tuple[str, int]] = Counter()
    kept = settings(SETTINGS, max_examples=max(20, EXAMPLES // 4), stateful_step_count=12)
    run_state_machine_as_test(Machine, settings=kept)
    expected = (
        "predict 202",
        "get_job 200",
        "get_rows 200",
        "get_result 200",
        "cancel_job 409",
        "erase_job 200",
        "get_job 404",
    )
    assert {*expected} <= {f"{operation} {status}" for operation, status in seen}, seen
