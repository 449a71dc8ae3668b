"""House rule: who catches an error names what is expected; a mistake of our own comes through.

PyAV 19 dropped a keyword that we gave. A broad `except` took that TypeError for an undecodable recording, and on Python
3.12 and later nothing was decoded, with a sentence that blamed the file.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from emow2v.errors import is_own

SOURCE = Path(__file__).resolve().parents[1] / "src" / "emow2v"
BROAD = {"Exception", "BaseException", ""}  # "": all
OURS = {"TypeError", "AttributeError", "NameError", "AssertionError"}  # what mistakes in a program raise

# By file and function, the only places that may catch everything, or what a mistake of ours raises, and why
ALLOWED = {
    (
        "networks/wav2vec2.py",
        "load",
    ): "Transformers' layers refuse sizes each in their own way; what our lines raise comes through",
    (
        "networks/wav2vec2.py",
        "_configuration",
    ): "Transformers' validation has no base class; what our lines raise comes through",
    (
        "networks/wav2vec2.py",
        "read_tensors",
    ): "a damaged pickle fails anywhere in PyTorch; what our lines raise comes through",
    (
        "engines/onnx_graph.py",
        "read",
    ): "protobuf and onnx fail each in their own way; what our lines raise comes through",
    ("engines/torch.py", "find_device"): "PyTorch without CUDA says so by an AssertionError",
    ("server/jobs/worker.py", "_run"): "the job fails, the log has the traceback, the worker goes on",
    ("server/jobs/worker.py", "main"): "the log has the traceback, the process ends",
    ("server/jobs/pool.py", "_watch"): "the log has the traceback, the other workers are looked after",
    ("server/rounds.py", "_work_once"): "the log has the traceback, the next round comes",
    ("audio/reader.py", "_reads"): "kept and raised again behind FFmpeg, which cannot pass it on",
    ("audio/reader.py", "guarded"): "kept and raised again behind FFmpeg, which cannot pass it on",
    ("training/state.py", "_load"): "a damaged pickle fails anywhere in PyTorch; what our lines raise comes through",
    ("stores/connection.py", "_worded"): "every store has its own errors; what our lines raise comes through",
    ("stores/connection.py", "again"): "every store has its own errors; what does not come from the network is raised",
    (
        "modelstore/install.py",
        "_from_zip",
    ): "each part of zipfile has its own error; what our lines raise comes through",
}


def caught(handler: ast.ExceptHandler) -> set[str]:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {"" if kind is None else ast.unparse(kind).rpartition(".")[2] for kind in kinds}


def again(handler: ast.ExceptHandler) -> bool:
    """Whether the handler ends by raising what it caught: it only tidies up."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def suppressed(call: ast.Call) -> set[str]:
    name = ast.unparse(call.func)
    return {ast.unparse(one).rpartition(".")[2] for one in call.args} if name.endswith("suppress") else set()


def broad(text: str) -> Iterator[tuple[str, int, set[str]]]:
    """Function, line and errors of every place that catches too much."""

    def walk(node: ast.AST, function: str) -> Iterator[tuple[str, int, set[str]]]:
        for child in ast.iter_child_nodes(node):
            inside = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
            found: set[str] = set()
            if isinstance(child, ast.ExceptHandler) and not again(child):
                found = caught(child) & (BROAD | OURS)
            elif isinstance(child, ast.Call):
                found = suppressed(child) & (BROAD | OURS)
            if found:
                yield inside, child.lineno, found  # type: ignore[attr-defined]
            yield from walk(child, inside)

    yield from walk(ast.parse(text), "")


def everywhere() -> Iterator[tuple[tuple[str, str], int, set[str]]]:
    for path in sorted(SOURCE.rglob("*.py")):
        for function, line, kinds in broad(path.read_text(encoding="utf-8")):
            yield (path.relative_to(SOURCE).as_posix(), function), line, kinds


def test_nobody_catches_everything() -> None:
    wrong = [f"{place[0]}:{line} {place[1]}: {kinds}" for place, line, kinds in everywhere() if place not in ALLOWED]
    assert not wrong, "name the errors that are expected, or let them through:\n" + "\n".join(wrong)


def test_every_exception_to_the_rule_is_still_needed() -> None:
    assert set(ALLOWED) == {place for place, _, _ in everywhere() if place in ALLOWED}


@pytest.mark.parametrize(
    ("handler", "errors"),
    [
        ("except: pass", {""}),
        ("except Exception: pass", {"Exception"}),
        ("except (OSError, BaseException) as error: print(error)", {"BaseException"}),
        ("except builtins.Exception: raise ValueError from None", {"Exception"}),
        ("except (ValueError, TypeError): pass", {"TypeError"}),
        ("except AttributeError: pass", {"AttributeError"}),
        ("except BaseException:\n    tidy()\n    raise", None),
        ("except OSError: pass", None),
        ("except ValueError as error: raise FormatError from None", None),
    ],
)
def test_the_rule_sees_what_is_broad(handler: str, errors: set[str] | None) -> None:
    text = "def work():\n    try:\n        go()\n" + textwrap.indent(handler, "    ")
    assert list(broad(text)) == ([] if errors is None else [("work", 4, errors)])
    assert list(broad("with contextlib.suppress(OSError, TypeError): go()")) == [("", 1, {"TypeError"})]


def test_a_mistake_of_ours_is_told_from_a_librarys(tmp_path: Path) -> None:
    """By the line that raised it: ours call a library with a keyword that it has not, or the library raises itself."""
    from emow2v import framing

    with pytest.raises(Exception) as ours:
        framing.parse_time(object(), "--step")  # type: ignore[arg-type]
    import json

    with pytest.raises(json.JSONDecodeError) as library:
        json.loads("{")
    assert is_own(ours.value) and not is_own(library.value)
    assert not is_own(TypeError("never raised"))
