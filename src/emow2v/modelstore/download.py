"""Download of one large file over http(s), in as many tries as it takes: each continues behind the bytes that are here.

The model on Zenodo has 0.66 GB, and lines break. A resumed download must not join two versions of a file: the server may
have a newer one by now, or know `Range` and not `If-Range`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx

from emow2v.errors import ModelError
from emow2v.storage import locks

# Before each further try; a try that brought new bytes starts again with the first
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0)
RETRY_AFTER_MAX_S = 60.0  # the longest wait for a busy server
TIMEOUT_S = 30.0  # without an answer, or without another byte of it

_Progress = Callable[[int, int | None], None]
_REFUSALS = {404: "is not there", 410: "is not there", 401: "asks for access", 403: "asks for access"}


class DownloadError(ModelError):
    """A file cannot be downloaded, or not at present."""


class _TryAgain(Exception):
    """A try failed, and the next one may not.

    Attributes:
        wait_s: seconds that the server asks to wait
        reached: a server answered
    """

    def __init__(self, reason: str, *, wait_s: float = 0.0, reached: bool = True) -> None:
        super().__init__(reason)
        self.wait_s, self.reached = wait_s, reached


def fetch(
    url: str,
    path: Path,
    *,
    size: int | None = None,
    checksum: str = "",
    headers: Mapping[str, str] | None = None,
    progress: _Progress = lambda done, total: None,
) -> str:
    """Download `url` to `path`, which appears whole or not at all.

    Until then the bytes lie in `path`.part, with a note in `path`.part.json; a later call continues there.

    Args:
        url: http or https; redirects are followed
        path: path of the file; its folder is made, a file of that name is replaced
        size: bytes of the file, where they are known
        checksum: "sha256:HEX", "sha512:HEX" or "md5:HEX", where it is known
        headers: further headers of the request; Authorization is sent to the url's own host only
        progress: called with the bytes that are here, also from earlier calls, and the bytes of the file or None

    Returns:
        SHA-256 of the file, in hex

    Raises:
        DownloadError: no network, no such file, another file than expected, no space, or another download is running
    """
    if not re.fullmatch(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}|md5:[0-9a-f]{32}|", checksum.lower()):
        raise DownloadError(
            f"Expected a checksum of the form sha256:HEX, sha512:HEX or md5:HEX, got '{checksum}'; correct it."
        )
    with _lock(path), _client(headers) as client:
        part = _Part(path, _address(url), checksum.lower())
        failed, most, reached = 0, part.bytes_here, False
        while True:
            try:
                _attempt(client, part, size, progress)
                return part.finish()
            except _TryAgain as failure:
                reached = reached or failure.reached
                # more than ever before, so that tries end also with a server that always starts over
                if part.bytes_here > most:
                    failed, most = 0, part.bytes_here
                if not reached or failed == len(PAUSES_S):
                    raise DownloadError(f"{failure}; {part.remedy()}.") from None
                pause_s = max(PAUSES_S[failed], min(failure.wait_s, RETRY_AFTER_MAX_S))
            failed += 1
            time.sleep(pause_s)


def _attempt(client: httpx.Client, part: _Part, size: int | None, progress: _Progress) -> None:
    """One request; raises _TryAgain where the part is not complete afterwards."""
    asked = (
        {"Range": f"bytes={part.bytes_here}-", "If-Range": part.validator} if part.bytes_here and part.validator else {}
    )
    with _network(part.shown):
        response = client.send(client.build_request("GET", part.address, headers=asked), stream=True)
    with contextlib.closing(response):
        status = response.status_code
        if status in (408, 425, 429) or status >= 500:
            wait_s = _retry_after_s(response.headers.get("retry-after", ""))
            raise _TryAgain(f"{response.url.host} is busy or out of order ({status})", wait_s=wait_s)
        if status not in (200, 206, 416):
            words = _REFUSALS.get(status, "gives no file")
            raise DownloadError(f"{part.shown} {words} ({status}); check the address and the access token.")
        start, total = _span(response)
        if status != 200:
            # Some servers know Range but not If-Range: their answer must be of the same version, too.
            same = _validator(response.headers) in ("", part.validator) and total in (None, part.total or total)
            total = part.total if total is None else total
            if not (asked and same and (start == part.bytes_here or (status == 416 and total == part.bytes_here))):
                part.forget()
                raise _TryAgain(f"{part.shown} could not be continued where it stopped")
        if size is not None and total not in (None, size):
            raise DownloadError(
                f"{part.shown} is another file: expected {size} bytes, got {total}; check the address, "
                "or look for a newer version of emow2v."
            )
        total = size if total is None else total
        if status == 200:
            if not part.checksum and response.headers.get("content-encoding", "identity") != "identity":
                raise DownloadError(f"{part.shown} was sent compressed, expected the plain file; try another address.")
            part.begin(response.headers, total)
        part.total = total
        if status != 416:
            part.append(_body(response, part.shown), progress)
    if part.total is not None and part.bytes_here != part.total:
        reason = f"{part.shown} is incomplete: expected {part.total} bytes, got {part.bytes_here}"
        if part.bytes_here > part.total:  # there is nothing to continue
            part.forget()
        raise _TryAgain(reason)


class _Part:
    """The bytes of a file that are here, and the version of the file that they belong to.

    Attributes:
        bytes_here: number of bytes that are here
        total: bytes of the whole file, or None
        validator: the server's name for the version; "" where the download cannot be continued
        shown: the address without what may be secret in it
    """

    total: int | None

    def __init__(self, path: Path, address: httpx.URL, checksum: str) -> None:
        self.path, self.address, self.checksum = path, address, checksum
        self.file, self.note = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.json")
        # Name, password and query of an address may be secret: they are neither shown nor stored, only compared.
        self.shown = f"{address.scheme}://{address.netloc.decode()}{address.raw_path.decode().partition('?')[0]}"
        self._url = {"url": self.shown, "url_sha256": hashlib.sha256(str(address).encode()).hexdigest()}
        self.forget()
        note: object = None
        with contextlib.suppress(OSError, ValueError, RecursionError):
            note = json.loads(self.note.read_bytes())
        if not isinstance(note, dict) or any(note.get(name) != value for name, value in self._url.items()):
            return  # no note, a damaged one, or one of another address
        total = note.get("total")
        texts = all(isinstance(note.get(name), str | None) for name in ("etag", "last-modified"))
        if texts and (total is None or type(total) is int) and _validator(note):
            with contextlib.suppress(OSError):
                self.bytes_here, self.total, self.validator = self.file.stat().st_size, total, _validator(note)

    def forget(self) -> None:
        """Ask for the whole file in the next try."""
        self.bytes_here, self.total, self.validator = 0, None, ""

    def begin(self, headers: httpx.Headers, total: int | None) -> None:
        """Start an empty file; the old note is removed first, for it must never describe another version's bytes."""
        self.bytes_here, self.total, self.validator = 0, total, _validator(headers)
        note = {**self._url, "total": total, **{name: headers.get(name) for name in ("etag", "last-modified")}}
        with self._disk():
            self.note.unlink(missing_ok=True)
            self.file.open("wb").close()
            self.note.write_text(json.dumps(note), encoding="utf-8")

    def append(self, chunks: Iterator[bytes], progress: _Progress) -> None:
        with self._disk():
            free = shutil.disk_usage(self.path.parent).free
            if self.total is not None and free < self.total - self.bytes_here:
                raise OSError(errno.ENOSPC, f"{_amount(free)} free")
            file = self.file.open("ab", buffering=0)  # unbuffered: a killed process loses no chunk
        try:
            progress(self.bytes_here, self.total)
            for chunk in chunks:
                with self._disk():
                    while chunk:
                        written = file.write(chunk)
                        self.bytes_here, chunk = self.bytes_here + written, chunk[written:]
                progress(self.bytes_here, self.total)
        finally:
            with self._disk():  # network drives report a full disk here
                file.close()

    def finish(self) -> str:
        """Compare the whole file and rename it to its path; returns its SHA-256."""
        algorithm, _, expected = self.checksum.partition(":")
        with self._disk():
            with self.file.open("rb+") as file:
                os.fsync(file.fileno())
                # Read again, not summed up on the way: bytes of earlier calls are compared, too, as they lie on the disk.
                sha256 = got = hashlib.file_digest(file, "sha256").hexdigest()
                if algorithm in ("md5", "sha512"):
                    file.seek(0)
                    got = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
            if expected in ("", got):
                self.file.replace(self.path)
            else:
                self.file.unlink()
            self.note.unlink(missing_ok=True)
        if expected not in ("", got):
            raise DownloadError(
                f"{self.shown} is damaged or another file: expected {self.checksum}, got {algorithm}:{got}; "
                "it was removed; run the same command again to start anew."
            )
        return sha256

    def remedy(self) -> str:
        """The end of an error's sentence: what to do, and how much is here."""
        if not (self.bytes_here and self.validator):
            return "run the same command again"
        of = f" of {_amount(self.total)}" if self.total else ""
        return f"run the same command again to continue after {_amount(self.bytes_here)}{of}"

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """Turn an error of the disk into a sentence."""
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise _unwritable(self.path, error) from None
            needed = "more" if self.total is None else f"{_amount(self.total - self.bytes_here)} more"
            raise DownloadError(
                f"{self.path.parent} has no room for {needed} ({error.strerror}); free some, then {self.remedy()}."
            ) from None


