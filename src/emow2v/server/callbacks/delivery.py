"""Callbacks: a POST to an address of the client when its job has ended, tried again until it arrives."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from emow2v.discover.places import Places
from emow2v.errors import Emow2vError, RequestError
from emow2v.server.callbacks.keys import SIGNATURE, TIMESTAMP, read_keys, signature
from emow2v.server.jobs.store import Job, Store
from emow2v.server.jobs.store.connections import Database
from emow2v.server.jobs.task import task_of
from emow2v.server.options import ServerOptions
from emow2v.server.rounds import repeat
from emow2v.sources.address import SourceError, hide_secrets
from emow2v.sources.web import Client
from emow2v.storage import counted, one_line

logger = logging.getLogger("emow2v.server")

EVERY_S = 1.0  # between two looks for jobs that have ended
WAIT_S = 10.0  # for the answer to one callback
PAUSES_S = (10.0, 60.0, 300.0, 1800.0, 7200.0, 21600.0, 43200.0)  # before each further try: about 21 h in all
AT_ONCE = 8  # callbacks; the next ones wait for the slowest of these, WAIT_S at most
_GONE = 410  # the receiver does not want it any more


def check_callback(url: str, options: ServerOptions) -> None:
    """Refuse the callback of a request; connects to nothing.

    Raises:
        RequestError: the server makes no callbacks, or none to this address
    """
    if options.callback_keys is None:
        raise RequestError(
            "callback is not possible, because this server has no keys to sign with; leave it out, or ask for the job."
        )
    web = options.callback_web
    try:
        client = Client(web, max_s=WAIT_S)
        client.check(web.address(url))
    except SourceError as error:
        raise RequestError(f"callback: {error}") from None


@dataclass(frozen=True)
class _Result:
    """How a try went.

    Attributes:
        problem: a sentence; "" where the callback arrived
        is_last: whether no further try is of use
    """

    problem: str = ""
    is_last: bool = False


@dataclass(frozen=True)
class _Due:
    """A callback that is due, and the number of tries before."""

    job: Job
    attempts: int


class Callbacks:
    """The callbacks of a store of jobs; what is to be sent lies in the store, so that a restart loses none.

    Args:
        store: of the jobs
        places: of the server
        options: of the server
        clock: seconds since 1970
    """

    def __init__(
        self, store: Store, places: Places, options: ServerOptions, clock: Callable[[], float] = time.time
    ) -> None:
        self._store, self._places, self._options, self._clock = store, places, options, clock
        self._data = Database(store.path)

    def close(self) -> None:
        """Close the connections to the store."""
        self._data.close()

    async def keep_sending(self, stopping: threading.Event) -> None:
        """Send callbacks while the server runs.

        Args:
            stopping: set when no further callbacks shall begin
        """
        await repeat(lambda: self.send_due(stopping), EVERY_S, "callbacks could not be sent")

    def send_due(self, stopping: threading.Event) -> int:
        """Send what is due; gives the number of callbacks that arrived.

        Args:
            stopping: set when no further callbacks shall begin
        """
        arrived = 0
        while not stopping.is_set() and (due := self._due()):
            self._count(due)
            with ThreadPoolExecutor(len(due), "emow2v-callback") as pool:
                for one, result in zip(due, pool.map(self._send, [one.job for one in due]), strict=True):
                    self._note(one, result)
                    arrived += not result.problem
        return arrived

    def body(self, job: Job) -> bytes:
        """What a callback says of a job, the same at each try: by default nothing that tells whose recording it was."""
        said: dict[str, str | int] = {
            "id": job.id, "state": job.status.name.lower(), "rows": job.rows, "posted": job.posted, "ended": job.ended,
        }  # fmt: skip
        if self._options.callback_names:
            said |= {"name": one_line(task_of(job, self._places).name), "error": job.error}
        return json.dumps(said, sort_keys=True).encode()

    def _due(self) -> list[_Due]:
        """Callbacks of ended jobs, those that are due for longest first."""
        rows = self._data.rows(
            "SELECT id, owner, callbacks.attempts FROM callbacks JOIN jobs ON number = job WHERE status >= 2 AND due <= ? "
            "ORDER BY due, job LIMIT ?",
            (self._clock(), AT_ONCE),
        )
        found = [(self._store.get(row["id"], row["owner"]), row["attempts"]) for row in rows]
        return [_Due(job, attempts) for job, attempts in found if job is not None]

    def _count(self, due: Sequence[_Due]) -> None:
        """Store that tries begin, with the time of the next ones: where the results cannot be stored, callbacks are not
        sent again at once.
        """
        with self._data.write() as database:
            for one in due:
                later = self._clock() + PAUSES_S[min(one.attempts, len(PAUSES_S) - 1)]
                database.execute(
                    "UPDATE callbacks SET attempts = ?, due = ? WHERE job = ?",
                    (one.attempts + 1, later, one.job.number),
                )

    def _send(self, job: Job) -> _Result:
        """Send a callback once."""
        web = self._options.callback_web
        try:
            if self._options.callback_keys is None:
                return _Result("the server has no keys to sign with any more.")
            body, timestamp = self.body(job), str(int(self._clock()))
            keys = read_keys(self._options.callback_keys)  # each time, so that they may be changed at any time
            headers = {
                "Content-Type": "application/json", TIMESTAMP: timestamp, SIGNATURE: signature(keys, timestamp, body)
            }  # fmt: skip
            client = Client(web, max_s=WAIT_S)
            try:
                answer = client.send("POST", web.address(job.form["callback"]), headers, body)
                answer.close()
            finally:
                client.close()
        except Emow2vError as error:
            return _Result(str(error))
        if 200 <= answer.status < 300:
            return _Result()
        is_gone = answer.status == _GONE
        said = "gone" if is_gone else "an error"
        return _Result(f"{answer.address.shown} answered with status {answer.status} ({said}).", is_last=is_gone)

    def _note(self, due: _Due, result: _Result) -> None:
        """Say how a try went, and forget the callback if it was the last one."""
        job, problem, attempts = due.job, result.problem, due.attempts + 1
        last = not problem or result.is_last or attempts > len(PAUSES_S)
        if last:
            with self._data.write() as database:
                database.execute("DELETE FROM callbacks WHERE job = ?", (job.number,))
        if not problem:
            said, level = f"the callback arrived at {hide_secrets(job.form['callback'])}", "INFO"
        elif last:
            said, level = f"the callback is given up after {counted(attempts, 'try', 'tries')}: {problem}", "ERROR"
        else:
            said, level = f"the callback is tried again in {PAUSES_S[attempts - 1]:g} s: {problem}", "WARNING"
        self._store.log(job, said, level)
        logger.log(logging.getLevelName(level), "job %s: %s", job.id, said, extra={"job": job.id})
