"""Tables of many recordings; one by one, audformat and audinterface judge."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from emow2v.archive import tables
from emow2v.errors import AudioError, FramingError
from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE

audformat = pytest.importorskip("audformat")
audinterface = pytest.importorskip("audinterface")

STEP = Framing(frame_step_ms=500)
NAMES = ["a.wav", "sub/b.wav", "c.wav"]
SECONDS = dict(zip(NAMES, (2.5, 1.25, 3.0), strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings, c.wav in stereo, and one that is none."""
    folder = tmp_path_factory.mktemp("recordings")
    (folder / "sub").mkdir()
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    for number, (name, seconds) in enumerate(SECONDS.items()):
        part = signal[number * 16000 :][: int(seconds * rate)]
        soundfile.write(folder / name, np.stack([part, part / 2], axis=1) if name == "c.wav" else part, rate)
    (folder / "broken.wav").write_text("no sound")
    return folder


def test_a_table_holds_the_rows_of_each_file(lite: Model, folder: Path) -> None:
    paths = [folder / name for name in NAMES]
    table = lite.predict_files(paths, framing=STEP)
    audformat.assert_index(table.index)
    for path in paths:
        expected = lite.predict(path, framing=STEP).to_frame()
        got = table.loc[[str(path)]]
        assert got.index.equals(expected.index) and list(got.columns) == list(expected.columns)
        np.testing.assert_allclose(got, expected, atol=1e-6)
    assert list(dict.fromkeys(table.index.get_level_values("file"))) == [str(path) for path in paths]
    assert table.attrs["model"] == "lite" and table.attrs["errors"] == []


@pytest.mark.parametrize("one", [str, Path])
def test_one_path_is_a_list_of_one(lite: Model, folder: Path, one: Any) -> None:
    assert len(lite.predict_files(one(folder / "a.wav"), framing=STEP)) == 5


def test_one_file_may_have_many_segments(lite: Model, folder: Path) -> None:
    table = lite.predict_files(folder / "c.wav", [0, 1.5], [1, None], framing=STEP)
    assert table.index.get_level_values("start").total_seconds().tolist() == [0, 0.5, 1.5, 2, 2.5]


def test_a_value_of_a_segment_is_that_of_the_whole_recording(lite: Model, folder: Path) -> None:
    """Its window begins before the segment, as it does in the recording."""
    whole = lite.predict_files("c.wav", root=folder, framing=STEP)
    part = lite.predict_files("c.wav", 1, 2.5, root=folder, framing=STEP)
    assert part.index.equals(whole.index[2:5])
    np.testing.assert_allclose(part, whole.iloc[2:5], atol=1e-5)


def test_one_row_a_segment_is_what_audinterface_cuts_out(lite: Model, folder: Path) -> None:
    """audinterface reads and cuts the files, the model gets the samples."""
    index = audformat.segmented_index(
        [*NAMES, "a.wav"], ["0s", "0.25s", "1s", "1.4s"], [pd.NaT, "1.25s", "2.5s", "2.4s"]
    )
    judge = audinterface.Feature(
        ["arousal", "dominance", "valence"], process_func=lambda signal, rate: lite(signal, rate)["logits"][0]
    )
    expected = judge.process_index(index, root=str(folder))
    got = lite.predict_index(index, root=folder, unit="files", channel=1)  # audinterface takes the first
    assert got.index.equals(expected.index)
    np.testing.assert_allclose(got[["arousal", "dominance", "valence"]], expected, atol=2e-5)
    kept = lite.predict_index(index, root=folder, unit="files", preserve_index=True)
    assert kept.index is index or kept.index.equals(index)
    assert pd.isna(kept.index[0][2])


def test_a_filewise_index_is_its_files(lite: Model, folder: Path) -> None:
    index = audformat.filewise_index(NAMES)
    got = lite.predict_index(index, root=folder, unit="files")
    assert got.index.get_level_values("end").total_seconds().tolist() == list(SECONDS.values())
    kept = lite.predict_index(index, root=folder, unit="files", preserve_index=True)
    assert kept.index.equals(index)
    np.testing.assert_array_equal(kept, got)
    windows = lite.predict_index(index, root=folder, framing=STEP)
    assert windows.groupby(level="file").size().to_dict() == {"a.wav": 5, "sub/b.wav": 2, "c.wav": 6}


