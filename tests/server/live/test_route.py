"""Live speech over a WebSocket."""

import asyncio
import json
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from websockets.sync.client import connect

from emow2v.errors import ModelError
from emow2v.framing import Framing
from emow2v.model import Model, load
from emow2v.modelstore.verify import EXAMPLE
from emow2v.server.live import capacity, route, steps
from emow2v.server.run import Server
from servers import app
from waiting import HANG_S, until


@pytest.fixture
def client(lite: Model, tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(app(lite.card, [tmp_path], tmp_path / "work", lambda name: lite)) as one:
        yield one


def speech(rate: int, seconds: float) -> np.ndarray:
    signal, given = soundfile.read(EXAMPLE, dtype="float32")
    times = np.arange(int(seconds * rate)) / rate
    return np.interp(times, np.arange(signal.size) / given, signal).astype(np.float32)


def stream(client: TestClient, query: str, data: bytes, seed: int = 0) -> tuple[dict, list[dict], dict]:
    """First message, rows, last message, for data in chunks of any size."""
    rng = np.random.default_rng(seed)
    with client.websocket_connect(f"/v1/stream?{query}") as socket:
        first = socket.receive_json()
        position = 0
        while position < len(data):
            size = int(rng.integers(1, 9000))  # also in the middle of a sample
            socket.send_bytes(data[position : position + size])
            position += size
        socket.send_text("end")
        rows = []
        while True:
            message = socket.receive_json()
            if "done" in message or "error" in message:
                return first, rows, message
            rows.append(message)


@pytest.mark.parametrize(("rate", "encoding"), [(16000, "s16le"), (16000, "f32le"), (44100, "f32le"), (8000, "s16le")])
def test_a_stream_gives_what_its_file_gives(
    client: TestClient, lite: Model, tmp_path: Path, rate: int, encoding: str
) -> None:
    signal = speech(rate, 1.3)
    subtype = "PCM_16" if encoding == "s16le" else "FLOAT"
    soundfile.write(tmp_path / "a.wav", signal, rate, subtype=subtype)
    stored, _ = soundfile.read(tmp_path / "a.wav", dtype="int16" if encoding == "s16le" else "float32")
    first, rows, last = stream(
        client, f"sampling_rate={rate}&encoding={encoding}&frame_step=100ms", stored.tobytes(), rate
    )
    expected = lite.predict(tmp_path / "a.wav", framing=Framing(frame_step_ms=100), speech=True)
    assert first["provenance"]["weights_sha256"] == lite.card.sha256 and last == {"done": True, "rows": 13}
    got = [[row[name] for name in ("arousal", "dominance", "valence")] for row in rows]
    np.testing.assert_allclose(got, expected.scores, atol=1e-5)
    assert [row["index"] for row in rows] == list(range(13)) and rows[-1]["end"] == 1.3
    np.testing.assert_allclose([row["speech"] for row in rows], expected.speech, atol=1e-4 if rate != 16000 else 2e-6)


def test_values_come_as_soon_as_their_audio_is_there(client: TestClient, lite: Model) -> None:
    """Those of a model of frames after `delay` further frames, which it computes by twos."""
    with client.websocket_connect("/v1/stream") as socket:
        socket.receive_json()
        come, card = 0, lite.card
        for sent in range(1, card.delay + 5):
            socket.send_bytes(np.zeros(640, "<i2").tobytes())
            known = (sent // 2 * 2 if card.one_pass else sent) - card.delay
            while come < known:
                assert socket.receive_json()["index"] == come
                come += 1
        assert come >= 3


def test_many_streams_of_a_model_of_frames_have_their_own_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from frames_package import frames_model

    monkeypatch.setattr(capacity, "share_of_frames", lambda card, engine: 0.2)
    monkeypatch.setattr(capacity, "LATE_S", HANG_S)  # nobody is refused on a busy machine

    (tmp_path / "model").mkdir()
    model = frames_model(tmp_path / "model")
    signals = [speech(16000, 2.5)[begin : begin + 24_000] for begin in (0, 3000, 9000)]
    query = "encoding=f32le&frame_step=100ms"
    served = app(model.card, [tmp_path], tmp_path / "work", lambda name: model, max_streams=3)
    with TestClient(served) as client, ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda one: stream(client, query, one.tobytes())[1], signals))
    for rows, signal in zip(found, signals, strict=True):
        expected = model.predict(signal, 16000, framing=Framing(frame_step_ms=100), speech=True)
        np.testing.assert_allclose([row["valence"] for row in rows], expected.scores[:, 2], atol=1e-5)
        np.testing.assert_allclose([row["speech"] for row in rows], expected.speech, atol=1e-5)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("encoding=mp3", "encoding is 'mp3'; expected s16le or f32le"),
        ("sampling_rate=fast", "expected 1000 to 768000 Hz"),
        ("sampling_rate=10", "expected 1000 to 768000 Hz"),
        (f"sampling_rate=0016000{'0' * 5000}", "expected 1000 to 768000 Hz"),
        ("frame_step=soon", "frame_step is 'soon'"),
        ("frame_step=1ms&left_context=0", "too short"),
        ("left_context=10s", "live it is 10 s at most"),
        ("padding=loop", "expected edge or zeros"),
        ("embeddings=yes", "embeddings is 'yes'; expected true or false"),
        ("together=1", "expected true or false"),
        ("frame_step=0", "expected a frame_step"),
        ("model=../lite", "is not here; expected lite"),
    ],
)
def test_what_cannot_be_streamed(client: TestClient, query: str, sentence: str) -> None:
    with client.websocket_connect(f"/v1/stream?{query}") as socket:
        assert sentence in socket.receive_json()["error"]
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
    assert closed.value.code == 1008


