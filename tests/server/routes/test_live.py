"""Live speech over a WebSocket."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.server.routes import live as module
from servers import app


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

    monkeypatch.setattr(module, "_share_of_frames", lambda card, engine: 0.2)

    (tmp_path / "model").mkdir()
    model = frames_model(tmp_path / "model")
    signals = [speech(16000, 2.5)[begin : begin + 24_000] for begin in (0, 3000, 9000)]
    query = "encoding=f32le&frame_step=100ms"
    served = app(model.card, [tmp_path], tmp_path / "work", lambda name: model)
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
        ("frame_step=soon", "frame_step is 'soon'"),
        ("frame_step=1ms&left_context=0", "too short"),
        ("left_context=10s", "live it is 10 s at most"),
        ("padding=loop", "expected edge or zeros"),
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
    monkeypatch.setattr(module, "_seconds", lambda model, samples: 0.012)  # of 40 ms: two fit into 70 %
    monkeypatch.setattr(module, "_share_of_frames", lambda card, engine: 0.3)
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


@pytest.mark.parametrize(
    ("window_ms", "measured"),
    [(40, 100), (100, 100), (999.99, 1000), (1000, 1000), (1000.01, 1500), (1600, 2000), (9980, 10000)],
)
def test_few_lengths_are_told_apart(window_ms: float, measured: int) -> None:
    assert module.rounded_ms(window_ms) == measured


def test_the_machine_is_measured_again_and_only_for_few_lengths(
    windows: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    now, seconds = 0.0, 0.001

    def took(model: Model, samples: int) -> float:
        measured.append(samples)
        return seconds

    monkeypatch.setattr(module, "_seconds", took)
    live = module.Live(lambda: windows, clock=lambda: now)
    for hundredth in range(300):  # a client that tries every length
        live._admit(windows, Framing(left_context_ms=Fraction(960) + Fraction(hundredth, 100)))
        live._load_now = 0.0
    assert len(measured) == len(live._measured) == 2  # of a second, and of one and a half
    every = {module.rounded_ms(length) for length in range(40, 10_001)}
    assert len(every) < 30

    live = module.Live(lambda: windows, clock=lambda: now)
    seconds = 0.025  # the machine is busy with something else
    live._admit(windows, Framing())
    with pytest.raises(module.Busy):
        live._admit(windows, Framing())
    now, seconds = 11.0, 0.001  # and is not any more
    live._load_now = 0.001
    live._admit(windows, Framing())
    assert live.streams == 2
    now, seconds = 11.0 + module.FRESH_S + 1, 0.039  # and busy again
    with pytest.raises(module.Busy):
        live._admit(windows, Framing())
