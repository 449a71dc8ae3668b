"""Data descriptors: the audio of a request, and the places of its results."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from emow2v.discover import json_text
from emow2v.discover.module import MODULE
from emow2v.errors import RequestError

_SUPER = ("stream", "annotation", "text", "image", "table")
_MAX_DESCRIPTORS = 1000
_MAX_SESSIONS = 10_000
# Characters that forge lines of a log, or that no file can hold
_UNUSABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


Origin = Literal["file", "url", "request", "db"]
_ORIGINS: dict[str, Origin] = {"file": "file", "url": "url", "request": "request", "db": "db"}
# What names data in NOVA's database, by their kind
_IN_DATABASE = {"stream": ("name", "role"), "annotation": ("scheme", "annotator", "role")}


@dataclass(frozen=True)
class Descriptor:
    """One entry of a request's `data`.

    Attributes:
        origin: "file" for a path below the data folders, "url" for an address of the web, "request" for data in the
            request or its answer, "db" for NOVA's database
        kind: lower-case super type, "stream" or "annotation"
        sub: lower-case sub type, e.g. "audio", "continuous", "ssistream"; may be empty
        direction: "input" or "output"
        id: the name that the module uses
        uri: path or address, which may hold {dataset} and {session} where `templated`
        payload: inline data of an input with origin "request"
    """

    origin: Origin
    kind: str
    sub: str
    direction: Literal["input", "output"]
    id: str
    uri: str = ""
    templated: bool = False
    payload: str = ""
    name: str = ""
    role: str = ""
    scheme: str = ""
    annotator: str = ""

    def path(self, dataset: str, session: str) -> str:
        """The uri with {dataset} and {session} filled in; other names in braces are refused."""
        if self.templated and self.origin == "url":  # a name may hold signs that mean something in an address
            return fill(self.uri, quote(dataset, safe=""), quote(session, safe=""))
        return fill(self.uri, dataset, session) if self.templated else self.uri


def fill(template: str, dataset: str, session: str) -> str:
    """The template with {dataset} and {session} replaced, and {{ and }} as braces; unlike str.format it reaches no attributes.

    Raises:
        RequestError: another name in braces, or a lone brace
    """
    values = {"{dataset}": dataset, "{session}": session, "{{": "{", "}}": "}"}

    def value(match: re.Match[str]) -> str:
        replacement = values.get(match[0])
        if not replacement:
            raise RequestError(
                f"uri_template holds '{match[0][:40]}'; expected {{dataset}} or {{session}} with a value."
            )
        return replacement

    return re.sub(r"\{\{|\}\}|\{[^{}]*\}|[{}]", value, template)


def parse_data(text: str) -> list[Descriptor]:
    """The active inputs and outputs of a request's `data`; other entries are ignored.

    Raises:
        RequestError: not a JSON list of descriptors, or one that cannot be carried out
    """
    try:
        entries = json_text.parse(text)
    except json_text.NotJSON:
        raise RequestError("data is not JSON; expected a list of data descriptors.") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise RequestError("data is not a JSON list of objects; expected a list of data descriptors.")
    if len(entries) > _MAX_DESCRIPTORS:
        raise RequestError(f"data lists {len(entries)} descriptors; expected at most {_MAX_DESCRIPTORS}.")
    parsed = (_parse(entry) for entry in entries if entry.get("type") in ("input", "output") and _active(entry))
    return list(parsed)


def by_port(descriptors: list[Descriptor]) -> tuple[Descriptor, list[tuple[str, Descriptor]]]:
    """The one audio input, and each output with the id of its port.

    Raises:
        RequestError: no recording, several ones, or an output that the module does not have
    """
    inputs = [one for one in descriptors if one.direction == "input"]
    audios = [one for one in inputs if MODULE.port("input", one.id)]
    if len(audios) != 1 or audios[0].kind != "stream":
        raise RequestError(
            f"data names {len(audios)} inputs with the id audio; expected exactly one (a request for each role), for instance "
            '{"src": "file:stream:audio", "type": "input", "id": "audio", "uri": "talk.wav"}.'
        )
    outputs = []
    for one in descriptors:
        if one.direction == "input":
            continue
        port = MODULE.port("output", one.id)
        if port is None:
            known = ", ".join(port.id for port in MODULE.ports if port.direction == "output")
            raise RequestError(f"The output id '{one.id[:60]}' is unknown; expected {known}.")
        kind, sub = port.data.lower().split(":")
        if one.kind != kind or one.sub not in ("", sub):
            raise RequestError(f"The output {one.id} is {one.kind}:{one.sub}; expected {port.data}.")
        outputs.append((port.id, one))
    if not outputs:
        raise RequestError(
            "data names no active output; expected at least one of arousal, dominance, valence, embedding."
        )
    return audios[0], outputs


def session_names(text: str) -> list[str]:
    """The names of a request's `sessions`; one for none.

    Raises:
        RequestError: no JSON list of plain names
    """
    if not text.strip():
        return ["dummy_session"]
    try:
        names = json_text.parse(text)
    except json_text.NotJSON:
        names = None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise RequestError('sessions is not a JSON list of names; expected for instance ["session1"].')
    if any(_UNUSABLE.search(name) for name in names):
        raise RequestError("sessions holds a name with a line end or another control character; expected plain names.")
    if len(names) > _MAX_SESSIONS:
        raise RequestError(f"sessions lists {len(names)} names; expected at most {_MAX_SESSIONS}.")
    return names


def _active(entry: dict[str, Any]) -> bool:
    active = entry.get("active", True)
    if isinstance(active, str):
        return active.strip().lower() not in ("false", "0", "no", "")
    return active is None or bool(active)


def _parse(entry: dict[str, Any]) -> Descriptor:
    src = _text(entry, "src")
    words = src.split(":", 3)
    origin, kind = words[0].strip().lower(), words[1].strip().lower() if len(words) > 1 else ""
    if origin not in _ORIGINS or kind not in _SUPER:
        raise RequestError(f"src is '{src[:60]}'; expected origin:type such as file:stream:audio.")
    direction: Literal["input", "output"] = "input" if entry["type"] == "input" else "output"
    template = _text(entry, "uri_template")
    uri = template or _text(entry, "uri")
    payload = _text(entry, "data")
    if origin == "url" and direction == "output":
        raise RequestError(
            f"The output '{_text(entry, 'id')[:60]}' has the origin url:; expected file: or request:, since results are not sent to addresses."
        )
    if origin == "db" and kind not in _IN_DATABASE:
        raise RequestError(f"src is '{src[:60]}'; expected db:stream or db:annotation.")
    if origin == "db" and (missing := [key for key in _IN_DATABASE[kind] if not _text(entry, key).strip()]):
        raise RequestError(
            f"The {direction} '{_text(entry, 'id')[:60]}' has no {' and no '.join(missing)}; expected what NOVA's database names it by."
        )
    if origin == "db" and any(_UNUSABLE.search(_text(entry, key)) for key in _IN_DATABASE[kind]):
        raise RequestError(
            f"The {direction} '{_text(entry, 'id')[:60]}' has a name with a control character; expected plain names."
        )
    if origin in ("file", "url") and not uri:
        expected = "a path" if origin == "file" else "an address"
        raise RequestError(
            f"The {direction} '{_text(entry, 'id')}' has neither uri nor uri_template; expected {expected}."
        )
    if origin == "request" and direction == "input" and not (uri or payload):
        raise RequestError(f"The input '{_text(entry, 'id')}' is empty; expected the name of an upload, or data.")
    return Descriptor(
        origin=_ORIGINS[origin],
        kind=kind,
        sub=words[2].strip().lower() if len(words) > 2 else "",
        direction=direction,
        id=_text(entry, "id"),
        uri=uri,
        templated=bool(template),
        payload=payload,
        name=_text(entry, "name"),
        role=_text(entry, "role"),
        scheme=_text(entry, "scheme"),
        annotator=_text(entry, "annotator"),
    )


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RequestError(f"{key} of a data descriptor is {type(value).__name__}; expected a text.")
    return value
