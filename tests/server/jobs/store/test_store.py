import contextlib
import multiprocessing
import sqlite3
import threading
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from emow2v.errors import Emow2vError, RequestError
from emow2v.server.jobs.store import Busy, Status, Store
from emow2v.server.jobs.store import work as module
from emow2v.server.jobs.store.work import MAX_ATTEMPTS


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "work" / "jobs.sqlite")


def test_the_life_of_a_job(store: Store) -> None:
    job = store.submit("talk 1", {"jobID": "talk 1", "data": "[ö]"}, client="a", context="shared")
    assert (job.status, job.progress, job.form["data"], job.context) == (Status.WAITING, "-", "[ö]", "shared")
    assert store.claim("w1") is not None and store.claim("w1") is None
    mine = store.abandoned("w1")[0]
    assert mine.status is Status.RUNNING and mine.started and not mine.ended and store.running(mine)
    store.progress(mine, 5, 250)
    store.set_provenance(mine, {"model": "lite", "frame_step_ms": 40.0})
    assert store.get("talk 1").progress == "5/250"  # type: ignore[union-attr]
    store.progress(mine, 300, 250)
    assert store.begin_publishing(mine, [(Path("/a/.x.part"), Path("/a/x"))])
    now = store.get("talk 1")
    assert now is not None and now.progress == "300/300" and now.moves == [("/a/.x.part", "/a/x")]
    store.end_publishing(mine)
    assert store.end(mine) and not store.end(mine)
    done = store.get("talk 1")
    assert done is not None and done.status is Status.FINISHED and done.ended >= done.started >= done.posted
    assert done.provenance == {"model": "lite", "frame_step_ms": 40.0} and not store.running(mine)
    assert store.lines(done)[-1].endswith(" INFO finished") and store.counts()[Status.FINISHED] == 1


def test_what_somebody_relies_on_is_on_the_disk_and_what_is_only_watched_need_not_be(
    store: Store,
) -> None:
    def lasting(work) -> bool:
        """Whether SQLite waits for the disk at the end of a transaction."""
        work()
        return store._database().execute("PRAGMA synchronous").fetchone()[0] == 2

    assert lasting(lambda: store.submit("a", {}))
    assert lasting(lambda: store.claim("w"))
    (job,) = store.abandoned("w")
    assert not lasting(lambda: store.set_provenance(job, {"model": "lite"}))
    assert not lasting(lambda: store.log(job, "said"))
    assert not lasting(lambda: store.progress(job, 1, 2))
    assert lasting(lambda: store.begin_publishing(job, [(Path("/a/.x.part"), Path("/a/x"))]))
    assert not lasting(lambda: store.end_publishing(job))
    assert lasting(lambda: store.end(job))
    assert lasting(lambda: store.submit("b", {}))
    assert lasting(lambda: store.cancel("b"))
    assert lasting(lambda: store.forget(most=0, days=0))


def test_an_id_is_refused_while_its_job_goes_on_and_replaced_when_it_has_ended(store: Store) -> None:
    first = store.submit("a", {})
    with pytest.raises(RequestError, match="'a' is waiting"):
        store.submit("a", {})
    mine = store.claim("w")
    assert mine is not None
    with pytest.raises(RequestError, match="'a' is running"):
        store.submit("a", {})
    assert store.end(mine, "it failed.")
    second = store.submit("a", {"n": "2"})
    assert second.number > first.number and store.lines(second) == [] and len(store.all()) == 1
    assert not store.end(mine)  # the old one's worker has no say in the new one


def test_a_cancelled_job_whose_id_was_taken_is_held_until_its_worker_lets_go(store: Store) -> None:
    store.submit("a", {"n": "1"})
    first = store.claim("w1")
    assert first is not None and store.cancel("a")
    second = store.submit("a", {"n": "2"})
    assert [(job.number, job.form["n"]) for job in store.unreleased("w1")] == [(first.number, "1")]
    assert store.unreleased("w2") == [] and store.unreleased("w1", since_s=60) == []
    assert not store.running(first) and not store.begin_publishing(first, []) and not store.end(first)
    mine = store.claim("w2")
    assert mine is not None and mine.number == second.number
    assert [job.number for job in store.unreleased()] == [first.number] and store.abandoned("w1") == []
    assert store.running(mine) and store.end(mine) and store.erase(mine) is None  # of the first something is left
    store.release(first)
    assert store.unreleased() == [] and store.erase(mine) is not None
    assert store.submit("a", {"n": "3"}) and (third := store.claim("w3")) and store.end(third)
    store.submit("a", {"n": "4"})  # nobody holds what has finished
    assert store.unreleased() == []