def test_embeddings_stand_beside_the_scores(lite: Model, folder: Path) -> None:
    table = lite.predict_files(NAMES[:2], root=folder, unit="files", embeddings=True)
    expected = np.concatenate([lite.predict(folder / name, unit="files").embeddings for name in NAMES[:2]])
    np.testing.assert_allclose(table.filter(like="embedding_"), expected, rtol=1e-4, atol=1e-5)
    assert list(table.columns[:4]) == ["arousal", "dominance", "valence", "confidence"]


def test_each_channel_has_its_rows(lite: Model, folder: Path) -> None:
    table = lite.predict_files("c.wav", root=folder, channel="each", unit="files")
    assert table["channel"].tolist() == ["left", "right"]
    for row, channel in enumerate(("left", "right")):
        expected = lite.predict(folder / "c.wav", channel=channel, unit="files").scores[0]
        np.testing.assert_allclose(table.iloc[row, :3].astype(float), expected, atol=1e-5)


# ----------------------------------------------------------------------------------------------------------------- errors


def test_the_first_error_is_raised(lite: Model, folder: Path) -> None:
    with pytest.raises(AudioError, match=r"broken\.wav"):
        lite.predict_files(["a.wav", "broken.wav"], root=folder, framing=STEP)
    with pytest.raises(AudioError, match=r"missing\.wav does not exist"):
        lite.predict_files("missing.wav", root=folder)


def test_skipped_files_are_told_and_listed(lite: Model, folder: Path) -> None:
    files = ["broken.wav", "a.wav", "missing.wav"]
    with pytest.warns(UserWarning, match=r"2 of 3 recordings failed and were left out.*broken\.wav") as told:
        table = lite.predict_files(files, [0.5, None, None], [1, None, None], root=folder, framing=STEP, errors="skip")
    assert told[0].filename == __file__
    assert set(table.index.get_level_values("file")) == {"a.wav"} and len(table) == 5
    listed = pd.DataFrame(table.attrs["errors"])
    assert listed[["row", "file", "start"]].to_numpy().tolist() == [[0, "broken.wav", 0.5], [2, "missing.wav", 0.0]]
    assert listed["end"][0] == 1.0 and "broken.wav" in listed["error"][0] and "does not exist" in listed["error"][1]


def test_a_preserved_index_leaves_out_what_was_skipped(lite: Model, folder: Path) -> None:
    index = audformat.filewise_index(["broken.wav", "a.wav"])
    with pytest.warns(UserWarning, match="1 of 2"):
        table = lite.predict_index(index, root=folder, unit="files", preserve_index=True, errors="skip")
    assert table.index.equals(index[1:])


def test_where_all_fail_the_table_is_empty(lite: Model, folder: Path) -> None:
    with pytest.warns(UserWarning, match="1 of 1 recording "):
        table = lite.predict_files("broken.wav", root=folder, errors="skip", embeddings=True)
    assert table.shape == (0, 4 + 1024) and table.index.names == ["file", "start", "end"]
    assert lite.predict_files([]).empty


