"""A server that speaks as much of MongoDB's wire protocol as these tests need: users, TLS, large documents, cuts, lost answers.

It holds documents in memory. BSON is read and written by pymongo's `bson`; the messages follow MongoDB's published
description of OP_MSG, and of OP_QUERY for a driver's first words. The exchange of SCRAM-SHA-256 follows RFC 5802.
"""

import base64
import hashlib
import hmac
import os
import socketserver
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import bson

Document = dict[str, Any]
Fate = Literal["", "cut", "lost"]  # of a command: carried out; not carried out; carried out, but its answer is lost

MAX_DOCUMENT = 16 << 20
ITERATIONS = 4096


class Cut(Exception):
    """The connection ends here."""


class MongoWire(socketserver.ThreadingTCPServer):
    """The server.

    Attributes:
        data: documents by dataset and collection
        commands: names of the commands that came, without those of the connection itself
        fate: what becomes of a command, by its name and its content
        users: passwords by name; none: everybody may do everything
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, users: dict[str, str] | None = None, context: ssl.SSLContext | None = None) -> None:
        self.data: dict[str, dict[str, list[Document]]] = {}
        self.commands: list[str] = []
        self.fate: Callable[[str, Document], Fate] = lambda name, command: ""
        self.users, self.context = users or {}, context
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Connection)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def collection(self, dataset: str, name: str) -> list[Document]:
        return self.data.setdefault(dataset, {}).setdefault(name, [])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that a driver or a test cuts are no news."""