def test_clients_take_turns(store: Store) -> None:
    for number in range(3):
        store.submit(f"a{number}", {}, client="a")
    store.submit("b0", {}, client="b")
    store.submit("c0", {}, client="c")
    assert store.position(store.get("b0")) == 3  # type: ignore[arg-type]
    order = []
    while (job := store.claim("w")) is not None:
        order.append(job.id)
        store.end(job)
    assert order == ["a0", "b0", "c0", "a1", "a2"]


def test_the_next_job_is_the_one_that_is_claimed(store: Store) -> None:
    assert store.next_waiting() is None
    for number in range(12):
        store.submit(str(number), {}, client="abc"[number % 5 % 3], owner=("", "anna")[number % 2])
    for _ in range(12):
        job = store.next_waiting()
        claimed = store.claim("w")
        assert job is not None and claimed is not None and job.number == claimed.number
    assert store.next_waiting() is None


def test_cancel_in_every_state(store: Store) -> None:
    assert not store.cancel("never")
    store.submit("waiting", {})
    assert store.cancel("waiting") and store.cancel("waiting") and store.claim("w") is None
    store.submit("running", {})
    mine = store.claim("w")
    assert mine is not None and store.cancel("running")
    assert not store.running(mine) and not store.begin_publishing(mine, []) and not store.end(mine)
    cancelled = store.get("running")
    assert cancelled is not None and cancelled.status is Status.CANCELED and cancelled.was_cancelled and cancelled.ended
    store.submit("publishing", {})
    mine = store.claim("w")
    assert mine is not None and store.begin_publishing(mine, []) and not store.cancel("publishing")
    store.end_publishing(mine)
    assert store.cancel("publishing")
    store.submit("finished", {})
    mine = store.claim("w")
    assert mine is not None and store.end(mine) and not store.cancel("finished")
    assert not store.get("finished").was_cancelled  # type: ignore[union-attr]


def test_a_cancelled_job_is_its_workers_until_that_lets_go(store: Store) -> None:
    store.submit("waiting", {})
    assert store.cancel("waiting") and store.unreleased() == []
    store.submit("running", {})
    mine = store.claim("w")
    assert mine is not None and store.unreleased() == []
    store.release(mine)
    assert store.running(mine)  # of one that goes on nobody lets go
    assert store.cancel("running")
    assert [job.id for job in store.unreleased()] == [job.id for job in store.unreleased("w")] == ["running"]
    assert store.unreleased("other") == [] == store.unreleased(since_s=60)
    assert [job.id for job in store.forget(most=0, days=0)] == ["waiting"] and store.erase(mine) is None
    store.release(mine)
    assert store.unreleased() == [] and store.erase(mine) is not None and store.all() == []


def test_long_forms_are_read_in_brief(store: Store) -> None:
    store.submit("long", {"data": "x" * 100_000, "y" * 2000: "z"})
    for brief in (store.get("long", brief=True), *store.all()):
        assert brief is not None and sorted(len(name) for name in brief.form) == [4, 1000]
        assert sorted(map(len, brief.form.values())) == [1, 1000]
    whole = store.get("long")
    assert whole is not None and len(whole.form["data"]) == 100_000


