"""HTTP by h11, which limits the size of headers; each refusal is a sentence."""

from __future__ import annotations

import json
import sys

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

SENTENCES = {
    431: "The request's address and headers are longer than the 16 kB that are allowed; send more in the body.",
    400: "The request is not readable as HTTP; expected HTTP/1.1; https works only where the server speaks it.",
}


class Protocol(H11Protocol):
    """Uvicorn's protocol, with a status and a sentence for requests that h11 refuses."""

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
