"""Inputs that nobody meant: no error but the project's own, no 500, no hang.

`EMOW2V_FUZZ=5000 pytest tests/test_fuzz.py` tries more of them; benchmarks/fuzz.py counts.
"""

import os
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from emow2v.errors import Emow2vError
from fuzzing import TARGETS, Ground

pytestmark = pytest.mark.hypothesis  # which Hypothesis itself gives only to tests that it wraps from outside

EXAMPLES = int(os.environ.get("EMOW2V_FUZZ") or 200)
SETTINGS = settings(
    max_examples=EXAMPLES,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


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
    assert len(list(schema.get_all_operations())) == 18
    checks = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)

    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(SETTINGS, max_examples=EXAMPLES // 2)
        @given(operation.as_strategy())
        def one(case: Case) -> None:
            case.call_and_validate(checks=checks)

        one()
