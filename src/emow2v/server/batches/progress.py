"""What becomes of the recordings of a job, on the way from the run's journal to those who watch it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

from emow2v.archive.journal import Entry
from emow2v.archive.resume import CorpusRun
from emow2v.archive.run_table import kept_facts
from emow2v.inputs import Input, Outcome
from emow2v.rows import Block, Info
from emow2v.server.jobs.observer import JobObserver
from emow2v.server.jobs.store.recordings import Counts, Recorded
from emow2v.storage import shown

EVERY_S = 0.2  # between two reports


class BatchProgress:
    """Follows a run, and reports to an observer.

    Args:
        run: whose recordings are chosen and compared
        observer: of the job
        places: numbers of the recordings, by their names
        refused: sentences on recordings that cannot be read, by their numbers
        left_out: number of recordings that this attempt leaves out, because workers died of them

    Attributes:
        counts: how far the job is
    """

    def __init__(
        self, run: CorpusRun, observer: JobObserver, places: Mapping[str, int], refused: Mapping[int, str],
        left_out: int = 0,
    ) -> None:  # fmt: skip
        self.observer = observer
        assert run.names is not None
        self._run, self._places, self._names = run, places, run.names
        self._sizes = {run.names(path): size for path, size in run.sizes.items()}
        self._all_bytes = max(1, sum(self._sizes.values()))
        self._bytes = self._part = 0.0
        self._rows = 0  # of the present recording
        self._began = self._reported = time.monotonic()
        self._states = dict(self._known(refused))
        self._new: list[Recorded] = []
        ended = [one for one in self._states.values() if one.state != "waiting"]
        self.counts = Counts(
            all=len(places), before=len(ended) - left_out, done=sum(one.state == "done" for one in ended),
            failed=sum(one.state == "failed" for one in ended), rows=sum(one.rows for one in ended),
            sound_s=sum(one.seconds for one in ended),
        )  # fmt: skip
        self.observer.on_recordings(list(self._states.values()), self.counts)

    def _known(self, refused: Mapping[int, str]) -> Iterator[tuple[int, Recorded]]:
        """What earlier attempts have done, as the journal has it; a report may have been lost with a worker."""
        reported = {one.place: one for one in self.observer.recordings()}
        for place, error in refused.items():
            yield place, Recorded(place, "failed", error=error)
        for one, entry in self._run.entries():
            place = self._places[one.key]
            before = reported.get(place)
            if entry.state == "done":
                yield place, before if before and before.state == "done" else self._read(place, one, entry)
            elif entry.state == "failed":
                yield place, Recorded(place, "failed", error=entry.error)
            elif before and before.state != "waiting":  # the recording has changed since
                yield place, Recorded(place)

    def _read(self, place: int, one: Input, entry: Entry) -> Recorded:
        """A recording that was done, from the facts beside its rows."""
        facts = kept_facts(self._run.rows_path(one, one.stem))
        said = str(facts["provenance"].get("notices", ""))
        notices = (f"{shown(one.key)}: {said}",) if said else ()
        return Recorded(place, "done", int(facts["rows"]), entry.duration_s, notices=notices)

    @property
    def first_error(self) -> str:
        """The sentence of the first recording that has failed."""
        failed = [one for one in self._states.values() if one.state == "failed"]
        return min(failed, key=lambda one: one.place).error if failed else ""

    def block(self, block: Block, info: Info) -> None:
        """Some rows of the present recording were computed; for `progress` of `archive.run.predict`."""
        self.observer.on_step()
        self._rows += len(block)
        share = min(1.0, self._rows / info.expected_rows) if info.expected_rows else 0.0
        self._part = share * self._sizes.get(info.source, 0)
        if time.monotonic() - self._reported >= EVERY_S:
            self.report()

    def done(self, outcome: Outcome) -> None:
        """A recording was computed, or has failed."""
        self.observer.on_step()
        name = self._names(outcome.path)
        place = self._places[name]
        if outcome.error:
            one = Recorded(place, "failed", error=outcome.error)
            self.counts = replace(self.counts, failed=self.counts.failed + 1)
        else:
            one = Recorded(place, "done", outcome.rows, outcome.duration_s, notices=outcome.notices)
            self.counts = replace(
                self.counts, done=self.counts.done + 1, rows=self.counts.rows + one.rows,
                sound_s=self.counts.sound_s + one.seconds,
            )  # fmt: skip
        self._states[place] = one
        self._new.append(one)
        self._bytes += self._sizes.get(name, 0)
        self._rows, self._part = 0, 0.0
        if time.monotonic() - self._reported >= EVERY_S:
            self.report()

    def report(self) -> None:
        """Report what is new to the observer."""
        self._reported = time.monotonic()
        elapsed, finished = self._reported - self._began, (self._bytes + self._part) / self._all_bytes
        left = elapsed / finished - elapsed if finished else None
        self.counts = replace(self.counts, left_s=left)
        new, self._new = self._new, []
        self.observer.on_recordings(new, self.counts)
