"""HTTP as h11 reads it, which bounds what it keeps of headers that never end; what it refuses is told in a sentence."""

from __future__ import annotations

import json
import sys

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

SENTENCES = {
    431: "The request's address and headers are longer than the 16 kB that are taken; send less in them, and more in the body.",
    400: "The request is no HTTP that can be read; expected HTTP/1.1, and https only where the server speaks it.",
}


class Protocol(H11Protocol):
    """uvicorn's, with the status and the sentence for what h11 refuses."""

    def send_400_response(self, msg: str) -> None:
        error = sys.exc_info()[1]
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        status = status if status in SENTENCES else 400
        body = json.dumps({"success": "failed", "error": SENTENCES[status]}).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            if (written := self.conn.send(event)) is not None:
                self.transport.write(written)
        self.transport.close()