def test_messages_that_are_no_samples(client: TestClient) -> None:
    for message, sentence in (("hello", "A text message is 'hello'"), (np.array([np.nan], "<f4").tobytes(), "NaN")):
        with client.websocket_connect("/v1/stream?encoding=f32le") as socket:
            socket.receive_json()
            socket.send_text(message) if isinstance(message, str) else socket.send_bytes(message)
            assert sentence in socket.receive_json()["error"]


def test_one_stream_too_many_is_refused_and_later_taken(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "seconds", lambda model, samples: 0.012)  # of 40 ms: two fit into 70 %
    monkeypatch.setattr(capacity, "share_of_frames", lambda card, engine: 0.3)
    with client.websocket_connect("/v1/stream") as one, client.websocket_connect("/v1/stream") as two:
        one.receive_json(), two.receive_json()
        with client.websocket_connect("/v1/stream") as three:
            assert "2 live streams are as many as stay in real time" in three.receive_json()["error"]
            with pytest.raises(WebSocketDisconnect) as closed:
                three.receive_json()
            assert closed.value.code == 1013
    with client.websocket_connect("/v1/stream") as again:
        assert "provenance" in again.receive_json()


def test_access_is_checked_here_too(lite: Model, tmp_path: Path) -> None:
    with TestClient(
        app(lite.card, [tmp_path], tmp_path / "work", lambda name: lite, token="t", host="127.0.0.1")
    ) as client:
        for headers in (
            {},
            {"Authorization": "Bearer x"},
            {"Authorization": "Bearer t", "Host": "evil.example"},
            {"Authorization": "Bearer t", "Host": "localhost", "Origin": "https://evil.example"},
        ):
            with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/stream", headers=headers):
                pass
        with client.websocket_connect(
            "/v1/stream", headers={"Authorization": "Bearer t", "Host": "localhost"}
        ) as socket:
            assert "provenance" in socket.receive_json()


