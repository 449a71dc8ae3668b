"""Results of a newer version that this one cannot read: every command says so in one sentence."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from emow2v._version import __version__
from emow2v.cli import main
from emow2v.errors import FormatError
from emow2v.formats import write
from emow2v.formats.ssi_read import read_annotation, read_stream
from emow2v.formats.table_read import read_provenance, read_table
from emow2v.framing import Framing
from emow2v.rows import Block, Info
from emow2v.trajectory import Trajectory

CHANGES = {  # what a newer version might do to each format
    "csv": (b"arousal", b"activation"),
    "json": (b'"arousal"', b'"activation"'),
    "ndjson": (b'"arousal"', b'"activation"'),
    "annotation": (b"CONTINUOUS", b"INTERVAL"),
    "stream": (b'"FLOAT"', b'"BFLOAT"'),
}


@pytest.fixture
def newer(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A result with another content, whose provenance names a version."""
    ending, version = request.param
    framing = Framing()
    starts, ends = framing.times(0, 2)
    block = Block(0, starts, ends, np.zeros((2, 1024), "f4"), np.full((2, 3), 0.5, "f4"), np.ones((2, 3), "f4"))
    facts: dict[str, str | float] = {"model": "lite", "software": f"emow2v {version}"}
    path = tmp_path / ("talk.arousal.annotation" if ending == "annotation" else f"talk.{ending}")
    write(Trajectory(Info("talk.wav", framing, facts), lambda: iter([block])), path)
    old, new = CHANGES[ending]
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    return path


def sentence(path: Path) -> str:
    return (
        f"{path} was written by emow2v 10.2 and cannot be read by emow2v {__version__}, which is older; update emow2v"
    )


@pytest.mark.parametrize("newer", [(ending, "10.2") for ending in CHANGES], indirect=True, ids=list(CHANGES))
def test_commands_say_that_a_result_is_newer(newer: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    commands = [["compare", str(newer), str(newer)]] if newer.suffix != ".ndjson" else []
    if newer.suffix in (".csv", ".json", ".ndjson"):
        commands.append(["plot", str(newer), "-o", str(tmp_path / "curves.png")])
    if newer.suffix == ".annotation":
        manifest = tmp_path / "annotations.csv"
        (tmp_path / "talk.wav").write_bytes(b"")
        manifest.write_text(f"file,annotation\ntalk.wav,{newer.name}\n")
        commands.append(["evaluate", "--data", str(manifest), "-o", str(tmp_path / "report")])
        commands.append(["evaluate", "--data", str(tmp_path), "-o", str(tmp_path / "report")])
    assert commands
    for command in commands:
        result = CliRunner().invoke(main.app, command)
        assert result.exit_code == 1 and str(result.exception).startswith(sentence(newer)), command


@pytest.mark.parametrize("newer", [(ending, "10.2") for ending in CHANGES], indirect=True, ids=list(CHANGES))
def test_readers_say_the_same(newer: Path) -> None:
    read = {".annotation": read_annotation, ".stream": read_stream}.get(newer.suffix, read_table)
    with pytest.raises(FormatError, match="was written by emow2v 10"):
        read(newer)


@pytest.mark.parametrize("newer", [("json", "10.2"), ("ndjson", "10.2")], indirect=True)
def test_cite_says_that_a_provenance_is_newer(newer: Path) -> None:
    content = newer.read_bytes().replace(b'"model"', b'"network"')
    newer.write_bytes(content)
    result = CliRunner().invoke(main.app, ["cite", str(newer)])
    assert result.exit_code == 1 and str(result.exception).startswith(sentence(newer))
    with pytest.raises(FormatError, match="update emow2v"):
        read_provenance(newer)


@pytest.mark.parametrize("newer", [(ending, __version__) for ending in CHANGES], indirect=True, ids=list(CHANGES))
def test_a_damaged_result_of_this_version_is_not_called_newer(newer: Path) -> None:
    read = {".annotation": read_annotation, ".stream": read_stream}.get(newer.suffix, read_table)
    with pytest.raises(FormatError) as error:
        read(newer)
    assert "older" not in str(error.value) and newer.name in str(error.value)


@pytest.mark.parametrize("name", ["talk.npz", "talk.parquet"])
def test_other_results_are_no_tables_to_be_drawn(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(FormatError, match=r"is no table of scores; expected \.csv, \.json or \.ndjson"):
        read_table(tmp_path / name)
