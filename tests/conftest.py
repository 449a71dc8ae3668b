"""What every test shares: property tests that always try the same examples, however slow the machine."""

import pytest
from hypothesis import settings

settings.register_profile("emow2v", deadline=None, derandomize=True, database=None)
settings.load_profile("emow2v")


@pytest.fixture(scope="session")
def lite():
    """The embedded model, loaded once."""
    import emow2v

    return emow2v.load("lite")
