"""Forms: file names in every encoding, bodies that are no form, unknown fields."""

from __future__ import annotations

import codecs
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from email.errors import HeaderParseError
from email.header import decode_header
from urllib.parse import unquote_to_bytes

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from emow2v import storage
from emow2v.discover.names import snake_case, unknown

MULTIPART, URLENCODED = "multipart/form-data", "application/x-www-form-urlencoded"
_EMPTY = (b"", b"{}", b"[]", b"null", b'""')  # empty bodies, whatever their type
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*("(?:\\["\\]|[^"])*"|[^;]*)')
_PIECE = re.compile(r"filename\*(\d{1,2})(\*?)", re.IGNORECASE)  # RFC 2231: a name in pieces
_WORD = re.compile(r"=\?[^?]+\?[bq]\?[^?]*\?=", re.IGNORECASE)  # RFC 2047: an encoded word
_LONGEST = 1000  # characters of a name


@asynccontextmanager
async def read_form(
    request: Request, *, max_files: int, max_fields: int, max_part_size: int
) -> AsyncIterator[FormData]:
    """The form, urlencoded or multipart; an empty body is an empty form.

    Args:
        max_files, max_fields, max_part_size: limits of what memory holds

    Raises:
        HTTPException: 415 for a body that is no form, 400 for one that is broken
    """
    await prepare(request, max_files=max_files, max_fields=max_fields, max_part_size=max_part_size)
    async with request.form() as form:
        yield form


async def prepare(request: Request, *, max_files: int, max_fields: int, max_part_size: int) -> None:
    """Read a request's form with these limits; later calls of `request.form` return it."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == MULTIPART and not await _has_no_fields(request):
        parser = _Parser(
            request.headers,
            request.stream(),
            max_files=max_files,
            max_fields=max_fields,
            max_part_size=max_part_size,
        )
        try:
            request._form = await parser.parse()
        except MultiPartException as error:
            limits = f"{storage.counted(max_files, 'file')} and {max_fields} fields of {max_part_size >> 10} KB"
            raise HTTPException(
                400,
                f"The form cannot be taken ({error.message.rstrip('.')}); expected {MULTIPART} as curl -F sends it, "
                f"with at most {limits}; recordings are sent as files.",
            ) from None
    elif kind == URLENCODED:
        try:
            form = await request.form(max_fields=max_fields, max_part_size=max_part_size)
        except HTTPException as error:
            raise HTTPException(
                400,
                f"The form cannot be taken ({error.detail.rstrip('.')}); expected at most {max_fields} fields of "
                f"{max_part_size >> 10} KB; recordings are sent as files, as curl -F does.",
            ) from None
        await _refuse_json(request, form)
    else:
        if kind != MULTIPART and not await _is_empty(request):
            came = f"is {kind[:60]}" if kind else "has no Content-Type"
            raise HTTPException(
                415, f"The body {came}; expected a form, {URLENCODED} or {MULTIPART}, as curl -d or -F send it."
            )
        request._form = FormData()


async def _refuse_json(request: Request, form: FormData) -> None:
    """Refuse JSON that is declared as a form, as curl -d sends it: its fields would count as missing."""
    first = next(iter(form), "").strip()
    if first.encode(errors="replace") in _EMPTY and len(form) <= 1:
        request._form = FormData()
    elif first[:1] in ("{", "["):
        raise HTTPException(
            415,
            f"The body looks like JSON, sent as {URLENCODED}; expected a form, such as curl -d name=value sends it.",
        )


async def _is_empty(request: Request) -> bool:
    length = request.headers.get("content-length", "")
    if "transfer-encoding" in request.headers:  # a chunked body is not read: it may never end
        return "content-type" not in request.headers
    if not length:
        return True
    if length.isascii() and length.isdigit() and int(length[:9]) > 100:
        return False
    return (await request.body()).strip() in _EMPTY


async def _has_no_fields(request: Request) -> bool:
    """Whether a multipart form has no fields; .NET (and so NOVA) writes a first boundary then, too."""
    length = request.headers.get("content-length", "")
    if not (length.isascii() and length.isdigit() and int(length[:9]) < 300):
        return False
    return all(line.startswith(b"--") or not line for line in (await request.body()).split(b"\r\n"))


def refuse_unknown(
    sent: Iterable[str], known: Iterable[str], what: str, elsewhere: Iterable[str] = (), where: str = ""
) -> None:
    """Refuse fields that are unknown or sent twice: ignoring them could give other numbers than the client wanted.

    Args:
        sent: names as they were sent, with repetitions
        what: the word for them, such as "field"
        elsewhere, where: names that are known in another part of the request, and the word for those

    Raises:
        HTTPException: 422, with the nearest known name
    """
    names, every = list(sent), list(known)
    for name in names:
        if name not in every:
            if name in elsewhere:
                raise HTTPException(422, f"The {what} '{name}' is not taken here; send it as a {where}.")
            raise HTTPException(422, f"{unknown(what, name, every)}.")
        if names.count(name) > 1:
            raise HTTPException(422, f"The {what} '{name}' came {names.count(name)} times; expected it once.")


def refuse_twice(names: Iterable[str]) -> None:
    """Refuse fields that are sent twice, also as jobID and job_id: one of the two would be ignored silently.

    Raises:
        HTTPException: 400
    """
    seen: dict[str, str] = {}
    for name in names:
        before = seen.setdefault(snake_case(name), name)
        if before is not name:
            also = f", once as '{before}'" if before != name else ""
            raise HTTPException(400, f"The field '{name[:60]}' came twice{also}; expected it once.")


class _Parser(MultiPartParser):
    """Also reads the name of a file from `filename*`, which Starlette's parser ignores, and closes a file that was cut off."""

    async def parse(self) -> FormData:
        form = await super().parse()
        complete = {id(value.file) for _, value in form.multi_items() if isinstance(value, UploadFile)}
        for file in self._files_to_close_on_error:
            if id(file) not in complete:
                file.close()
        return form

    def on_headers_finished(self) -> None:
        header = self._current_part.content_disposition or b""
        name = file_name(header)
        if name is not None and not re.search(rb";\s*filename\s*=", header, re.IGNORECASE):
            self._current_part.content_disposition = header + b'; filename="file"'  # so that it counts as one
        super().on_headers_finished()
        if name is not None and self._current_part.file is not None:
            self._current_part.file.filename = name


