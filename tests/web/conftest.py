"""A browser whose microphone hears two seconds of the example, and a page that works."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import soundfile

from browser_builds import built
from emow2v.modelstore.verify import EXAMPLE

if TYPE_CHECKING:
    from browsers import api


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator["api.Browser"]:
    from browsers import chromium  # which skips where Playwright is missing

    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    path = tmp_path_factory.mktemp("speech") / "speech.wav"
    soundfile.write(path, signal[6 * rate : 8 * rate], rate)
    with chromium(path) as chrome:
        yield chrome


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("site") / "deep" / "er")
