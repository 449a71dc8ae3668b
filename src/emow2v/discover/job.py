"""A request as a job: everything is checked before any work, then one pass a session writes all outputs."""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from emow2v import cards, storage
from emow2v.cards import Card
from emow2v.discover import json_text
from emow2v.discover import options as opts
from emow2v.discover.descriptors import Descriptor, parse_data
from emow2v.discover.module import MODULE
from emow2v.discover.names import snake_case
from emow2v.discover.places import Places, check_job_id, make_folder, safe_name
from emow2v.discover.plans import Output, Plan, Session
from emow2v.discover.probing import probe
from emow2v.engines.shared_context import check_shared
from emow2v.errors import FormatError, FramingError, ModelError, PathError, PlaceTaken, RequestError
from emow2v.formats import Writer, record
from emow2v.formats import check as check_places
from emow2v.framing import Framing
from emow2v.model import Context, Model
from emow2v.storage.files import Move

T = TypeVar("T")

DEFAULT_BATCH_SIZE = 250  # as published
_MAX_SESSIONS = 10_000
_SECRET = ("password", "token", "secret")
# Forges lines of a log, or cannot be written.
_NO_NAME = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def plan(
    form: Mapping[str, str], places: Places, served: Card, context: Context = "window", longest_s: float = 0
) -> Plan:
    """Check a /process form from end to end; folders for its outputs are made, nothing else happens.

    Args:
        form: as posted, names in either case
        served, context: what the server runs where the request names none
        longest_s: of a recording; 0 for any length

    Raises:
        RequestError: one sentence on the first thing that is wrong
        TooLong: a recording is
    """
    job_id = check_job_id(form.get("jobID", ""))
    fields = {snake_case(name): value for name, value in form.items()}
    trainer = fields.get("trainer_file_path", "")
    if not trainer.strip():
        raise RequestError(f"trainerFilePath is missing; expected {MODULE.path}.")
    if not MODULE.answers_to(trainer):
        raise RequestError(f"trainerFilePath '{trainer[:100]}' is unknown; expected {MODULE.path}.")
    if not fields.get("data", "").strip():
        raise RequestError("data is missing; expected a JSON list of data descriptors.")
    descriptors = parse_data(fields["data"])
    framing = opts.framing(fields)
    given = opts.options(fields)
    card = _model(given, served)
    notes = opts.ignored("field", set(fields) - opts.FIELDS, opts.FIELDS - opts.WITHOUT_USE)
    notes += opts.ignored("option", opts.unknown_options(given), opts.OPTIONS)
    heard = opts.heard(given)
    overwrite = opts.flag("overwrite", given)
    batch_size = opts.batch_size(given, DEFAULT_BATCH_SIZE)
    if framing.whole and "context" not in given:
        context = "window"  # of one value over everything nothing could be shared
    context = opts.context(given, context)
    if context == "shared":
        _check_shared(card, framing)
    source, outputs = _sorted(descriptors)
    names = _sessions(fields.get("sessions", ""))
    dataset = _dataset(fields)
    sessions = tuple(_session(name, dataset, job_id, source, outputs, places) for name in names)
    _refuse_clashes(sessions)
    try:
        check_places(output.writer(overwrite=overwrite) for session in sessions for output in session.outputs)
    except PlaceTaken as error:
        raise RequestError(
            f'{error.what}; move it, choose another place, or replace it with options={{"overwrite": true}}.'
        ) from None
    except FormatError as error:
        raise RequestError(str(error)) from None
    for session in sessions:
        probe(session.source, framing, longest_s, **heard)
    for folder in sorted({output.path.parent for session in sessions for output in session.outputs}):
        make_folder(folder)
    shown = _masked(form)
    if (plain := _masked(given)) != given:
        shown = {name: value for name, value in shown.items() if snake_case(name) not in ("options", "opt_str")}
        shown["options"] = json.dumps(plain)
    results = places.results(job_id)
    return Plan(
        job_id, card.name, sessions, framing, context, batch_size, heard, overwrite, tuple(notes), shown, results
    )


def folders(form: Mapping[str, str], places: Places) -> set[Path]:
    """Where the files of a request that was checked once are written, also when its recording is gone by now.

    Raises:
        RequestError: the data folders are others by now
    """
    fields = {snake_case(name): value for name, value in form.items()}
    _, outputs = _sorted(parse_data(fields.get("data", "")))
    dataset = _dataset(fields)
    return {
        output.path.parent
        for name in _sessions(fields.get("sessions", ""))
        for output in _placed(name, dataset, form.get("jobID", ""), outputs, places)
    }


