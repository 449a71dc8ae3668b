"""The OpenAPI document of /v1: what FastAPI derives from the routes, completed by the table of operations."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

from emow2v.server.description.examples import EXAMPLES, FIELDS
from emow2v.server.description.operations import EVERYWHERE, OPERATIONS, TAGS, Operation
from emow2v.server.description.problems import HEADERS, PROBLEMS
from emow2v.server.routes.answers import Problem
from emow2v.server.security.access import COOKIE

Document = dict[str, Any]

BEARER, COOKIES = "bearer", "cookie"
_JSON = "application/json"
_SCHEMAS = "#/components/schemas/"
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

DESCRIPTION = """Send a recording, and get arousal, dominance and valence over time.

**Access.** If the server has tokens, send the header `Authorization: Bearer TOKEN`; the cookie of the login page does the
same. Jobs of other names are unknown (404).

**Refusals.** A refusal is JSON with one sentence in `error`: what was expected, what came, what to do. If it has
`Retry-After`, the same request may succeed after so many seconds.

**Live speech.** `/v1/stream` is a WebSocket, which OpenAPI cannot describe. Send samples as binary messages, and the
text `end` at last; each step is answered by a message of JSON. Its address takes `model`, `sampling_rate` (16000),
`encoding` (`s16le` or `f32le`), `frame_step` (40ms), `left_context` (960ms), `right_context` (0ms), `padding` (`edge` or
`zeros`), `together` (`true`: rows that are known at the same time come in one message) and `embeddings` (`true`: a binary
message with their embeddings follows each message of rows).

**Python.** `emow2v.client` is a client for all of this: see the page "The Python client" of the documentation.
"""


def complete(document: Document, *, is_token_required: bool) -> Document:
    """A document with stable names, groups, refusals, examples and access.

    Args:
        document: as FastAPI makes it; it is not changed
        is_token_required: whether the server has tokens
    """
    made = copy.deepcopy(document)
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's, which /v1 never answers
        schemas.pop(name, None)
    schemas["Problem"] = Problem.model_json_schema()
    order = list(dict.fromkeys(key.partition(" ")[2] for key in OPERATIONS))
    made["paths"] = dict(
        sorted(made["paths"].items(), key=lambda one: order.index(one[0]) if one[0] in order else len(order))
    )
    for key, operation in operations(made):
        _complete_operation(operation, OPERATIONS.get(key), schemas)
    for name, example in EXAMPLES.items():
        if name in schemas:
            schemas[name]["examples"] = [example]
    made["info"]["description"] = DESCRIPTION
    used = {tag for _, operation in operations(made) for tag in operation.get("tags", ())}
    made["tags"] = [{"name": tag, "description": text} for tag, text in TAGS.items() if tag in used]
    made["components"]["responses"] = {one.name: _response(one) for one in PROBLEMS.values()}
    made["components"]["headers"] = HEADERS
    made["components"]["securitySchemes"] = {
        BEARER: {
            "type": "http",
            "scheme": "bearer",
            "description": "The token that the administrator gave you. A server without tokens requires none.",
        },
        COOKIES: {
            "type": "apiKey",
            "in": "cookie",
            "name": COOKIE,
            "description": "The same token, as the login page of the browser keeps it.",
        },
    }
    made["security"] = [{BEARER: []}, {COOKIES: []}] if is_token_required else [{}, {BEARER: []}, {COOKIES: []}]
    return _renamed(made)


def operations(document: Document) -> Iterator[tuple[str, dict[str, Any]]]:
    """The operations of a document, with keys as those of `OPERATIONS`."""
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield f"{method.upper()} {path}", item[method]


def _complete_operation(operation: dict[str, Any], row: Operation | None, schemas: dict[str, Any]) -> None:
    """Complete an operation; one without a row in the table has every refusal."""
    problems = tuple(PROBLEMS) if row is None else (*EVERYWHERE, *row.problems)
    if row is not None:
        operation.update(operationId=row.id, summary=row.summary, tags=[row.tag])
    responses = operation["responses"]
    for status in PROBLEMS:
        if status in problems:
            responses[str(status)] = {"$ref": f"#/components/responses/{PROBLEMS[status].name}"}
    for accepted in ("201", "202"):
        if accepted in responses and operation.get("tags") != ["uploads"]:
            responses[accepted].setdefault("headers", {})["Location"] = _header("Location")
            responses[accepted]["links"] = _links()
    operation["responses"] = dict(sorted(responses.items()))
    for content in operation.get("requestBody", {}).get("content", {}).values():
        reference = content.get("schema", {}).get("$ref", "")
        if reference.startswith(_SCHEMAS):
            _complete_form(schemas[reference.removeprefix(_SCHEMAS)])


def _links() -> dict[str, Any]:
    """What a client may ask of a job that it has posted."""
    follow = [row.id for key, row in OPERATIONS.items() if key.partition(" ")[2].startswith("/jobs/{job_id}")]
    return {name: {"operationId": name, "parameters": {"job_id": "$response.body#/id"}} for name in follow}


def _complete_form(schema: dict[str, Any]) -> None:
    """Say that a form has no further fields, and give examples of those that it has."""
    schema["additionalProperties"] = False
    for name, example in FIELDS.items():
        if name in schema["properties"]:
            field = schema["properties"][name]
            field["examples"] = [[example] if _is_list(field) and not isinstance(example, list) else example]


def _is_list(field: dict[str, Any]) -> bool:
    """Whether a field may come more than once."""
    return any(one.get("type") == "array" for one in (field, *field.get("anyOf", ())))


def _response(problem: Any) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": problem.meaning,
        "content": {_JSON: {"schema": {"$ref": f"{_SCHEMAS}Problem"}, "example": {"error": problem.example}}},
    }
    if problem.headers:
        answer["headers"] = {name: _header(name) for name in problem.headers}
    return answer


def _header(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/headers/{name}"}


def _renamed(document: Document) -> Document:
    """The document with names of schemas for other languages: JobModel as Job, Body_predict_predictions_post as PredictForm."""
    names = {name: name.removesuffix("Model") for name in document["components"]["schemas"]}
    for _, operation in operations(document):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            reference = content.get("schema", {}).get("$ref", "").removeprefix(_SCHEMAS)
            if reference.startswith("Body_"):
                names[reference] = f"{operation['operationId'].title().replace('_', '')}Form"
    text = re.sub(
        rf'"{_SCHEMAS}([^"]+)"', lambda found: f'"{_SCHEMAS}{names.get(found[1], found[1])}"', json.dumps(document)
    )
    renamed: Document = json.loads(text)
    schemas = renamed["components"]["schemas"]
    renamed["components"]["schemas"] = {names[name]: {**one, "title": names[name]} for name, one in schemas.items()}
    return renamed
