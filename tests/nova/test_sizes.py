from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emow2v.errors import DatabaseError
from emow2v.nova.sizes import MAX_BYTES, check_continuous, continuous_bytes, most_values

bson = pytest.importorskip("bson", reason="pymongo is not installed")


@given(st.integers(0, 12_345))
def test_the_bytes_are_those_that_bson_takes(count: int) -> None:
    document = {"_id": bson.ObjectId(), "labels": [{"score": 0.25, "conf": 1.0}] * count}
    assert continuous_bytes(count) == len(bson.encode(document))


def test_the_largest_annotation_fits_and_one_value_more_does_not() -> None:
    most = most_values()
    labels = [{"score": 0.25, "conf": 1.0}] * most
    assert len(bson.encode({"_id": bson.ObjectId(), "labels": labels})) <= MAX_BYTES
    labels.append(labels[0])
    assert len(bson.encode({"_id": bson.ObjectId(), "labels": labels})) > MAX_BYTES


def test_a_longer_annotation_is_refused_with_the_time_that_fits() -> None:
    check_continuous("arousal", most_values(), Fraction(25))
    with pytest.raises(DatabaseError, match=r"450000 values, 17\.\d MiB.*4 h 28 min at 25 Hz; choose a scheme"):
        check_continuous("arousal", 450_000, Fraction(25))
