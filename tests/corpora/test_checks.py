"""What is wrong with a corpus is found before a training begins."""

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from emow2v.corpora import report
from emow2v.corpora.checks import CheckedCorpus, check
from emow2v.corpora.clip import Clip
from emow2v.corpora.csv_manifest import read_manifest
from emow2v.corpora.read import read_corpus
from emow2v.errors import FormatError
from small_corpora import RATE, csv_corpus, stretch, write_noise

NAN = math.nan
Clips = list[Clip]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return csv_corpus(tmp_path_factory.mktemp("corpus"), speakers=6, partitions=["train", "train", "dev", "test"])


@pytest.fixture
def corpus(folder: Path) -> Clips:
    """Six speakers, four clips each of 0.5 to 0.8 s."""
    return read_corpus("csv", folder, scale="1:7")


def reasons(checked: CheckedCorpus) -> list[str]:
    return [one.reason for one in checked.skipped]


@pytest.mark.parametrize("thorough", [False, True])
def test_a_sound_corpus(corpus: Clips, thorough: bool) -> None:
    looked = []
    checked = check(corpus, thorough=thorough, on_file=looked.append)
    assert checked.clips == tuple(corpus) and not checked.skipped and not checked.problems
    np.testing.assert_allclose(checked.durations, [0.5, 0.6, 0.7, 0.8] * 6)
    assert looked == [clip.file for clip in corpus]


def test_durations_are_those_of_stretches(tmp_path: Path, corpus: Clips) -> None:
    file = write_noise(tmp_path / "long.wav", 3.0, rate=44100)
    parts = [stretch(file, *times) for times in ((0, 1.5), (1.5, None), (2.9, None))]
    checked = check([*corpus, *parts])
    np.testing.assert_allclose(checked.durations[-3:], [1.5, 1.5, 0.1])
    late = check([*corpus, replace(parts[0], end=4.0)])
    assert late.durations[-1] == 3.0 and any("1 clips end after their recording" in told for told in late.problems)


def test_what_cannot_be_used_is_left_out_and_named(tmp_path: Path, corpus: Clips) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("this is no sound\n" * 99)
    good = write_noise(tmp_path / "good.wav", 2.0)
    bad = [
        stretch(tmp_path / "empty.wav", 0, None),
        stretch(tmp_path / "text.wav", 0, None),
        stretch(good, 2.5, 3.0),
        stretch(good, 1.95, None),
        stretch(good, 0, 1.0, ratings=(NAN, NAN, NAN)),
        stretch(good, 1.0, 1.5),
        stretch(good, 1.0, 1.5, ratings=(0.1, NAN, NAN)),
    ]
    checked = check([*bad, *corpus])
    assert checked.clips == (bad[5], *corpus)
    assert reasons(checked) == ["corrupt"] * 2 + ["beyond its recording", "short", "without labels", "duplicate"]
    sentences = [one.sentence for one in checked.skipped]
    assert "is empty (0 bytes)" in sentences[0] and "begins after the recording's 2.00 s" in sentences[2]
    assert "lasts 0.050 s; expected 0.1 s or more" in sentences[3] and "with other labels" in sentences[5]
    told = report.skipped_by_reason(checked)
    assert told.startswith("6 of 31 clips are left out: 2 corrupt, 1 beyond its recording, 1 short")


