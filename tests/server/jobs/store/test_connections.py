"""Connections that one thread closes while another one is about to use them."""

from contextlib import closing
from pathlib import Path

import pytest

from emow2v.server.jobs.store.connections import Database


def test_a_connection_that_was_closed_before_its_use_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at a server's end, when a request is still in a thread; it was an error of the server."""
    with closing(Database(tmp_path / "a.sqlite")) as database:
        given, handle = [], database.handle

        def closed_meanwhile() -> object:
            given.append(handle())
            if len(given) % 2:
                database.close()
            return given[-1]

        monkeypatch.setattr(database, "handle", closed_meanwhile)
        with database.write() as connection:
            connection.execute("CREATE TABLE one (value)")
            connection.execute("INSERT INTO one VALUES (7)")
        assert [row["value"] for row in database.rows("SELECT value FROM one")] == [7] and len(given) == 4
