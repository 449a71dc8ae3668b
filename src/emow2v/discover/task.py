"""A DISCOVER request as a task: checked from end to end before any work, then one pass a session writes all outputs."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Mapping, Set
from functools import cached_property
from pathlib import Path

from emow2v import storage
from emow2v.cards import Card
from emow2v.discover import options as opts
from emow2v.discover.database import passwords
from emow2v.discover.database.access import RequestDatabase
from emow2v.discover.descriptors import Descriptor, by_port, parse_data, session_names
from emow2v.discover.module import MODULE
from emow2v.discover.names import snake_case
from emow2v.discover.observer import Observer, record_observed
from emow2v.discover.options import TrackChoice
from emow2v.discover.outputs import Output, Session, place, read_table, refuse_clashes
from emow2v.discover.places import Places, check_job_id, make_folder, safe_name
from emow2v.discover.recordings import Found, Recordings, probe, seconds_read
from emow2v.discover.turn_inputs import MAX_BYTES, TurnInputs, read_turns, turn_inputs
from emow2v.discover.turn_list import TurnListWriter, path_of
from emow2v.engines.shared_context import check_shared
from emow2v.errors import Cancelled, Emow2vError, FormatError, FramingError, ModelError, PlaceTaken, RequestError
from emow2v.formats import check as check_places
from emow2v.formats.table_read import Table
from emow2v.framing import Framing
from emow2v.model import Context, Model
from emow2v.prediction.speech import speech_frame_ms
from emow2v.sources.remote import Remote
from emow2v.sources.turns import TurnFiles

DEFAULT_BATCH_SIZE = 250  # as published


class DiscoverTask:
    """A /process form. Each part is read when it is first asked for, also when recordings or results are gone.

    Args:
        job_id: as posted
        form: as posted, field names in either case
        places: folders that requests may read and write
        default_context: how windows are computed where the request does not say
        stored: whether the request was accepted before, with its password kept

    All parts raise RequestError, with one sentence, where the form cannot be carried out.
    """

    default_format = "json"
    owned: Set[Path] = frozenset()  # uploads to /upload have names of their own, and several requests may name one
    first_row = 0  # annotations hold rows before the start, too

    def __init__(
        self,
        job_id: str,
        form: Mapping[str, str],
        places: Places,
        default_context: Context = "window",
        *,
        stored: bool = False,
    ) -> None:
        self.job_id = job_id
        self._form = form
        self._fields = {snake_case(name): value for name, value in form.items()}
        self._places = places
        self._default_context = default_context
        self._database = RequestDatabase(self._fields, self._dataset, places, stored=stored)
        self._recordings = Recordings(places, self._database)
        self._turn_files = TurnFiles(places.web, places.work_dir, MAX_BYTES)

    # --- the parts of the request ---

    @property
    def name(self) -> str:
        """The name that people see."""
        return self.job_id

    @cached_property
    def framing(self) -> Framing:
        """The windows, from the trainer where the request says nothing."""
        return opts.framing(self._fields)

    @property
    def context(self) -> Context:
        """How windows are computed."""
        # one value for a whole recording has no windows that could share their context
        default = "window" if self.framing.whole and "context" not in self._options else self._default_context
        return opts.context(self._options, default)

    @cached_property
    def track_choice(self) -> TrackChoice:
        """Track and channel of the recordings, where the request chooses them."""
        return opts.track_choice(self._options)

    @cached_property
    def sessions(self) -> list[str]:
        """Names of the recordings."""
        return session_names(self._fields.get("sessions", ""))

    def recording(self, number: int) -> Found:
        """A session's recording: a path, the bytes that came inside the request, or a recording at an address."""
        source, _ = self._ports
        return self._recordings.find(source, self._dataset, self._session_name(number))

    def close(self) -> None:
        """Remove what was fetched from addresses, and end the connection to NOVA's database."""
        self._recordings.close()
        self._database.close()

    def outputs(self, number: int) -> tuple[Output, ...]:
        """A session's files, whether they exist or not."""
        _, ports = self._ports
        return place(self._session_name(number), self._dataset, self.job_id, ports, self._places)

    def folders(self) -> set[Path]:
        """The folders that the files are written to."""
        return {output.path.parent for number in range(len(self.sessions)) for output in self.outputs(number)}

    def uploads(self) -> set[Path]:
        """The uploads that the request names, as far as they exist."""
        paths: set[Path] = set()
        with contextlib.suppress(Emow2vError):  # a form that cannot be read names none
            for number in range(0 if self._ports[0].origin == "db" else len(self.sessions)):
                with contextlib.suppress(Emow2vError, OSError):
                    recording = self.recording(number)
                    if isinstance(recording, Path) and self._places.is_upload(recording):
                        paths.add(recording)
        return paths

    def card(self, served: Card) -> Card:
        """The card of the model to use.

        Args:
            served: the card of the server's own model
        """
        name = self._options.get("model")
        return opts.choose_card(served.name if name in (None, "") else str(name).strip(), served)

    @property
    def notes(self) -> list[str]:
        """A sentence for each field and option that is unknown and ignored."""
        notes = opts.ignored("field", set(self._fields) - opts.FIELDS, opts.FIELDS - opts.WITHOUT_USE)
        return notes + opts.ignored("option", opts.unknown_options(self._options), opts.OPTIONS)

    def stored_form(self) -> Mapping[str, str]:
        """The masked form; the password of NOVA's database is kept in a file, and the form names it."""
        password = self._fields.get(passwords.FIELD, "") if self._uses_database else ""
        if not password:
            return self.masked_form
        form, kept = self.masked_form, passwords.keep(self._places.passwords, password)
        return {name: kept if snake_case(name) == passwords.FIELD else value for name, value in form.items()}

    @property
    def masked_form(self) -> Mapping[str, str]:
        """The form with passwords, tokens and secrets masked, which may be stored and shown."""
        form: dict[str, str] = passwords.masked(self._form)
        if (options := passwords.masked(self._options)) != self._options:
            form = {name: value for name, value in form.items() if snake_case(name) not in ("options", "opt_str")}
            form["options"] = json.dumps(options)
        return form

    # --- before, during and after the work ---

    def check(self, served: Card, max_duration_s: float = 0) -> float:
        """Check everything, the recordings too, and make the folders of outputs; see `Task.check` in `server.jobs.task`."""
        check_job_id(self.job_id)
        trainer = self._fields.get("trainer_file_path", "")
        if not trainer.strip():
            raise RequestError(f"trainerFilePath is missing; expected {MODULE.path}.")
        if not MODULE.answers_to(trainer):
            raise RequestError(f"trainerFilePath '{trainer[:100]}' is unknown; expected {MODULE.path}.")
        if not self._fields.get("data", "").strip():
            raise RequestError("data is missing; expected a JSON list of data descriptors.")
        _ = self._descriptors, self.framing, self._options
        card = self.card(served)
        _ = self.notes, self.track_choice, self._overwrite, self._batch_size, self._speech
        if self.context == "shared":
            try:
                check_shared(card, self.framing)
            except (FramingError, ModelError) as error:
                raise RequestError(str(error)) from None
        self._database.check(self.sessions, self._in_database, self.framing, overwrite=self._overwrite)
        refuse_clashes(self._planned)
        self._check_places()
        seconds = 0.0
        for session in self._planned:
            stated = probe(session.recording, self.framing, max_duration_s, self.track_choice)
            framing = self._framing(session.name, stated)
            seconds += seconds_read(stated, framing)
            self._turns(session.name, stated)
            self._database.check_sizes(session.name, self._in_database, stated, framing)
        for folder in sorted({output.path.parent for session in self._planned for output in session.outputs}):
            make_folder(folder)
        return seconds

    def run(self, model: Model, observer: Observer | None = None, max_duration_s: float = 0) -> int:
        """Carry out the request: the files of a session appear together or not at all.

        Args:
            max_duration_s: longest recording in seconds; 0 for no limit

        Returns:
            values in all sessions

        Raises:
            Emow2vError: one sentence on the error; earlier sessions keep their files. With NOVA's database, later sessions
                are computed, too, as the reference does
        """
        observer = observer or Observer()
        if self.notes:
            observer.notice(self.notes)
        shutil.rmtree(self._places.results(self.job_id), ignore_errors=True)  # of an earlier job with the same id
        rows, failed = 0, []
        for number, session in enumerate(self._planned, start=1):
            if number > 1:
                observer.after_publish()
            try:
                rows += self._run_session(number, session, model, observer, max_duration_s)
            except Emow2vError as error:
                if isinstance(error, Cancelled) or len(self.sessions) == 1 or not self._uses_database:
                    raise
                failed.append(f"session {session.name}: {error}")
                observer.notice(failed[-1:])
            done = session.recording
            if isinstance(done, Remote) and all(one.recording is not done for one in self._planned[number:]):
                done.close()  # the disk need not hold the recordings of all sessions
        if failed:
            raise RequestError(f"{len(failed)} of {len(self.sessions)} sessions failed; the first is {failed[0]}")
        return rows

    @property
    def embeddings(self) -> bool:
        """Whether a file for embeddings is asked for."""
        _, ports = self._ports
        return any(port == "embedding" for port, _ in ports)

    def files(self, number: int) -> list[Path]:
        """The files of a session, with the data of annotations and streams."""
        paths = [output.path for output in self.outputs(number)]
        return [*paths, *(path.with_name(f"{path.name}~") for path in paths)]

    def arrays(self, number: int) -> Path | None:
        """None: requests name files for embeddings themselves."""
        return None

    def stored(self, file_format: str, number: int | None = None) -> Path | None:
        """The stored table in a format; a request stores none."""
        return None

    def table(self, number: int) -> Table:
        """The values of a session that has finished.

        Raises:
            RequestError: there is no such session, or it wrote no annotation
            FormatError: its files are gone, or others lie at their places
        """
        return read_table(self.outputs(number))

    def stem(self, number: int) -> str:
        """The beginning of the names of files that people save."""
        name = storage.one_line(Path(self._session_name(number)).stem)
        return safe_name(f"{self.job_id} {name}", "result")

    # --- parts of parts ---

    @cached_property
    def _descriptors(self) -> list[Descriptor]:
        return parse_data(self._fields.get("data", ""))

    @cached_property
    def _ports(self) -> tuple[Descriptor, list[tuple[str, Descriptor]]]:
        return by_port(self._descriptors)

    @property
    def _in_database(self) -> list[tuple[str, Descriptor]]:
        """The outputs that go to NOVA's database."""
        return [(port, one) for port, one in self._ports[1] if one.origin == "db"]

    @property
    def _uses_database(self) -> bool:
        return any(one.origin == "db" for one in self._descriptors)

    def _framing(self, session: str, stated_s: float = 0) -> Framing:
        """The windows of a session, which may end before its recording where NOVA's database has either of them."""
        source, _ = self._ports
        in_database = source.origin == "db" or self._in_database
        return self._database.framing(session, self.framing, stated_s) if in_database else self.framing

    @cached_property
    def _options(self) -> dict[str, opts.Value]:
        return opts.options(self._fields)

    @property
    def _overwrite(self) -> bool:
        return opts.flag("overwrite", self._options) or self._places.overwrite

    @property
    def _speech(self) -> bool:
        return opts.flag("speech", self._options)

    @property
    def _lists_turns(self) -> bool:
        """Whether turns are kept beside the values."""
        return not self.framing.whole and (self._speech or bool(turn_inputs(self._descriptors)))

    def _turns(self, session: str, duration_s: float = 0) -> TurnInputs:
        """The turns of a session, as its inputs have them."""
        inputs = [] if self.framing.whole else turn_inputs(self._descriptors)
        source, _ = self._ports
        name = (source.path(self._dataset, session) if source.origin == "file" else "") or session
        far = self._database, self._turn_files
        return read_turns(inputs, self._dataset, session, self._places, name, duration_s, *far)

    @property
    def _batch_size(self) -> int:
        return opts.batch_size(self._options, DEFAULT_BATCH_SIZE)

    @property
    def _dataset(self) -> str:
        return self._fields.get("dataset", "").strip() or "dummy_dataset"

    @cached_property
    def _planned(self) -> list[Session]:
        planned = []
        for number, name in enumerate(self.sessions):
            planned.append(Session(name, self.recording(number), self.outputs(number), self._turns(name).files))
        return planned

    def _session_name(self, number: int) -> str:
        if number >= len(self.sessions):
            raise RequestError(f"session is {number}; expected 0 to {len(self.sessions) - 1}.")
        return self.sessions[number]

    def _check_places(self) -> None:
        """Refuse to replace files that emow2v did not write."""
        outputs = [output for session in self._planned for output in session.outputs]
        try:
            check_places(output.writer(overwrite=self._overwrite) for output in outputs)
        except PlaceTaken as error:
            raise RequestError(
                f'{error.what}; move it, choose another place, or replace it with options={{"overwrite": true}}.'
            ) from None
        except FormatError as error:
            raise RequestError(str(error)) from None

    def _run_session(
        self, number: int, session: Session, model: Model, observer: Observer, max_duration_s: float
    ) -> int:
        writers = [output.writer(overwrite=self._overwrite, gaps=self._speech) for output in session.outputs]
        recording, turns, framing = session.recording, self._turns(session.name), self._framing(session.name)
        self._recordings.watch(observer.on_step)
        listed = None
        if self._lists_turns and (turns.segmentation is not None or self._speech):
            place = path_of(self._places.results(self.job_id), number - 1)
            writers.append(listed := TurnListWriter(place, turns.segmentation, {}, speech_frame_ms(model.card)))
        trajectory = model.predict(
            io.BytesIO(recording) if isinstance(recording, bytes) else recording,
            framing=framing,
            context=self.context,
            # the request's batch size is a hint; the server knows how many windows the machine is good for
            batch_size=min(self._batch_size, model.batch_size(self.framing)),
            check=observer.on_step,
            max_duration_s=max_duration_s,
            speech=self._speech,
            on_speech=listed.add_speech if listed else None,
            **self.track_choice,
        )
        count = len(self.sessions)
        observer.log(f"session {session.name} ({number}/{count}): {trajectory.info.source}")
        in_database = self._database.writing(
            session.name, self._in_database, self.framing, gaps=self._speech, overwrite=self._overwrite
        )
        with in_database as written:
            writers += written.writers
            rows = record_observed(trajectory, writers, observer, commit=written.commit)
        notices = [*trajectory.info.notices, *turns.notices, *(listed.notices if listed else ()), *written.notices]
        if framing is not self.framing:
            notices.append(
                f"Values end at {float(framing.end_ms or 0) / 1000:g} s, as the session does in the database."
            )
        if notices:
            observer.notice([f"session {session.name}: {notice}" if count > 1 else notice for notice in notices])
        if count == 1:
            observer.on_provenance(trajectory.info.provenance)
        clipped = sum(writer.clipped for writer in writers)
        values = storage.counted(rows, "value")
        observer.log(f"session {session.name}: {values}" + (f", {clipped} clipped to 0..1" if clipped else ""))
        return rows
