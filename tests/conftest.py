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


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A small wav2vec2 checkpoint of random weights, as Hugging Face folders look."""
    pytest.importorskip("torch")
    from checkpoints import write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "small")


@pytest.fixture(scope="session")
def package(checkpoint, tmp_path_factory):
    """Its export."""
    from emow2v import cards
    from emow2v.networks.export import export

    output = tmp_path_factory.mktemp("package") / "small"
    export(cards.find(checkpoint), output)
    return output


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    """No test reads or writes what the user has pulled."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("EMOW2V_HOME", str(folder))
    return folder


@pytest.fixture
def wav(tmp_path):
    """A tone of a second at 16 kHz."""
    import soundfile

    from sounds import tone

    file = tmp_path / "one second.wav"
    soundfile.write(file, tone(16000, 1.0), 16000)
    return file


@pytest.fixture
def data(tmp_path):
    """The data folder of a server, with a second of speech in it."""
    import soundfile

    from emow2v.demo import EXAMPLE

    folder = tmp_path / "data"
    folder.mkdir()
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write(folder / "talk.wav", signal[rate : 2 * rate], rate)
    return folder


@pytest.fixture
def client(lite, data, tmp_path):
    """A server on it, whose faults are answers and no exceptions."""
    from starlette.testclient import TestClient

    from servers import app

    with TestClient(app(lite.card, [data], tmp_path / "work", lambda name: lite), raise_server_exceptions=False) as one:
        yield one
