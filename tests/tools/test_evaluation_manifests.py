"""Manifests to measure `lite` with, as `emow2v evaluate` reads them."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

import evaluation_manifests
from emow2v.corpora.csv_manifest import read_manifest


def test_manifests_to_measure_with(tmp_path: Path) -> None:
    data = tmp_path / "corpora"
    rows = ["file,corpus,speaker,language,emotion,intensity,duration_s"]
    for name, corpus, speaker, emotion, intensity in (
        ("a.wav", "ravdess", "ravdess_22", "fear", "strong"),
        ("b.wav", "ravdess", "ravdess_01", "fear", "strong"),
        ("c.wav", "baved", "baved_0", "", "2"),
        ("d.wav", "emodb", "emodb_03", "boredom", ""),
        ("g.wav", "emodb", "emodb_08", "anger", ""),
        ("e.wav", "urdu", "urdu_SM1", "anger", ""),
        ("f.wav", "urdu", "urdu_unknown", "anger", ""),
    ):
        rows.append(f"{name},{corpus},{speaker},xx,{emotion},{intensity},1")
        (data / corpus).mkdir(parents=True, exist_ok=True)
        soundfile.write(data / name, np.zeros(16000), 16000)
    (data / "manifest.csv").write_text("\n".join(rows))
    (tmp_path / "ratings.csv").write_text("file,arousal,valence\nd.wav,20,40\ng.wav,85,15\n")
    evaluation_manifests.main(
        ["--data", str(data), "--ratings", str(tmp_path / "ratings.csv"), "-o", str(tmp_path / "manifests")]
    )
    held_out = read_manifest(tmp_path / "manifests" / "held-out.csv")
    assert [clip.speaker for clip in held_out] == ["ravdess_22", "baved_0"]
    assert held_out[0].ratings == pytest.approx((0.73, 0.569, 0.247)) and held_out[0].groups["sex"] == "female"
    assert np.isnan(held_out[1].ratings[1:]).all() and held_out[1].ratings[0] == 0.7
    emodb = read_manifest(tmp_path / "manifests" / "emodb.csv")
    assert emodb[0].emotion == "boredom" and emodb[0].groups["sex"] == "male" and np.isnan(emodb[0].ratings).all()
    urdu = read_manifest(tmp_path / "manifests" / "urdu.csv")
    assert [(clip.speaker, clip.groups["sex"]) for clip in urdu] == [("urdu_SM1", "male")]
    (rated,) = read_manifest(tmp_path / "manifests" / "rated.csv")  # the speaker by whom nothing is chosen
    assert rated.speaker == "emodb_08" and rated.ratings[::2] == (0.85, 0.15) and np.isnan(rated.ratings[1])
