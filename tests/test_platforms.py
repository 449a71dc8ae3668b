"""README, pyproject.toml, the lists and docs/platforms.md promise the same Pythons."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "docs").exists(), reason="no documents in the source distribution")


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def promised() -> list[str]:
    """README's "Python 3.11 to 3.14", one by one."""
    found = re.findall(r"Python 3\.(\d+) to 3\.(\d+)", (ROOT / "README.md").read_text())
    assert len(set(found)) == 1
    first, last = map(int, found[0])
    return [f"3.{minor}" for minor in range(first, last + 1)]


def table() -> dict[str, str]:
    """docs/platforms.md: what, and whether it was run."""
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", (ROOT / "docs" / "platforms.md").read_text(), re.MULTILINE)
    return {what.strip(): state.strip() for what, state in rows}


def classified(prefix: str) -> list[str]:
    names = project()["project"]["classifiers"]
    return [name.removeprefix(prefix) for name in names if name.startswith(prefix)]


def test_the_oldest_and_the_newest_python() -> None:
    settings = project()
    assert settings["project"]["requires-python"] == f">={promised()[0]}"
    newest = int(promised()[-1].removeprefix("3."))
    for environment in settings["tool"]["uv"]["environments"]:
        assert environment.endswith(f"python_full_version < '3.{newest + 1}'")
    assert f"--python-version {promised()[0]} " in (ROOT / "requirements" / "lock").read_text()
    assert f"{promised()[0]} to {promised()[-1]}" in (ROOT / "Makefile").read_text()


def test_every_promised_python_stands_in_the_table() -> None:
    rows = table()
    named = [what.removeprefix("Python ") for what in rows if re.fullmatch(r"Python 3\.\d+", what)]
    assert named == promised()
    for version in named:
        assert rows[f"Python {version}"].split()[0] in ("run", "resolved,")


def test_classifiers_name_what_was_run_and_no_more() -> None:
    rows = table()
    run = [version for version in promised() if rows[f"Python {version}"].startswith("run")]
    assert classified("Programming Language :: Python :: ") == run
    systems = {"Linux": "POSIX :: Linux", "Windows": "Microsoft :: Windows", "macOS": "MacOS"}
    found = [name for what, name in systems.items() if any(
        row.startswith(what) and state.startswith("run") for row, state in rows.items())]  # fmt: skip
    assert classified("Operating System :: ") == found


def test_the_image_has_a_python_that_was_run() -> None:
    version = re.search(r"^FROM python:(3\.\d+)-slim", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    assert version and table()[f"Python {version[1]}"].startswith("run")


def test_what_was_never_run_is_named() -> None:
    never = [what for what, state in table().items() if state.startswith("never")]
    for word in ("Windows", "macOS", "GPU", "msp-dim", "Docker", "systemd", "microphone", "NOVA"):
        assert any(word.lower() in what.lower() for what in never), word