@contextmanager
def mongo_wire(users: dict[str, str] | None = None, context: ssl.SSLContext | None = None) -> Iterator[MongoWire]:
    """The server while it runs."""
    with MongoWire(users, context) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Connection(socketserver.BaseRequestHandler):
    server: MongoWire

    def handle(self) -> None:
        self.user, self.exchange = "", ""
        if self.server.context:
            self.request = self.server.context.wrap_socket(self.request, server_side=True)
        try:
            while True:
                self._answer()
        except (Cut, OSError, ssl.SSLError):
            self.request.close()

    def _read(self, count: int) -> bytes:
        parts = b""
        while len(parts) < count:
            part = self.request.recv(min(1 << 20, count - len(parts)))
            if not part:
                raise Cut
            parts += part
        return parts

    def _answer(self) -> None:
        length, number, _, kind = struct.unpack("<iiii", self._read(16))
        if not 16 < length <= 48_000_000:
            raise Cut  # as MongoDB does with what is no message, such as the first words of TLS
        body = self._read(length - 16)
        if kind == 2004:  # OP_QUERY: flags, name, skip, return
            start = 4 + body[4:].index(b"\0") + 1 + 8
            command = bson.decode(body[start:])
            self._send(1, number, struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(self._reply(command)))
            return
        assert kind == 2013, kind
        command = self._message(body)
        name = next(iter(command))
        fate: Fate = ""
        if name not in ("hello", "ismaster", "isMaster", "ping", "saslStart", "saslContinue", "endSessions"):
            self.server.commands.append(name)
            fate = self.server.fate(name, command)
        if fate == "cut":
            raise Cut
        reply = self._reply(command)
        if fate == "lost":
            raise Cut
        self._send(2013, number, struct.pack("<IB", 0, 0) + bson.encode(reply))

    def _send(self, kind: int, number: int, body: bytes) -> None:
        self.request.sendall(struct.pack("<iiii", len(body) + 16, 1, number, kind) + body)

    def _message(self, body: bytes) -> Document:
        """A command with its sequences of documents."""
        flags, place = struct.unpack_from("<I", body)[0], 4
        end = len(body) - (4 if flags & 1 else 0)
        command: Document = {}
        sequences: Document = {}
        while place < end:
            section, size = struct.unpack_from("<Bi", body, place)
            if section == 0:
                command = bson.decode(body[place + 1 : place + 1 + size])
            else:
                name_end = body.index(b"\0", place + 5)
                name = body[place + 5 : name_end].decode()
                sequences[name] = bson.decode_all(body[name_end + 1 : place + 1 + size])
            place += 1 + size
        return command | sequences

    def _reply(self, command: Document) -> Document:
        name = next(iter(command))
        lower = name.lower()
        if lower in ("hello", "ismaster"):
            facts = {"ismaster": True, "isWritablePrimary": True, "minWireVersion": 0, "maxWireVersion": 17}
            limits = {
                "maxBsonObjectSize": MAX_DOCUMENT,
                "maxMessageSizeBytes": 48_000_000,
                "maxWriteBatchSize": 100_000,
            }
            mechanisms = {"saslSupportedMechs": ["SCRAM-SHA-256"]} if "saslSupportedMechs" in command else {}
            return facts | limits | mechanisms | {"helloOk": True, "ok": 1.0}
        if lower in ("ping", "endsessions"):
            return {"ok": 1.0}
        if lower in ("saslstart", "saslcontinue"):
            return self._authenticate(command)
        if self.server.users and not self.user:
            return _error(13, "Unauthorized", f"command {name} requires authentication")
        with self.server.lock:
            rows = self.server.collection(command["$db"], command[name])
            return getattr(self, f"_{lower}", lambda rows, command: _error(59, "CommandNotFound", name))(rows, command)

    def _find(self, rows: list[Document], command: Document) -> Document:
        found = [row for row in rows if _matches(row, command.get("filter", {}))]
        found = found[: command["limit"]] if command.get("limit") else found
        shown = [_projected(row, command.get("projection")) for row in found]
        return {
            "cursor": {"id": bson.Int64(0), "ns": f"{command['$db']}.{command['find']}", "firstBatch": shown},
            "ok": 1.0,
        }

    def _insert(self, rows: list[Document], command: Document) -> Document:
        errors = []
        for index, document in enumerate(command["documents"]):
            if len(bson.encode(document)) > MAX_DOCUMENT:
                errors.append({"index": index, "code": 10334, "errmsg": "BSONObjectTooLarge"})
            elif any(row["_id"] == document["_id"] for row in rows):
                errors.append({"index": index, "code": 11000, "errmsg": "E11000 duplicate key error"})
            else:
                rows.append(document)
        done = {"n": len(command["documents"]) - len(errors), "ok": 1.0}
        return done | ({"writeErrors": errors} if errors else {})

    def _update(self, rows: list[Document], command: Document) -> Document:
        changed = 0
        for update in command["updates"]:
            found = [row for row in rows if _matches(row, update["q"])][: None if update.get("multi") else 1]
            for row in found:
                row.update(update["u"]["$set"])
            changed += len(found)
        return {"n": changed, "nModified": changed, "ok": 1.0}

    def _delete(self, rows: list[Document], command: Document) -> Document:
        gone = 0
        for delete in command["deletes"]:
            for row in [row for row in rows if _matches(row, delete["q"])][: delete["limit"] or None]:
                rows.remove(row)
                gone += 1
        return {"n": gone, "ok": 1.0}

    def _authenticate(self, command: Document) -> Document:
        """Both steps of SCRAM-SHA-256."""
        words = bytes(command["payload"]).decode()
        if "saslStart" in command:
            bare = words.split(",", 2)[2]
            name, nonce = (part[2:] for part in bare.split(",")[:2])
            salt = os.urandom(16)
            answer = f"r={nonce}{base64.b64encode(os.urandom(12)).decode()},s={base64.b64encode(salt).decode()},i={ITERATIONS}"
            self.candidate, self.salt, self.exchange = name, salt, f"{bare},{answer}"
            return {"conversationId": 1, "payload": answer.encode(), "done": False, "ok": 1.0}
        if not words:
            return {"conversationId": 1, "payload": b"", "done": True, "ok": 1.0}
        without_proof, _, proof = words.partition(",p=")
        password = self.server.users.get(self.candidate)
        if password is None:
            return _error(18, "AuthenticationFailed", "Authentication failed.")
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), self.salt, ITERATIONS)
        stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
        said = f"{self.exchange},{without_proof}".encode()
        key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), hmac.digest(stored, said, "sha256"), strict=True))
        if hashlib.sha256(key).digest() != stored:
            return _error(18, "AuthenticationFailed", "Authentication failed.")
        self.user = self.candidate
        signature = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), said, "sha256")
        return {"conversationId": 1, "payload": b"v=" + base64.b64encode(signature), "done": False, "ok": 1.0}


def _error(code: int, name: str, message: str) -> Document:
    return {"ok": 0.0, "code": code, "codeName": name, "errmsg": message}


def _matches(row: Document, query: Document) -> bool:
    for key, wanted in query.items():
        if isinstance(wanted, dict) and set(wanted) == {"$ne"}:
            if row.get(key) == wanted["$ne"]:
                return False
        elif row.get(key) != wanted:
            return False
    return True


def _projected(row: Document, projection: Document | None) -> Document:
    chosen = {key for key, value in (projection or {}).items() if value}
    return {key: value for key, value in row.items() if key == "_id" or key in chosen} if chosen else row
