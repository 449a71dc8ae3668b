"""Whatever a server answers becomes a value, or one of our errors."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emow2v.client import answers
from emow2v.client.events import Events

pytestmark = pytest.mark.quick

JOB = {"id": "a", "name": "talk.wav", "state": "finished"}
ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=8,
)
NAMES = "id name state kind rows expected_rows position posted started ended error model provenance owner notices files".split()
COLUMNS = ["start", "end", "arousal", "dominance", "valence", "confidence", "speech", "speaker", "tier", "label", "n"]
TABLES = st.fixed_dictionaries(
    {"columns": st.one_of(ANY, st.permutations(COLUMNS), st.just(COLUMNS[:6]))},
    optional={
        "rows": st.one_of(ANY, st.lists(st.lists(ANY, min_size=6, max_size=6), max_size=3)),
        "provenance": ANY,
        "file": ANY,
    },
)
READ: list[tuple[Callable[[Any], Any], st.SearchStrategy[Any]]] = [
    (answers.read_job, st.one_of(ANY, st.dictionaries(st.sampled_from(NAMES), ANY).map(lambda more: JOB | more))),
    (answers.read_model, ANY),
    (answers.read_citation, ANY),
    (answers.read_list, ANY),
    (answers.read_object, ANY),
    (
        answers.read_recordings,
        st.one_of(
            ANY,
            st.fixed_dictionaries(
                {
                    "files": st.lists(
                        st.dictionaries(st.sampled_from(["number", "name", "state", "rows", "notices"]), ANY)
                    )
                }
            ),
        ),
    ),
    (lambda body: answers.read_result(body, answers.read_job(JOB), None), st.one_of(ANY, TABLES)),
]


@pytest.mark.parametrize(("read", "bodies"), READ, ids=lambda one: getattr(one, "__name__", ""))
def test_odd_answers(read: Callable[[Any], Any], bodies: st.SearchStrategy[Any]) -> None:
    @given(bodies)
    def one(body: Any) -> None:
        try:
            hash(read(body)) if read is answers.read_job else read(body)
        except answers.Unfit as error:
            assert str(error)

    one()


@given(st.binary(max_size=200))
def test_odd_arrays(content: bytes) -> None:
    table = {"columns": COLUMNS[:6], "rows": []}
    with pytest.raises(answers.Unfit):
        answers.read_result(table, answers.read_job(JOB), content)


@given(
    st.lists(
        st.one_of(st.binary(max_size=20), st.sampled_from([b"data: {", b"}\n\n", b"\r\n", b"data", b":", b"\xff"]))
    )
)
def test_odd_events(pieces: list[bytes]) -> None:
    events, whole = Events(), Events()
    found = [event for piece in pieces for event in events.add(piece)]
    assert found == [*whole.add(b"".join(pieces))] or b"\r" in b"".join(pieces)


def test_an_event_in_any_two_pieces() -> None:
    text = 'data: {"a": "ä"}\r\n\r\n: x\n\ndata: [1,\ndata: 2]\n\n'.encode()
    for at in range(len(text)):
        events = Events()
        assert [*events.add(text[:at]), *events.add(text[at:])] == [{"a": "ä"}, [1, 2]]