def test_what_a_dead_worker_leaves(store: Store) -> None:
    for number in range(2):
        store.submit(f"{number}", {})
    first, other = store.claim("w1"), store.claim("w2")
    assert first is not None and other is not None
    assert [job.id for job in store.abandoned("w1")] == ["0"] and len(store.abandoned()) == 2
    for attempt in range(1, MAX_ATTEMPTS + 1):
        job = store.abandoned("w1")[0]
        assert job.attempts == attempt
        status = store.requeue(job, "The worker died (killed by signal 9)")
        assert status is (Status.ERROR if attempt == MAX_ATTEMPTS else Status.WAITING)
        assert store.requeue(job, "again") is status  # asked twice, done once
        if status is Status.WAITING:
            again = store.claim("w1")
            assert again is not None and again.id == "0" and again.number == first.number
    given_up = store.get("0")
    assert given_up is not None and "3 times; it is given up" in given_up.error
    assert len([line for line in store.lines(given_up) if "died" in line]) == MAX_ATTEMPTS


def test_attempts_that_got_further_do_not_count(store: Store) -> None:
    store.submit("0", {})

    def attempt(*, got_further: bool) -> Status:
        job = store.claim("w")
        assert job is not None
        return store.requeue(job, "The worker died", got_further=got_further)

    assert {attempt(got_further=True) for _ in range(2 * MAX_ATTEMPTS)} == {Status.WAITING}
    assert attempt(got_further=False) is Status.WAITING
    assert attempt(got_further=False) is Status.ERROR


