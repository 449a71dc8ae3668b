"""Named tokens: what the file holds, who is found by it, and what is refused."""

import hashlib
import json
import os
import sys
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emow2v.errors import Emow2vError
from emow2v.server.people.person import Person, check_name
from emow2v.server.people.tokens import Tokens, as_role, end_of

ROW = {"name": "a", "role": "member", "sha256": "", "created": "", "expires": "", "removed": ""}
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def test_a_token_is_found_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "work")
    assert not tokens.required and list(tokens.all()) == []
    anna, bob = tokens.add("anna"), tokens.add("bob", "administrator")
    assert tokens.required and anna != bob and len(anna) > 40
    assert anna.isascii() and anna.isprintable() and " " not in anna  # so that a header can hold it
    other = Tokens(tmp_path / "work")  # as another process reads it
    found = other.find(anna)
    assert found is not None and found.person == Person("anna", "member") and found.state(NOW) == "valid"
    assert other.find(bob).person.is_administrator  # type: ignore[union-attr]
    for wrong in ("", anna[:-1], anna + "x", anna.upper(), found.sha256, "\ud800"):
        assert other.find(wrong) is None
    text = tokens.path.read_text()
    assert anna not in text and anna.removeprefix("emow2v_") not in text
    assert found.sha256 == hashlib.sha256(anna.encode()).hexdigest()
    if sys.platform != "win32":
        assert tokens.path.stat().st_mode & 0o077 == 0 and tokens.path.parent.stat().st_mode & 0o077 == 0


def test_a_change_is_seen_at_once(tmp_path: Path) -> None:
    reader, writer = Tokens(tmp_path), Tokens(tmp_path)
    anna = writer.add("anna")
    for _ in range(20):
        assert reader.find(anna).state(NOW) == "valid"  # type: ignore[union-attr]
        writer.remove("anna")
        assert reader.find(anna).state(NOW) == "removed"  # type: ignore[union-attr]
        anna = writer.add("anna", again=True)
    writer.remove("anna")
    assert reader.required  # a server without any token that is valid lets nobody in, instead of everybody


def test_a_name_is_given_once(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path)
    first = tokens.add("anna")
    with pytest.raises(Emow2vError, match=r"anna has a token; a new one opens the same jobs\. Give --again"):
        tokens.add("anna")
    second = tokens.add("anna", again=True)
    assert tokens.find(first).state(NOW) == "removed"  # type: ignore[union-attr]
    assert tokens.find(second).state(NOW) == "valid"  # type: ignore[union-attr]
    tokens.remove("anna")
    with pytest.raises(Emow2vError, match="anna had a token, which is removed"):
        tokens.add("anna")
    with pytest.raises(Emow2vError, match="'anna' has no token that can be removed; names with a token: none"):
        tokens.remove("anna")


@pytest.mark.parametrize(
    "name", ["", "Anna", "anna ", "ä", "a/b", "..", ".a", "-a", "a" * 41, "con", "nul.txt", "a..b", "a.", "a\n", "a:b"]
)
def test_names_that_no_folder_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(Emow2vError, match="expected 1 to 40 of a-z"):
        Tokens(tmp_path).add(name)
    assert list(tmp_path.glob("*.json")) == []


def test_names() -> None:
    for name in ("a", "7", "anna", "nova-pc3", "anna.m_2", "a" * 40):
        assert check_name(name) == name


def test_a_token_ends(tmp_path: Path) -> None:
    assert end_of("", NOW) == ""
    assert end_of("2026-11-26", NOW) == "2026-11-27T00:00:00+00:00"  # the whole day counts
    assert end_of("90d", NOW) == "2027-02-24T12:00:00+00:00"
    for wrong in ("2026-13-01", "tomorrow", "0d", "-1d", "99999d", "1", "2026-1-1", "9999-12-31T", "٩d"):
        with pytest.raises(Emow2vError, match=r"--expires is .*expected the last day"):
            end_of(wrong, NOW)
    with pytest.raises(Emow2vError, match="which is over"):
        end_of("2026-11-25", NOW)
    tokens = Tokens(tmp_path)
    found = tokens.find(tokens.add("anna", expires="1d"))
    assert found is not None
    now = datetime.now(UTC)
    assert found.state(now) == "valid" and found.state(now + timedelta(days=1)) == "expired"


def test_roles() -> None:
    assert as_role(administrator=True, metrics_only=False) == "administrator"
    assert as_role(administrator=False, metrics_only=True) == "metrics"
    assert as_role(administrator=False, metrics_only=False) == "member"
    with pytest.raises(Emow2vError, match="exclude each other"):
        as_role(administrator=True, metrics_only=True)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is damaged"),
        ("[]", "expected format 1"),
        ('{"format": 1, "tokens": [{"name": "a"}]}', "expected tokens with created, expires, name"),
        ('{"format": 1, "tokens": [7]}', "expected tokens with"),
        ('{"format": 2, "tokens": []}', "update emow2v, if a newer version wrote it"),
        (json.dumps({"format": 1, "tokens": [ROW | {"name": "../a"}]}), "a name or a role is not usable"),
        (json.dumps({"format": 1, "tokens": [ROW | {"role": "x"}]}), "a name or a role is not usable"),
        (json.dumps({"format": 1, "tokens": [ROW | {"expires": "x"}]}), "is damaged"),
        (json.dumps({"format": 1, "tokens": [ROW | {"expires": "2030-01-01"}]}), "an end has no time zone"),
        (json.dumps({"format": 1, "tokens": [ROW | {"sha256": 7}]}), "expected tokens with"),
    ],
)
def test_a_damaged_file_lets_nobody_in(tmp_path: Path, text: str, sentence: str) -> None:
    tokens = Tokens(tmp_path)
    tokens.path.write_text(text)
    assert tokens.required
    for _ in range(2):
        with pytest.raises(Emow2vError, match=sentence):
            tokens.find("x")
    with pytest.raises(Emow2vError, match=sentence):
        tokens.add("b")
    assert tokens.path.read_text() == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["format", "tokens", *ROW]) | st.text(), inner),
    max_leaves=8,
)
WORDS = ["a", "member", "", "2030-01-01", "2030-01-01T00:00:00+00:00"]
ROWS = st.fixed_dictionaries({name: st.sampled_from(WORDS) | JSON for name in ROW})


@given(st.binary() | JSON.map(lambda one: json.dumps(one).encode()) | st.lists(ROWS).map(
    lambda rows: json.dumps({"format": 1, "tokens": rows}).encode()
))  # fmt: skip
def test_any_file_is_read_or_refused_with_a_sentence(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tokens = Tokens(Path(folder))
        tokens.path.write_bytes(content)
        try:
            found = tokens.all()
        except Emow2vError as error:
            assert "is damaged" in str(error)
        else:
            assert all(one.state(NOW) in ("valid", "expired", "removed") for one in found)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read every file")
def test_a_file_of_another_account(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path)
    tokens.add("anna")
    tokens.path.chmod(0)
    with pytest.raises(Emow2vError, match="under the account that the work folder belongs to"):
        Tokens(tmp_path).find("x")


def test_a_work_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "work").touch()
    with pytest.raises(Emow2vError, match="is a file; expected a folder"):
        Tokens(tmp_path / "work").add("anna")


def test_two_changes_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    added: list[str] = []

    def add(name: str) -> None:
        try:
            added.append(Tokens(tmp_path).add(name) and name)
        except Emow2vError as error:
            assert "by another process; wait for it" in str(error)

    threads = [threading.Thread(target=add, args=(f"n{number}",)) for number in range(20)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert added and sorted(one.name for one in Tokens(tmp_path).all()) == sorted(added)
