"""The documentation site: every page is in it, its command reference is up to date, and its check finds faults."""

import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

# The questions that users of such models ask most, each by a word of its heading
QUESTIONS = (
    "batch", "offline", "range", "nobody speaks", "normalise", "segment", "over time", "fine-tune", "categories", "faster",
    "many files", "not initialised", "languages", "commercially", "Windows",
)  # fmt: skip


def script(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module


def pages(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for one in nav if isinstance(nav, list) else nav.values() if isinstance(nav, dict) else ():
        yield from pages(one)


def test_every_page_stands_in_the_navigation() -> None:
    project = tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))["project"]
    named = list(pages(project["nav"]))
    assert sorted(named) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
    assert project["theme"]["font"] is False


def test_the_command_reference_is_that_of_the_commands() -> None:
    made = script("tools/command_reference.py").text()
    assert made == (DOCS / "reference" / "commands.md").read_text("utf-8"), "run: python tools/command_reference.py"
    assert "## emow2v models pull" in made


def test_each_question_has_a_heading() -> None:
    headings = re.findall(r"^## (.+)$", (DOCS / "questions.md").read_text("utf-8"), re.M)
    assert len(headings) == len(QUESTIONS)
    for question, heading in zip(QUESTIONS, headings, strict=True):
        assert question.lower() in heading.lower()


def test_the_table_of_rooms_is_that_of_import_linter() -> None:
    layers = next(
        contract["layers"]
        for contract in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    )
    rooms = [sorted(re.split(r" [|:] ", layer)) for layer in reversed(layers) if not layer.startswith("_")]
    lines = (DOCS / "architecture.md").read_text("utf-8").partition("| room |")[2].partition("\n\n")[0].splitlines()[2:]
    assert [room for layer in rooms for room in layer] == [
        name for line in lines for name in re.findall(r"`(\w+)`", line.split("|")[1])
    ]


PLACES = re.compile(r"(?<![\w./-])((?:src/emow2v|tests|tools|scripts|benchmarks|requirements|deploy)/[\w./-]*\w)")


def test_every_file_that_a_page_names_exists() -> None:
    pages = [path for path in markdown() if path.name != "CHANGELOG.md"]  # it names files of earlier versions
    named = {(path.name, place) for path in pages for place in PLACES.findall(path.read_text("utf-8"))}
    assert len(named) > 50
    assert [(page, place) for page, place in sorted(named) if not (ROOT / place).exists()] == []


def markdown() -> list[Path]:
    return sorted(
        [*ROOT.glob("*.md"), *(path for name in ("docs", "modules", "src") for path in (ROOT / name).rglob("*.md"))]
    )


def long_lines(text: str) -> list[int]:
    """The numbers of lines of 120 characters or more that are no rows of a table."""
    return [n for n, line in enumerate(text.splitlines(), 1) if len(line) >= 120 and not line.startswith("|")]


def test_lines_of_markdown_are_short() -> None:
    found = {str(path.relative_to(ROOT)): long_lines(path.read_text("utf-8")) for path in markdown()}
    assert {name: numbers for name, numbers in found.items() if numbers} == {}


@pytest.mark.parametrize("line", ["x" * 120, "    " + "x" * 116, "* " + "word " * 24])
def test_a_long_line_is_found(line: str) -> None:
    assert long_lines(f"text\n{'x' * 119}\n| {'x' * 200} |\n{line}\n") == [4]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('<script src="https://cdn.example/x.js"></script>', "from elsewhere"),
        ('<link rel="stylesheet" href="//fonts.example/x.css">', "from elsewhere"),
        ('<img src="http://pictures.example/x.png">', "from elsewhere"),
        ('<a href="none.html">', "no such file"),
        ('<a href="#none">', "no such heading"),
        ('<a href="index.html#none">', "no such heading"),
    ],
)
def test_the_check_of_the_site_finds(tmp_path: Path, content: str, fault: str) -> None:
    (tmp_path / "index.html").write_text(f"<h1 id='here'>x</h1>{content}")
    assert [one for one in script("scripts/check_site.py").faults(tmp_path) if fault in one]


def test_the_check_of_the_site_passes_what_is_right(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<h1 id="here"></h1><a href="#here"></a><a href="https://doi.example/1"></a>')
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "page.html").write_text('<a href="../index.html#here"></a><img src="data:image/png;base64,">')
    assert list(script("scripts/check_site.py").faults(tmp_path)) == []


def test_the_reference_names_what_is_there() -> None:
    names = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "reference" / "python.md").read_text("utf-8"), re.MULTILINE)
    assert names and [name for name in names if not exists(name)] == []


def exists(name: str) -> bool:
    """Whether the part before the last dot is a module that has the last part, as an attribute or a module."""
    parent, _, last = name.rpartition(".")
    return hasattr(importlib.import_module(parent), last) or importlib.util.find_spec(name) is not None