def file_name(header: bytes) -> str | None:
    """The name of a file in a Content-Disposition header; None where the header has none.

    `filename*` (RFC 5987, also in pieces, RFC 2231) counts before `filename`, which may be raw bytes, encoded words (RFC 2047)
    or percent signs. Where the charset is unknown or does not fit, the name is read as UTF-8, else as Latin-1.
    """
    parameters = {name.lower(): _unquoted(value) for name, value in _PARAMETER.findall(header.decode("latin-1"))}
    if "filename*" in parameters and "filename" in parameters and not _fits(parameters["filename*"]):
        del parameters["filename*"]  # the other one is used
    name = _extended(parameters["filename*"]) if "filename*" in parameters else _in_pieces(parameters)
    if not name and "filename" in parameters:
        name = _simple(parameters["filename"])
    if name is None:
        return "" if "filename" in parameters or "filename*" in parameters else None
    if re.match(r"([A-Za-z]:|\.{0,2})[\\/]", name):  # a path, as old browsers send it
        name = re.split(r"[\\/]", name.rstrip("\\/"))[-1]
    return name[:_LONGEST]


def _unquoted(value: str) -> str:
    """The value of a parameter, which may stand in quotes."""
    value = value.strip()
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r'\\(["\\])', r"\1", value[1:-1])
    return value


def _extended(value: str) -> str:
    """charset'language'%41%42"""
    charset, mark, rest = value.partition("'")
    _, second, encoded = rest.partition("'")
    return _decoded(unquote_to_bytes(encoded), charset) if mark and second else _decoded(unquote_to_bytes(value), "")


def _fits(value: str) -> bool:
    """Whether the value can be decoded with the charset that it names."""
    charset, _, encoded = value.split("'", 2) if value.count("'") >= 2 else ("", "", "")
    try:
        unquote_to_bytes(encoded).decode(charset)
    except (LookupError, UnicodeError):  # no such charset, or not what it was written in
        return False
    return bool(encoded)


def _in_pieces(parameters: dict[str, str]) -> str | None:
    pieces = sorted(
        (int(match[1]), match[2], parameters[key]) for key in parameters if (match := _PIECE.fullmatch(key))
    )
    charset, whole = "", b""
    for number, encoded, value in pieces:
        if encoded and number == pieces[0][0] and value.count("'") >= 2:
            charset, _, value = value.split("'", 2)
        whole += unquote_to_bytes(value) if encoded else value.encode("latin-1")
    return _decoded(whole, charset) if pieces else None


def _simple(value: str) -> str:
    if _WORD.search(value):
        try:
            parts = decode_header(value)
        except HeaderParseError:  # broken base64
            parts = [(value, None)]
        return "".join(part if isinstance(part, str) else _decoded(part, charset or "") for part, charset in parts)
    name = _decoded(value.encode("latin-1"), "")
    for code, sign in (("%22", '"'), ("%0D", "\r"), ("%0A", "\n")):  # browsers escape these and nothing else
        name = name.replace(code, sign)
    if re.search("%[89A-Fa-f][0-9A-Fa-f]", name) and name.isascii():
        whole = unquote_to_bytes(name)
        try:
            return whole.decode()
        except UnicodeDecodeError:
            return name
    return name


def _decoded(data: bytes, charset: str) -> str:
    for one in (charset.strip(), "utf-8"):
        try:
            if one and codecs.lookup(one)._is_text_encoding:
                return data.decode(one)
        except (LookupError, UnicodeError):  # no such charset, or not what it was written in
            continue
    return data.decode("latin-1")
