"""Turns: the values that their sound has by itself, or the mean of those inside, whatever overlaps and however it is cut."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from emow2v.audio import recording as audio
from emow2v.errors import AudioError, FormatError, FramingError
from emow2v.framing import Framing
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.prediction.turn_values import WholeTurns
from emow2v.speech.segments import Segment, Segmentation, Tier
from emow2v.speech.turns import turns as turns_of
from said import frame_s, speech_frames

DURATION = 12.8615
TURNS = (
    Segment(0.5, 2.5, "Anna", "VP", "hello"),
    Segment(2.0, 5.25, "Bob", "IV", 'say "x", y'),
    Segment(2.0, 2.01, "Bob", "IV", "too short"),
    Segment(4.0, 4.3, "Anna", "VP"),
    Segment(0.0, 12.0, "", "both", "longer than the model takes"),
    Segment(12.8, 99.0, "Anna", "VP", "reaches over the end"),
    Segment(13.0, 14.0, "Anna", "VP", "behind the end"),
)


def segmentation(*segments: Segment) -> Segmentation:
    return Segmentation(segments or TURNS, "CSV", tuple(map(Tier, ("VP", "IV", "both"))), source=Path("talk.csv"))


def table(trajectory) -> pd.DataFrame:
    frame = trajectory.to_frame().reset_index()
    for edge in ("start", "end"):
        frame[edge] = frame[edge].dt.total_seconds()
    return frame


def test_a_turn_has_the_value_that_its_sound_has_by_itself(lite: Model) -> None:
    trajectory = lite.predict_turns(EXAMPLE, segments=segmentation())
    rows = table(trajectory)
    expected = sorted(TURNS[:-1], key=lambda one: (one.start, one.end))
    assert rows["start"].tolist() == [one.start for one in expected]
    assert rows["end"].tolist() == [min(one.end, DURATION) for one in expected]
    for column in ("speaker", "tier", "label"):
        assert rows[column].tolist() == [getattr(one, column) for one in expected]
    for one, row, embedding in zip(expected, rows.itertuples(), trajectory.embeddings, strict=True):
        if one.label == "too short":
            assert row.n == 0 and np.isnan([row.arousal, row.dominance, row.valence]).all()
            continue
        framing = Framing.files(start_ms=one.start * 1000, end_ms=min(one.end, DURATION) * 1000)
        alone = lite.predict(EXAMPLE, framing=framing).load()
        assert row.n == 1
        np.testing.assert_allclose([row.arousal, row.dominance, row.valence], alone.scores[0], atol=2e-6)
        np.testing.assert_allclose(embedding, alone.embeddings[0], atol=2e-4)


def test_the_share_of_speech_is_that_of_the_frames_in_the_turn(lite: Model) -> None:
    frames = speech_frames(lite, EXAMPLE) >= 0.5
    found = segmentation(
        Segment(0.0, 0.64), Segment(0.64, 1.6), Segment(2.88, 6.4)
    )  # ends of frames of 32 ms and of 40 ms
    rows = table(lite.predict_turns(EXAMPLE, segments=found))
    for row in rows.itertuples():
        assert row.speech == pytest.approx(
            frames[round(row.start / frame_s(lite)) : round(row.end / frame_s(lite))].mean(), abs=1e-6
        )


@pytest.mark.parametrize("context", ["window", "shared"])
def test_pooled_values_are_those_whose_window_lies_in_the_turn(lite: Model, context: str) -> None:
    if context == "shared" and lite.card.one_pass:
        pytest.skip("a model of frames has no other context")
    rows = table(lite.predict_turns(EXAMPLE, segments=segmentation(), pool=True, context=context))
    values = lite.predict(EXAMPLE, speech=True, context=context).load()
    starts = np.round(values.starts * 1000).astype(int)
    for row in rows.itertuples():
        begin, end = round(row.start * 1000), round(row.end * 1000)
        inside = (starts - 960 >= begin) & (starts + 40 <= end)
        spoken = inside & (values.speech >= 0.5)
        steps = np.flatnonzero((starts >= begin) & (starts + 40 <= end))
        choices = (np.flatnonzero(spoken), np.flatnonzero(inside), steps[-1:])
        chosen = next((one for one in choices if one.size), steps)
        assert row.n == len(chosen)
        if len(chosen):
            mean = values.scores[chosen].mean(axis=0, dtype=float)
            np.testing.assert_allclose([row.arousal, row.dominance, row.valence], mean, atol=1e-6)
    assert rows["n"].max() > 50 and (rows["n"] == 1).any() and (rows["n"] == 0).any()


def test_without_a_file_turns_are_those_of_the_detector(lite: Model) -> None:
    frames = speech_frames(lite, EXAMPLE)
    for options in ({}, {"shortest_turn_ms": 500, "longest_turn_ms": 3000, "bridged_pause_ms": 100}):
        rows = table(lite.predict_turns(EXAMPLE, **options))
        expected = turns_of(frames, **options, duration_s=DURATION, frame_ms=1000 * frame_s(lite))
        np.testing.assert_allclose(rows[["start", "end"]].to_numpy(), expected)
        assert rows["valence"].notna().all() and (rows["speech"] > 0.4).all()


def test_a_tier_can_be_tied_to_a_channel(lite: Model, tmp_path: Path) -> None:
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    left, right = signal[: 5 * rate], signal[6 * rate : 11 * rate]
    path = tmp_path / "talk.wav"
    soundfile.write(path, np.stack([left, right], axis=1), rate, subtype="FLOAT")
    (tmp_path / "talk.csv").write_text("start,end,tier\n0.5,2.5,VP\n1,3,IV\n2,4,both\n")
    found = lite.predict_turns(path, segments=tmp_path / "talk.csv", tiers=["VP=left", "IV=right", "both"])
    rows = table(found).set_index("tier")
    sounds = {"VP": (left, 0.5, 2.5), "IV": (right, 1, 3), "both": ((left + right) / 2, 2, 4)}
    assert list(rows.index) == list(sounds)
    for tier, (sound, start, end) in sounds.items():
        part = Framing.files(start_ms=start * 1000, end_ms=end * 1000)
        alone = lite.predict(sound, rate, framing=part).load()
        np.testing.assert_allclose(rows.loc[tier, ["arousal", "dominance", "valence"]], alone.scores[0], atol=1e-5)
    assert found.provenance["turns_channels"] == "VP=left, IV=right"

    each = lite.predict_channels(path, turns=True, segments=tmp_path / "talk.csv", tiers=["VP=left", "IV=2", "both"])
    frames = [table(one) for one in each]
    assert [frame["tier"].tolist() for frame in frames] == [["VP", "both"], ["IV", "both"]]
    assert [set(frame["channel"]) for frame in frames] == [{"left"}, {"right"}]
    np.testing.assert_allclose(frames[1]["valence"][0], rows.loc["IV", "valence"], atol=1e-6)


def test_many_turns_take_one_pass_over_the_sound(lite: Model, monkeypatch) -> None:
    passes = []
    monkeypatch.setattr(audio.Recording, "__iter__", lambda self: passes.append(self.name) or self._blocks)
    found = segmentation(*(Segment(k / 10, k / 10 + 0.3) for k in range(100)))
    assert len(lite.predict_turns(EXAMPLE, segments=found).starts) == 100
    assert len(passes) == 1


def test_turns_come_while_the_recording_is_read(lite: Model) -> None:
    signal, rate = soundfile.read(EXAMPLE, dtype="float32")
    found = segmentation(*(Segment(k, k + 0.8) for k in range(60)))
    seen = []
    trajectory = lite.predict_turns(
        np.tile(signal, 5), rate, segments=found, on_progress=lambda rows, expected: seen.append((rows, expected))
    )
    firsts = [(block.first, len(block)) for block in trajectory]
    assert [first for first, _ in firsts] == np.cumsum([0, *(count for _, count in firsts[:-1])]).tolist()
    assert len(firsts) > 5 and seen[-1] == (60, 60) and seen[0][0] < 10


def test_pieces_of_turns_hold_every_sample_once() -> None:
    """However the sound is cut into blocks, a turn's pieces are its samples (a model that returns what it gets)."""

    class Engine:
        parallel_batches = 2

        @staticmethod
        def run_parallel(windows):
            total = windows.astype(np.float64).sum(axis=1, keepdims=True) / windows.shape[1]
            return total, total, None

    class Card:
        sampling_rate, max_samples, min_samples = 1000, 64, 5

    class Computation:
        engine, card = Engine, Card

    rng = np.random.default_rng(0)
    signal = rng.normal(size=3000).astype(np.float32)
    for _ in range(30):
        starts = np.sort(rng.integers(0, 2900, 20)) / 1000
        spans = [(start, start + rng.integers(1, 65) / 1000) for start in starts]
        cuts = np.sort(rng.integers(0, 3000, rng.integers(0, 40)))
        values = {
            turn: (outputs, count)
            for turn, outputs, count in WholeTurns(Computation, spans, lambda: None).values(np.split(signal, cuts))
        }
        assert sorted(values) == list(range(20))
        for turn, (start, end) in enumerate(spans):
            part = signal[round(start * 1000) : round(end * 1000)]
            outputs, count = values[turn]
            if part.size < 5:
                assert outputs is None and count == 0
            else:
                assert outputs[1][0, 0] == pytest.approx(part.astype(float).mean(), abs=1e-6)


