"""The attacks that the reference server falls for (defects 66 to 75 of the protocol's description), one test each.

Beside the folders that the server may use lie others with real files. After every attack they are as they were, and the
interpreter's own audit events (PEP 578) say that nobody opened, listed or removed anything there, started a process, ran
code of theirs or connected to an address.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from starlette.testclient import TestClient

from emow2v.cli.demo import request
from emow2v.formats.ssi_read import read_annotation
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from servers import app
from waiting import until

SECRET = "nobody may read this"
PASSWORD = "s3cret-of-the-database"
PROCESSES = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty")

_watched: list["World"] = []


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    for world in _watched:
        world.heard(event, arguments)


sys.addaudithook(_audit)  # stays for good; it says nothing while nobody is watched


class World:
    """A server with its folders, and what lies beside them."""

    def __init__(self, folder: Path, model: Model) -> None:
        self.data, self.work, self.outside = folder / "data", folder / "work", folder / "outside"
        self.victim = self.outside / "victim"
        self.canary = folder / "canary"
        self.victim.mkdir(parents=True)
        self.data.mkdir()
        signal, rate = soundfile.read(EXAMPLE, dtype="float32")
        soundfile.write(self.data / "talk.wav", signal[rate : 2 * rate], rate)
        soundfile.write(self.outside / "private.wav", signal[: 2 * rate], rate)
        (self.victim / "keep.txt").write_text(SECRET)
        (self.outside / "options.txt").write_text(f"{SECRET}\n--job_id={self.victim}\n")
        self.module(self.outside / "evil")
        self._model = model
        self._heard: list[str] = []

    def module(self, folder: Path) -> None:
        """A module of DISCOVER whose script leaves a trace."""
        folder.mkdir(parents=True)
        (folder / "evil.py").write_text(f"open({str(self.canary)!r}, 'w').close()\nclass Evil: pass\n")
        (folder / "evil.trainer").write_text(
            '<trainer ssi-v="5"><info trained="true"/><meta frameStep="40ms"/><model create="Evil" script="evil.py"/></trainer>'
        )

    @contextlib.contextmanager
    def attacked(self) -> Iterator[TestClient]:
        """A client; when the block ends, everything outside is as it was and nobody has been there."""
        served = app(self._model.card, [self.data], self.work, lambda name: self._model)
        before = self._outside()
        with TestClient(served, raise_server_exceptions=False) as client:
            _watched.append(self)
            try:
                yield client
            finally:
                _watched.remove(self)
        assert self._heard == []
        assert self._outside() == before and not self.canary.exists()

    def heard(self, event: str, arguments: tuple[object, ...]) -> None:
        texts = [os.fsdecode(one) for one in arguments if isinstance(one, str | bytes | os.PathLike)]
        there = any(text.startswith(str(self.outside)) or str(self.canary) in text for text in texts)
        run = event in PROCESSES or (event in ("exec", "compile") and "evil" in str(arguments))
        if there or run or (event == "socket.connect" and isinstance(arguments[1], tuple)):
            self._heard.append(f"{event} {arguments}")

    def _outside(self) -> list[tuple[str, int, bytes]]:
        return [
            (str(path), path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
            for path in [self.outside, *sorted(self.outside.rglob("*"))]
        ]

    def form(self, **changes: str) -> dict[str, str]:
        return request(self.data, self.data / "talk.wav") | {"jobID": "attack"} | changes

    def descriptors(self, number: int, **changes: object) -> str:
        entries = json.loads(self.form()["data"])
        entries[number] |= changes
        return json.dumps(entries)


@pytest.fixture
def world(tmp_path: Path, lite: Model) -> World:
    return World(tmp_path, lite)


def refused(client: TestClient, form: dict[str, str], route: str = "/process") -> str:
    answer = client.post(route, data=form)
    assert 400 <= answer.status_code < 500, (answer.status_code, form)
    assert SECRET not in answer.text
    return str(answer.json()["error"])


def ended(client: TestClient, job_id: str) -> tuple[int, str]:
    """Status and log of a job."""
    told = until(lambda: (now := client.post("/job_status", data={"jobID": job_id}).json())["status"] > 1 and now)
    return int(told["status"]), str(client.post("/log", data={"jobID": job_id}).json()["message"])


def paths_to(victim: Path, work: Path) -> list[str]:
    """The ways in which a jobID can name a folder."""
    climbing = os.path.relpath(victim, work / "results")
    return [
        str(victim), climbing, climbing.replace("/", "\\"), f"x/../{climbing}", f"{climbing}/", "..", ".", "../..",
        f"//{victim}", f"file://{victim}", "~", "x\0", "C:\\Windows", "\\\\server\\share", "results/../../../outside/victim",
    ]  # fmt: skip


def test_66_a_job_id_deletes_no_directory(world: World) -> None:
    with world.attacked() as client:
        for job_id in paths_to(world.victim, world.work):
            assert "jobID" in refused(client, world.form(jobID=job_id))
        # one that is taken removes the results of an earlier job of that name, and those only
        (world.work / "results" / "victim").mkdir(parents=True)
        assert client.post("/process", data=world.form(jobID="victim")).status_code == 200
        assert ended(client, "victim")[0] == 2 and (world.work / "results" / "victim").is_dir()


def test_67_shared_dir_of_a_form_means_nothing(world: World) -> None:
    data = [
        {"src": "file:stream:audio", "type": "input", "id": "audio", "uri": "talk.wav"},
        {"src": "request:annotation:continuous", "type": "output", "id": "arousal"},
    ]
    folders = ("sharedDir", "shared_dir", "dataDir", "tmpDir", "cacheDir", "logDir", "cmlDir")
    with world.attacked() as client:
        form = world.form(data=json.dumps(data), jobID="victim", **dict.fromkeys(folders, str(world.outside)))
        assert client.post("/process", data=form).status_code == 200
        assert ended(client, "victim")[0] == 2
        assert client.post("/fetch_result", data={"jobID": "victim"}).status_code == 200
        form = world.form(data=world.descriptors(0, uri="private.wav"), dataDir=str(world.outside))
        assert "does not exist" in refused(client, form)


def test_68_fetch_result_reads_and_deletes_no_other_directory(world: World) -> None:
    with world.attacked() as client:
        for job_id in paths_to(world.victim, world.work):
            for delete in ("", "True"):
                form = {"jobID": job_id, "delete_after_download": delete, "sharedDir": str(world.outside)}
                assert "No data for job" in refused(client, form, "/fetch_result")
            for route in ("", "/result", "/log", "/events"):
                answer = client.get(f"/v1/jobs/{job_id.replace('/', '%2f')}{route}".replace("\0", "%00"))
                assert SECRET not in answer.text and answer.status_code < 500


def test_69_a_job_id_writes_no_log_elsewhere(world: World) -> None:
    with world.attacked() as client:
        for job_id in ("../outside/escaped", str(world.outside / "escaped"), "../../outside/victim/keep.txt"):
            refused(client, world.form(jobID=job_id))
            assert client.post("/log", data={"jobID": job_id}).json()["message"].startswith("No log")
            assert client.get(f"/log/{job_id}").status_code == 404
    assert not list(world.work.parent.rglob("*.log"))


def test_70_no_module_that_a_request_names_is_run(world: World) -> None:
    world.module(world.data / "modules" / "evil")
    with world.attacked() as client:
        uploaded = [
            client.post("/upload", files={"file": (path.name, path.read_bytes())}).text
            for path in sorted((world.data / "modules" / "evil").iterdir())
        ]
        trainers = [
            r"..\outside\evil\evil.trainer", "../outside/evil/evil.trainer", str(world.outside / "evil" / "evil.trainer"),
            str(world.data / "modules" / "evil" / "evil.trainer"), "modules/evil/evil.trainer", *uploaded,
            str(world.work / "uploads" / uploaded[1]), "modules/emow2v/../evil/evil.trainer", "modules/emow2v/evil.py",
            f"file://{world.outside}/evil/evil.trainer", "@evil.trainer", "emow2v.trainer\0", "EMOW2V.trainer",
        ]  # fmt: skip
        for trainer in trainers:
            assert "is unknown; expected modules/emow2v" in refused(client, world.form(trainerFilePath=trainer)), (
                trainer
            )
            # a model is chosen by name among those that the administrator has here, never by a path
            for model in (trainer, str(world.outside / "evil")):
                assert "is not here" in refused(client, world.form(options=json.dumps({"model": model})))
                assert "is not here" in refused(client, {"path": "talk.wav", "model": model}, "/v1/predictions")
        options = {
            "model_script_path": str(world.outside / "evil" / "evil.py"),
            "script": "evil.py",
            "backend": "debug",
        }
        assert client.post("/process", data=world.form(options=json.dumps(options))).status_code == 200
        status, log = ended(client, "attack")
        assert status == 2 and "option script is unknown and was ignored" in log


def test_71_values_name_no_files_and_inject_no_options(world: World) -> None:
    file = f"@{world.outside / 'options.txt'}"
    injected = f"--job_id={world.victim}"
    with world.attacked() as client:
        for field in "jobID trainerFilePath data sessions options frameSize stride start end".split():
            for value in (file, injected, f"x\n{injected}", f'["{injected}"]x'):
                refused(client, world.form(**{field: value}))
        refused(client, world.form(optStr=file))
        harmless = [("optStr", injected)]
        harmless += [(field, value) for field in ("dataset", "dbHost", "unheard") for value in (file, injected)]
        for number, (field, value) in enumerate(harmless):
            assert client.post("/process", data=world.form(jobID=f"{number}", **{field: value})).status_code == 200
            status, log = ended(client, f"{number}")
            assert status == 2 and SECRET not in log
        for uri in (file, injected, "-i", "--shared_dir=/"):
            refused(client, world.form(data=world.descriptors(0, uri=uri)))


def test_72_no_password_in_a_process_list_a_store_or_a_log(world: World) -> None:
    lines: list[bytes] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    lines.append(path.read_bytes())
            time.sleep(0.02)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        with world.attacked() as client:
            fields = {"dbUser": "u", "dbPassword": PASSWORD, "apiToken": PASSWORD}
            inside = {
                "options": json.dumps({"dbPassword": PASSWORD, "batch_size": 1}),
                "optStr": f"my_token={PASSWORD}",
            }
            assert client.post("/process", data=world.form(**fields, **inside)).status_code == 200
            status, log = ended(client, "attack")
            assert "option dbPassword is unknown and was ignored" in log and "batch_size" in log
            older = world.form(jobID="older", optStr=f"my_token={PASSWORD};batch_size=1")
            older.pop("options", None)
            assert client.post("/process", data=older).status_code == 200
            assert ended(client, "older")[0] == 2
            told = log + client.get("/job_status_all").text + client.get("/").text + client.get("/v1/jobs").text
            assert status == 2 and PASSWORD not in told and "****" in told
    finally:
        over.set()
        looking.join()
    assert not any(PASSWORD.encode() in line for line in lines)
    assert not any(PASSWORD.encode() in path.read_bytes() for path in world.work.rglob("*") if path.is_file())
    annotations = world.data.glob("talk.*")
    assert not any(PASSWORD.encode() in path.read_bytes() for path in annotations)


@contextlib.contextmanager
def listening() -> Iterator[tuple[str, list[object]]]:
    """An address of this machine, and who connected to it."""
    callers: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        over = threading.Event()

        def accept() -> None:
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    connection, caller = server.accept()
                    connection.close()
                    callers.append(caller)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", callers
        finally:
            over.set()
            thread.join()


def test_73_no_address_is_fetched_and_no_path_outside_is_read_or_written(world: World) -> None:
    private = world.outside / "private.wav"
    (world.data / "link.wav").symlink_to(private)
    (world.data / "way").symlink_to(world.outside)
    (world.data / "hanging.annotation").symlink_to(world.outside / "new.annotation")
    (world.data / "loop").symlink_to(world.data / "loop")
    with listening() as (address, callers), world.attacked() as client:
        for uri in (f"{address}/talk.wav", "https://example.org/a.wav", "ftp://a/b", "s3://a/b"):
            for src in ("url:stream:audio", "file:stream:audio", "request:stream:audio", "URL:stream:audio"):
                refused(client, world.form(data=world.descriptors(0, src=src, uri=uri)))
                refused(client, world.form(data=world.descriptors(0, src=src, uri="", data=uri)))
            refused(client, {"path": uri}, "/v1/predictions")
        climbing = os.path.relpath(private, world.data)
        for uri in (
            str(private), climbing, f"./x/../{climbing}", "link.wav", "way/private.wav", f"file://{private}", "loop/a.wav",
            f"concat:{private}", f"subfile,,start,0,end,0,,:{private}", f"pipe:{private}", f"crypto+{address}", "data:audio/wav;base64,AAAA",
            "/dev/zero", "/proc/self/environ", "\\\\?\\C:\\x.wav", str(world.work / "jobs.sqlite"), f"way\0{private}",
        ):  # fmt: skip
            refused(client, world.form(data=world.descriptors(0, uri=uri)))
            refused(client, world.form(data=world.descriptors(0, uri_template=uri)))
            refused(client, {"path": uri}, "/v1/predictions")
        for uri in (
            str(world.outside / "new.annotation"), os.path.relpath(world.outside / "new.annotation", world.data),
            "way/new.annotation", "way/new/deep.annotation", "hanging.annotation", "loop/x.annotation",
            str(world.work / "new.annotation"), str(world.work / "uploads" / "new.annotation"), "x.annotation\0.wav",
        ):  # fmt: skip
            refused(client, world.form(data=world.descriptors(1, uri=uri)))
        # files that name further files
        for name, text in {
            "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{private}\n#EXTINF:2,\n{address}/a.ts\n#EXT-X-ENDLIST\n",
            "list.ffconcat": f"ffconcat version 1.0\nfile '{private}'\n",
            "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
            "list.mpd": f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><BaseURL>{address}/</BaseURL></MPD>',
            "list.pls": f"[playlist]\nFile1={private}\n",
            "list.cue": f'FILE "{private}" WAVE\n',
        }.items():
            (world.data / name).write_text(text)
            for disguise in (name, f"{name}.wav"):
                (world.data / disguise).write_text(text)
                refused(client, world.form(data=world.descriptors(0, uri=disguise)))
            sent = client.post("/v1/predictions", files={"file": (name, text.encode())})
            assert sent.status_code == 400, sent.text
        assert client.get("/job_status_all").json() == [] and not list(world.work.glob("uploads/*"))
        assert callers == []


def test_74_large_requests_with_line_ends_arrive_whole(world: World) -> None:
    role = "a\n--job_id=other\r\n@" + str(world.outside / "options.txt") + "\n" + "ä" * 1000
    entries = json.loads(world.form()["data"])
    entries[1]["role"] = role
    entries += [
        {"src": "file:stream:video", "type": "extra", "id": f"{number}", "uri": "x\ny" * 50} for number in range(600)
    ]
    data = json.dumps(entries, indent=2, ensure_ascii=False)
    assert len(data) > 100_000 and data.count("\n") > 1000
    with world.attacked() as client:
        for form in (world.form(data=data), world.form(data=data, jobID="other way")):
            files = {name: (None, value) for name, value in form.items()}
            sent = (
                client.post("/process", data=form)
                if form["jobID"] == "attack"
                else client.post("/process", files=files)
            )
            assert sent.status_code == 200, sent.text
            assert ended(client, form["jobID"])[0] == 2
            annotation = read_annotation(world.data / "talk.arousal.annotation")
            assert annotation.role.split() == role.split() and len(annotation) == 25
        assert [job["job_key"] for job in client.get("/job_status_all").json()] == ["attack", "other way"]


def test_75_templates_reach_nothing(world: World) -> None:
    with world.attacked() as client:
        for template in (
            "{session.__class__.__mro__}.wav", "{dataset[0]}.wav", "{0}.wav", "{}.wav", "{session!r}.wav", "{session:>9999999}.wav",
            "{{session}.wav", "{session}}.wav", "{session.__init__.__globals__}", "{nothing}.wav", "{dataset.format_map}", "{",
        ):  # fmt: skip
            assert "uri_template holds" in refused(client, world.form(data=world.descriptors(0, uri_template=template)))
        # what is filled in is a text: braces, dots and slashes of a session open nothing
        for session in ("{dataset}", "{session.__class__}", "../outside/private", str(world.outside / "private")):
            form = {"sessions": json.dumps([session]), "data": world.descriptors(0, uri_template="{session}.wav")}
            said = refused(client, world.form(**form))
            assert "does not exist" in said or "outside the data folders" in said