def sessions(form: Mapping[str, str]) -> list[str]:
    """The sessions of a request that was checked once."""
    fields = {snake_case(name): value for name, value in form.items()}
    return _sessions(fields.get("sessions", ""))


def recording(form: Mapping[str, str], session: str, places: Places) -> Path | bytes:
    """The recording of a session of a request that was checked once.

    Raises:
        RequestError: it is gone, or the data folders are others by now
    """
    fields = {snake_case(name): value for name, value in form.items()}
    source, _ = _sorted(parse_data(fields.get("data", "")))
    return _source(source, _dataset(fields), session, places)


def outputs(form: Mapping[str, str], session: str, places: Places) -> list[Output]:
    """The files of a session of a request that was checked once, also when they or its recording are gone by now.

    Raises:
        RequestError: the data folders are others by now
    """
    fields = {snake_case(name): value for name, value in form.items()}
    _, wanted = _sorted(parse_data(fields.get("data", "")))
    return _placed(session, _dataset(fields), form.get("jobID", ""), wanted, places)


def run(
    job: Plan,
    model: Model,
    *,
    log: Callable[[str], None] = lambda line: None,
    notice: Callable[[Sequence[str]], None] | None = None,
    note: Callable[[Mapping[str, str | float]], None] = lambda provenance: None,
    progress: Callable[[int, int | None], None] = lambda rows, expected: None,
    before_publish: Callable[[Sequence[Move]], None] = lambda moves: None,
    between: Callable[[], None] = lambda: None,
    check: Callable[[], None] = lambda: None,
    also: Callable[[], Sequence[Writer]] = tuple,
    longest_s: float = 0,
) -> int:
    """Carry out a plan: one pass over each recording feeds all of its outputs, which appear together or not at all.

    Args:
        log: takes sentences
        notice: called with those on the recording, and on what was ignored; without it they go to the log
        note: takes the provenance of a request with one recording, with what was heard of it
        progress: takes rows done and rows expected, where that is known
        check: called often; may raise to stop
        before_publish: called when a session's files are complete, before they appear, with what will be renamed; may raise
        between: called between two sessions, when the files of one have appeared and the next begins
        also: gives further writers for a session
        longest_s: of a recording; 0 for any length

    Returns:
        rows in all

    Raises:
        Emow2vError: what went wrong; sessions before keep their files
    """
    total = 0

    def tell(sentences: Sequence[str]) -> None:
        if notice is not None:
            notice(sentences)
        else:
            for one in sentences:
                log(one)

    if job.notes:
        tell(job.notes)
    shutil.rmtree(job.results, ignore_errors=True)  # of an earlier job with the same id
    for number, session in enumerate(job.sessions, start=1):
        if number > 1:
            between()
        writers = [*(output.writer(overwrite=job.overwrite) for output in session.outputs), *also()]
        source = io.BytesIO(session.source) if isinstance(session.source, bytes) else session.source
        # what a request asks for is no more than a hint: how many windows the machine is good for, the server knows
        batch_size = min(job.batch_size, model.at_once(job.framing))
        trajectory = model.predict(
            source,
            framing=job.framing,
            context=job.context,
            batch_size=batch_size,
            check=check,
            longest_s=longest_s,
            **cast(dict[str, Any], job.heard),
        )
        log(f"session {session.name} ({number}/{len(job.sessions)}): {trajectory.info.source}")
        rows = 0

        def done(count: int, expected: int | None = trajectory.info.expected_rows) -> None:
            nonlocal rows
            rows += count
            progress(rows, expected)

        record(trajectory, writers, lambda block: done(len(block)), before_publish)
        many = len(job.sessions) > 1
        if found := trajectory.info.notices:
            tell([f"session {session.name}: {one}" if many else one for one in found])
        if not many:
            note(trajectory.info.provenance)
        clipped = sum(writer.clipped for writer in writers)
        log(
            f"session {session.name}: {storage.counted(rows, 'value')}"
            + (f", {clipped} clipped to 0..1" if clipped else "")
        )
        total += rows
    return total