def test_a_stream_is_read_once_with_a_file_and_refused_without(lite: Model) -> None:
    content = EXAMPLE.read_bytes()
    rows = table(lite.predict_turns(io.BytesIO(content), segments=segmentation(TURNS[0])))
    expected = table(lite.predict_turns(EXAMPLE, segments=segmentation(TURNS[0])))
    np.testing.assert_allclose(rows["valence"], expected["valence"], atol=1e-6)
    with pytest.raises(AudioError, match="two passes"):
        lite.predict_turns(io.BytesIO(content))


def test_what_is_wrong_with_turns_is_said(lite: Model, tmp_path: Path) -> None:
    trajectory = lite.predict_turns(EXAMPLE, segments=segmentation()).load()
    assert any("1 turn outside is left out and 1 turn is cut" in notice for notice in trajectory.notices)
    assert any("1 turn has no value, being shorter than 0.025 s" in notice for notice in trajectory.notices)
    assert any("begins before an earlier" in notice for notice in trajectory.notices)
    with pytest.raises(FormatError, match="no turn within"):
        lite.predict_turns(EXAMPLE, segments=segmentation(Segment(20, 21))).load()
    with pytest.raises(AudioError, match="nobody speaks"):
        lite.predict_turns(np.zeros(32000), 16000).load()
    with pytest.raises(FramingError, match="times of their own"):
        lite.predict_turns(EXAMPLE, pool=True, framing=Framing(start_ms=100))
    with pytest.raises(FramingError, match="shares no context"):
        lite.predict_turns(EXAMPLE, context="shared")
    with pytest.raises(FormatError, match="has no tier 'XX'"):
        (tmp_path / "a.csv").write_text("start,end,tier\n0,1,VP\n")
        lite.predict_turns(EXAMPLE, segments=tmp_path / "a.csv", tiers=["XX"])


