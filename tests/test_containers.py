"""What FFmpeg may open on behalf of a file, and how it is asked to."""

import io
import sys

import pytest

from emow2v import containers
from sounds import refusal

PLAYLISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\n{wav}\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile '{wav}'\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "mpd": (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S">'
        '<Period><AdaptationSet mimeType="audio/mp4"><Representation id="1" bandwidth="9"><BaseURL>{wav}</BaseURL>'
        "</Representation></AdaptationSet></Period></MPD>"
    ),
    "m3u": "{wav}\n",
}


@pytest.mark.parametrize("kind", sorted(PLAYLISTS))
@pytest.mark.parametrize("named", ["own", "wav", "mp4"])
@pytest.mark.parametrize("absolute", [False, True])
def test_a_playlist_opens_no_other_file(tmp_path, wav, kind, named, absolute):
    sound = tmp_path / "secret.wav"
    sound.write_bytes(wav.read_bytes())
    playlist = tmp_path / f"list.{kind if named == 'own' else named}"
    playlist.write_text(PLAYLISTS[kind].format(wav=sound if absolute else sound.name))
    refusal(playlist)
    with playlist.open("rb") as file:
        refusal(file)


@pytest.mark.parametrize("kind", ["ffconcat", "m3u8", "mpd"])
def test_even_a_demuxer_that_is_not_on_the_list_can_open_nothing(tmp_path, wav, kind, monkeypatch):
    """Two locks: were a referring format forgotten, no protocol is there to open a file with."""
    monkeypatch.setattr(containers, "_REFERRING_DEMUXERS", set())
    containers._allowed_demuxers.cache_clear()
    try:
        playlist = tmp_path / f"list.{kind}"
        playlist.write_text(PLAYLISTS[kind].format(wav=wav.name))
        refusal(playlist)
    finally:
        containers._allowed_demuxers.cache_clear()


def test_every_referring_format_of_this_ffmpeg_is_shut_out():
    allowed = set(containers._allowed_demuxers().split(","))
    assert {"wav", "mp3", "flac", "ogg", "aac", "matroska", "mov"} <= allowed
    assert not allowed & {"concat", "hls", "dash", "sdp", "rtsp", "rtp", "image2", "imf"}


def test_code_that_ffmpeg_runs_is_known_as_such(wav):
    """Its exceptions are lost there; so a signal waits until it is left."""
    frames = []

    class Watched(io.BytesIO):
        def read(self, size=-1):
            frames.append(sys._getframe(1))
            return super().read(size)

        def seek(self, *arguments):
            frames.append(sys._getframe(1))
            return super().seek(*arguments)

    with containers.open_container(Watched(wav.read_bytes()), "watched"):
        assert {frame.f_code.co_name for frame in frames} == {"read", "seek"}
        assert all(map(containers.is_called_back, frames))
    assert not containers.is_called_back(sys._getframe())
