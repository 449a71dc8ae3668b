from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nova_databases

pymongo = pytest.importorskip("pymongo", reason="pymongo is not installed")

from mongo_wire import mongo_wire


@pytest.fixture(scope="session")
def briskdb_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """One briskdb for all tests of a process; each test has a dataset of its own."""
    with nova_databases.briskdb(tmp_path_factory.mktemp("briskdb")) as port:
        yield port


@pytest.fixture(params=["briskdb", "wire"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a database without users: briskdb, then the server of mongo_wire."""
    if request.param == "briskdb":
        yield request.getfixturevalue("briskdb_port")
    else:
        with mongo_wire() as server:
            yield server.port


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    """The name of the test's own dataset."""
    return tmp_path.name.replace("-", "_")[-40:]


@pytest.fixture
def database(port: int, dataset: str) -> Iterator[Any]:
    """The test's own dataset, filled, as pymongo gives it."""
    with pymongo.MongoClient("127.0.0.1", port, directConnection=True, retryWrites=False) as client:
        nova_databases.dataset(client[dataset])
        yield client[dataset]


@pytest.fixture
def reference(port: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The reference's reader and writer of annotations, connected."""
    handler = pytest.importorskip("discover_utils.data.handler.nova_db_handler").AnnotationHandler()
    monkeypatch.setenv("DISCOVER_USE_TLS", "false")
    handler.connect("127.0.0.1", port)
    yield handler
    handler.client.close()
