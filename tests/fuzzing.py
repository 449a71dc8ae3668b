"""Inputs that nobody meant, for every door that takes some: what comes out is a value, or one of the project's own errors.

Each `Target` has a strategy of inputs and a function that feeds one. The tests try some of each (tests/test_fuzz.py),
benchmarks/fuzz.py as many as one likes.
"""

import contextlib
import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import soundfile
from hypothesis import strategies as st
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

import emow2v
from emow2v import formats
from emow2v.audio import recording as audio
from emow2v.discover import options as opts
from emow2v.discover.descriptors import fill, parse_data
from emow2v.discover.module import MODULE, cml_info
from emow2v.discover.names import snake_case
from emow2v.discover.places import Places, check_job_id, safe_name
from emow2v.discover.task import DiscoverTask
from emow2v.errors import Emow2vError
from emow2v.formats.ssi_read import data_path, read_annotation, read_stream
from emow2v.formats.table_read import read_table
from emow2v.framing import parse_time
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from segmentations import EAF
from servers import app

Data = dict[str, Any]


class Zeros:
    """An engine that takes no time: what is tried here comes before it."""

    name, precision, parallel_batches, batch_samples = "zeros", "fp32", 1, None

    def run(self, signal: np.ndarray, lengths: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, None]:
        return np.zeros((len(signal), 1024), np.float32), np.zeros((len(signal), 3), np.float32), None

    run_parallel = run
    frames = frames_parallel = pooled = None  # those of models of frames


class Ground:
    """What the inputs meet: folders, files, a server."""

    def __init__(self) -> None:
        self._open = contextlib.ExitStack()

    def __enter__(self) -> "Ground":
        folder = Path(self._open.enter_context(tempfile.TemporaryDirectory()))
        self.data, self.work, self.files = folder / "data", folder / "work", folder / "files"
        self.data.mkdir()
        self.files.mkdir()
        signal, rate = soundfile.read(EXAMPLE, dtype="float32")
        soundfile.write(self.data / "talk.wav", signal[rate : rate + rate // 5], rate)
        lite = emow2v.load("lite")
        self.card = lite.card
        model = Model(lite.card, Zeros())  # type: ignore[arg-type]
        trajectory = lite.predict(self.data / "talk.wav")
        for name in ("a.csv", "a.json", "a.ndjson", "a.stream", "a.arousal.annotation"):
            formats.write(trajectory, self.files / name)
        self.places = Places([self.data], self.work)
        served = app(self.card, [self.data], self.work, lambda name: model, keep_jobs=50)
        self.client = self._open.enter_context(TestClient(served, raise_server_exceptions=False))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def sound(self, ending: str) -> bytes:
        """A short recording."""
        signal, rate = soundfile.read(self.data / "talk.wav", dtype="float32")
        file = io.BytesIO()
        soundfile.write(file, signal[:2000], rate, format=ending)
        return file.getvalue()


@dataclass(frozen=True)
class Target:
    """A door.

    Attributes:
        inputs: makes the strategy
        feed: takes an input; raises only `Emow2vError` where all is well
        share: of the inputs of a run, against 1 for the others
    """

    inputs: Callable[[Ground], st.SearchStrategy[Any]]
    feed: Callable[[Ground, Any], object]
    share: float = 1.0


# --- pieces ---

NASTY = st.sampled_from(
    ["", " ", "\0", "..", "../..", "/", "\\", "C:\\x", "CON", "~", "%00", "{", "}", "{session}", "{dataset.x}", "\ud800", "\udcff",
     "é", "e\u0301", "\u202e", "\u2028", "😀" * 60, "a" * 5000, "-1", "0", "1e999", "NaN", "Infinity", "1" * 5000, "٣", "²", "True",
     "null", "[]", "{}", "@/etc/passwd", "--x=y", "http://[", "file:///etc/passwd", "talk.wav", "a.annotation", "a.stream"]
)  # fmt: skip
TEXT = st.one_of(NASTY, st.text(max_size=30), st.text(st.characters(), max_size=30))  # the latter with surrogates
PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=8,
)
TIME = st.one_of(
    TEXT,
    st.builds("{}{}{}".format, st.sampled_from(["", " ", "+", "-", "0"]), st.floats(), st.sampled_from(["", "ms", "s", "S", " ms", "min"])),
    st.builds("{}{}".format, st.integers(-(10**9), 10**30), st.sampled_from(["", "ms", "s", ".", ".5", "e5ms"])),
)  # fmt: skip
SRC = st.one_of(
    TEXT,
    st.builds(
        ":".join,
        st.lists(
            st.sampled_from(["file", "request", "url", "db", "FILE", "stream", "annotation", "audio", "continuous", "SSIStream", ""]),
            max_size=5,
        ),
    ),
)  # fmt: skip
DESCRIPTOR = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {"src": SRC, "type": st.one_of(st.sampled_from(["input", "output"]), JSON)},
        optional={
            "id": st.one_of(st.sampled_from(["audio", "arousal", "valence", "dominance", "embedding"]), JSON),
            **dict.fromkeys(("uri", "uri_template", "role", "scheme", "annotator", "name", "data"), st.one_of(TEXT, JSON)),
            "active": JSON,
        },
    ),
)  # fmt: skip
GOOD = [
    {"src": "file:stream:audio", "type": "input", "id": "audio", "uri": "talk.wav"},
    {"src": "file:annotation:continuous", "type": "output", "id": "arousal", "uri": "a.annotation"},
    {"src": "request:stream:ssistream", "type": "output", "id": "embedding"},
]