def _body(response: httpx.Response, shown: str) -> Iterator[bytes]:
    with _network(shown):
        yield from response.iter_raw()


@contextlib.contextmanager
def _network(shown: str) -> Iterator[None]:
    """Turn an error of the network into a sentence of ours: those of httpx quote addresses and headers, also secret ones."""
    try:
        yield
    except httpx.TooManyRedirects:
        raise DownloadError(f"{shown} redirects in a circle, expected a file; check the address.") from None
    except (httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL, ValueError):
        raise DownloadError(
            f"{shown} cannot be requested: an address that it leads to, or a header, has characters that http does not "
            "allow; check the address and the access token."
        ) from None
    except httpx.RequestError as error:
        host, reason = error.request.url.host, _reason(error)
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
            text = f"{host} cannot be reached ({reason}); check the network and the proxy settings"
            raise _TryAgain(text, reached=False) from None
        raise _TryAgain(f"The connection to {host} broke ({reason})") from None


def _reason(error: httpx.RequestError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return f"no answer within {TIMEOUT_S:g} s"
    if isinstance(error, httpx.ProxyError):
        return "the proxy refused"
    if not isinstance(error, httpx.NetworkError) or error.__cause__ is None:
        return "closed too early"
    origin = error.__cause__.__cause__ or error.__cause__.__context__  # of the system, below httpcore's, below httpx's
    if isinstance(origin, socket.gaierror):
        return "its name is unknown"
    return str(getattr(origin, "verify_message", "") or getattr(origin, "strerror", "") or "no connection").lower()


def _retry_after_s(text: str) -> float:
    if text.isdecimal():
        return float(text)
    with contextlib.suppress(ValueError):  # neither a number nor a date
        moment = parsedate_to_datetime(text)
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    return 0.0


def _span(response: httpx.Response) -> tuple[int | None, int | None]:
    """The body's first byte in the file and the bytes of the whole file; None where the answer does not state them."""
    if response.status_code == 200:
        length = response.headers.get("content-length", "")
        return 0, int(length) if re.fullmatch("[0-9]{1,18}", length) else None
    pattern = r"bytes (?:([0-9]{1,18})-[0-9]{1,18}|\*)/(?:([0-9]{1,18})|\*)"
    match = re.fullmatch(pattern, response.headers.get("content-range", "").strip())
    begin, total = match.groups() if match else (None, None)
    return int(begin) if begin else None, int(total) if total else None


def _validator(headers: Mapping[str, Any]) -> str:
    """A strong ETag, else the time of the last change, else ""."""
    etag, modified = headers.get("etag") or "", headers.get("last-modified") or ""
    text = etag if re.fullmatch('"[!-~]*"', etag) else modified
    return text if re.fullmatch("[ -~]+", text) else ""


def _address(url: str) -> httpx.URL:
    with contextlib.suppress(httpx.InvalidURL, ValueError):
        address = httpx.URL(url)
        if address.scheme in ("http", "https") and address.host:
            return address
    raise DownloadError("The address of the download cannot be used; expected the form https://host/path.")


def _client(headers: Mapping[str, str] | None) -> httpx.Client:
    try:
        plain = httpx.Headers(headers)
        plain["Accept-Encoding"] = "identity"  # only the file's own bytes can be counted and continued
        return httpx.Client(headers=plain, follow_redirects=True, timeout=TIMEOUT_S)
    except (OSError, ValueError, ImportError, httpx.InvalidURL):
        raise DownloadError(
            "The access token or the network settings of this computer cannot be used; expected an ASCII token, "
            "http://host:port in HTTPS_PROXY and ALL_PROXY, and a file in SSL_CERT_FILE; correct or unset them."
        ) from None


def _lock(path: Path) -> locks.Lock:
    """The right to download to `path`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return locks.acquire(Path(f"{path}.lock"), f"{path} is being downloaded", "stop it", error=DownloadError)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError | ValueError) -> DownloadError:
    return DownloadError(
        f"{path} cannot be written ({getattr(error, 'strerror', None) or error}); choose another place."
    )


def _amount(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size} bytes"
