"""Faults for tests and benchmarks: a server whose workers, and which itself, are killed at random moments while jobs run.

What must hold afterwards is in `Storm.check`: no job lost, none done twice, every file whole and the same as without faults.
With names, what must hold meanwhile is in `Storm.spy`: nobody sees, cancels or erases what belongs to another name.
"""

import http.client
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import soundfile

from emow2v.cli.demo import request
from emow2v.discover.places import Places
from emow2v.modelstore.verify import EXAMPLE
from emow2v.server.people.tokens import Tokens
from waiting import until

STUCK_S = 300  # without a job posted or ended, however slow the machine
RECORDINGS = (0.6, 0.9, 1.3, 2.1)  # seconds; short, so that kills meet jobs in every stage
READ = ("rows", "log", "audio", "result", "events", "sessions", "files", "failures", "zip", "waveform", "citation")
JOURNAL = ".emow2v"  # of a job of many recordings: the order of its entries may differ
Form = str | list[str]  # values of a field
OUTPUTS = ("arousal.annotation", "dominance.annotation", "valence.annotation", "embeddings.stream")


class Storm:
    """A folder with recordings, a server on it, jobs and kills.

    Args:
        folder: empty
        seed: of all that is random
        workers: of the server
        pause_s: between two kills, at most
        names: number of people who share the server; all of them use the same jobIDs. 0 for nobody with a name
    """

    def __init__(self, folder: Path, seed: int, *, workers: int = 2, pause_s: float = 1.5, names: int = 0) -> None:
        self.random = random.Random(seed)
        self.data, self.work = folder / "data", folder / "work"
        self.data.mkdir(parents=True)
        self.workers, self.pause_s = workers, pause_s
        self.log = folder / "server.log"
        self.names = [f"n{number}" for number in range(names)]
        self.tokens = {name: Tokens(self.work).add(name) for name in self.names}
        self.posted: dict[tuple[str, str], tuple[str, str]] = {}  # owner, id: kind, recording
        self.spied = 0
        self.worker_kills = self.server_kills = 0
        self.process: subprocess.Popen[str] | None = None
        self.url = ""
        signal_, rate = soundfile.read(EXAMPLE, dtype="float32")
        for number, seconds in enumerate(RECORDINGS):
            begin = self.random.randrange(signal_.size - int(seconds * rate))
            soundfile.write(self.data / f"talk{number}.wav", signal_[begin : begin + int(seconds * rate)], rate)

    # --- the server ---

    def start(self) -> None:
        command = [sys.executable, "-m", "emow2v", "serve", "--port", "0", "--workers", str(self.workers)]
        command += [
            "--threads",
            "1",
            "--data-dir",
            str(self.data),
            "--work-dir",
            str(self.work),
            "--keep-jobs",
            "100000",
        ]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, f"{line}\n{self.log.read_text()[-2000:]}"
        self.url = found[0]

    def stop(self, kill: bool = False) -> None:
        if self.process is not None:
            self.process.kill() if kill else self.process.terminate()
            self.process.communicate(timeout=120)

    def worker_pids(self) -> list[int]:
        assert self.process is not None
        return workers_of(self.process.pid)

    # --- what clients do ---

    def ask(
        self, route: str, form: Mapping[str, Form] | None, owner: str = "", method: str | None = None, key: str = ""
    ) -> tuple[int, bytes]:
        """Status and body of an answer.

        Args:
            key: with which the request may be sent again without a second job
        """
        body = None if form is None else urllib.parse.urlencode(form, doseq=True).encode()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        headers = {"Authorization": f"Bearer {self.tokens[owner]}"} if owner else {}
        headers |= {"Idempotency-Key": key} if key else {}
        asked = urllib.request.Request(f"{self.url}/{urllib.parse.quote(route)}", body, headers, method=method)
        try:
            with opener.open(asked, timeout=120) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def post(self, number: int, seed: int) -> None:
        """One job, posted until the server says that it has it."""
        rng = random.Random(seed)
        recording = self.data / f"talk{rng.randrange(len(RECORDINGS))}.wav"
        kind = rng.choices(("process", "csv", "batch"), (8, 1, 1))[0]
        count = max(1, len(self.names))
        owner, name = (self.names or [""])[number % count], f"job {number // count}"
        hung = time.monotonic() + STUCK_S
        while time.monotonic() < hung:
            try:
                if kind == "process":
                    known = json.loads(self.ask("job_status", {"jobID": name}, owner)[1]).get("known") != "false"
                    if not known:
                        self.ask_and_check("process", self.form(name, recording, owner), owner)
                    self.posted[owner, name] = (kind, recording.name)
                else:
                    route, form = request_of(kind, recording)
                    job = json.loads(self.ask_and_check(route, form, owner, f"request-{number}"))["id"]
                    self.posted[owner, job] = (kind, recording.name)
                return
            except (
                OSError,
                ValueError,
                http.client.HTTPException,
            ):  # the server is away, or went in the middle of its answer
                time.sleep(0.2)
        raise AssertionError(f"{name} could not be posted")

    def ask_and_check(self, route: str, form: Mapping[str, Form], owner: str = "", key: str = "") -> bytes:
        status, body = self.ask(route, form, owner, key=key)
        assert status in (200, 202), body
        return body

    def spy(self, rng: random.Random) -> None:
        """One name looks at its list, and asks for, cancels and erases jobs of another."""
        me = rng.choice(self.names)
        others = [job for (owner, job), (kind, _) in [*self.posted.items()] if kind != "process" and owner != me]
        try:
            status, body = self.ask("v1/jobs", None, me)
            if status == 200:
                assert {job["owner"] for job in json.loads(body)} <= {me}, (me, body)
            for job in rng.sample(others, min(3, len(others))):
                for method, route, form in (
                    (
                        "GET",
                        f"v1/jobs/{job}/{rng.choice(READ)}",
                        None,
                    ),
                    ("GET", f"jobs/{job}", None),
                    ("POST", f"v1/jobs/{job}/cancel", {}),
                    ("POST", "cancel", {"jobID": job}),
                    ("POST", "fetch_result", {"jobID": job, "delete_after_download": "True"}),
                    ("DELETE", f"v1/jobs/{job}", None),
                ):
                    status, body = self.ask(route, form, me, method)
                    assert status == 404, (me, method, route, status, body)
                    self.spied += 1
        except (OSError, ValueError, http.client.HTTPException):  # the server is away
            time.sleep(0.2)

    def form(self, name: str, recording: Path, owner: str = "") -> dict[str, str]:
        folder = self.data / "results" / f"{owner}{name}"
        return request(folder, recording) | {"jobID": name}

    # --- the storm ---

    def rage(self, jobs: int, clients: int = 4, kills: int = 0) -> None:
        """Post so many jobs, and kill while there is something to do.

        Args:
            kills: of workers, at most; 0 for one in six jobs. Of servers a fifth of that
        """
        self.start()
        numbers = iter(range(jobs))
        seeds = [self.random.randrange(1 << 30) for _ in range(jobs)]
        failures: list[BaseException] = []
        lock = threading.Lock()

        def client() -> None:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                try:
                    self.post(number, seeds[number])
                except BaseException as error:
                    failures.append(error)
                    return

        done = threading.Event()

        def spy() -> None:
            rng = random.Random(seeds[0])
            try:
                while not done.is_set() or self.spied <= 100:
                    self.spy(rng)
                    time.sleep(0.2)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=client) for _ in range(clients)]
        spies = [threading.Thread(target=spy)] if self.names else []
        for thread in [*threads, *spies]:
            thread.start()
        most = kills or max(2, jobs // 6)
        moved, before, killed, early = time.monotonic(), (0, 0), 0.0, max(2, jobs // 30)
        while any(thread.is_alive() for thread in threads) or self.unfinished():
            if (now := (len(self.posted), len(self.unfinished()))) != before:
                moved, before = time.monotonic(), now
            assert time.monotonic() - moved < STUCK_S, f"{now[1]} are left\n{self.log.read_text()[-3000:]}"
            time.sleep(self.random.uniform(0.05, self.pause_s))
            # a job that three workers died of is given up, which is another promise (see test_server_store)
            if any(attempts >= 2 for _, attempts in self.unfinished()):
                continue
            if moved < killed:  # a worker that still loads its model: on a slow machine none would ever come to work
                if not early or self.random.random() < 0.9:
                    continue
                early -= 1
            if self.random.random() < 0.15 and self.server_kills < max(2, most // 5):
                self.stop(kill=True)
                self.server_kills += 1
                self.start()
                killed = time.monotonic()
            elif self.worker_kills < most and (pids := self.worker_pids()):
                try:
                    os.kill(self.random.choice(pids), signal.SIGKILL)
                    self.worker_kills += 1
                    killed = time.monotonic()
                except ProcessLookupError:
                    pass
        done.set()
        for thread in [*threads, *spies]:
            thread.join()
        assert not failures, failures
        self.stop()

    def unfinished(self) -> list[tuple[str, int]]:
        with closing(sqlite3.connect(f"file:{self.work / 'jobs.sqlite'}?mode=ro", uri=True, timeout=30)) as database:
            return database.execute("SELECT id, attempts FROM jobs WHERE status < 2").fetchall()

    # --- what must hold ---

    def undisturbed(self, folder: Path) -> dict[tuple[str, str], dict[str, bytes]]:
        """The files of one job of each kind a recording, by a server that nobody kills."""
        calm = Storm(folder, 0, workers=1)
        for path in self.data.glob("talk*.wav"):
            shutil.copyfile(path, calm.data / path.name)
        calm.start()
        try:
            for path in sorted(calm.data.glob("talk*.wav")):
                calm.ask_and_check("process", calm.form(path.stem, path))
                calm.posted["", path.stem] = ("process", path.name)
                for kind in ("csv", "batch"):
                    job = json.loads(calm.ask_and_check(*request_of(kind, path)))["id"]
                    calm.posted["", job] = (kind, path.name)
            until(lambda: not calm.unfinished())
        finally:
            calm.stop()
        return {about: calm.files(job, about) for job, about in calm.posted.items()}

    def files(self, named: tuple[str, str], about: tuple[str, str]) -> dict[str, bytes]:
        """The results of a job."""
        (owner, job), (kind, recording) = named, about
        if kind != "process":
            results = Places([self.data], self.work).of(owner).results(job)
            paths = [path for path in results.rglob("*") if path.is_file() and JOURNAL not in path.parts]
            return {path.relative_to(results).as_posix(): path.read_bytes() for path in paths}
        stem = recording.removesuffix(".wav")
        found = {path.name: path.read_bytes() for path in (self.data / "results" / f"{owner}{job}").iterdir()}
        assert set(found) == {f"{stem}.{one}{end}" for one in OUTPUTS for end in ("", "~")}, (job, sorted(found))
        return found

    def check(self, expected: dict[tuple[str, str], dict[str, bytes]]) -> None:
        """Every job finished once, every file whole and as without faults, nothing left behind, the store in order."""
        with closing(sqlite3.connect(self.work / "jobs.sqlite")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert database.execute("PRAGMA foreign_key_check").fetchall() == []
            jobs = {
                (owner, job): status for owner, job, status in database.execute("SELECT owner, id, status FROM jobs")
            }
            assert set(self.posted) <= set(jobs), "jobs were lost"
            assert set(jobs) <= set(self.posted), "a request that was sent again made a second job"
            assert set(jobs.values()) == {2}, [job for job, status in jobs.items() if status != 2]
            ends = database.execute(
                "SELECT owner, id, count(*) FROM jobs JOIN lines ON job = number WHERE text = 'finished' GROUP BY number"
            ).fetchall()
            assert sorted(ends) == sorted((*job, 1) for job in jobs), "a job ended more than once"
            assert database.execute("SELECT count(*) FROM jobs WHERE publishing OR moves != '[]'").fetchone() == (0,)
        for job, about in self.posted.items():
            found = self.files(job, about)
            assert found.keys() == expected[about].keys(), (job, sorted(found))
            for name, content in found.items():
                assert content == expected[about][name], (job, name)
        left = [path for root in (self.data, self.work) for path in root.rglob("*") if JOURNAL not in path.parts
                if path.name.startswith(".") or path.suffix in (".part", ".old", ".zip")]  # fmt: skip
        assert not left, left
        assert not self.worker_pids()


def request_of(kind: str, recording: Path) -> tuple[str, dict[str, Form]]:
    """Route and form of a job of /v1: the table of a recording, or of it with the next one."""
    if kind == "csv":
        return "v1/predictions", {"path": recording.name, "wait": "false", "format": "csv"}
    names = sorted(path.name for path in recording.parent.glob("talk*.wav"))
    following = names[(names.index(recording.name) + 1) % len(names)]
    return "v1/batches", {"path": [recording.name, following], "format": "csv"}


def workers_of(pid: int) -> list[int]:
    """The worker processes of a server; none where it is no more."""
    try:
        children = [
            one for task in Path(f"/proc/{pid}/task").iterdir() for one in (task / "children").read_text().split()
        ]
    except OSError:
        return []
    return [int(one) for one in children if b"spawn_main" in _command(int(one))]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