@st.composite
def data_texts(draw: st.DrawFn) -> str:
    """`data` of a request: nonsense, odd descriptors, or good ones with odd values."""
    way = draw(st.integers(0, 3))
    if way == 0:
        return draw(TEXT)
    if way == 1:
        return json.dumps(draw(JSON))
    if way == 2:
        return json.dumps(draw(st.lists(DESCRIPTOR, max_size=5)))
    entries = [dict(one) for one in GOOD]
    for key, value in draw(st.lists(st.tuples(st.sampled_from(["uri", "uri_template", "role", "name", "id", "src", "active", "data"]), st.one_of(TEXT, JSON)), max_size=3)):  # fmt: skip
        draw(st.sampled_from(entries))[key] = value
    return json.dumps(entries)


@st.composite
def mangled(draw: st.DrawFn, good: list[bytes]) -> bytes:
    """A good file with bytes changed, cut out, put in or repeated."""
    content = bytearray(draw(st.sampled_from(good)))
    for way, where, size, new in draw(
        st.lists(st.tuples(st.integers(0, 4), st.floats(0, 1), st.integers(1, 64), st.binary(max_size=16)), max_size=6)
    ):
        at = int(where * len(content))
        if way == 0:
            content[at : at + len(new)] = new
        elif way == 1:
            del content[at : at + size]
        elif way == 2:
            content[at:at] = new
        elif way == 3:
            content[at:at] = content[at : at + size] * 3
        else:
            del content[at:]
    return bytes(content)


