"""What tests of the pages share: a sentence of speech, a browser, and who visits a server with it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import soundfile

from emow2v.modelstore.verify import EXAMPLE

if TYPE_CHECKING:
    from browsers import Visitor, api

RATE = 16000


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of the example in which somebody speaks; the microphone of the browser plays them, too."""
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    assert rate == RATE
    path = tmp_path_factory.mktemp("speech") / "speech.wav"
    soundfile.write(path, signal[6 * RATE : 8 * RATE], RATE)
    return path


@pytest.fixture(scope="module")
def browser(speech: Path) -> Iterator["api.Browser"]:
    from browsers import chromium  # which skips where Playwright is missing

    with chromium(speech) as chrome:
        yield chrome


@pytest.fixture(scope="module")
def url(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the module on its fixture `data`, a folder, without models that were installed here."""
    from emow2v.server.run import Server

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOW2V_HOME", str(tmp_path_factory.mktemp("home")))
        server = Server(port=0, data_dirs=[data], work_dir=tmp_path_factory.mktemp("work"), threads=1)
        with server.running() as address:
            yield address


@pytest.fixture
def visit(browser: "api.Browser", url: str) -> Iterator[Callable[..., "Visitor"]]:
    """Opens pages of the server that the module's fixture `url` starts."""
    from browsers import Visitor

    visitors: list[Visitor] = []

    def open_page(**context: object) -> Visitor:
        visitors.append(Visitor(browser, url, **context))
        return visitors[-1]

    yield open_page
    for visitor in visitors:
        visitor.leave()


@pytest.fixture
def page(visit: Callable[..., "Visitor"]) -> "api.Page":
    return visit().page
