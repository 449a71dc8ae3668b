"""How long /v1/jobs takes to answer, with a full queue: python benchmarks/listing.py [--waiting 10000] [--names 20] [--json results.json]

The jobs wait in a store of a server that runs none; what is timed is the request, from the client's call to its JSON. With
--names the jobs belong to so many names, and one of them asks, then an administrator.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from starlette.testclient import TestClient

from common import console, keep, parser, seconds, show
from emow2v import cards
from emow2v.discover.places import Places
from emow2v.server.app import create_app
from emow2v.server.jobs.store import Store
from emow2v.server.live.route import Live
from emow2v.server.models.held import HeldModels
from emow2v.server.options import ServerOptions
from emow2v.server.people.tokens import Tokens
from emow2v.server.state import ServerState

QUERIES = (
    "?limit=100", "?state=waiting&limit=1", "?state=waiting&limit=100", "?state=finished", "?limit=10000",
    "?kind=process", "?model=lite", "?model=none", "?name=TALK 99", "?name=nowhere", "?since=2030-01-01",
    "?until=2020-01-01", "?name=talk 00000&since=2026-11-25&until=2026-11-25&state=waiting&kind=prediction&model=lite",
)  # fmt: skip
LAST = "the last page"


@dataclass
class Idle:
    """Workers that do nothing."""

    ready = 1
    deaths = loads = 0
    models: ClassVar[list[dict[str, int]]] = []

    def start(self) -> None: ...
    def wake(self) -> None: ...
    def stop(self, patience_s: float) -> None: ...


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--waiting", type=int, default=10_000)
    arguments.add_argument("--names", type=int, default=0)
    arguments.add_argument("--repeat", type=int, default=5)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = Store(folder / "work" / "jobs.sqlite")
        with store._data.write() as database:
            forms = [json.dumps({"path": f"talk {number:05}.wav", "format": "json"}) for number in range(given.waiting)]
            database.executemany(
                "INSERT INTO jobs (id, owner, kind, client, brief, context, status, posted, name, provenance, form) "
                "VALUES (?, ?, 'prediction', 'me', ?, 'window', 0, '2026-11-25T00:00:00.000+00:00', ?, ?, ?)",
                [
                    (
                        f"{number:024x}",
                        f"n{number % given.names}" if given.names else "",
                        form,
                        f"talk {number:05}.wav",
                        json.dumps({"model": "lite"}),
                        form,
                    )
                    for number, form in enumerate(forms)
                ],
            )
        card = cards.find("lite")
        places = Places([folder], folder / "work")
        app = create_app(
            ServerState(ServerOptions(host="0.0.0.0"), card, places, store, Idle()),
            Live(HeldModels(lambda name: (_ for _ in ()).throw(RuntimeError("no stream"))), card),
        )
        tokens = Tokens(folder / "work")
        callers = (
            {"n0: ": tokens.add("n0"), "administrator: ": tokens.add("boss", "administrator")}
            if given.names
            else {"": ""}
        )
        rows = []
        with TestClient(app) as client:
            for caller, token in callers.items():
                client.headers["Authorization"] = f"Bearer {token}"
                count = given.waiting if caller != "n0: " else given.waiting // given.names
                first = client.get(f"/v1/jobs?limit={count - 1}")
                for query in (*QUERIES, first.links["next"]["url"].removeprefix("jobs")):
                    taken = []
                    for _ in range(given.repeat):
                        taken.append(
                            seconds(lambda query=query: client.get(f"/v1/jobs{query}").raise_for_status().json())
                        )
                    shown = query if "cursor" not in query else LAST
                    rows.append((caller + shown, sorted(taken)[len(taken) // 2] * 1000))
    show(f"/v1/jobs with {given.waiting} waiting", ("query", "ms"), rows)
    keep("listing", {"waiting": given.waiting, "milliseconds": dict(rows)}, given.json)
    console.print("median of", given.repeat)


if __name__ == "__main__":
    sys.exit(main())