FORM = st.fixed_dictionaries(
    {},
    optional={
        "jobID": st.one_of(TEXT, st.just("job")),
        "trainerFilePath": st.one_of(TEXT, st.just("emow2v.trainer")),
        "data": data_texts(),
        "sessions": st.one_of(TEXT, st.builds(json.dumps, JSON), st.builds(json.dumps, st.lists(TEXT, max_size=3))),
        "dataset": TEXT,
        "options": st.one_of(TEXT, st.builds(json.dumps, JSON), st.builds(json.dumps, st.fixed_dictionaries({}, optional={"batch_size": JSON, "model": JSON, "context": JSON}))),
        "optStr": st.one_of(TEXT, st.builds(";".join, st.lists(st.builds("{}={}".format, TEXT, TEXT), max_size=3))),
        **dict.fromkeys(("frameSize", "stride", "leftContext", "rightContext", "start", "end"), TIME),
        **dict.fromkeys(("dbPassword", "token", "delete_after_download", "input_filter", "output_filter", "path", "format", "unit", "wait"), TEXT),
    },
)  # fmt: skip
# A request that can be carried out, with some of its fields replaced.
ALMOST = FORM.flatmap(
    lambda odd: st.lists(st.sampled_from(sorted(odd) or ["dataset"]), max_size=2).map(
        lambda names: (
            {"jobID": "job", "trainerFilePath": "emow2v.trainer", "data": json.dumps(GOOD)}
            | {name: odd.get(name, "") for name in names}
        )
    )
)
ROUTES = ("/process", "/job_status", "/log", "/cancel", "/fetch_result", "/upload", "/cml_info", "/api/update_progress", "/login", "/v1/predictions", "/v1/batches")  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, dict[str, str], bytes]:
    """Method, path, headers and body."""
    path = draw(st.sampled_from(ROUTES))
    boundary = draw(st.sampled_from(["x", "x", "x", "-", "", '"x"', "é", "x" * 300]))
    kind = draw(
        st.one_of(
            st.just(f"multipart/form-data; boundary={boundary}"),
            st.builds(f"multipart/form-data; boundary={boundary}; charset={{}}".format, st.sampled_from(["utf-8", "utf-7", "undefined", "latin-1", "?"])),
            st.sampled_from(["application/x-www-form-urlencoded", "application/json", "text/plain", "multipart/form-data", "multipart/mixed; boundary=x", ";", "\xe9"]),
        )
    )  # fmt: skip
    fields = draw(st.one_of(ALMOST, FORM))
    way = draw(st.integers(0, 3))
    if way == 0:
        body = draw(st.binary(max_size=200))
    elif way == 1:
        body = json.dumps(draw(st.one_of(JSON, st.just(fields)))).encode()
    else:
        parts = []
        for name, value in fields.items():
            text = value.encode(errors="surrogatepass")
            more = draw(st.sampled_from([b"", b"", b'; filename="a.wav"', b"; filename*=utf-8''%ff%00", b'; filename="../../a\\"'])) if name == "data" else b""  # fmt: skip
            name = draw(st.sampled_from([name, name, name, "file", ""]))
            parts.append(b'--x\r\nContent-Disposition: form-data; name="' + name.encode() + b'"' + more + b"\r\n\r\n" + text + b"\r\n")  # fmt: skip
        body = b"".join(parts) + b"--x--\r\n"
        if way == 3:
            body = draw(mangled([body]))
    headers = {"Content-Type": kind.encode("latin-1", "replace").decode("latin-1")}
    headers |= draw(st.fixed_dictionaries({}, optional={
        "Origin": st.sampled_from(["http://[", "null", "http://testserver"]), "Range": st.sampled_from(["bytes=0-", "bytes=-1,5-2", "bytes=" + "0-1," * 50]),
        "Accept": st.sampled_from(["text/html", "*/*", "\xe9"]), "Cookie": st.sampled_from(["emow2v-token=", 'emow2v-token="\\777"', ";=;"]),
        "Authorization": st.sampled_from(["Bearer", "Basic \xff", "Bearer  x"]), "Sec-Fetch-Site": st.sampled_from(["same-origin", "cross-site", ""]),
    }))  # fmt: skip
    return draw(st.sampled_from(["POST", "POST", "POST", "GET", "PUT", "HEAD", "OPTIONS"])), path, headers, body


PATHS = st.builds(
    "/{}/{}{}".format,
    st.sampled_from(["v1/jobs", "log", "v1", "v1/models", "login?next=", "v1/jobs?state=", "v1/jobs?limit=", ""]),
    st.one_of(st.sampled_from(["..%2f..", "%00", "%ff%fe", "%ed%a0%80", "x" * 3000, "%2e%2e", ";x", "a%0d%0aX:%20y"]), st.from_regex(r"[!-~]{0,20}", fullmatch=True)),
    st.sampled_from(["", "/", "/events", "/result", "/log"]),
)  # fmt: skip


# --- doors ---


def _descriptors(ground: Ground, text: str) -> None:
    for one in parse_data(text):
        with contextlib.suppress(Emow2vError):
            one.path("d", "s")
        assert one.direction in ("input", "output")


def _options(ground: Ground, form: Data) -> None:
    with contextlib.suppress(Emow2vError):
        given = opts.options(form)
        opts.batch_size(given, 250)
        opts.context(given, "window")
    for name in form:
        snake_case(name)


def _times(ground: Ground, times: Data) -> None:
    for text in times.values():
        with contextlib.suppress(Emow2vError):
            assert parse_time(text) >= 0
    framing = opts.framing(times)
    framing.count(1), framing.window_samples(16000), framing.first_frame


def _names(ground: Ground, text: str) -> None:
    MODULE.answers_to(text)
    name = safe_name(text, "x")
    assert name and "/" not in name and "\\" not in name and not name.startswith(".") and ".." not in name
    assert ground.places.results(text.encode(errors="replace").decode()).parent == ground.work / "results"
    for asked in (
        lambda: fill(text, "d", "s"),
        lambda: check_job_id(text),
        lambda: cml_info(text, text),
        lambda: ground.places.input(text).relative_to(ground.data),
        lambda: ground.places.output(text, ".annotation").relative_to(ground.data),
    ):
        with contextlib.suppress(Emow2vError):
            asked()