def test_tables_hold_turns(lite: Model, tmp_path: Path) -> None:
    trajectory = lite.predict_turns(EXAMPLE, segments=segmentation()).load()
    for ending in ("csv", "json", "ndjson"):
        trajectory.save(tmp_path / f"talk.{ending}")
    rows = pd.read_csv(tmp_path / "talk.csv", keep_default_na=False, na_values={"valence": ["null"]})
    columns = [
        "start",
        "end",
        "speaker",
        "tier",
        "label",
        "arousal",
        "dominance",
        "valence",
        "confidence",
        "n",
        "speech",
    ]
    assert list(rows.columns) == ["file", *columns]
    assert rows["label"].tolist() == list(trajectory.to_frame()["label"])
    document = json.loads((tmp_path / "talk.json").read_text("utf-8"))
    lines = [json.loads(line) for line in (tmp_path / "talk.ndjson").read_text("utf-8").splitlines()[1:]]
    assert document["columns"] == columns == list(lines[0])
    assert document["rows"] == [list(line.values()) for line in lines]
    np.testing.assert_allclose([line["valence"] or np.nan for line in lines], trajectory.scores[:, 2], atol=1e-6)
    np.testing.assert_allclose(rows["valence"], trajectory.scores[:, 2], atol=1e-6)
    assert document["provenance"]["turns_from"] == "talk.csv (CSV)"
