"""Writing annotations in steps, of which any may be the last: old labels stay whole until the new ones are.

There are no transactions on a single server of MongoDB. So the new labels are inserted first, under an `_id` that nothing
names. Then one update of the annotation names them. The old labels are deleted last. Every step can be done twice, so that
a step whose answer was lost is looked up and, if needed, repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from emow2v.errors import DatabaseError
from emow2v.nova import documents
from emow2v.nova.connection import Connection
from emow2v.nova.documents import ANNOTATION_DATA, ANNOTATIONS, STREAMS, Document, StreamEntry
from emow2v.nova.store import Dataset, Place, digest_id, same_rate

_ATTEMPTS = 3  # of a step whose answer is lost


class AnnotationChange:
    """The change of one annotation to new labels.

    Args:
        dataset: of the annotation
        place: as found before; the annotation must not have been changed since

    All methods raise DatabaseError, with one sentence.
    """

    def __init__(self, dataset: Dataset, place: Place) -> None:
        self._dataset, self._place = dataset, place
        self._old = place.data_id
        self._new: Any = None
        self._id: Any = place.present["_id"] if place.present else None
        self._switched = False

    def insert(self, labels: Sequence[dict[str, Any]]) -> None:
        """Insert the new labels, which nothing names yet."""
        content = {"labels": list(labels)}
        if self._id is None:
            self._id = self._new_id()
        self._new = digest_id(self._id, content)
        if self._new == self._old and not self._dataset.is_ours(self._place):
            self._new = self._another_id()  # emow2v wrote the same labels, and somebody has changed them in place
        document = {"_id": self._new, **content}
        self._repeat(
            lambda: self._data(ANNOTATION_DATA).insert_one(document),
            lambda: self._data(ANNOTATION_DATA).find_one({"_id": self._new}, {"_id": 1}) is not None,
        )

    def switch(self) -> None:
        """Let the annotation name the new labels, unless it was locked or changed meanwhile."""
        if self._place.present is None:
            document = {"_id": self._id, **documents.annotation(self._place.ids, self._new, datetime.now(UTC))}
            self._repeat(lambda: self._data(ANNOTATIONS).insert_one(document), self._names_new)
        elif self._old != self._new:
            self._update(self._old, {"data_id": self._new, "date": datetime.now(UTC), "isFinished": False})
        if not self._names_new():
            now = self._dataset.place(self._place.names)
            now.refuse_locked()
            raise DatabaseError(f"{self._place.names} was changed while the job ran; post the request again.")
        self._switched = True

    def undo(self) -> None:
        """Go back to the old labels; without a switch, only the new ones are deleted."""
        if self._new is None or self._new == self._old:
            return
        present = self._place.present
        if self._switched and present is None:
            self._repeat(lambda: self._data(ANNOTATIONS).delete_one({"_id": self._id, "data_id": self._new}))
        elif self._switched and present is not None:
            before = {key: present.get(key) for key in ("data_id", "date", "isFinished")}
            self._update(self._new, before)
        self._switched = False
        self._delete(self._new)

    def finish(self) -> None:
        """Delete the old labels, unless an annotation still names them."""
        if self._switched and self._old is not None and self._old != self._new:
            self._delete(self._old)

    def _update(self, present: Any, fields: Mapping[str, Any]) -> None:
        """Change fields of the annotation if it names the labels `present` and is not locked."""
        query = {"_id": self._id, "data_id": present, "isLocked": {"$ne": True}}
        self._repeat(lambda: self._data(ANNOTATIONS).update_one(query, {"$set": dict(fields)}))

    def _delete(self, data_id: Any) -> None:
        def delete() -> None:
            if self._data(ANNOTATIONS).find_one({"data_id": data_id}, {"_id": 1}) is None:
                self._data(ANNOTATION_DATA).delete_one({"_id": data_id})

        self._repeat(delete)

    def _names_new(self) -> bool:
        with self._dataset.connection.sentences():
            found = self._data(ANNOTATIONS).find_one({"_id": self._id}, {"data_id": 1})
        return found is not None and bool(found.get("data_id") == self._new)

    def _new_id(self) -> Any:
        """The `_id` of a new annotation: the same for the same place, so that two jobs cannot make it twice."""
        made = digest_id(*self._place.ids.values())
        with self._dataset.connection.sentences():
            taken = self._data(ANNOTATIONS).find_one({"_id": made}, {"_id": 1})
        return self._another_id() if taken else made  # somebody gave the annotation to another role or session

    @staticmethod
    def _another_id() -> Any:
        from bson import ObjectId

        return ObjectId()

    def _data(self, collection: str) -> Any:
        return self._dataset.data[collection]

    def _repeat(self, step: Callable[[], object], done: Callable[[], bool] = lambda: False) -> None:
        _repeat(self._dataset.connection, step, done)


class StreamChange:
    """The registration of a stream or, of one that is registered, the change of its rate.

    Args:
        dataset: of the stream
        entry: the stream as it is written now

    All methods raise DatabaseError, with one sentence.
    """

    def __init__(self, dataset: Dataset, entry: StreamEntry) -> None:
        self._dataset, self._entry = dataset, entry
        self._before: Document | None = None

    def switch(self) -> None:
        """Register the stream; one of its name keeps everything but its rate."""
        present = self._dataset.registered(self._entry.name)
        if present is None:
            # the same _id for the same name, so that it is not registered twice after a lost answer
            document = {"_id": digest_id(STREAMS, self._entry.name), **documents.stream(self._entry)}
            self._repeat(lambda: self._dataset.data[STREAMS].insert_one(document))
        elif not same_rate(documents.read_stream(present), self._entry):
            self._before = present
            self._set_rate({"_id": present["_id"]}, float(self._entry.rate))

    def undo(self) -> None:
        """Go back to the old rate. A stream that was new stays registered, since other jobs may count on it by now."""
        if self._before is not None:
            self._set_rate({"_id": self._before["_id"], "sr": float(self._entry.rate)}, self._before.get("sr"))
            self._before = None

    def _set_rate(self, query: Mapping[str, Any], rate: Any) -> None:
        self._repeat(lambda: self._dataset.data[STREAMS].update_one(query, {"$set": {"sr": rate}}))

    def _repeat(self, step: Callable[[], object]) -> None:
        _repeat(self._dataset.connection, step)


Change = AnnotationChange | StreamChange


def _repeat(connection: Connection, step: Callable[[], object], done: Callable[[], bool] = lambda: False) -> None:
    """Do a step that may be done twice; after a lost answer, look whether it was done."""
    from pymongo.errors import ConnectionFailure, DuplicateKeyError

    with connection.sentences():
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                step()
                return
            except DuplicateKeyError:
                return  # an earlier attempt, or an earlier job, did it; `switch` looks at the outcome
            except ConnectionFailure:
                if attempt == _ATTEMPTS:
                    raise
                if done():
                    return


def apply(changes: Sequence[Change]) -> None:
    """Switch annotations to their new labels and streams to their rates, all or none, unless the connection is lost for good.

    Raises:
        DatabaseError: one of them cannot be switched; those before it are as they were
    """
    try:
        for change in changes:
            change.switch()
    except BaseException:
        undo(changes)
        raise


def undo(changes: Sequence[Change]) -> None:
    """Go back to the old labels of all annotations and the old rates of streams, as far as the database answers."""
    for change in reversed(changes):
        try:
            change.undo()
        except DatabaseError:
            return  # each annotation is whole, old or new; what nothing names stays