def _plan(ground: Ground, form: Data) -> None:
    with contextlib.suppress(Emow2vError):
        DiscoverTask(form.get("jobID", ""), form, ground.places).folders()
    task = DiscoverTask(form.get("jobID", ""), form, ground.places)
    task.check(ground.card)
    for number in range(len(task.sessions)):
        for output in task.outputs(number):
            assert output.path.is_relative_to(ground.data) or output.path.is_relative_to(ground.work / "results")


def _read_pair(reader: Callable[[Path], object], name: str) -> Callable[[Ground, tuple[bytes, bytes]], None]:
    def feed(ground: Ground, pair: tuple[bytes, bytes]) -> None:
        path = ground.files / name
        path.write_bytes(pair[0])
        data_path(path).write_bytes(pair[1])
        reader(path)

    return feed


HEADERS = st.builds(
    lambda root, parts: f"<{root} ssi-v='3'>{''.join(parts)}</{root}>".encode(errors="surrogatepass"),
    st.sampled_from(["annotation", "stream"]),
    st.lists(
        st.builds(
            lambda tag, attributes: "<" + tag + "".join(f" {name}={json.dumps(value)}" for name, value in attributes.items()) + "/>",
            st.sampled_from(["info", "meta", "scheme", "chunk"]),
            st.dictionaries(
                st.sampled_from(["ftype", "size", "sr", "min", "max", "type", "name", "dim", "byte", "delim", "from", "to", "num"]),
                st.one_of(st.sampled_from(["ASCII", "BINARY", "CONTINUOUS", "DISCRETE", "FREE", "FLOAT", "DOUBLE", "BOOL", "CHAR", "25", "1", "1024", "0", "-1", "1e308", "nan", ";"]), TEXT.filter(lambda text: "<" not in text and "&" not in text)),
                max_size=6,
            ),
        ),
        max_size=5,
    ),
)  # fmt: skip
ROWS = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda rows: "\n".join(";".join(row) for row in rows).encode(errors="surrogatepass"),
        st.lists(st.lists(st.one_of(TEXT, st.floats().map(str), st.integers().map(str)), max_size=5), max_size=6),
    ),
)


def _pairs(name: str) -> Callable[[Ground], st.SearchStrategy[tuple[bytes, bytes]]]:
    def strategy(ground: Ground) -> st.SearchStrategy[tuple[bytes, bytes]]:
        header, data = (ground.files / name).read_bytes(), data_path(ground.files / name).read_bytes()[:400]
        return st.one_of(
            st.tuples(mangled([header]), mangled([data])), st.tuples(st.just(header), ROWS), st.tuples(HEADERS, ROWS)
        )

    return strategy


def _table(ground: Ground, given: tuple[str, bytes]) -> None:
    path = ground.files / f"fuzzed{given[0]}"
    path.write_bytes(given[1])
    read_table(path)


def _sound(ground: Ground, content: bytes) -> None:
    recording = audio.open_recording(io.BytesIO(content))
    try:
        for number, block in enumerate(recording):
            assert np.isfinite(block).all()
            if number > 200:
                break
    finally:
        recording.close()


def _request(ground: Ground, asked: tuple[str, str, dict[str, str], bytes]) -> None:
    method, path, headers, body = asked
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    answer = ground.client.request(method, path, headers=raw, content=body, follow_redirects=False)
    assert answer.status_code < 500, (answer.status_code, answer.text)
    if (
        answer.status_code >= 400
        and answer.content
        and method != "HEAD"
        and "html" not in answer.headers["content-type"]
    ):
        assert answer.json().get("error"), answer.text


def _path(ground: Ground, path: str) -> None:
    answer = ground.client.get(f"http://testserver{path}", follow_redirects=False)
    assert answer.status_code < 500, (path, answer.text)


def _stream(ground: Ground, given: tuple[Data, list[str | bytes]]) -> None:
    query, messages = given
    query = {name: value.encode(errors="replace").decode() for name, value in query.items()}
    try:
        with ground.client.websocket_connect("/v1/stream?" + str(_query(query))) as stream:
            first = stream.receive_json()
            assert first.keys() in ({"provenance"}, {"error"})
            for message in messages if "provenance" in first else []:
                if isinstance(message, str):
                    stream.send_text(message.encode(errors="replace").decode())
                else:
                    stream.send_bytes(message)
            stream.send_text("end")
            while "done" not in (told := stream.receive_json()) and "error" not in told:
                assert {"index", "start", "end", "arousal"} <= told.keys()
    except WebSocketDisconnect as closed:
        assert closed.code in (1000, 1008, 1013), closed


def _query(values: dict[str, str]) -> str:
    from urllib.parse import urlencode

    return urlencode(values)


