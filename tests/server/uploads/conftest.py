"""A server of the module, and its work folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from emow2v.server.run import Server


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server") / "work"


@pytest.fixture(scope="module")
def url(work: Path) -> Iterator[str]:
    with Server(port=0, data_dirs=[work.parent], work_dir=work, threads=1).running() as address:
        yield address
