"""One large file over http(s), in as many goes as it takes: what has come is kept, the next go continues there."""

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

PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0)  # before each further try; one that brought new bytes begins the row again
RETRY_AFTER_MAX_S = 60.0  # longer than this a busy server is not waited for
TIMEOUT_S = 30.0  # without an answer, or without a byte of it

_Progress = Callable[[int, int | None], None]
_REFUSALS = {404: "is not there", 410: "is not there", 401: "asks for access", 403: "asks for access"}


class DownloadError(ModelError):
    """A file cannot be downloaded, or not now."""


class _Again(Exception):
    """This try did not bring everything, the next one may; `reached` tells whether a server was there at all."""

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
    """Download `url` to `path`, which appears whole or not at all; returns the file's SHA-256 in hex.

    What has come lies in `path`.part, with `path`.part.json beside it; a later call continues there.

    Args:
        url: http or https; redirects are followed
        path: of the file; its folder is made, a file of that name is replaced
        size: bytes, where known
        checksum: "sha256:HEX" or "md5:HEX", where known
        headers: sent along; Authorization goes to the url's own host only
        progress: told the bytes that are here, those of earlier calls included, and all bytes or None

    Raises:
        DownloadError: no network, no such file, another file than expected, no space, another download running
    """
    if not re.fullmatch(r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}|", checksum.lower()):
        raise DownloadError(f"Expected a checksum of the form sha256:HEX or md5:HEX, got '{checksum}'; correct it.")
    with _lock(path), _client(headers) as client:
        part = _Part(path, _address(url), checksum.lower())
        failed, most, reached = 0, part.have, False
        while True:
            try:
                _attempt(client, part, size, progress)
                return part.finish()
            except _Again as again:
                reached = reached or again.reached
                if part.have > most:  # than ever before: with a server that always starts over there is an end, too
                    failed, most = 0, part.have
                if not reached or failed == len(PAUSES_S):
                    raise DownloadError(f"{again}; {part.remedy()}.") from None
                pause_s = max(PAUSES_S[failed], min(again.wait_s, RETRY_AFTER_MAX_S))
            failed += 1
            time.sleep(pause_s)


def _attempt(client: httpx.Client, part: _Part, size: int | None, progress: _Progress) -> None:
    """One request; returns when the part is complete, raises _Again when it is not yet."""
    asked = {"Range": f"bytes={part.have}-", "If-Range": part.validator} if part.have and part.validator else {}
    with _network(part.shown):
        response = client.send(client.build_request("GET", part.address, headers=asked), stream=True)
    with contextlib.closing(response):
        status = response.status_code
        if status in (408, 425, 429) or status >= 500:
            wait_s = _retry_after_s(response.headers.get("retry-after", ""))
            raise _Again(f"{response.url.host} is busy or out of order ({status})", wait_s=wait_s)
        if status not in (200, 206, 416):
            words = _REFUSALS.get(status, "gives no file")
            raise DownloadError(f"{part.shown} {words} ({status}); check the address and the access token.")
        start, total = _span(response)
        if status != 200:
            # Servers exist that know Range but not If-Range: what they send must be of the same version, too.
            same = _validator(response.headers) in ("", part.validator) and total in (None, part.total or total)
            total = part.total if total is None else total
            if not (asked and same and (start == part.have or (status == 416 and total == part.have))):
                part.forget()
                raise _Again(f"{part.shown} could not be continued where it stopped")
        if size is not None and total not in (None, size):
            raise DownloadError(
                f"{part.shown} is not the file that was wanted: expected {size} bytes, got {total}; check the address, "
                "or look for a newer version of emow2v."
            )
        total = size if total is None else total
        if status == 200:
            if not part.checksum and response.headers.get("content-encoding", "identity") != "identity":
                raise DownloadError(f"{part.shown} came compressed, expected the plain file; try another address.")
            part.begin(response.headers, total)
        part.total = total
        if status != 416:
            part.append(_body(response, part.shown), progress)
    if part.total is not None and part.have != part.total:
        reason = f"{part.shown} came incomplete: expected {part.total} bytes, got {part.have}"
        if part.have > part.total:  # nothing to continue
            part.forget()
        raise _Again(reason)


