import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

pytest.importorskip("sklearn")
pytest.importorskip("confidence_intervals")
pytest.importorskip("pyroomacoustics")

import model_card
from emow2v import cards
from emow2v.cli import main as cli
from emow2v.corpora.clip import Clip
from emow2v.evaluation.evaluate import evaluate
from emow2v.evaluation.figures import figures
from emow2v.model import Model


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for number in range(4):
        time = np.arange(20000) / 16000
        voice = np.sign(np.sin(2 * np.pi * (110 + 60 * number) * time)) * np.sin(2 * np.pi * 3 * time) ** 2
        soundfile.write(folder / f"{number}.wav", 0.1 * voice + 0.005 * rng.normal(size=time.size), 16000)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def results(lite: Model, recordings: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the two commands write, of a corpus too small to say anything."""
    folder = tmp_path_factory.mktemp("results")
    clips = [
        Clip(file, file.name, speaker=str(number // 2), emotion=("anger", "neutral")[number % 2],
             ratings=(0.2 * number, 0.5, 0.5 + 0.1 * number))
        for number, file in enumerate(recordings)
    ]  # fmt: skip
    for name in ("held-out", "other", "rated"):
        plain = {"command": f"emow2v evaluate --data {name}.csv", **figures(evaluate(lite, clips, draws=0))}
        (folder / f"{name}.json").write_text(json.dumps(plain))
    out = folder.parent / "robust"
    arguments = ["robustness", *map(str, recordings[:3]), "-o", str(out)]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    assert "simulated room" in result.output
    assert {path.name for path in out.iterdir()} == {"robustness.json", "robustness.md", "robustness.png"}
    (out / "robustness.json").replace(folder / "robustness.json")
    return folder


def test_every_figure_of_the_card_is_that_of_the_files(lite: Model, results: Path, tmp_path: Path) -> None:
    places = [tmp_path / "card.md", tmp_path / "docs" / "card.md"]
    package = lite.card.folder
    model_card.main(
        ["--package", str(package), "--results", str(results), "--beside", str(results)]
        + [text for place in places for text in ("-o", str(place))]
    )
    text = places[0].read_text(encoding="utf-8")
    assert text == places[1].read_text(encoding="utf-8")
    assert text.startswith(f"# lite {lite.card.version}\n") and "2024/1689" in text and "nEMO" in text
    held_out = json.loads((results / "held-out.json").read_text())
    value = f"{held_out['whole']['arousal']['ccc']['value']:.3f}".replace("0.", ".")  # as in reports of evaluate
    assert text.count(f"| {value}") >= 2
    robust = json.loads((results / "robustness.json").read_text())
    assert f"{robust['tests'][0]['unchanged']['arousal']:.1%}" in text and "emow2v evaluate --data held-out.csv" in text
    width = 0
    for row in text.splitlines():  # every row of a table has as many cells as its head
        if row.startswith("|"):
            assert row.count("|") == width or not width, row
            width = row.count("|")
        else:
            width = 0


def test_a_card_shows_spans_parts_and_the_calibration_beside_it(lite: Model, results: Path, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    shutil.copytree(results, folder)
    rated = json.loads((folder / "rated.json").read_text())
    rated["longer"] = {"windows_of_2_s": {"arousal": {"ccc": 0.4321}}, "turns": {"arousal": {"ccc": 0.5678}}}
    rated["groups"] = {"sex": {"female": {"arousal": rated["whole"]["arousal"]}, "male": {}}}
    step = {"from": 0.4, "to": 0.6, "rows": 3, "confidence": 0.5, "share_below": 0.7}
    for key in ("confidence", "confidence_of_windows"):
        rated[key] = {"arousal": {"rank_correlation": -0.3, "mean_absolute_error": [0.2] * 5, "surest_to_least_sure": 1.0,
                                  "below": 0.1, "reliability": [step]}}  # fmt: skip
    (folder / "rated.json").write_text(json.dumps(rated))
    (tmp_path / "docs").mkdir()
    places, picture = [tmp_path / "docs" / "card.md", tmp_path / "card.md"], tmp_path / "docs" / "sure.svg"
    arguments = ["--package", str(lite.card.folder), "--results", str(folder), "--picture", str(picture)]
    model_card.main(arguments + [text for place in places for text in ("-o", str(place))])
    beside, elsewhere = (place.read_text(encoding="utf-8") for place in places)
    assert "](sure.svg)" in beside and "](sure.svg)" not in elsewhere
    assert "| .432 | .568 |" in beside and "| rated | sex: female |" in beside
    drawn = picture.read_bytes()
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    model_card.main([*arguments, "-o", str(places[0])])
    assert picture.read_bytes() == drawn  # no date, no random names


def test_the_card_of_a_model_of_frames_has_its_reach_and_its_delay(lite: Model, results: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"0" * 2_000_000)
    (tmp_path / "readout.onnx").write_bytes(b"0" * 500_000)
    known = {**lite.card.details, "recipe": {"epochs": 1}}
    about = {
        "name": "frames", "version": "3", "description": "made", "citation": "none", "batch_samples": 256_000, "licence": "CC0-1.0", "sampling_rate": 16000, "graph": "model.onnx",
        "readout": "readout.onnx", "frame_hop": 640, "states": {"samples": [360]}, "delay": 13, "look_back": 64_000,
        "look_ahead": 8_000, "min_samples": 400, "max_samples": 1_600_000,
    }  # fmt: skip
    cards.write_card(tmp_path, {**known, **about})
    model_card.main(["--package", str(tmp_path), "--results", str(results), "-o", str(tmp_path / "card.md")])
    text = (tmp_path / "card.md").read_text(encoding="utf-8")
    for words in (
        "2.5 MB",
        "frames of 40 ms",
        "4.00 s before a frame",
        "0.50 s behind a frame; a live value is 0.52 s late",
    ):
        assert f" {words}" in text, words
    assert "emow2v.training.frames.recipe.FramesRecipe" in text


def test_results_that_are_none(tmp_path: Path, lite: Model) -> None:
    arguments = ["--package", str(lite.card.folder), "--results", str(tmp_path), "-o", str(tmp_path / "card.md")]
    with pytest.raises(SystemExit, match="holds no results"):
        model_card.main(arguments)
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(SystemExit, match="cannot be read"):
        model_card.main(arguments)


def test_command_of_robustness_names_what_it_cannot_read(recordings: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "text.wav"
    broken.write_text("no sound")
    result = CliRunner().invoke(cli.app, ["robustness", str(recordings[0]), str(broken), str(tmp_path / "none.wav")])
    assert result.exit_code == 1
    assert "text.wav was left out" in result.output and "none.wav does not exist" in result.output
    result = CliRunner().invoke(cli.app, ["robustness", str(tmp_path / "none.wav")])
    assert result.exit_code == 1 and "none.wav does not exist" in result.output
    result = CliRunner().invoke(cli.app, ["robustness", str(tmp_path / "*.mp3")])
    assert result.exit_code == 1 and "matches nothing" in result.output
