"""Partitions are drawn by whole speakers, and the same ones for the same seed."""

from collections import Counter
from pathlib import Path

import pytest

from emow2v.corpora.clip import Clip
from emow2v.corpora.partitions import split
from emow2v.corpora.read import read_corpus
from emow2v.errors import FormatError
from small_corpora import csv_corpus, stretch


def speakers(clips: list[Clip]) -> dict[str, set[str]]:
    """Of each partition."""
    found: dict[str, set[str]] = {}
    for clip in clips:
        found.setdefault(clip.partition, set()).add(clip.speaker)
    return found


def test_partitions_are_drawn_by_speakers_and_seed(tmp_path: Path) -> None:
    path = csv_corpus(tmp_path, speakers=20, clips=2)
    drawn = read_corpus("csv", path, scale="1:7", development_share=0.2, test_share=0.1)
    assert Counter(one.partition for one in drawn) == {"train": 28, "development": 8, "test": 4}
    found = speakers(drawn)
    assert not found["train"] & found["development"] and not found["test"] & (found["train"] | found["development"])
    assert drawn == read_corpus("csv", path, scale="1:7", development_share=0.2, test_share=0.1)
    others = [read_corpus("csv", path, scale="1:7", seed=seed) for seed in (2, 3)]
    assert speakers(others[0])["test"] != speakers(others[1])["test"]
    none = read_corpus("csv", path, scale="1:7", test_share=0, development_share=0)
    assert {one.partition for one in none} == {"train"}


def test_development_is_drawn_from_train_alone(tmp_path: Path) -> None:
    clips = read_corpus("csv", csv_corpus(tmp_path, speakers=10, partitions=["train", "test"]), scale="1:7")
    found = speakers(clips)
    assert found["test"] == {"s1", "s3", "s5", "s7", "s9"}
    assert found["development"] < {"s0", "s2", "s4", "s6", "s8"} and found["train"] and found["development"]


def test_a_speaker_with_most_of_the_clips_stays_in_train() -> None:
    many = [stretch(Path("a"), k, k + 1, "loud", "") for k in range(90)]
    few = [stretch(Path("b"), k, k + 1, f"s{k}", "") for k in range(10)]
    for seed in range(10):
        assert {one.partition for one in split(many + few, seed=seed) if one.speaker == "loud"} == {"train"}


def test_what_nobody_named_is_told_apart_by_files() -> None:
    clips = [stretch(Path(f"{k % 5}.wav"), k, k + 1, "", "") for k in range(20)]
    parts = split(clips, development_share=0.2, test_share=0.2)
    assert len({(one.file, one.partition) for one in parts}) == 5


def test_too_few_speakers_to_draw_from(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="No speaker can be set apart from 1"):
        read_corpus("csv", csv_corpus(tmp_path, speakers=1), scale="1:7")
