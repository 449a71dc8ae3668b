"""The demonstration replaces nothing that people put into its folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from emow2v import demo
from emow2v.errors import FormatError


@pytest.mark.parametrize(
    "name",
    [
        "example.flac",
        "example.png",
        "example.arousal.annotation",
        "example.embeddings.stream",
        "example.valence.annotation~",
    ],
)
def test_files_of_people_stay(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(FormatError, match="--overwrite"):
        demo.run(tmp_path, Console())
    assert [path.name for path in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == "mine"


def test_they_make_way_when_asked(tmp_path: Path) -> None:
    (tmp_path / "example.flac").write_text("mine")
    (tmp_path / "example.arousal.annotation").write_text("mine")
    for overwrite in (True, False):  # then they are ours
        demo.run(tmp_path, Console(quiet=True), overwrite=overwrite)
        assert (tmp_path / "example.arousal.annotation").read_text().startswith("<annotation")
        assert (tmp_path / "example.flac").read_bytes() == demo.EXAMPLE.read_bytes()
