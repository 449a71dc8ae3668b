"""Recordings in stores give the samples of their files: with ranges and without, short and long, in zips, changing ones."""

from __future__ import annotations

import errno
import io
import os
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emow2v.audio import recording as audio
from emow2v.errors import AudioError
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.stores import objects
from object_stores import ObjectStore
from sounds import encoded, noise
from webs import give, serving

pytest.importorskip("fsspec")
Reply = Callable[[BaseHTTPRequestHandler], None]


def long_wav() -> bytes:
    """More than is fetched in one request."""
    file = io.BytesIO()
    soundfile.write(file, noise(objects.SHORT)[:, 0], 16000, format="WAV", subtype="PCM_16")
    return file.getvalue()


def replying(body: bytes, *, ranges: bool, head: bool = True) -> Reply:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        give(handler, body, ranges=ranges)

    return reply


def assert_reads(address: str, body: bytes) -> None:
    there, rate = audio.read(address)
    here, same_rate = audio.read(io.BytesIO(body))
    assert rate == same_rate
    np.testing.assert_array_equal(there, here)


def test_a_prediction_in_the_library(store: ObjectStore, lite: Model) -> None:
    store.put("a/talk.wav", Path(EXAMPLE).read_bytes())
    there = lite.predict("s3://study/a/talk.wav", unit="files")
    np.testing.assert_array_equal(there.scores, lite.predict(EXAMPLE, unit="files").scores)
    assert there.info.source == "s3://study/a/talk.wav"
    table = lite.predict_files(["talk.wav"], unit="files", root="s3://study/a")
    np.testing.assert_array_equal(table["arousal"], there.scores[:, 0])
    assert len(lite.predict_channels("s3://study/a/talk.wav", unit="files")) == 1


@pytest.mark.parametrize("length", ["short", "long"])
def test_s3(store: ObjectStore, length: str) -> None:
    body = long_wav() if length == "long" else Path(EXAMPLE).read_bytes()
    assert (len(body) > objects.SHORT) == (length == "long")
    store.put("a b/tälk #1?.wav", body)
    assert_reads("s3://study/a b/tälk #1?.wav", body)


@pytest.mark.parametrize("length", ["short", "long"])
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no-ranges"])
def test_web_servers(ranges: bool, length: str) -> None:
    pytest.importorskip("aiohttp")
    body = long_wav() if length == "long" else Path(EXAMPLE).read_bytes()
    with serving(lambda handler: give(handler, body, ranges=ranges)) as site:
        assert_reads(site.url("/talk.wav?key=1"), body)


def test_a_video_whose_index_is_at_its_end_is_read_in_parts(store: ObjectStore) -> None:
    body = encoded("mov", "pcm_s16le", 48000, 50.0)
    assert body.index(b"moov") > objects.SHORT
    store.put("a.mov", body)
    assert_reads("s3://study/a.mov", body)


@pytest.mark.parametrize("place", ["here", "store"])
def test_zips(store: ObjectStore, tmp_path: Path, place: str) -> None:
    body = long_wav()
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(EXAMPLE, "d/short.wav")
        archive.writestr("long.wav", body)
    store.put("a.zip", (tmp_path / "a.zip").read_bytes())
    zip_ = "s3://study/a.zip" if place == "store" else str(tmp_path / "a.zip")
    assert_reads(f"zip://d/short.wav::{zip_}", Path(EXAMPLE).read_bytes())
    assert_reads(f"zip://long.wav::{zip_}", body)


def test_passes_over_a_recording_fetch_it_once() -> None:
    pytest.importorskip("aiohttp")
    with serving(lambda handler: give(handler, Path(EXAMPLE).read_bytes())) as site:
        recording = audio.open_recording(site.url())
        first = np.concatenate(list(recording))
        recording.close()
        fetched = len([ranges for _, ranges in site.asked if ranges])
        again = recording.again()
        np.testing.assert_array_equal(np.concatenate(list(again)), first)
        again.close()
        assert len([ranges for _, ranges in site.asked if ranges]) == fetched == 1


@pytest.mark.parametrize("change", ["shorter", "other"])
def test_an_object_that_changes_while_it_is_read(store: ObjectStore, change: str) -> None:
    body = long_wav()
    store.put("a.wav", body)
    recording = audio.open_recording("s3://study/a.wav")
    next(iter(recording))
    store.put("a.wav", body[: objects.SHORT] if change == "shorter" else body[:-2] + b"ab")
    with pytest.raises(AudioError) as raised:
        list(recording)
    recording.close()
    assert str(raised.value) == "s3://study/a.wav has changed while it was read; try again."


@pytest.mark.parametrize(
    ("before", "now"), [("short", "long"), ("long", "short"), ("long", "longer"), ("long", "other")]
)
def test_an_object_that_was_listed_and_changed_is_read_as_it_is_now(store: ObjectStore, before: str, now: str) -> None:
    from emow2v.stores import listing

    sound = Path(EXAMPLE).read_bytes()
    bodies = {"short": sound, "long": long_wav()}
    bodies |= {"longer": bodies["long"] + b"ab", "other": bodies["long"][:-2] + b"ab"}
    store.put("a/a.wav", bodies[before])
    assert [name for _, name in listing.below("s3://study/a")] == ["a.wav"]
    store.put("a/a.wav", bodies[now])
    assert_reads("s3://study/a/a.wav", bodies[now])


def test_a_web_recording_that_shrinks_or_changes() -> None:
    pytest.importorskip("aiohttp")
    body = long_wav()
    for later in (body[: len(body) // 2], body):
        state = {"body": body, "tag": '"1"'}

        def reply(handler: BaseHTTPRequestHandler, state=state) -> None:
            give(handler, state["body"], ETag=state["tag"])

        with serving(reply) as site:
            recording = audio.open_recording(site.url())
            next(iter(recording))
            state |= {"body": later, "tag": '"2"'}
            with pytest.raises(AudioError, match="has changed while it was read"):
                list(recording)
            recording.close()


def test_empty_objects(store: ObjectStore) -> None:
    store.put("a.wav", b"")
    with pytest.raises(AudioError, match=r"a\.wav is empty \(0 bytes\)"):
        audio.read("s3://study/a.wav")


def test_no_room_for_an_object_that_is_fetched_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiohttp")

    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(objects, "SHORT", 10)
    monkeypatch.setattr(objects, "BLOCK", 100)
    monkeypatch.setattr(objects.tempfile, "TemporaryFile", Full)
    with (
        serving(lambda handler: give(handler, b"sound" * 100, ranges=False)) as site,
        pytest.raises(AudioError, match=r"cannot be kept in .*No space left on device.*TMPDIR"),
    ):
        objects.StoredObject(site.url()).open()
