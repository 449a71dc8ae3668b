"""Readers of SSI and NOVA files. They accept files of SSI, of NOVA and of the reference implementation."""

from __future__ import annotations

import contextlib
import math
import re
import struct
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emow2v.errors import FormatError
from emow2v.rows import Seconds
from emow2v.storage import counted, marks

_VALUES = {"CONTINUOUS": np.float64, "DISCRETE": np.int64, "FREE": object}
_TYPES = {
    "CHAR": "i1", "UCHAR": "u1", "BOOL": "u1", "SHORT": "<i2", "USHORT": "<u2", "INT": "<i4", "UINT": "<u4",
    "LONG": "<i8", "ULONG": "<u8", "FLOAT": "<f4", "DOUBLE": "<f8", "LDOUBLE": "<f8",
}  # fmt: skip
_RATES = (1e-9, 1e9)  # Hz
_HEADER_LIMIT = 16 * 2**20  # bytes; a header with a thousand classes has about 1 % of it
_LABEL = re.compile(r"\s*[-+.\d][^;\n]*;\s*[-+.\d][^;\n]*;")  # from;to;

_Rows = list[tuple[float, float, Any, float]]  # from, to, value, confidence


def data_path(path: Path) -> Path:
    """The path of the data that belong to a header."""
    return path.with_name(path.name + "~")


@dataclass(frozen=True, eq=False)
class Annotation:
    """The content of an annotation: X.annotation and X.annotation~.

    Attributes:
        scheme: CONTINUOUS, DISCRETE or FREE
        name, role, annotator, description: as in the header; empty if it has none
        starts, ends: float64 [rows], seconds; row k of a continuous annotation lasts from k / sr to (k + 1) / sr
        values: [rows], float64 scores (NaN if the file has NaN), int64 class ids (-1: garbage) or object texts
        confidence: float64 [rows]; 1 if the file has none
        sampling_rate: Hz of a continuous annotation, 0 of others
        minimum, maximum: of a continuous scheme; None if the header has none
        classes: names of a discrete scheme by id
    """

    scheme: str
    name: str
    role: str
    annotator: str
    description: str
    starts: Seconds
    ends: Seconds
    values: npt.NDArray[Any]
    confidence: npt.NDArray[np.float64]
    sampling_rate: float
    minimum: float | None
    maximum: float | None
    classes: Mapping[int, str]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """The values of a continuous annotation, float64 [rows].

        Raises:
            FormatError: the annotation has another scheme
        """
        if self.scheme != "CONTINUOUS":
            raise FormatError(f"The annotation is {self.scheme}; expected CONTINUOUS; use values for its labels.")
        return self.values


@dataclass(frozen=True, eq=False)
class StreamData:
    """The content of a stream: X.stream and X.stream~.

    Attributes:
        sampling_rate: Hz
        times: float64 [samples], seconds; gaps between chunks are kept
        data: [samples, dim] of the stream's own type
        type: name of the sample type, such as FLOAT
        meta: attributes of the header's element `meta`; its `type` is the kind of media
    """

    sampling_rate: float
    times: Seconds
    data: npt.NDArray[Any]
    type: str
    meta: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.data)


def read_annotation(path: str | Path) -> Annotation:
    """Read X.annotation and X.annotation~ of any scheme, in text or binary, from SSI, NOVA or the reference.

    The number of rows is that of the data, not the header's `size`. An incomplete last binary record is left out.

    Args:
        path: the header, X.annotation

    Raises:
        FormatError: a file is missing, or is not an annotation
    """
    with _errors_with_path(path):
        return _annotation(*_pair(Path(path), "annotation"))


