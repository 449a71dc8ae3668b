"""Any bytes, in any pieces, with any failures between them, are the same file in the end."""

import base64
import hashlib
import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import asgi
from laboratories import idle

TUS = {"Tus-Resumable": "1.0.0"}
BODY = {"Content-Type": "application/offset+octet-stream"}
SHA1 = hashlib.sha1

FAILURES = st.sampled_from(["none", "cut", "other offset", "wrong checksum", "cut with checksum", "too many", "restart", "asked", "chunked"])  # fmt: skip


def stated(digest: bytes) -> dict[str, str]:
    return {"Upload-Checksum": f"sha1 {base64.b64encode(digest).decode()}"}


@pytest.mark.slow
@given(
    content=st.binary(max_size=3000),
    steps=st.lists(st.tuples(st.integers(1, 900), FAILURES, st.booleans()), max_size=12),
)
def test_any_pieces_with_any_failures_are_the_same_file(content: bytes, steps: list[tuple[int, str, bool]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        served = idle(folder, named=False)
        mine = {"Authorization": "Bearer the single token", **TUS}
        made = asgi.ask(served.app, "POST", "/v1/uploads", mine | {"Upload-Length": str(len(content))})
        assert made.status == 201, made
        path = f"/v1/{made.headers['location']}"
        offset = 0
        for size, failure, checked in itertools.chain(steps, itertools.repeat((len(content) or 1, "none", False))):
            if offset == len(content):
                break
            piece = content[offset : offset + size]
            parts = [piece[: size // 2], piece[size // 2 :]]
            headers = mine | BODY | {"Upload-Offset": str(offset), "Content-Length": str(len(piece))}
            headers |= stated(SHA1(piece).digest()) if checked else {}
            if failure == "cut":
                asgi.ask(served.app, "PATCH", path, headers, parts[:1], cut=True)
                offset += 0 if checked else len(parts[0])  # nobody can compare the checksum of a half
            elif failure == "other offset":
                wrong = headers | {"Upload-Offset": str(offset + 1 if size % 2 else max(0, offset - 1))}
                expected = 409 if wrong != headers else 204
                answer = asgi.ask(served.app, "PATCH", path, wrong, parts)
                assert answer.status in (expected, 413), answer
                offset += len(piece) if answer.status == 204 else 0
            elif failure in ("wrong checksum", "cut with checksum"):
                is_cut = failure != "wrong checksum"
                wrong = headers | stated(SHA1(piece + b"x").digest())
                answer = asgi.ask(served.app, "PATCH", path, wrong, parts[: 1 + (not is_cut)], cut=is_cut)
                assert is_cut or answer.status == 460, answer
            elif failure == "too many":
                more = {"Transfer-Encoding": "chunked"} | {k: v for k, v in headers.items() if k != "Content-Length"}
                answer = asgi.ask(served.app, "PATCH", path, more, [content[offset:], b"x"])
                assert answer.status == 413, answer
            elif failure == "restart":
                served.store.close()
                served = idle(folder, named=False)
            elif failure == "chunked":
                more = {"Transfer-Encoding": "chunked"} | {k: v for k, v in headers.items() if k != "Content-Length"}
                assert asgi.ask(served.app, "PATCH", path, more, parts).status == 204
                offset += len(piece)
            elif failure == "none":
                answer = asgi.ask(served.app, "PATCH", path, headers, parts)
                offset += len(piece)
                assert (answer.status, answer.headers["upload-offset"]) == (204, str(offset)), answer
            told = asgi.ask(served.app, "HEAD", path, mine)
            assert (told.status, told.headers["upload-offset"]) == (200, str(offset)), (failure, told)
            assert told.headers["cache-control"] == "no-store"
        (whole,) = (folder / "work" / "uploads").iterdir()
        assert whole.read_bytes() == content
        assert f"uploads/{whole.name}" == made.headers["location"]
        assert [one.name for one in (folder / "work" / "incoming").iterdir()] == [f"{whole.name}.json"]
        served.store.close()