@pytest.mark.parametrize("together", ["", "&together=true"])
def test_embeddings_follow_their_rows_as_float32(client: TestClient, lite: Model, together: str) -> None:
    signal = speech(16000, 1.0)
    expected = lite.predict(signal, 16000, framing=Framing(frame_step_ms=100)).load()
    texts: list[dict[str, object]] = []
    binary: list[bytes] = []
    with client.websocket_connect(f"/v1/stream?encoding=f32le&frame_step=100ms&embeddings=true{together}") as socket:
        assert "provenance" in socket.receive_json()
        socket.send_bytes(signal.tobytes())
        socket.send_text("end")
        while "done" not in (said := socket.receive_json()):
            told = said.get("rows", [said])
            texts += told
            binary.append(socket.receive_bytes())
            assert len(binary[-1]) == 4096 * len(told)
    assert said == {"done": True, "rows": 10} and [one["index"] for one in texts] == list(range(10))
    numbers = struct.unpack(f"<{1024 * 10}f", b"".join(binary))  # another reader than NumPy
    np.testing.assert_allclose(np.reshape(numbers, (10, 1024)), expected.embeddings, atol=1e-4)
    np.testing.assert_allclose([one["valence"] for one in texts], expected.scores[:, 2], atol=1e-5)


def test_a_stream_names_its_model_which_stays_while_it_is_used(lite: Model, tmp_path: Path) -> None:
    frames = load("lite-frames", threads=1)
    models = {"lite": lite, "lite-frames": frames}
    served = app(lite.card, [tmp_path], tmp_path / "work", models.__getitem__, max_streams=3)

    def in_memory(client: TestClient) -> dict[str, int]:
        return {one["name"]: one["in_memory"] for one in client.get("/v1/models").json()}

    with TestClient(served) as client:
        with (
            client.websocket_connect("/v1/stream?model=lite-frames") as one,
            client.websocket_connect("/v1/stream") as two,
        ):
            assert one.receive_json()["provenance"]["model"] == "lite-frames"
            assert two.receive_json()["provenance"]["model"] == "lite"
            assert in_memory(client)["lite-frames"] == 1 and in_memory(client)["lite"] >= 1
            text = client.get("/metrics").text
            assert 'emow2v_model_streams{model="lite-frames"} 1.0' in text
            assert 'emow2v_models{model="lite-frames",process="live"} 1.0' in text and "emow2v_streams 2.0" in text
        with client.websocket_connect("/v1/stream?model=lite-frame") as three:
            assert "The model 'lite-frame' is not here; expected lite" in three.receive_json()["error"]
        until(lambda: "emow2v_streams 0.0" in client.get("/metrics").text)


