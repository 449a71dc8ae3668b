"""`emow2v tokens`: adds, lists and removes, with a sentence for each bad input."""

from pathlib import Path

import pytest

from commands import run
from emow2v.server.people.tokens import Tokens


def test_a_token_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    work = tmp_path / "work"
    made = run("tokens", "add", "anna", "--expires", "90d", "--work-dir", work)
    token = made.stdout.decode().strip()
    assert made.returncode == 0 and "shown only now" in made.stderr.decode() and token not in made.stderr.decode()
    found = Tokens(work).find(token)
    assert found is not None and found.name == "anna" and found.role == "member"
    assert run("tokens", "add", "boss", "--admin", "--work-dir", work).returncode == 0
    assert run("tokens", "add", "prometheus", "--metrics-only", "--work-dir", work).returncode == 0
    assert run("tokens", "remove", "boss", "--work-dir", work).returncode == 0
    listed = run("tokens", "list", "--work-dir", work).stdout.decode()
    rows = [line.split() for line in listed.splitlines()]
    assert [row[:3] for row in rows] == [
        ["name", "role", "state"],
        ["anna", "member", "valid"],
        ["boss", "administrator", "removed"],
        ["prometheus", "metrics", "valid"],
    ]
    assert rows[2][-1] == "never" and token not in listed and found.sha256 not in listed


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["add", "Anna"], "expected 1 to 40 of a-z"),
        (["add", "a", "--admin", "--metrics-only"], "exclude each other"),
        (["add", "a", "--expires", "2020-01-01"], "which is over"),
        (["add", "a", "--expires", "soon"], "expected the last day"),
        (["remove", "nobody"], "names with a token: none"),
        (["add", "a", "--work-dir", __file__], "is a file; expected a folder"),
    ],
)
def test_bad_input(words: list[str], sentence: str, tmp_path: Path) -> None:
    place = [] if "--work-dir" in words else ["--work-dir", tmp_path]
    done = run("tokens", *words, *place)
    assert done.returncode == 1 and sentence in done.stderr.decode() and done.stderr.count(b"\n") == 1
    assert done.stdout == b"" and Tokens(tmp_path).all() == ()