def test_history_is_bounded_by_number_and_age(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        monkeypatch.setattr(module, "now", lambda number=number: f"20{20 + number}-01-01T00:00:00.000+00:00")
        store.submit(f"{number}", {})
        job = store.claim("w")
        assert job is not None
        store.log(job, "a line")
        store.end(job)
    monkeypatch.undo()
    store.submit("waiting", {})
    assert [job.id for job in store.forget(most=4, days=30_000)] == ["0", "1"]
    assert {job.id for job in store.forget(most=100, days=1)} == {"2", "3", "4", "5"}
    assert [job.id for job in store.all()] == ["waiting"]
    with contextlib.closing(sqlite3.connect(store.path)) as database:
        assert database.execute("SELECT count(*) FROM lines").fetchone() == (0,)


def test_a_queue_has_an_end(store: Store) -> None:
    for number in range(3):
        store.submit(f"{number}", {}, max_waiting=3)
    with pytest.raises(Busy, match="3 jobs are waiting"):
        store.submit("one more", {}, max_waiting=3)
    store.claim("w")
    store.submit("one more", {}, max_waiting=3)


def test_files_that_are_no_store(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database" * 100)
    with pytest.raises(Emow2vError, match=r"cannot be read .*choose another --work-dir"):
        Store(tmp_path / "text")
    with pytest.raises(Emow2vError, match="cannot be read"):
        Store(tmp_path / "text" / "jobs.sqlite")
    Store(tmp_path / "new").close()
    database = sqlite3.connect(tmp_path / "new")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(Emow2vError, match=r"newer version of emow2v \(format 99, expected at most 7\); update"):
        Store(tmp_path / "new")


def _take_all(path: Path, worker: str) -> None:
    store = Store(path)
    while (job := store.claim(worker)) is not None:
        store.log(job, worker)
        store.end(job)


def test_processes_and_threads_share_jobs_and_no_job_is_taken_twice(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    store = Store(path)
    for number in range(120):
        store.submit(f"{number}", {}, client=f"{number % 7}")
    context = multiprocessing.get_context("spawn")
    takers = [context.Process(target=_take_all, args=(path, f"p{k}")) for k in range(3)]
    takers += [threading.Thread(target=_take_all, args=(path, f"t{k}")) for k in range(3)]  # type: ignore[list-item]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join()
    jobs = store.all()
    assert all(job.status is Status.FINISHED and job.attempts == 1 for job in jobs) and len(jobs) == 120
    assert all(len(store.lines(job)) == 2 for job in jobs)


class Life(RuleBasedStateMachine):
    """Whatever clients, workers and deaths do in whatever order: states go forward, and ended stays ended."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.store = Store(Path(self.folder.name) / "jobs.sqlite")
        self.claimed: list[module.Job] = []
        self.ended: dict[int, Status] = {}

    @rule(name=st.sampled_from("abcd"), client=st.sampled_from("xy"))
    def post(self, name: str, client: str) -> None:
        old = self.store.get(name)
        if old is None or old.status.ended:
            self.store.submit(name, {}, client=client)
        else:
            with pytest.raises(RequestError):
                self.store.submit(name, {}, client=client)

    @rule(worker=st.sampled_from(["w1", "w2"]))
    def claim(self, worker: str) -> None:
        if not self.store.abandoned(worker) and (job := self.store.claim(worker)):
            self.claimed.append(job)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data(), way=st.sampled_from(["end", "fail", "publish", "published", "progress", "die"]))
    def work(self, data: st.DataObject, way: str) -> None:
        job = data.draw(st.sampled_from(self.claimed))
        running = self.store.running(job)
        if way in ("end", "fail"):
            assert self.store.end(job, "failed." if way == "fail" else "") == running
        elif way == "publish":
            assert self.store.begin_publishing(job, []) == running
        elif way == "published":
            self.store.end_publishing(job)
        elif way == "progress":
            self.store.progress(job, 3, 5)
        else:
            for orphan in self.store.abandoned(job.worker):
                self.store.requeue(orphan, "died")

    @rule(name=st.sampled_from("abcd"))
    def cancel(self, name: str) -> None:
        before = self.store.get(name)
        stopped = self.store.cancel(name)
        if before is None or before.status in (Status.FINISHED, Status.ERROR):
            assert not stopped
        else:
            assert stopped == (not before.publishing or before.status is Status.CANCELED)

    @invariant()
    def ended_stays_ended(self) -> None:
        for job in self.store.all():
            if job.number in self.ended:
                assert job.status is self.ended[job.number]
            if job.status.ended:
                self.ended[job.number] = job.status
                assert (job.ended and not job.publishing) or job.status is Status.CANCELED
            assert (job.status is Status.ERROR) == bool(job.error)

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=25, stateful_step_count=30)


def test_lists_are_filtered_and_bounded_where_the_jobs_lie(store: Store) -> None:
    for number in range(20):
        store.submit(f"{number}", {})
    for _ in range(3):
        job = store.claim("w")
        assert job is not None and store.end(job)
    newest = store.all(newest_first=True, most=2, status=Status.WAITING)
    assert [job.id for job in newest] == ["19", "18"]
    assert [job.id for job in store.all(status=Status.FINISHED)] == ["0", "1", "2"]
    positions = store.positions()
    assert [positions[job.number] for job in store.all(status=Status.WAITING)] == list(range(17))
    assert all(positions[job.number] == store.position(job) for job in newest)
    later = {number: position for number, position in positions.items() if number >= 9}
    assert store.positions(9) == later and 0 < len(later) < len(positions)
    queries: list[str] = []
    store._database().set_trace_callback(queries.append)
    store.all(newest_first=True, most=2, status=Status.WAITING)
    assert len(queries) == 1 and "LIMIT 2" in queries[0]


def test_notices_and_the_last_count_stay_with_the_job(store: Store) -> None:
    store.submit("a", {})
    job = store.claim("w")
    assert job is not None
    store.progress(job, 144, 321)
    store.add_notices(job, ["3 packets are damaged.", "two\nlines"])
    assert store.end(job, rows=171)
    done = store.get("a")
    assert done is not None and (done.rows, done.expected, done.progress) == (171, 171, "171/171")
    assert list(done.notices) == ["3 packets are damaged.", "two lines"]
    assert any(line.endswith("WARNING 3 packets are damaged.") for line in store.lines(done))


def test_connections_of_threads_are_closed(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    store = Store(tmp_path / "jobs.sqlite")
    opened: list[sqlite3.Connection] = []
    begun, go_on = threading.Barrier(4), threading.Event()

    def work() -> None:
        store.all()
        opened.append(store._database())
        begun.wait()
        go_on.wait()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    begun.wait()
    opened.append(store._database())
    store.close()
    for connection in opened:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")
    assert store.all() == []  # who asks again gets a new one
    go_on.set()
    for thread in threads:
        thread.join()
    short: list[sqlite3.Connection] = []
    thread = threading.Thread(target=lambda: short.append(store._database()))
    thread.start()
    thread.join()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):  # with its thread
        short[0].execute("SELECT 1")
    store.close()
