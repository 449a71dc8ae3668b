"""The shape of the package: short modules, small rooms, nothing written twice."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "emow2v"
MODULES = sorted(SOURCE.rglob("*.py"))
PAGES = sorted(
    path
    for room in ("server", "web")
    for path in (SOURCE / room / "static").iterdir()
    if path.suffix in (".js", ".css", ".html")
)
RUN = 6  # lines in a row that may not stand twice


def test_no_module_is_longer_than_400_lines() -> None:
    lines = {str(path.relative_to(SOURCE)): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: count for name, count in lines.items() if count > 400} == {}


@pytest.mark.parametrize("folder", sorted({path.parent for path in MODULES}), ids=lambda path: path.name)
def test_no_room_has_more_than_12_modules(folder: Path) -> None:
    assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= 12


def statements(path: Path) -> list[tuple[int, str]]:
    """Lines of code with their numbers: no blank ones, no imports, no docstrings, no comments, no lone brackets."""
    text = path.read_text(encoding="utf-8")
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        string = (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        )
        if string or isinstance(node, ast.Import | ast.ImportFrom):
            left_out.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if number not in left_out]
    return [(number, line) for number, line in lines if line.strip("()[]{},") and not line.startswith("#")]


# What a page begins with (each needs it), comments, and imports: not counted
UNCOUNTED = {
    ".html": r"<head>.*?</head>|<header.*?</header>|<!--.*?-->",
    ".css": r"/\*.*?\*/",
    ".js": r"/\*.*?\*/|^\s*//[^\n]*|^import [^;]*;",
}


def page_lines(path: Path) -> list[tuple[int, str]]:
    """Lines of a page, a script or a style sheet with their numbers, without what is not counted."""
    text = path.read_text(encoding="utf-8")
    pattern = re.compile(UNCOUNTED[path.suffix], re.DOTALL | re.MULTILINE)
    text = pattern.sub(lambda match: "\n" * match[0].count("\n"), text)
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    return [(number, line) for number, line in lines if line.strip("()[]{},; ")]


def test_no_run_of_six_lines_stands_twice() -> None:
    places: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for path in [*MODULES, *sorted((ROOT / "modules").rglob("*.py")), *sorted((ROOT / "tools").glob("*.py")), *PAGES]:
        lines = page_lines(path) if path in PAGES else statements(path)
        for begin in range(len(lines) - RUN + 1):
            run = tuple(line for _, line in lines[begin : begin + RUN])
            places[run].append(f"{path.relative_to(ROOT)}:{lines[begin][0]}")
    assert {run: found for run, found in places.items() if len(found) > 1} == {}
