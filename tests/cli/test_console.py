"""Help stands below headings in whole sentences, messages are plain, and names that look like options have a hint."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from rich.table import Table
from typer.testing import CliRunner

from emow2v.cli import console, main
from emow2v.errors import FormatError


@pytest.mark.parametrize("name", ["-leading.wav", "-a.MP3", "--talk.flac", "-1.m2ts", "-x.webm"])
@pytest.mark.parametrize("command", ["predict", "robustness"])
def test_names_that_begin_with_a_dash(name: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(main.app, [command, "a.wav", name])
    assert result.exit_code == 2
    words = " ".join(result.output.split())
    assert f"{name} is taken for an option; write -- before names that begin with a dash" in words


@pytest.mark.parametrize("arguments", [["--formt", "csv", "a.wav"], ["-x", "a.wav"], ["--", "-a.wav"]])
def test_options_that_are_none_have_no_such_hint(arguments: list[str]) -> None:
    result = CliRunner().invoke(main.app, ["predict", *arguments])
    assert "write --" not in result.output


@pytest.mark.parametrize("text", ["[plot]", "[bold]x[/bold]", "emow2v[plot]", "[/]", ":smile:"])
def test_what_looks_like_markup_is_none(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(f"head {text}", box=None)
    table.add_row(f"run: pip install 'x{text}'")
    console.print_table(table)
    words = capsys.readouterr().out
    assert f"head {text}" in words and f"pip install 'x{text}'" in words
    with console.output.capture() as captured:
        console.output.print(f"run: {text}")
    assert captured.get() == f"run: {text}\n"


def test_nothing_chosen_ends_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        console.choose([str(tmp_path / "*.wav"), str(tmp_path)])
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        (["predict"], "predict [OPTIONS] INPUT..."),
        (["robustness"], "robustness [OPTIONS] INPUT..."),
        (["train"], "train [OPTIONS] CONFIG [KEY=VALUE]..."),
        (["compare"], "compare [OPTIONS] A B"),
        (["models", "info"], "info [OPTIONS] MODEL"),
        (["models", "verify"], "verify [OPTIONS] [NAME]"),
        (["live"], "live [OPTIONS] [-]"),
    ],
)
def test_usage_is_plain(command: list[str], usage: str) -> None:
    lines = CliRunner().invoke(main.app, [*command, "--help"]).output.splitlines()
    assert next(line for line in lines if line.startswith("Usage")).endswith(usage)


def headings(*arguments: str) -> list[str]:
    """The unindented lines of a help text, but for its usage."""
    lines = CliRunner().invoke(main.app, [*arguments, "--help"]).output.splitlines()
    return [line for line in lines if line and not line.startswith((" ", "Usage"))]


def test_commands_stand_below_headings_with_whole_sentences() -> None:
    assert headings() == ["Options:", "Scores from speech:", "Quality and papers:", "Models:", "Server:"]
    output = CliRunner().invoke(main.app, ["--help"]).output
    listed = [line.split()[0] for line in output.splitlines() if line.startswith("  ") and line[2:3].isalpha()]
    group = typer.main.get_command(main.app)
    assert sorted(name for name in listed if name in group.commands) == sorted(group.commands)  # type: ignore[attr-defined]
    assert "..." not in output.partition("Options:")[2]


def test_options_stand_below_headings_with_plain_ranges_and_defaults() -> None:
    assert headings("predict") == ["Arguments:", "Options:", "Windows:", "Recording:", "Turns:", "Computation:"]
    text = " ".join(CliRunner().invoke(main.app, ["predict", "--help"]).output.split())
    assert "[default: 0; 0 to 1024]" in text and "x>=0" not in text
    assert "--frame-step TIME One value every TIME (40ms, 0.5s). [default: 40ms]" in text
    assert "[default: csv]" in text


@pytest.mark.parametrize(
    "words",
    [["evaluate", "--data", "s3://study/x.csv", "-o", "r"], ["cite", "s3://study/x.csv"], ["compare", "a.csv", "s3:/study/x.csv"],
     ["plot", "x.csv", "-o", "s3://study/x.png"], ["robustness", "a.wav", "-o", "s3://study/x"]],
)  # fmt: skip
def test_commands_that_take_no_address_say_so(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main.app, words)
    assert isinstance(result.exception, FormatError)
    assert "is an address; expected a file or a folder here." in str(result.exception)
    assert list(tmp_path.iterdir()) == []