class _Part:
    """What is here of a file, and of which version of it.

    Attributes:
        have: bytes that are here
        total: bytes of the whole file, or None
        validator: what the server knows the version by; empty: cannot be continued
    """

    total: int | None

    def __init__(self, path: Path, address: httpx.URL, checksum: str) -> None:
        self.path, self.address, self.checksum = path, address, checksum
        self.file, self.note = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.json")
        # What may be secret in an address (name, password, query) is neither shown nor kept, only compared.
        self.shown = f"{address.scheme}://{address.netloc.decode()}{address.raw_path.decode().partition('?')[0]}"
        self._url = {"url": self.shown, "url_sha256": hashlib.sha256(str(address).encode()).hexdigest()}
        self.forget()
        note: object = None
        with contextlib.suppress(OSError, ValueError, RecursionError):
            note = json.loads(self.note.read_bytes())
        if not isinstance(note, dict) or any(note.get(name) != value for name, value in self._url.items()):
            return  # no note, no sense in it, or of another address
        total = note.get("total")
        texts = all(isinstance(note.get(name), str | None) for name in ("etag", "last-modified"))
        if texts and (total is None or type(total) is int) and _validator(note):
            with contextlib.suppress(OSError):
                self.have, self.total, self.validator = self.file.stat().st_size, total, _validator(note)

    def forget(self) -> None:
        """Ask for the whole file next."""
        self.have, self.total, self.validator = 0, None, ""

    def begin(self, headers: httpx.Headers, total: int | None) -> None:
        """Empty, for another answer; the old note goes first: it must never stand beside another version's bytes."""
        self.have, self.total, self.validator = 0, total, _validator(headers)
        note = {**self._url, "total": total, **{name: headers.get(name) for name in ("etag", "last-modified")}}
        with self._disk():
            self.note.unlink(missing_ok=True)
            self.file.open("wb").close()
            self.note.write_text(json.dumps(note), encoding="utf-8")

    def append(self, chunks: Iterator[bytes], progress: _Progress) -> None:
        with self._disk():
            free = shutil.disk_usage(self.path.parent).free
            if self.total is not None and free < self.total - self.have:
                raise OSError(errno.ENOSPC, f"{_amount(free)} free")
            file = self.file.open("ab", buffering=0)  # unbuffered: what was written whole is there, whatever comes
        try:
            progress(self.have, self.total)
            for chunk in chunks:
                with self._disk():
                    while chunk:
                        written = file.write(chunk)
                        self.have, chunk = self.have + written, chunk[written:]
                progress(self.have, self.total)
        finally:
            with self._disk():  # network drives tell of a full disk here
                file.close()

    def finish(self) -> str:
        """Compared and put into its place; returns the SHA-256."""
        algorithm, _, expected = self.checksum.partition(":")
        with self._disk():
            with self.file.open("rb+") as file:
                os.fsync(file.fileno())
                # Read again, not summed up on the way: what is compared is what lies here, earlier calls' bytes as well.
                sha256 = got = hashlib.file_digest(file, "sha256").hexdigest()
                if algorithm == "md5":
                    file.seek(0)
                    got = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            if expected in ("", got):
                self.file.replace(self.path)
            else:
                self.file.unlink()
            self.note.unlink(missing_ok=True)
        if expected not in ("", got):
            raise DownloadError(
                f"{self.shown} came damaged or is another file: expected {self.checksum}, got {algorithm}:{got}; "
                "it was removed, run the same command again to start anew."
            )
        return sha256

    def remedy(self) -> str:
        """What to do after an error, and what is here."""
        if not (self.have and self.validator):
            return "run the same command again"
        of = f" of {_amount(self.total)}" if self.total else ""
        return f"run the same command again to continue after {_amount(self.have)}{of}"

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """Say in words why something cannot be written."""
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise _unwritable(self.path, error) from None
            needed = "more" if self.total is None else f"{_amount(self.total - self.have)} more"
            raise DownloadError(
                f"{self.path.parent} has no room for {needed} ({error.strerror}); free some, then {self.remedy()}."
            ) from None