def _annotation(root: ET.Element, info: Mapping[str, str], data: bytes) -> Annotation:
    meta, scheme = _attributes(root, "meta"), _attributes(root, "scheme")
    kind = _one_of(scheme.get("type", "FREE") if scheme else None, "scheme type", tuple(_VALUES))
    text = _one_of(info.get("ftype", "ASCII"), "ftype", ("ASCII", "BINARY")) == "ASCII"
    rate, low, high = 0.0, *(_number(scheme[key], key) if key in scheme else None for key in ("min", "max"))
    items = list(root.iterfind("scheme/item")) if kind == "DISCRETE" else []
    classes = {_integer(item.get("id"), "item id"): item.get("name", "") for item in items}
    rows: _Rows
    if kind == "CONTINUOUS":
        rate = _number(scheme.get("sr"), "sr", *_RATES)
        pairs = [_columns(line, 1) for line in _lines(data)] if text else _records(data, "<f4, <f4").tolist()
        rows = [(k / rate, (k + 1) / rate, score, confidence) for k, (score, confidence) in enumerate(pairs)]
    elif kind == "DISCRETE" and text:
        rows = [
            (a, b, _integer(str(c), "id"), confidence)
            for a, b, c, confidence in (_columns(line, 3) for line in _lines(data))
        ]
    elif kind == "DISCRETE" and len(data) % 16 == 0 and info.get("size", "").strip() == str(len(data) // 16):
        # the reference writes milliseconds in records of 16 bytes, which it cannot read itself
        rows = [
            (a / 1000, b / 1000, c, confidence) for a, b, c, confidence in _records(data, "<i4, <i4, <i4, <f4").tolist()
        ]
    elif kind == "DISCRETE":
        rows = _records(data, "<f8, <f8, <i4, <f4").tolist()
    else:
        rows = _free_text(data) if text else _free_binary(data)
    starts, ends, values, confidence = zip(*rows, strict=True) if rows else ((), (), (), ())
    if not all(map(math.isfinite, starts + ends)):
        raise FormatError("a time is no finite number; expected seconds; write the file again")
    return Annotation(
        scheme=kind,
        name=scheme.get("name", ""),
        role=meta.get("role", ""),
        annotator=meta.get("annotator", ""),
        description=meta.get("description", ""),
        starts=np.array(starts, np.float64),
        ends=np.array(ends, np.float64),
        values=np.array(values, _VALUES[kind]),
        confidence=np.array(confidence, np.float64),
        sampling_rate=rate,
        minimum=low,
        maximum=high,
        classes=classes,
    )


def read_stream(path: str | Path) -> StreamData:
    """Read X.stream and X.stream~, in text or binary, of every type and any number of chunks.

    The number of samples is that of the data, not the chunks' `num`. An incomplete last sample is left out.

    Args:
        path: the header, X.stream

    Raises:
        FormatError: a file is missing, or is not a stream
    """
    with _errors_with_path(path):
        return _stream(*_pair(Path(path), "stream"))


def _stream(root: ET.Element, info: Mapping[str, str], data: bytes) -> StreamData:
    rate = _number(info.get("sr"), "sr", *_RATES)
    dim = _integer(info.get("dim"), "dim", 1)
    kind = _one_of(info.get("type"), "type", tuple(_TYPES))
    elements = root.iterfind("chunk")
    chunks = [(_number(c.get("from", "0"), "from", -1e9, 1e9), _integer(c.get("num", "0"), "num", 0)) for c in elements]
    dtype = np.dtype(_TYPES[kind])
    if _one_of(info.get("ftype", "ASCII"), "ftype", ("ASCII", "BINARY")) == "ASCII":
        values = _stream_text(data, info.get("delim", " "), dim, dtype)
    else:
        if kind == "FLOAT" and data and len(data) == sum(number for _, number in chunks) * dim * 8:
            kind, dtype = "DOUBLE", np.dtype("<f8")  # the reference writes float64 values with a header that says FLOAT
        rows = len(data) // (dim * dtype.itemsize)
        if data and not rows:
            raise FormatError(f"dim is {dim}; expected samples of at most {len(data)} bytes; correct the header")
        values = _records(data[: rows * dim * dtype.itemsize], dtype).reshape(rows, dim)
    times, row, after = np.empty(len(values)), 0, 0.0
    for begin, number in chunks:
        part = times[row : row + number]
        part[:] = begin + np.arange(len(part)) / rate
        row, after = row + len(part), begin + number / rate
    times[row:] = after + np.arange(len(times) - row) / rate
    return StreamData(rate, times, values != 0 if kind == "BOOL" else values, kind, _attributes(root, "meta"))


@contextlib.contextmanager
def _errors_with_path(path: str | Path) -> Iterator[None]:
    """Put the path before the sentence of an error."""
    try:
        yield
    except FormatError as error:
        marks.refuse_newer(Path(path))
        raise FormatError(f"{path}: {error}.") from None


def _pair(path: Path, name: str) -> tuple[ET.Element, dict[str, str], bytes]:
    """The header's root element, the attributes of its element `info`, and the data."""
    text = _decoded(_read(path, _HEADER_LIMIT)).strip()
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # SSI and NOVA write none; entities can expand without limit
        raise FormatError(f"the header holds a DOCTYPE; expected a plain <{name}>; remove it")
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise FormatError(f"the header is no XML ({error}); expected <{name}>; choose another file") from None
    if root.tag != name:
        raise FormatError(f"the header holds <{root.tag[:40]}>; expected <{name}>; choose another file")
    return root, _attributes(root, "info"), _read(data_path(path))


def _read(path: Path, limit: int | None = None) -> bytes:
    try:
        if not path.is_file():
            raise FormatError(
                f"{path.name} is missing; expected a header and its data (the same name with ~) in one folder"
            )
        if limit is not None and path.stat().st_size > limit:
            raise FormatError(f"the file is larger than {limit} bytes; expected a header; choose another file")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise FormatError(f"{path.name} cannot be read ({error}); check its name and permissions") from None


def _decoded(data: bytes) -> str:
    """Decode UTF-8, UTF-16 with a byte order mark, or else the western code page of Windows, which NOVA used."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _attributes(root: ET.Element, name: str) -> dict[str, str]:
    element = root.find(name)
    return {} if element is None else dict(element.attrib)


def _quoted(value: str | None) -> str:
    return "missing" if value is None else repr(value[:40])


def _one_of(text: str | None, name: str, choices: tuple[str, ...]) -> str:
    if text is None or text.strip().upper() not in choices:
        raise FormatError(f"{name} is {_quoted(text)}; expected {', '.join(choices)}; save it as one of them")
    return text.strip().upper()


def _number(text: str | None, name: str, low: float = -math.inf, high: float = math.inf) -> float:
    """A number within bounds. A decimal comma is accepted."""
    with contextlib.suppress(ValueError):
        value = float((text or "").replace(",", "."))
        if low <= value <= high or (math.isnan(value) and high == math.inf):
            return value
    raise FormatError(f"{name} is {_quoted(text)}; expected a number from {low:.10g} to {high:.10g}; correct it")


def _integer(text: str | None, name: str, low: int = -(2**31), high: int = 2**31 - 1) -> int:
    value = _number(text, name, low, high)
    if not value.is_integer():
        raise FormatError(f"{name} is {_quoted(text)}; expected a whole number; correct it")
    return int(value)


def _records(data: bytes, kind: npt.DTypeLike) -> npt.NDArray[Any]:
    count = len(data) // np.dtype(kind).itemsize
    return np.frombuffer(data, kind, count) if count else np.zeros(0, kind)


def _lines(data: bytes) -> list[str]:
    """Lines without comments and empty lines. Unlike str.splitlines(), only CR and LF end a line."""
    lines = _decoded(data).replace("\r", "\n").split("\n")
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _columns(line: str, count: int) -> list[float]:
    """The first `count` numbers of a line, and its confidence, 1 if it has none. Further columns are ignored."""
    fields = line.split(";")
    if len(fields) < count:
        raise FormatError(
            f"a line is {line[:40]!r}; expected {counted(count, 'column')} and a confidence, separated by ;"
        )
    confidence = fields[count] if len(fields) > count and fields[count].strip() else "1"
    return [_number(text, "a value") for text in (*fields[:count], confidence)]


def _free_text(data: bytes) -> _Rows:
    """Rows of free labels. A label may contain ; and line ends. The last number from 0 to 1 is the confidence."""
    labels: list[str] = []
    for line in _lines(data):
        if _LABEL.match(line) or not labels:
            labels.append(line)
        else:
            labels[-1] += "\n" + line
    return [_label(label) for label in labels]


def _label(line: str) -> tuple[float, float, str, float]:
    start, end, *fields = line.split(";") if _LABEL.match(line) else ("", "")
    confidence, column = 1.0, len(fields)
    for k in range(len(fields) - 1, 0, -1):
        with contextlib.suppress(FormatError):
            confidence, column = _number(fields[k], "confidence", 0, 1), k
            break
    if not fields or ("\n" in line and column == len(fields)):
        raise FormatError(f"a line is {line[-40:]!r}; expected from;to;text;confidence; correct it")
    text = ";".join(fields[:column])
    quoted = len(text) > 1 and text[0] == text[-1] == '"'
    return _number(start, "from"), _number(end, "to"), text[1:-1].replace('""', '"') if quoted else text, confidence


def _free_binary(data: bytes) -> _Rows:
    """Rows of free labels in binary. Lengths are bytes, as in SSI; if that does not fit the data, characters, as in NOVA."""
    byte_rows, in_bytes = _free_records(data, lambda begin, count: begin + count)
    if in_bytes != len(data):
        rows, in_characters = _free_records(data, lambda begin, count: _utf16_end(data, begin, count))
        if in_characters == len(data):
            return rows
        if not byte_rows or not all(0 <= start <= end < 1e9 for start, end, _, _ in byte_rows):
            raise FormatError("the lengths of the labels do not fit the data; expected bytes; save it as ASCII")
    return byte_rows


def _free_records(data: bytes, end_of_label: Callable[[int, int], int]) -> tuple[_Rows, int]:
    """Complete records, and the offset at which they end.

    Args:
        end_of_label: returns the end of a label from its beginning and its length
    """
    rows: _Rows = []
    position = 0
    while position + 20 <= len(data):
        start, end, count = struct.unpack_from("<ddI", data, position)
        stop = end_of_label(position + 20, count)
        if stop + 4 > len(data):
            break
        rows.append((start, end, _decoded(data[position + 20 : stop]), *struct.unpack_from("<f", data, stop)))
        position = stop + 4
    return rows, position


def _utf16_end(data: bytes, begin: int, count: int) -> int:
    """The offset behind `count` characters of UTF-8 text; a character is a UTF-16 unit, as in .NET."""
    while count > 0 and begin < len(data):
        size = 1 + sum(data[begin] >= lead for lead in (0xC0, 0xE0, 0xF0))
        begin += size
        count -= 2 if size == 4 else 1
    return begin if not count else len(data)


def _stream_text(data: bytes, delimiter: str, dim: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    convert: type[float] | type[int] = float if dtype.kind == "f" else int
    has_decimal_comma = delimiter.strip() != ","  # a comma that separates no columns is a decimal comma
    rows = []
    for line in _lines(data):
        fields = line.split(delimiter if delimiter.strip() else None)[:dim]
        if has_decimal_comma and dtype.kind == "f":
            fields = [text.replace(",", ".") for text in fields]
        try:
            with np.errstate(over="ignore"):  # numbers beyond float32 become infinite
                rows.append(np.array([convert(text) for text in fields], dtype))
        except (ValueError, OverflowError):
            fields = []
        if len(fields) < dim:
            raise FormatError(
                f"a line is {line[:40]!r}; expected {counted(dim, 'number')}; correct the line, dim, type or delim"
            )
    return np.stack(rows) if rows else np.zeros((0, dim), dtype)
