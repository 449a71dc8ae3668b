"""/v1/openapi.json: valid, complete, and true of what the server answers."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR
from starlette.testclient import TestClient

from emow2v.server.description.document import operations
from emow2v.server.description.examples import EXAMPLES, FIELDS
from emow2v.server.description.operations import EVERYWHERE, OPERATIONS, TAGS
from emow2v.server.description.problems import PROBLEMS
from laboratories import SINGLE, Laboratory, idle

ID = re.compile(r"[a-z]+(_[a-z]+)*")


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    made = idle(tmp_path_factory.mktemp("laboratory"))
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def document(laboratory: Laboratory) -> dict[str, Any]:
    return dict(laboratory.client("anna").get("/v1/openapi.json").json())


def test_it_is_openapi_3_1(document: dict[str, Any]) -> None:
    assert [str(error) for error in OPENAPI_31_VALIDATOR.iter_errors(document)] == []
    assert document["openapi"].startswith("3.1")
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)):
        place: Any = document
        for part in reference.split("/"):
            place = place[part]


def test_every_route_has_a_row_and_every_row_a_route(document: dict[str, Any]) -> None:
    """Who adds a route to /v1 adds a row to `OPERATIONS` (server/description/operations.py)."""
    described = dict(operations(document))
    assert described.keys() == OPERATIONS.keys()
    for key, operation in described.items():
        row = OPERATIONS[key]
        assert operation["operationId"] == row.id and operation["tags"] == [row.tag] and operation["summary"]
        statuses = {int(status) for status in operation["responses"]}
        assert {one for one in statuses if one >= 400} >= {*EVERYWHERE, *row.problems}, key
        assert any(one < 300 for one in statuses), key
        assert 404 in statuses or "{" not in key, key
        assert {413, 415} <= statuses or "requestBody" not in operation, key
    ids = [row.id for row in OPERATIONS.values()]
    assert len({*ids}) == len(ids) and all(map(ID.fullmatch, ids))
    assert {row.tag for row in OPERATIONS.values()} == {one["name"] for one in document["tags"]} <= TAGS.keys()


def test_every_refusal_is_described_with_its_headers(document: dict[str, Any]) -> None:
    components = document["components"]
    for status, problem in PROBLEMS.items():
        answer = components["responses"][problem.name]
        assert answer["description"] and answer["content"]["application/json"]["example"]["error"]
        assert ("Retry-After" in answer.get("headers", {})) == (status in (423, 429, 503))
        assert ("WWW-Authenticate" in answer.get("headers", {})) == (status == 401)
    assert "Location" in document["paths"]["/predictions"]["post"]["responses"]["202"]["headers"]


def test_a_token_is_required_where_the_server_has_one(tmp_path: Path, document: dict[str, Any]) -> None:
    assert document["components"]["securitySchemes"]["bearer"] | {"description": ""} == {
        "type": "http", "scheme": "bearer", "description": "",
    }  # fmt: skip
    assert {"bearer": []} in document["security"] and {} not in document["security"]
    assert not any("security" in operation for _, operation in operations(document))  # none is exempt
    without = idle(tmp_path, token="", named=False)
    assert {} in without.client("").get("/v1/openapi.json").json()["security"]
    without.store.close()


def test_examples_have_the_form_that_is_described(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name, example in EXAMPLES.items():
        schema = schemas[name.removesuffix("Model")]
        assert schema["examples"] == [example]
        jsonschema.validate(example, {**schema, "components": {"schemas": schemas}})
    forms = [schema for name, schema in schemas.items() if name.endswith("Form")]
    assert forms
    seen = set()
    for form in forms:
        assert form["additionalProperties"] is False
        for name, field in form["properties"].items():
            for example in field.get("examples", ()):
                jsonschema.validate(example, field)
                seen.add(name)
    assert {*FIELDS} <= seen
    answered = {
        content["schema"]["$ref"].rpartition("/")[2]
        for _, operation in operations(document)
        for status, answer in operation["responses"].items()
        for content in (answer.get("content", {}) if status == "200" else {}).values()
        if "$ref" in content.get("schema", {})
    }
    assert answered <= {name.removesuffix("Model") for name in EXAMPLES}


def asked(client: TestClient, key: str, query: str = "", **options: Any) -> tuple[int, dict[str, Any]]:
    """Status and body of an operation that is asked for jobs that are not there; HEAD has the body of GET."""
    method, path = key.split()
    address = f"/v1{re.sub('{[a-z_]+}', 'never', path)}{query}"
    options["headers"] = {"Tus-Resumable": "1.0.0", **options.get("headers", {})}  # which uploads require
    answer = client.request(method, address, **options)
    if method == "HEAD":
        assert answer.content == b""
        if f"GET {path}" in OPERATIONS:
            answer, head = client.get(address, **options), answer
            assert head.status_code == answer.status_code
    return answer.status_code, answer.json() if answer.content and "json" in answer.headers["content-type"] else {}


@pytest.mark.parametrize("key", OPERATIONS)
def test_refusals_of_every_operation(laboratory: Laboratory, key: str) -> None:
    described = OPERATIONS[key].problems
    anna = laboratory.client("anna")
    assert asked(laboratory.client(""), key)[0] == 401
    assert asked(laboratory.client("prometheus"), key)[0] == 403
    status, body = asked(anna, key, "?nothing=1")
    assert status == 422 and (body or key.startswith("HEAD"))
    if not key.startswith(("GET", "HEAD", "OPTIONS")):
        assert asked(anna, key, headers={"Origin": "https://evil.example"})[0] == 403
    if "{" in key:
        status, body = asked(anna, key)
        assert status == 404 and 404 in described and (body or key.startswith("HEAD")), body
    elif 415 in described:
        status, body = asked(anna, key, content=b"[1]", headers={"Content-Type": "application/json"})
        assert status == 415 and body["error"]


def test_wrong_names_and_too_many_tokens(tmp_path: Path) -> None:
    laboratory = idle(tmp_path, allow_hosts=("lab.example.org",))
    with laboratory.client("") as client:
        assert client.get("/v1/jobs", headers={"Host": "other.example.org"}).status_code == 421
        here = {"Host": "lab.example.org"}
        answers = [client.get("/v1/jobs", headers={**here, "Authorization": f"Bearer {one}"}) for one in range(100)]
        assert {one.status_code for one in answers} == {401, 429}
        assert all(one.headers["www-authenticate"] == "Bearer" for one in answers if one.status_code == 401)
        assert all(int(one.headers["retry-after"]) > 0 for one in answers if one.status_code == 429)


def test_a_member_reads_it_and_a_program_for_metrics_does_not(laboratory: Laboratory) -> None:
    assert laboratory.client(SINGLE).get("/v1/openapi.json").status_code == 200
    assert laboratory.client("prometheus").get("/v1/openapi.json").status_code == 403