def test_notices_are_listed_by_file(lite: Model, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "quiet.wav", np.zeros(16000), 16000)
    table = lite.predict_files("quiet.wav", root=tmp_path, framing=STEP)
    (notice,) = table.attrs["notices"]
    assert notice["file"] == "quiet.wav" and notice["notice"] == "It holds nothing but silence."


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"starts": [1, 2]}, "starts has 2 values for 3 files; expected one for all, or one for each"),
        ({"starts": -1}, "starts has -1; expected seconds from 0 on as a number, or a timedelta"),
        ({"ends": "1s"}, "ends has '1s'; expected seconds"),
        ({"ends": float("inf")}, "ends has inf"),
        ({"starts": True}, "starts has True"),
        ({"starts": 2, "ends": 1}, r"a\.wav: end \(1000 ms\) lies before start \(2000 ms\)"),
        ({"starts": 1, "framing": Framing(end_ms=500)}, "Both the framing and the segments"),
        ({"errors": "ignore"}, "errors is 'ignore'; expected raise or skip"),
        ({"unit": "clips", "errors": "skip"}, "unit is 'clips'"),
        ({"batch_size": 0, "errors": "skip"}, "batch_size is 0"),
        ({"framing": Framing(frame_step_ms=10, left_context_ms=0), "errors": "skip"}, "too short for lite"),
    ],
)
def test_what_fits_no_file_is_raised_at_once(lite: Model, folder: Path, options: Any, sentence: str) -> None:
    with pytest.raises(FramingError, match=sentence):
        lite.predict_files(NAMES, root=folder, **options)


def test_arrays_are_for_another_method(lite: Model) -> None:
    with pytest.raises(AudioError, match=r"files\[0\] is a ndarray; expected a path; predict_batch takes arrays"):
        lite.predict_files([np.zeros(16000)])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("index", "options", "sentence"),
    [
        (["a.wav"], {}, "The index is a list; expected a pandas.Index"),
        (pd.Index(["a.wav"]), {}, r"levels \[None\]; expected \['file'\], or"),
        (audformat.filewise_index(["a.wav"]), {"preserve_index": True}, "needs one row for each segment"),
        (audformat.filewise_index(["a.wav"]), {"preserve_index": True, "unit": "files", "channel": "each"}, "one channel"),
    ],
)  # fmt: skip
def test_another_index_is_refused(lite: Model, index: Any, options: Any, sentence: str) -> None:
    with pytest.raises(FramingError, match=sentence):
        lite.predict_index(index, **options)


# --------------------------------------------------------------------------------------------------------------- progress


def test_progress_counts_recordings(lite: Model, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Any] = []
    lite.predict_files(NAMES, root=folder, unit="files", progress=True, on_progress=lambda *counts: seen.append(counts))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert capsys.readouterr().out == ""  # a bar belongs to standard error


def test_a_progress_that_raises_stops_the_work(lite: Model, folder: Path) -> None:
    seen: list[int] = []

    def stop(done: int, expected: int | None) -> None:
        seen.append(done)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lite.predict_files(NAMES, root=folder, unit="files", on_progress=stop)
    assert seen == [1]


def test_one_recording_tells_its_rows(windows: Model, folder: Path) -> None:
    seen: list[Any] = []
    trajectory = windows.predict(
        folder / "a.wav", framing=STEP, batch_size=2, on_progress=lambda *counts: seen.append(counts)
    )
    assert seen == []
    trajectory.load()
    assert seen == [(2, 5), (4, 5), (5, 5)]


# ------------------------------------------------------------------------------------------------------------------ times


@given(st.integers(0, 10**16))
def test_a_time_keeps_its_nanosecond(nanoseconds: int) -> None:
    time = pd.Timedelta(nanoseconds, unit="ns")
    (segment,) = tables.segments_of_files("a.wav", time, None, None)
    assert segment.start == time and tables._milliseconds(time) * 10**6 == nanoseconds


@pytest.mark.parametrize(
    "half", [0.5, np.float32(0.5), pd.Timedelta("500ms"), np.timedelta64(500, "ms"), datetime.timedelta(seconds=0.5)]
)
def test_seconds_and_timedeltas_are_times(half: Any) -> None:
    (segment,) = tables.segments_of_files("a.wav", half, None, "folder")
    assert segment.times == {"start": 0.5, "end": None} and Path(segment.path) == Path("folder/a.wav")


@pytest.mark.parametrize("none", [None, pd.NaT, float("nan"), np.float64("nan"), np.timedelta64("NaT")])
def test_no_time_is_the_recordings_own(none: Any) -> None:
    (segment,) = tables.segments_of_files("a.wav", none, [none], None)
    assert segment.start is None and segment.end is None