def _sorted(descriptors: list[Descriptor]) -> tuple[Descriptor, list[tuple[str, Descriptor]]]:
    """The one audio input, and the outputs with the port each belongs to."""
    inputs = [one for one in descriptors if one.direction == "input"]
    audios = [one for one in inputs if MODULE.port("input", one.id)]
    if len(audios) != 1 or audios[0].kind != "stream":
        raise RequestError(
            f"data names {len(audios)} inputs with the id audio; expected exactly one, for instance "
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


def _dataset(fields: Mapping[str, str]) -> str:
    return fields.get("dataset", "").strip() or "dummy_dataset"


def _sessions(text: str) -> list[str]:
    if not text.strip():
        return ["dummy_session"]
    try:
        names = json_text.parse(text)
    except json_text.NotJSON:
        names = None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise RequestError('sessions is not a JSON list of names; expected for instance ["session1"].')
    if any(_NO_NAME.search(name) for name in names):
        raise RequestError("sessions holds a name with a line end or another control character; expected plain names.")
    if len(names) > _MAX_SESSIONS:
        raise RequestError(f"sessions lists {len(names)} names; expected at most {_MAX_SESSIONS}.")
    return names


def _session(
    name: str,
    dataset: str,
    job_id: str,
    source: Descriptor,
    outputs: list[tuple[str, Descriptor]],
    places: Places,
) -> Session:
    placed = _placed(name, dataset, job_id, outputs, places)
    return Session(name, _source(source, dataset, name, places), tuple(placed))


def _placed(
    name: str, dataset: str, job_id: str, outputs: list[tuple[str, Descriptor]], places: Places
) -> list[Output]:
    """The files of one session."""
    results = places.results(job_id) / safe_name(dataset, "dataset") / safe_name(name, "session")
    placed = []
    for port, one in outputs:
        ending = ".stream" if port == "embedding" else ".annotation"
        if one.origin == "request":
            path = results / (safe_name(one.name, one.id).removesuffix(ending) + ending)
        else:
            path = places.output(one.path(dataset, name), ending)
        placed.append(Output(port, path, one))
    return placed


def _source(source: Descriptor, dataset: str, session: str, places: Places) -> Path | bytes:
    if source.origin == "file":
        return places.input(source.path(dataset, session))
    uploaded = source.uri or source.payload
    if len(uploaded) < 100:
        path = places.uploads / Path(uploaded).name
        with contextlib.suppress(PathError):  # it is too long for a name, say, and may be the sound itself
            if storage.is_file(path):
                return path
    try:
        # perhaps in lines, as the command base64 writes it
        text = "".join((uploaded.partition("base64,")[2] or uploaded).split())
        return base64.b64decode(text.encode(errors="replace"), validate=True)
    except binascii.Error:
        raise RequestError(
            "The input audio is neither the name of an upload nor base64; post the file to /upload and name what it answers."
        ) from None


def _refuse_clashes(sessions: tuple[Session, ...]) -> None:
    seen: set[Path] = set()
    for session in sessions:
        for output in session.outputs:
            places = (output.path, output.path.with_name(output.path.name + "~"))
            if session.source in places:
                raise RequestError(f"The output {output.path} is the recording itself; choose another name.")
            if output.path in seen:
                raise RequestError(
                    f"Two outputs go to {output.path}; expected a place for each"
                    + (" (uri_template with {session}, for several sessions)." if len(sessions) > 1 else ".")
                )
            seen.add(output.path)


def _model(given: Mapping[str, opts.Value], served: Card) -> Card:
    """The option `model`: the one that is served, or another that is here by name; paths are the administrator's."""
    asked = given.get("model")
    wanted = served.name if asked is None or asked == "" else str(asked).strip()
    here = {card.name: card for card in (served, *(card for card in cards.available() if card.name != served.name))}
    if wanted not in here:
        raise RequestError(f"The model '{wanted[:60]}' is not here; expected {', '.join(here)}.")
    return here[wanted]


def _check_shared(card: Card, framing: Framing) -> None:
    try:
        check_shared(card, framing)
    except (FramingError, ModelError) as error:
        raise RequestError(str(error)) from None


def _masked(fields: Mapping[str, T]) -> dict[str, T | str]:
    """Fields without the values of those that are named like secrets."""
    return {
        name: "****" if value and any(word in name.lower() for word in _SECRET) else value
        for name, value in fields.items()
    }
