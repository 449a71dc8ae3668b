"""Labels of Audacity, with frequencies and points."""

from pathlib import Path

import pytest

from emow2v.speech.segments import Tier
from segmentations import read, refusal, times, try_beginnings

pytestmark = pytest.mark.quick

LABELS = "0.500000\t1.750000\tAnna, \tja\n\\\t100.0\t2000.0\n1,75\t2,5\t\n3.0\t3.0\tding\r\n"


def test_labels_frequencies_and_points(tmp_path: Path) -> None:
    found = read(tmp_path, "talk.txt", LABELS)
    assert times(found) == [
        (0.5, 1.75, "", "labels", "Anna, \tja"), (1.75, 2.5, "", "labels", ""), (3, 3, "", "points", "ding"),
    ]  # fmt: skip
    assert found.tiers == (Tier("labels"), Tier("points", points=True))
    assert [one.label for one in read(tmp_path, "talk.txt", LABELS, tiers=[]).segments] == ["Anna, \tja", ""]


def test_every_beginning(tmp_path: Path) -> None:
    read_, refused = try_beginnings(tmp_path, "talk.txt", LABELS.encode())
    assert read_ > 40 and refused > 20
    assert refusal(tmp_path, "talk.txt", LABELS + "Ende").startswith("line 5 is 'Ende'; expected start, end and label")