def test_what_ends_the_thread_ends_its_streams_with_a_sentence(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client.websocket_connect("/v1/stream") as socket:
        socket.receive_json()
        monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
        monkeypatch.setattr(steps, "compute_together", lambda work: 1 / 0)
        socket.send_bytes(bytes(64_000))
        assert "unexpected error" in socket.receive_json()["error"]
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
    assert closed.value.code == 1011
    # it calls the hook last
    until(lambda: not any(thread.name.startswith("emow2v-live") for thread in threading.enumerate()))
    monkeypatch.undo()
    assert len(stream(client, "frame_step=100ms", bytes(32_000))[1]) == 10


def test_an_engine_that_fails_ends_its_streams_only(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(work: object) -> None:
        raise ModelError("The device has no memory.")

    with client.websocket_connect("/v1/stream") as socket:
        socket.receive_json()
        with monkeypatch.context() as patched:
            patched.setattr(steps, "compute_together", fail)
            socket.send_bytes(bytes(64_000))
            assert "no memory" in socket.receive_json()["error"]
    assert len(stream(client, "frame_step=100ms", bytes(32_000))[1]) == 10


def test_nothing_is_looked_for_between_messages(lite: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent values woke the thread of the steps, whose answer woke the sender: one stream took a whole core."""
    rounds, one_round = [], steps.Steps._round
    monkeypatch.setattr(steps.Steps, "_round", lambda self: (rounds.append(self), one_round(self))[1])

    class Client:
        async def send_text(self, text: str) -> None: ...

    async def one_stream() -> None:
        computed = steps.Steps(lite)
        feed = computed.open(lite.stream(sampling_rate=16000, speech=True), steps.StreamOptions(16000, "s16le"))
        sender = asyncio.create_task(route._send(Client(), computed, feed))  # type: ignore[arg-type]
        feed.add(bytes(32_000))
        async with asyncio.timeout(HANG_S):
            while feed.rows < 25 or feed.messages:
                await asyncio.sleep(0.01)
        before = len(rounds)
        await asyncio.sleep(0.3)  # in which nothing comes
        assert len(rounds) <= before + 1
        feed.end()
        await sender
        computed.stop()

    asyncio.run(one_stream())


def test_no_more_is_computed_for_a_client_that_does_not_read(lite: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "UNSENT_BYTES", 100_000)  # embeddings of a second

    async def read(feed: steps.Feed) -> None:
        async with asyncio.timeout(HANG_S):
            while not feed.done:
                while feed.messages:
                    feed.sent(feed.messages.popleft())
                await feed.moved.wait()
                feed.moved.clear()

    async def beside_each_other() -> None:
        computed = steps.Steps(lite)
        wanted = steps.StreamOptions(16000, "s16le", embeddings=True)
        slow, quick = (computed.open(lite.stream(sampling_rate=16000, speech=True), wanted) for _ in range(2))
        for one in (slow, quick):
            one.add(bytes(20 * 32_000))
            one.end()
        await read(quick)
        assert quick.rows == 500 and quick.unsent >= 0
        assert slow.waits and slow.rows < 500 and computed.late_s == 0
        await read(slow)
        assert slow.rows == 500
        computed.stop()

    asyncio.run(beside_each_other())


def test_lateness_counts_only_sound_that_came_as_it_was_spoken() -> None:
    feed = steps.Feed(None, steps.StreamOptions(16000, "s16le"), None, lambda: None, began=100.0)  # type: ignore[arg-type]
    feed.add(bytes(32_000 * 10))  # ten seconds at once
    assert feed.late_s(100.0) == 0 and feed.late_s(103.0) == 3 and feed.late_s(200.0) == 10 == feed.pending_s
    feed.computed = 32_000 * 9
    assert feed.late_s(105.0) == 0 and feed.late_s(200.0) == 1


@pytest.mark.slow
def test_streams_of_a_real_server_beside_each_other(
    lite: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judged by another client; one of the clients does not read its rows for a while."""
    monkeypatch.setattr(capacity, "LATE_S", HANG_S)  # nobody is refused on a busy machine
    server = Server(port=0, data_dirs=[tmp_path], work_dir=tmp_path / "work", max_streams=9, warm=("lite-frames",))
    signals = [speech(16000, 3.0)[begin:] for begin in (0, 4000, 9000)]

    def values(url: str, signal: np.ndarray, number: int) -> list[float]:
        address = f"{url.replace('http', 'ws')}/v1/stream?encoding=f32le&model={('lite', 'lite-frames')[number % 2]}"
        with connect(address, max_size=None) as socket:
            assert "provenance" in json.loads(socket.recv())
            for begin in range(0, signal.size, 640):
                socket.send(signal[begin : begin + 640].tobytes())
            socket.send("end")
            return [said["valence"] for text in socket if "valence" in (said := json.loads(text))]

    with server.running() as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(values, [url] * 6, [*signals, *signals], range(6)))
        listed = {one["name"]: one for one in client.get("/v1/models").json()}
        assert listed["lite"]["in_memory"] == listed["lite-frames"]["in_memory"] == 2
        assert all(listed[name]["memory_mb"] > 1 for name in ("lite", "lite-frames"))
    frames = load("lite-frames")
    for number, got in enumerate(found):
        model = (lite, frames)[number % 2]
        expected = model.predict(signals[number % 3], 16000).load()
        np.testing.assert_allclose(got, expected.scores[:, 2], atol=1e-5)
