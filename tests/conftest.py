"""What every test shares: one thread a worker of pytest-xdist, property tests, models, folders, a server.

Property tests try the same examples each time, however slow the machine. `EMOW2V_HYPOTHESIS=random` tries others; the
head of the report names the seed that repeats them.
"""

import logging
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # before NumPy and PyTorch, and child processes, read them
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "EMOW2V_THREADS"):
        os.environ.setdefault(variable, "1")
if os.environ.get("EMOW2V_HYPOTHESIS") == "random":  # the workers inherit what was drawn
    os.environ["EMOW2V_HYPOTHESIS"] = str(random.SystemRandom().randrange(1 << 32))

import pytest
from filelock import FileLock
from hypothesis import settings


def _empty_home() -> Path:
    """A home folder of this process's own, empty: what a test leaves there is found, and nothing of the user's is read."""
    base = Path(tempfile.mkdtemp(prefix="emow2v-tests-"))
    (base / "home").mkdir()
    pip = Path.home() / ".config" / "pip" / "pip.conf"  # where packages come from; some tests build a wheel
    if pip.is_file():
        os.environ.setdefault("PIP_CONFIG_FILE", str(pip))
    for name in [name for name in os.environ if name.startswith("XDG_")]:
        del os.environ[name]
    os.environ.update({name: str(base / "home") for name in ("HOME", "USERPROFILE", "LOCALAPPDATA")})
    # what the commands see to by themselves (test_privacy.py), here for libraries that tests import, as audonnx
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    for name in (
        "MPLCONFIGDIR",
        "TORCHINDUCTOR_CACHE_DIR",
        "PIP_CACHE_DIR",
        "RUSTUP_HOME",
    ):  # pip asks rustc for its version
        os.environ[name] = str(base / name.lower())
    return base / "home"


HOME = _empty_home()


def _left_at_home() -> list[str]:
    """What lies in the home folder, but for what espeak-ng's sound library leaves there."""
    pulse = HOME / ".config" / "pulse"
    if pulse.exists():
        shutil.rmtree(pulse)
        if not any(pulse.parent.iterdir()):
            pulse.parent.rmdir()
    return sorted(str(path.relative_to(HOME)) for path in HOME.rglob("*"))


def pytest_unconfigure() -> None:
    shutil.rmtree(HOME.parent, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def nothing_at_home_at_last() -> Iterator[None]:
    """Nor do fixtures that several tests share; it is made first and so ends last."""
    yield
    assert _left_at_home() == []


@pytest.fixture(autouse=True)
def nothing_at_home() -> Iterator[None]:
    """No test leaves anything in the home folder."""
    yield
    left = _left_at_home()
    for path in HOME.iterdir():  # so that the next test is not blamed
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert left == []


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """What a test, or a program that it runs in this process, does to logging does not reach the next."""
    root = logging.getLogger()
    level, lowest = root.level, root.manager.disable
    yield
    root.setLevel(level)
    logging.disable(lowest)
    for name, logger in root.manager.loggerDict.items():
        if name.split(".")[0] == "emow2v" and isinstance(logger, logging.Logger):
            logger.disabled, logger.propagate = False, True


SEED = os.environ.get("EMOW2V_HYPOTHESIS", "")
settings.register_profile("emow2v", deadline=None, derandomize=not SEED, database=None, print_blob=True)
settings.load_profile("emow2v")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    if SEED:
        config.option.hypothesis_seed = SEED  # which Hypothesis reads next
    tally = os.environ.get("EMOW2V_TALLY")
    if tally and "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(Tally(Path(tally)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    return min(os.cpu_count() or 1, 4)  # each holds models: a gigabyte or two


class Tally:
    """The names of all tests that ran, one a line, for scripts/count_tests.py."""

    def __init__(self, path):
        self.path, self.names = path, []

    def pytest_runtest_logreport(self, report):  # of workers too, where it is the controller that listens
        if report.when == "setup":
            self.names.append(report.nodeid)

    def pytest_sessionfinish(self):
        self.path.write_text("".join(f"{name}\n" for name in self.names), encoding="utf-8")


def pytest_report_header():
    lines = [f"property tests: EMOW2V_HYPOTHESIS={SEED}" if SEED else "property tests: the same examples each time"]
    if not find_spec("torch"):
        lines.append("without PyTorch: tests that need it skip (all of them: make test TORCH=yes)")
    return lines


@pytest.fixture(scope="session")
def lite():
    """The embedded model, loaded once."""
    import emow2v

    return emow2v.load("lite")


@pytest.fixture(scope="session")
def windows(lite, request):
    """A model of windows: the embedded one, or a small one of random weights if that is a model of frames."""
    import emow2v

    return emow2v.load(request.getfixturevalue("package")) if lite.card.one_pass else lite


def made_once(tmp_path_factory, name, make):
    """A folder that `make` fills, by whichever worker comes first; all of them only read it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{name}-"))
            make(fresh)
            fresh.rename(folder)
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A small wav2vec2 checkpoint of random weights, as Hugging Face folders look."""
    pytest.importorskip("torch")
    from checkpoints import write_checkpoint

    return made_once(tmp_path_factory, "checkpoint", lambda folder: write_checkpoint(folder / "small")) / "small"


@pytest.fixture(scope="session")
def package(checkpoint, tmp_path_factory):
    """Its export."""
    from emow2v import cards
    from emow2v.modelstore.export import export

    return (
        made_once(tmp_path_factory, "package", lambda folder: export(cards.find(checkpoint), folder / "small"))
        / "small"
    )


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    """No test reads or writes what the user has pulled."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("EMOW2V_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def stores():
    """A server of S3, which all tests of a process share."""
    pytest.importorskip("s3fs", reason="the extra cloud is not installed")
    pytest.importorskip("moto", reason="moto is not installed")
    from object_stores import object_store

    with object_store() as server:
        yield server


@pytest.fixture
def store(stores, monkeypatch):
    """The server with an empty bucket, "study", and the environment that leads there."""
    from emow2v.stores import connection

    stores.reset()
    connection._known.clear()
    for name, value in stores.environment.items():
        monkeypatch.setenv(name, value)
    return stores


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

    from emow2v.modelstore.verify import EXAMPLE

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
