"""Outputs of an engine that are kept in a file, so that a computation that was interrupted goes on where they end.

Inputs find their outputs: an interrupted computation is begun again, and what an engine has computed of the very same
samples before is read and not computed. Everything around the engine runs as always, so that the results have the bytes
of an undisturbed run.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from emow2v.cards import Card
from emow2v.engines import Engine, Outputs
from emow2v.engines.frames import FramesEngine, State
from emow2v.rows import EMBEDDING_SIZE, Floats

Array = npt.NDArray[Any]

BEGIN_S = 0.5  # a shorter computation writes no file: computing it again takes no longer
MOST_BYTES = 2_000_000_000  # of a file; what does not fit is computed again
_HEAD = struct.Struct("<16sQI")  # of a record: its key, and length and CRC-32 of what follows
_FACTS = b"facts".ljust(16)  # the key of the first record
_AGAIN = b"again".ljust(16)  # the key of a record where a computation was begun again


class KeptOutputs:
    """A file of outputs by their inputs. Several threads may use it.

    A file that cannot be written stops no computation: the rest is then not kept.

    Args:
        path: of the file; outputs of an earlier computation that it holds are used
        facts: what the outputs depend on, such as the weights and the engine; of other facts a file is begun anew
        software: name and version of the program

    Attributes:
        software: of the computation that began the file; "" for a new one
        check: called before each computation, in any thread; may raise
    """

    def __init__(self, path: Path, facts: Mapping[str, object], software: str = "") -> None:
        self._path = path
        self._first = json.dumps([dict(facts), software]).encode()
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        self._places: dict[bytes, tuple[int, int]] = {}
        self._waiting: list[bytes] | None = []  # records, until the file is begun; None when nothing is kept any more
        self._begun = time.monotonic()
        self._size = 0
        self.check: Callable[[], None] = lambda: None
        self.software = ""
        try:
            if path.exists():
                self._open(facts)
        except OSError:
            self._waiting = None

    def _open(self, facts: Mapping[str, object]) -> None:
        """Read what is there; the end of a record that was being written is cut off."""
        file = self._path.open("r+b")
        try:
            for key, begin, data in _records(file):
                if not self._size:
                    found, software = json.loads(data) if key == _FACTS else (None, "")
                    if found != dict(facts):
                        break
                    self.software = software
                elif key != _AGAIN:
                    self._places[key] = begin, len(data)
                self._size = begin + len(data)
            file.truncate(self._size)
            file.seek(self._size)
            self._size += file.write(_record(_AGAIN, b"") if self._size else _record(_FACTS, self._first))
            file.flush()
        except BaseException:
            file.close()
            raise
        self._file, self._waiting = file, None

    def __len__(self) -> int:
        return len(self._places)

    def find(self, key: bytes) -> list[Array | None] | None:
        """The arrays that an earlier computation kept; None where there are none."""
        self.check()
        place = self._places.get(key)
        if place is None or self._file is None:
            return None
        with self._lock:
            end = self._file.tell()
            self._file.seek(place[0])
            data = self._file.read(place[1])
            self._file.seek(end)
        return _arrays(data)

    def add(self, key: bytes, arrays: Sequence[Array | None]) -> None:
        """Keep arrays."""
        record = _record(key, _bytes(arrays))
        with self._lock:
            try:
                if self._file is not None:
                    self._write(record)
                elif self._waiting is not None:
                    self._waiting.append(record)
                    if time.monotonic() - self._begun >= BEGIN_S:
                        self._begin(self._waiting)
            except OSError:  # a full disk
                self._stop()

    def _begin(self, records: list[bytes]) -> None:
        self._waiting = None
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("w+b")
        self._write(b"".join([_record(_FACTS, self._first), *records]))

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        if self._size + len(data) > MOST_BYTES:
            return
        self._file.write(data)
        self._file.flush()  # the data outlive the process
        self._size += len(data)

    def _stop(self) -> None:
        self._waiting = None
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
        self._file = None
        self._places.clear()

    def close(self) -> None:
        """Close the file, which stays."""
        with self._lock:
            self._stop()

    def remove(self) -> None:
        """Close and remove the file."""
        self.close()
        with contextlib.suppress(OSError):
            self._path.unlink()


def has_grown(path: Path) -> bool:
    """Whether the last computation kept outputs that were not there before; for when its process has died."""
    grown = False
    with contextlib.suppress(OSError), path.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            key, length, _ = _HEAD.unpack(head)
            grown = key not in (_FACTS, _AGAIN)
            file.seek(length, os.SEEK_CUR)
    return grown


def keeping(engine: Engine, card: Card, kept: KeptOutputs, *, embeddings: bool) -> Engine:
    """An engine that keeps its outputs.

    Args:
        card: of the model
        embeddings: also keep embeddings, which take 4 kB a row; without them those of kept rows are zeros
    """
    if isinstance(engine, FramesEngine):
        return KeepingFramesEngine(engine, card, kept)
    return KeepingEngine(engine, kept, embeddings=embeddings)


class KeepingEngine:
    """An engine of a model of windows that keeps its outputs; see `keeping`."""

    def __init__(self, engine: Engine, kept: KeptOutputs, *, embeddings: bool) -> None:
        self._engine, self._kept, self._embeddings = engine, kept, embeddings
        self.name, self.precision, self.parallel_batches = engine.name, engine.precision, engine.parallel_batches
        self.frames, self.frames_parallel, self.pooled = engine.frames, engine.frames_parallel, engine.pooled

    @property
    def batch_samples(self) -> int | None:
        return self._engine.batch_samples

    def run(self, signal: Floats, lengths: npt.NDArray[np.int64] | None = None) -> Outputs:
        """See `Engine.run`."""
        inputs = (signal,) if lengths is None else (signal, lengths)
        return self.outputs("run", inputs, lambda: self._engine.run(signal, lengths))

    def run_parallel(self, signal: Floats) -> Outputs:
        """See `Engine.run_parallel`."""
        return self.outputs("run_parallel", (signal,), lambda: self._engine.run_parallel(signal))

    def outputs(self, name: str, inputs: Sequence[Array], compute: Callable[[], Outputs]) -> Outputs:
        """The outputs of some inputs, kept or computed.

        Args:
            name: of the computation
        """
        key = _key(name.encode(), *inputs)
        found = self._kept.find(key)
        if found is not None:
            embeddings, scores, confidence = found
            assert scores is not None
            if embeddings is None:
                embeddings = np.zeros((len(scores), EMBEDDING_SIZE), np.float32)
            return embeddings, scores, confidence
        embeddings, scores, confidence = computed = compute()
        self._kept.add(key, (embeddings if self._embeddings else None, scores, confidence))
        return computed


def of_inputs(engine: Engine, name: str, inputs: Sequence[Array], compute: Callable[[], Outputs]) -> Outputs:
    """Outputs that are computed by more than one call of an engine; kept where the engine keeps its own.

    Args:
        name: of the computation
        inputs: all that the outputs depend on
    """
    return engine.outputs(name, inputs, compute) if isinstance(engine, KeepingEngine) else compute()


class KeepingFramesEngine(FramesEngine):
    """An engine of a model of frames that keeps its frames; see `keeping`.

    The state behind kept frames is computed when a chunk follows that was not kept: the sound that the model looks back
    to is read again, in the same chunks.
    """

    def __init__(self, engine: FramesEngine, card: Card, kept: KeptOutputs) -> None:
        self.name, self.precision, self.parallel_batches = engine.name, engine.precision, engine.parallel_batches
        self.batch_samples, self.chunk = engine.batch_samples, engine.chunk
        self._engine, self._kept, self._card = engine, kept, card
        # a frame of the last layer comes late by the delay, and its spectrum looks into the chunk before it
        self._back = card.look_back + (card.delay + 1) * card.frame_hop

    def start(self, streams: int) -> State:
        """See `FramesEngine.start`."""
        return _KeptState(self._engine.start(streams))

    def step(self, signal: Floats, lengths: npt.NDArray[np.int64], state: State) -> tuple[Floats, Floats, State]:
        """See `FramesEngine.step`."""
        assert isinstance(state, _KeptState)
        lengths = np.asarray(lengths, np.int64)
        key = _key(state.key, signal, lengths)
        found = self._kept.find(key)
        if found is not None:
            frames, speech = found
            assert frames is not None and speech is not None
            return frames, speech, self._behind(state, signal, lengths, key)
        frames, speech, following = self._engine.step(signal, lengths, self._computed(state))
        self._kept.add(key, (frames, speech))
        return frames, speech, _KeptState(following, key)

    def _computed(self, state: _KeptState) -> State:
        """The engine's own state."""
        computed: State = dict(state)
        for signal, lengths in state.heard:
            computed = self._engine.step(signal, lengths, computed)[2]
        return computed

    def _behind(self, state: _KeptState, signal: Floats, lengths: Array, key: bytes) -> _KeptState:
        """The state behind a chunk whose frames are kept."""
        heard = [*state.heard, (signal.copy(), lengths)]
        begin: State = state
        while sum(one.shape[1] for one, _ in heard[1:]) >= self._back:
            del heard[0]
            begin = self._engine.start(len(signal))
        return _KeptState(begin, key, heard)

    def read(self, mean: Floats, variance: Floats) -> Outputs:
        """See `FramesEngine.read`."""
        return self._engine.read(mean, variance)