def _body(response: httpx.Response, shown: str) -> Iterator[bytes]:
    with _network(shown):
        yield from response.iter_raw()


@contextlib.contextmanager
def _network(shown: str) -> Iterator[None]:
    """Say in own words what went wrong: those of others quote addresses and headers, secrets included."""
    try:
        yield
    except httpx.TooManyRedirects:
        raise DownloadError(f"{shown} leads in circles, expected a file; check the address.") from None
    except (httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL, ValueError):
        raise DownloadError(
            f"{shown} cannot be asked for: it leads to an address, or a header has letters, that http does not "
            "know; check the address and the access token."
        ) from None
    except httpx.RequestError as error:
        host, reason = error.request.url.host, _reason(error)
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
            text = f"{host} cannot be reached ({reason}); check the network and the proxy settings"
            raise _Again(text, reached=False) from None
        raise _Again(f"The connection to {host} broke ({reason})") from None


def _reason(error: httpx.RequestError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return f"no answer within {TIMEOUT_S:g} s"
    if isinstance(error, httpx.ProxyError):
        return "the proxy refused"
    if not isinstance(error, httpx.NetworkError) or error.__cause__ is None:
        return "closed too early"
    origin = error.__cause__.__cause__ or error.__cause__.__context__  # httpx's, from httpcore's, from the system's
    if isinstance(origin, socket.gaierror):
        return "its name is not known"
    return str(getattr(origin, "verify_message", "") or getattr(origin, "strerror", "") or "no connection").lower()


def _retry_after_s(text: str) -> float:
    if text.isdecimal():
        return float(text)
    with contextlib.suppress(ValueError):  # neither seconds nor a date
        moment = parsedate_to_datetime(text)
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    return 0.0


def _span(response: httpx.Response) -> tuple[int | None, int | None]:
    """First byte of the body in the file and bytes of the whole file, None where the answer does not say."""
    if response.status_code == 200:
        length = response.headers.get("content-length", "")
        return 0, int(length) if re.fullmatch("[0-9]{1,18}", length) else None
    pattern = r"bytes (?:([0-9]{1,18})-[0-9]{1,18}|\*)/(?:([0-9]{1,18})|\*)"
    found = re.fullmatch(pattern, response.headers.get("content-range", "").strip())
    begin, total = found.groups() if found else (None, None)
    return int(begin) if begin else None, int(total) if total else None


def _validator(headers: Mapping[str, Any]) -> str:
    """A strong ETag, else the time of the last change, else nothing."""
    etag, modified = headers.get("etag") or "", headers.get("last-modified") or ""
    text = etag if re.fullmatch('"[!-~]*"', etag) else modified
    return text if re.fullmatch("[ -~]+", text) else ""


def _address(url: str) -> httpx.URL:
    with contextlib.suppress(httpx.InvalidURL, ValueError):
        address = httpx.URL(url)
        if address.scheme in ("http", "https") and address.host:
            return address
    raise DownloadError("The address to download from cannot be used; expected https://host/path, got another form.")


def _client(headers: Mapping[str, str] | None) -> httpx.Client:
    try:
        plain = httpx.Headers(headers)
        plain["Accept-Encoding"] = "identity"  # what lies on the disk is counted and continued in the file's own bytes
        return httpx.Client(headers=plain, follow_redirects=True, timeout=TIMEOUT_S)
    except (OSError, ValueError, ImportError, httpx.InvalidURL):
        raise DownloadError(
            "The access token or this computer's network settings cannot be used; expected plain letters, "
            "http://host:port in HTTPS_PROXY and ALL_PROXY, a file in SSL_CERT_FILE; correct or unset them."
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
