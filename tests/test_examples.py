"""Examples do what they say: docstrings and the Python of the pages are run, commands of the pages are parsed.

Tutorials are run whole, commands too, by test_tutorials.py. A block of Python behind `<!-- not run: reason -->` is only
compiled.
"""

import doctest
import importlib
import re
import shlex
import shutil
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer.main

import emow2v
import small_corpora
from emow2v.cli import main as cli
from emow2v.modelstore.verify import EXAMPLE

ROOT = Path(__file__).parents[1]
PACKAGE = Path(emow2v.__file__).parent
TUTORIALS = ROOT / "docs" / "tutorials"
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "modules").rglob("*.md"))
    if path.name != "CHANGELOG.md"  # it names commands of earlier versions
)
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)

_PYTHON = re.compile(r"^(<!-- not run: (?P<reason>[^\n]+) -->\n)?```python\n(?P<code>.*?)^```$", re.M | re.S)
_BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<kind>\w*)\n(?P<fenced>.*?)^(?P=indent)```$|(?P<indented>(?:^    [^\n]*\n)+)", re.M | re.S
)
_SHELL = ("", "sh", "bash", "console")
_SPAN = re.compile(r"`(emow2v [^`]+)`")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of the examples: recordings, and a manifest of clips with ratings."""
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(EXAMPLE, "example.flac")
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write("talk.wav", signal, rate)
    soundfile.write("an-hour.mp3", signal[: 3 * rate], rate)
    shutil.copyfile(small_corpora.csv_corpus(tmp_path), "manifest.csv")
    return tmp_path


# --- docstrings ---


def run_docstrings(module: Any) -> int:
    """Run the examples of a module, and return how many there were."""
    failures: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for one in doctest.DocTestFinder(exclude_empty=True).find(module):
        runner.run(one, out=failures.append)
    assert not runner.failures, "".join(failures)
    return runner.tries


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_docstrings(place: Path, name: str) -> None:
    assert run_docstrings(importlib.import_module(name)) > 0


def test_a_wrong_docstring_is_found() -> None:
    module = type(doctest)("wrong", ">>> 1 + 1\n3\n")
    with pytest.raises(AssertionError, match=r"Expected:\s+3\s+Got:\s+2"):
        run_docstrings(module)


# --- Python of the pages ---


def run_python(text: str, path: str) -> list[str]:
    """Run the blocks of a page one after the other, as a reader types them; the reasons of those that are not run."""
    names: dict[str, Any] = {"__name__": "page", "signal": np.zeros(16000, np.float32)}
    reasons = []
    for block in _PYTHON.finditer(text):
        lines = "\n" * text[: block.start("code")].count("\n")  # so that a traceback names the page's line
        code = compile(lines + block["code"], path, "exec")
        if block["reason"]:
            reasons.append(block["reason"])
        else:
            exec(code, names)
    return reasons


@pytest.mark.parametrize(
    "page",
    [path for path in PAGES if path.parent != TUTORIALS and "```python" in path.read_text(encoding="utf-8")],
    ids=named,
)
def test_python_of_a_page(place: Path, page: Path) -> None:
    pytest.importorskip("confidence_intervals")
    for reason in run_python(page.read_text(encoding="utf-8"), str(page)):
        print(f"not run: {reason}")


def test_every_tutorial_has_its_test() -> None:
    tests = Path(__file__).with_name("test_tutorials.py").read_text(encoding="utf-8")
    assert [path.name for path in sorted(TUTORIALS.glob("*.md")) if f'follow("{path.name}")' not in tests] == []


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import emow2v\nemow2v.transcribe('talk.wav')", AttributeError),
        ("import emow2v\nemow2v.load('lite').predict('nowhere.wav').to_frame()", emow2v.Emow2vError),
        ("from emow2v.nowhere import x", ImportError),
        ("model.predict('talk.wav')", NameError),
        ("a block ends", SyntaxError),
    ],
)
def test_a_broken_block_is_found(place: Path, code: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        run_python(f"Text.\n\n```python\n{code}\n```\n", "page.md")


def test_a_block_that_is_not_run_says_why() -> None:
    text = "<!-- not run: needs a GPU -->\n```python\nraise SystemExit\n```\n"
    assert run_python(text, "page.md") == ["needs a GPU"]


# --- commands of the pages ---


def commands(text: str) -> Iterator[tuple[list[str], bool]]:
    """The words of every command of ours in a page, and whether it is a complete one of a block."""
    for block in _BLOCK.finditer(text):
        if (block["kind"] or "") in _SHELL:
            for line in (block["fenced"] or block["indented"] or "").replace("\\\n", " ").splitlines():
                yield from ((words, True) for words in _parts(line))
    for span in _SPAN.finditer(_BLOCK.sub("", text)):
        yield from ((words, False) for words in _parts(span[1].replace("\n", " ")))


def _parts(line: str) -> Iterator[list[str]]:
    """The commands of ours in a line of a shell, without redirections and without other commands of a pipe."""
    if not re.search(r"(^|[|&;] *)(\$ )?emow2v ", line.strip()):
        return
    lexer = shlex.shlex(line.strip().removeprefix("$ "), posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    words: list[str] = []
    parts = iter([*lexer, ";"])
    for word in parts:
        if set(word) <= set("<>"):
            next(parts)  # the file of a redirection
        elif set(word) <= set("|&;"):
            if words[:1] == ["emow2v"]:
                yield words[1:]
            words = []
        else:
            words.append(word)


def fault(words: list[str], complete: bool) -> str:
    """The fault in the words of a command; "" if there is none."""
    command: Any = typer.main.get_command(cli.app)
    context = command.make_context("emow2v", ["--help"], resilient_parsing=True)
    words = list(words)
    while hasattr(command, "commands"):
        if not words or words[0].startswith("-"):
            break
        name = words.pop(0)
        if name not in command.commands:
            return f"no command {name}"
        command = command.commands[name]
        context = type(context)(command, info_name=name, parent=context)
    if not complete and not words:
        return ""
    if "--help" in words:
        return ""
    try:
        given, left, _ = command.make_parser(context).parse_args(words)
    except Exception as error:
        if not hasattr(error, "format_message"):  # click's errors of use have it
            raise
        return str(error.format_message())
    if left and not hasattr(command, "commands"):
        return f"too many arguments: {left}"
    for parameter in command.params:
        value = given.get(parameter.name)
        if complete and parameter.required and value in (None, (), []):
            return f"{parameter.name} is missing"
        choices = _choices(parameter)
        for one in value if isinstance(value, list | tuple) else [value]:
            if choices and isinstance(one, str) and one not in choices:
                return f"{parameter.name} {one} is none of {choices}"
    return ""


def _choices(parameter: Any) -> list[str]:
    """The values that an option allows: from Click's type, or from the annotation in later versions of Typer."""
    kind = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [str(one.value) for one in kind]
    return [str(getattr(one, "value", one)) for one in getattr(getattr(parameter, "type", None), "choices", None) or ()]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_of_a_page(page: Path) -> None:
    found = [(words, fault(words, complete)) for words, complete in commands(page.read_text(encoding="utf-8"))]
    assert [(" ".join(words), why) for words, why in found if why] == []


def test_there_are_commands_in_the_readme() -> None:
    readme = ROOT / "README.md"
    if not readme.is_file():
        pytest.skip("no README here")
    assert sum(complete for _, complete in commands(readme.read_text(encoding="utf-8"))) > 8


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("emow2v transcribe talk.wav", "no command transcribe"),
        ("emow2v models fetch msp-dim", "no command fetch"),
        ("emow2v predict talk.wav --speed 2", "--speed"),
        ("cat a.wav | emow2v predict - --fromat csv > out.csv", "--fromat"),
        ("emow2v evaluate -o report", "is missing"),
        ("emow2v cite talk.csv more.csv > refs.bib", "too many arguments"),
        ("emow2v predict talk.wav --model", "--model"),
        ("emow2v predict talk.wav --unit hours", "unit hours is none of"),
    ],
)
def test_a_broken_command_is_found(line: str, why: str) -> None:
    for text in (f"```\n{line}  # a remark\n```\n", f"Text:\n\n    {line}\n\n"):
        ((words, complete),) = commands(text)
        assert complete and why in fault(words, complete)