class _KeptState(dict[str, Floats]):
    """A state of a model of frames, and what was heard since.

    Args:
        state: of the engine

    Attributes:
        key: of all that was heard from the beginning
        heard: chunks after the state, as far back as the model remembers
    """

    def __init__(self, state: State, key: bytes = b"", heard: Sequence[tuple[Floats, Array]] = ()) -> None:
        super().__init__(state)
        self.key, self.heard = key, heard


def _key(name: bytes, *inputs: Array) -> bytes:
    """What identifies inputs, 16 bytes."""
    digest = hashlib.blake2b(name, digest_size=16)
    for array in inputs:
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(_without_repeats(array).data)
    return digest.digest()


def _without_repeats(array: Array) -> Array:
    """The samples of windows; of windows that overlap each sample once."""
    if array.ndim == 2 and len(array) > 1 and array.strides[1] == array.itemsize:
        hop, rest = divmod(array.strides[0], array.itemsize)
        if not rest and 0 < hop < array.shape[1]:
            size = (len(array) - 1) * hop + array.shape[1]
            samples: Array = np.lib.stride_tricks.as_strided(array, (size,), (array.itemsize,), writeable=False)
            return np.concatenate([samples, np.array([hop], samples.dtype)])
    return np.ascontiguousarray(array)


def _record(key: bytes, data: bytes) -> bytes:
    return _HEAD.pack(key, len(data), zlib.crc32(data)) + data


def _records(file: IO[bytes]) -> Any:
    """Key, place and data of each whole record."""
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        key, length, checksum = _HEAD.unpack(head)
        begin = file.tell()
        data = file.read(min(length, MOST_BYTES))
        if len(data) < length or zlib.crc32(data) != checksum:
            return
        yield key, begin, data


def _bytes(arrays: Sequence[Array | None]) -> bytes:
    buffer = io.BytesIO()
    for array in arrays:
        np.save(buffer, np.zeros(0, bool) if array is None else array, allow_pickle=False)
    return buffer.getvalue()


def _arrays(data: bytes) -> list[Array | None]:
    buffer, arrays = io.BytesIO(data), list[Array | None]()
    while buffer.tell() < len(data):
        array: Array = np.load(buffer, allow_pickle=False)
        arrays.append(None if array.dtype == bool else array)
    return arrays
