"""What the tests of the client share."""

from collections.abc import Iterator

import pytest

from ports import kept_port


@pytest.fixture
def port() -> Iterator[int]:
    with kept_port() as kept:
        yield kept