STREAMS = st.tuples(
    st.fixed_dictionaries({}, optional={
        "sampling_rate": st.one_of(st.sampled_from(["16000", "8000", "48000", "1000"]), TEXT),
        "encoding": st.one_of(st.sampled_from(["s16le", "f32le"]), TEXT), "padding": st.one_of(st.just("zeros"), TEXT),
        "frame_step": st.one_of(st.sampled_from(["40ms", "10ms", "1s"]), TIME), "left_context": st.one_of(st.sampled_from(["960ms", "0"]), TIME),
        "right_context": TIME,
    }),
    st.lists(st.one_of(st.binary(max_size=3000), st.binary(max_size=3000), TEXT), max_size=4),
)  # fmt: skip


def _segments(ground: Ground, given: tuple[str, bytes, Data]) -> None:
    name, content, fields = given
    clean = {key: value.encode(errors="replace").decode() for key, value in fields.items()}
    kind = "text/plain"  # which the client would guess from the name, and fail on some names with Python 3.13
    files = {"segments": (name.encode(errors="replace").decode(), content, kind)}
    answer = ground.client.post("/v1/predictions", data={"path": "talk.wav", **clean}, files=files)
    assert answer.status_code < 500, answer.text
    assert answer.status_code < 400 or answer.json()["error"].count("\n") == 0
    job = ground.client.get("/v1/jobs", params={"limit": 1}).json()
    if answer.status_code == 200 and content and job and fields.get("unit", "windows") == "windows":
        listed = ground.client.get(f"/v1/jobs/{job[0]['id']}/turns")
        assert listed.status_code == 200 and listed.json()["source"] == "file", listed.text


VTT = b"WEBVTT\n\n00:00.010 --> 00:00.190\n<v Anna>one\n"
ANNOTATION_TIMES = b"0.01\t0.15\tone\n0.1\t0.2\ttwo\n"
SEGMENTS = st.tuples(
    st.one_of(st.sampled_from(["talk.vtt", "talk.txt", "talk.eaf", "talk.TextGrid", "talk.annotation", "talk.annotation~", "talk.json"]), TEXT),
    st.one_of(st.sampled_from([VTT, ANNOTATION_TIMES, EAF.encode()]), mangled([VTT, ANNOTATION_TIMES, EAF.encode()]), st.binary(max_size=100)),
    st.fixed_dictionaries({}, optional={
        "unit": st.one_of(st.sampled_from(["turns", "windows", "files"]), TEXT), "tier": st.one_of(st.sampled_from(["Anna", "VP", "Anna=left"]), TEXT),
        "pool": st.one_of(st.just("true"), TEXT), "speech": st.one_of(st.just("true"), TEXT), "segments_path": TEXT, "segments_url": TEXT, "longest_turn": TIME,
        "shortest_turn": TIME, "bridged_pause": TIME,
    }),
)  # fmt: skip

TARGETS = {
    "data descriptors": Target(lambda ground: data_texts(), _descriptors, 2),
    "options": Target(lambda ground: FORM.map(lambda form: {snake_case(name): value for name, value in form.items()}), _options),
    "times": Target(lambda ground: st.fixed_dictionaries({}, optional=dict.fromkeys(("frame_size", "stride", "left_context", "right_context", "start", "end"), TIME)), _times),
    "paths, names, templates": Target(lambda ground: TEXT, _names, 2),
    "whole requests": Target(lambda ground: st.one_of(ALMOST, ALMOST, FORM), _plan),
    "SSI annotations": Target(_pairs("a.arousal.annotation"), _read_pair(read_annotation, "fuzzed.annotation"), 2),
    "SSI streams": Target(_pairs("a.stream"), _read_pair(read_stream, "fuzzed.stream"), 2),
    "tables": Target(lambda ground: st.tuples(st.sampled_from([".csv", ".json"]), st.one_of(mangled([(ground.files / f"a.{end}").read_bytes()[:3000] for end in ("csv", "json", "ndjson")]), ROWS, st.builds(lambda value: json.dumps(value).encode(), JSON))), _table, 2),
    "recordings": Target(lambda ground: st.one_of(mangled([ground.sound(end) for end in ("wav", "flac", "ogg")]), st.binary(max_size=300)), _sound, 0.5),
    "HTTP requests": Target(lambda ground: requests(), _request, 0.5),
    "addresses": Target(lambda ground: PATHS, _path, 0.5),
    "files with turns": Target(lambda ground: SEGMENTS, _segments, 0.25),
    "live streams": Target(lambda ground: STREAMS, _stream, 0.25),
}  # fmt: skip