def test_silence_and_damage_are_heard(tmp_path: Path, corpus: Clips) -> None:
    rng = np.random.default_rng(0)
    half = np.concatenate([rng.normal(scale=0.1, size=RATE), np.full(RATE, 0.25) + rng.normal(scale=1e-5, size=RATE)])
    soundfile.write(tmp_path / "half.flac", half, RATE)
    data = write_noise(tmp_path / "whole.mp3", 4.0).read_bytes()
    (tmp_path / "damaged.mp3").write_bytes(data[: len(data) // 2] + b"\xa5" * 2000 + data[len(data) // 2 + 2000 :])
    (tmp_path / "ends early.mp3").write_bytes(data[: len(data) // 2])
    more = [
        stretch(tmp_path / "half.flac", 0, 1.0),
        stretch(tmp_path / "half.flac", 1.0, None),  # a loud offset is no sound
        stretch(tmp_path / "damaged.mp3", 0, None),
        stretch(tmp_path / "ends early.mp3", 0, None),
    ]
    assert not check([*corpus, *more]).skipped  # headers tell nothing
    checked = check([*corpus, *more], thorough=True)
    assert [(one.clip, one.reason) for one in checked.skipped] == [(more[1], "silent"), (more[2], "corrupt")]
    (problem,) = checked.problems
    assert "1 recordings end before their headers say so" in problem and problem.endswith("s and not 4.00 s.")


def test_copies_are_heard(tmp_path: Path, corpus: Clips) -> None:
    copy = tmp_path / "copy.wav"
    copy.write_bytes(corpus[0].file.read_bytes())
    checked = check([*corpus, replace(corpus[0], file=copy, speaker="s2", partition="development")], thorough=True)
    (problem,) = checked.problems
    assert "1 clips sound exactly as another does, 1 of them as one of another partition" in problem


def move(corpus: Clips, number: int, **changes: object) -> Clips:
    """One clip changed."""
    return [replace(one, **changes) if index == number else one for index, one in enumerate(corpus)]  # type: ignore[arg-type]


def test_missing_files(tmp_path: Path, corpus: Clips) -> None:
    lacking = move(corpus, 3, file=tmp_path / "gone.wav")
    with pytest.raises(FormatError, match=r"1 of 24 files do not exist, such as .*gone.wav.*allow missing-files"):
        check(lacking)
    checked = check(lacking, allow=["missing-files"])
    assert reasons(checked) == ["missing"] and len(checked.clips) == 23
    nowhere = [replace(one, file=tmp_path / one.file.name) for one in corpus]
    with pytest.raises(FormatError, match="24 of 24 files do not exist"):
        check(nowhere, allow=["missing-files"])


@pytest.mark.parametrize("value", [1.125, -0.01, math.inf])
def test_labels_outside_their_scale(corpus: Clips, value: float) -> None:
    wrong = move(corpus, 0, ratings=(0.5, value, 0.5))
    with pytest.raises(FormatError, match=r"1 of 72 labels are outside their scale, such as dominance .*s0_0.wav"):
        check(wrong)
    checked = check(wrong, allow=["outside-scale"])
    assert checked.clips[0].ratings == pytest.approx((0.5, NAN, 0.5), nan_ok=True)
    assert any("taken as unknown" in told for told in checked.problems)
    assert any("15 of 16 of the clips in train have a label of dominance" in told for told in checked.problems)


def test_speakers_in_two_partitions(corpus: Clips) -> None:
    shared = move(corpus, 0, partition="test")
    with pytest.raises(FormatError, match="1 speakers are in train and test, such as s0; expected each in one"):
        check(shared)
    assert any("look better" in told for told in check(shared, allow={"shared-speakers"}).problems)


def test_partitions_without_speakers(corpus: Clips) -> None:
    nameless = [replace(one, speaker="") if one.partition == "development" else one for one in corpus]
    with pytest.raises(FormatError, match=r"No speaker is known in development.*allow unknown-speakers"):
        check(nameless)
    assert check(nameless, allow=["unknown-speakers"]).problems
    (told,) = check(move(corpus, 0, speaker="")).problems
    assert told == "The speakers of 1 of 16 clips in train are unknown."


def test_partitions_without_clips(corpus: Clips) -> None:
    for name in ("train", "development"):
        with pytest.raises(FormatError, match=f"No usable clip is in {name}"):
            check([one for one in corpus if one.partition != name])
    (told,) = check([one for one in corpus if one.partition != "test"]).problems
    assert told.startswith("No clip is in test")
    with pytest.raises(FormatError, match="No usable clip is in train"):
        check([])
    with pytest.raises(FormatError, match=r"None of the 24 clips can be used; the first: .*has no label"):
        check([replace(one, ratings=(NAN, NAN, NAN)) for one in corpus])
    with pytest.raises(FormatError, match="'dev' is no partition"):
        check(move(corpus, 0, partition="dev"))


def test_stretches_in_two_partitions(tmp_path: Path, corpus: Clips) -> None:
    file = write_noise(tmp_path / "long.wav", 4.0)
    parts = [
        stretch(file, 0, 3.0, "s0", "train"),
        stretch(file, 0.5, 1.0, "s0", "train"),
        stretch(file, 3.0, 4.0, "s2", "development"),
    ]
    (told,) = check([*corpus, *parts]).problems
    assert told.startswith("1 clips overlap with others")
    with pytest.raises(FormatError, match=r"long.wav from 2.9 s is in development and overlaps with what is in train"):
        check([*corpus, *parts[:2], replace(parts[2], start=2.9)])


def test_labels_that_teach_nothing(corpus: Clips) -> None:
    flat = [replace(one, ratings=(one.ratings[0], 0.5, NAN)) for one in corpus]
    problems = check(flat).problems
    assert "All labels of dominance in train are 0.5: there is no difference to learn or to measure." in problems
    assert "None of the clips in development have a label of valence." in problems


def test_what_can_be_allowed_is_told(corpus: Clips) -> None:
    with pytest.raises(FormatError, match="'everything' cannot be allowed; expected some of missing-files, outside"):
        check(corpus, allow=["everything"])


def test_a_check_can_be_stopped(corpus: Clips) -> None:
    def stop(file: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(corpus, on_file=stop)


def test_report(tmp_path: Path, corpus: Clips) -> None:
    silent = tmp_path / "silent | odd.wav"
    soundfile.write(silent, np.zeros(RATE), RATE)
    extra = [stretch(silent, k / 100, None) for k in range(30)]
    checked = check([*corpus, *extra], thorough=True)
    paths = report.write(checked, tmp_path / "run")
    assert [path.name for path in paths] == ["corpus.json", "corpus.md", "corpus.csv"]
    figures = json.loads(paths[0].read_text())
    train = figures["partitions"]["train"]
    assert (train["segments"], train["speakers"], train["speaker_unknown"]) == (16, 4, 0)
    assert train["seconds"] == {"min": 0.5, "median": 0.65, "max": 0.8}
    assert train["hours"] == pytest.approx(16 * 0.65 / 3600, abs=1e-4)
    targets = np.array([one.ratings for one in checked.clips if one.partition == "train"])
    assert train["labels"]["arousal"]["mean"] == pytest.approx(targets[:, 0].mean(), abs=1e-4)
    assert sum(train["labels"]["valence"]["histogram"]) == train["labels"]["valence"]["known"] == 16
    assert len(figures["skipped"]) == 30 and figures["skipped"][0]["reason"] == "silent"
    text = paths[1].read_text()
    assert "30 of 54 clips are left out: 30 silent." in text and "* and 10 more, all named in corpus.json" in text
    console = Console(record=True, width=200, file=io.StringIO())
    report.show(checked, console)
    shown = console.export_text()
    assert "development" in shown and "0.65 s" in shown and "30 silent" in shown


def test_a_checked_corpus_is_one_that_evaluate_reads(tmp_path: Path, corpus: Clips) -> None:
    part = stretch(write_noise(tmp_path / "ü, 1.wav", 2.0), 0.1, 1.7, ratings=(1 / 3, NAN, 1.0))
    checked = check([*corpus, part])
    _, _, path = report.write(checked, tmp_path / "run")
    again = [replace(one, name="") for one in read_corpus("csv", path)]  # names are whole paths there
    assert repr(again) == repr([replace(one, name="") for one in checked.clips])
    clips = read_manifest(path, only={"partition": ["test"]})
    assert [(clip.speaker, clip.file) for clip in clips] == [("s3", one.file) for one in corpus[12:16]]


def test_a_report_without_a_test_partition(tmp_path: Path, corpus: Clips) -> None:
    checked = check([replace(one, ratings=(one.ratings[0], NAN, NAN)) for one in corpus if one.partition != "test"])
    figures = report.figures(checked)
    assert figures["partitions"]["test"]["segments"] == 0
    assert figures["partitions"]["train"]["labels"]["valence"] == {"known": 0}
    assert "| test | 0 | 0 | 0.00 | - | - | - | - | - | - |" in report.markdown(checked)
