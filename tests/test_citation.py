"""Methods paragraphs and references, from the provenance of real results."""

import json
import re
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import emow2v
from emow2v import cards, citation
from emow2v.cli import main
from emow2v.errors import FormatError
from emow2v.formats.table_read import read_provenance
from emow2v.modelstore.verify import EXAMPLE
from emow2v.speech.segments import Segment, Segmentation

runner = CliRunner()


@pytest.fixture(scope="module")
def model() -> emow2v.Model:
    return emow2v.load("lite")


@pytest.fixture
def trajectory(model: emow2v.Model) -> emow2v.Trajectory:
    return model.predict(np.sin(np.arange(32000, dtype=np.float32) / 20), 16000)


def test_the_paragraph_names_what_a_reader_needs(model: emow2v.Model) -> None:
    paragraph = citation.methods(model.provenance(emow2v.Framing()))
    made = f"emow2v {emow2v.__version__} (model lite {cards.find('lite').version}, OpenVINO {version('openvino')[:6]}"
    assert made in paragraph
    assert "float32" in paragraph
    assert "Each value describes 1 s of sound: its own step of 40 ms, 960 ms before and 0 ms after" in paragraph
    assert "every 40 ms" in paragraph
    assert "one channel" in paragraph


@pytest.mark.parametrize(
    ("framing", "sentence"),
    [
        (emow2v.Framing(frame_step_ms=500, left_context_ms=1500, right_context_ms=1000), "describes 3 s of sound"),
        (emow2v.Framing.files(), "Each recording got one value."),
        (emow2v.Framing(start_ms=90_000, end_ms=120_000), "The part from 90 s to 120 s was used."),
        (emow2v.Framing(start_ms=Fraction(500)), "The part from 500 ms to its end was used."),
    ],
)
def test_windows_and_stretches(model: emow2v.Model, framing: emow2v.Framing, sentence: str) -> None:
    assert sentence in citation.methods(model.provenance(framing))


def test_a_channel_that_was_chosen_is_named(model: emow2v.Model) -> None:
    facts = {**model.provenance(emow2v.Framing()), "channel": "left"}
    assert "reduced to one channel (left)" in citation.methods(facts)


def test_shared_context_is_named(model: emow2v.Model) -> None:
    assert "shared context" in citation.methods(model.provenance(emow2v.Framing(), "shared"))


def entries(text: str) -> dict[str, str]:
    """Keys and kinds of BibTeX entries whose braces are balanced."""
    assert text.count("{") == text.count("}")
    return {key: kind for kind, key in re.findall(r"^@(\w+)\{([^,]+),$", text, re.M)}


def test_references_of_the_embedded_model(model: emow2v.Model) -> None:
    text = citation.references(model.provenance(emow2v.Framing()), model.card)
    assert entries(text) == {
        "emow2v": "software",
        "radford2022whisper": "misc",
        "christop2024nemo": "inproceedings",
        "livingstone2018ravdess": "article",
        "aouf2019baved": "misc",
        "banga2019emospeech": "misc",
    }
    assert f"version = {{{emow2v.__version__}}}" in text


def test_references_of_the_papers_model_need_no_model_here(model: emow2v.Model) -> None:
    facts = {**model.provenance(emow2v.Framing()), "model": "msp-dim", "software": "emow2v 9.8.7"}
    text = citation.references(facts, None)
    assert entries(text) == {"emow2v": "software", "wagner2023dawn": "article"}
    assert "{9.8.7}" in text


def test_an_unknown_model_is_cited_in_its_own_words(model: emow2v.Model) -> None:
    facts = {**model.provenance(emow2v.Framing()), "model": "mine", "citation": "Doe (2026),\nMine"}
    assert citation.references(facts, None).endswith("% The model: Doe (2026), Mine")


@pytest.mark.parametrize("ending", ["csv", "json", "ndjson"])
def test_a_result_is_cited_as_it_was_computed(trajectory: emow2v.Trajectory, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"talk.{ending}"
    emow2v.formats.write(trajectory, path)
    assert read_provenance(path)["weights_sha256"] == cards.find("lite").sha256
    result = runner.invoke(main.app, ["cite", str(path)])
    assert result.exit_code == 0
    assert result.stdout.startswith("Arousal, dominance and valence were estimated with emow2v")
    assert "@software{emow2v," in result.stdout


def test_speech_and_turns_are_described(model: emow2v.Model) -> None:
    spoken = model.predict(EXAMPLE, speech=True).provenance
    paragraph = citation.methods(spoken)
    assert "Values with a probability of speech below 0.5 (silero-vad 6.2, mean over the value's window)" in paragraph
    assert "silero2024vad" in citation.references(spoken, model.card)
    assert "silero" not in citation.references(model.predict(EXAMPLE).provenance, model.card)
    detected = citation.methods(model.predict_turns(EXAMPLE).provenance)
    assert "Turns were found with silero-vad 6.2: they last 250 ms to 15 s, and pauses up to 300 ms" in detected
    assert "Each turn got one value for its sound." in detected and "recording got" not in detected
    turns = Segmentation((Segment(0, 1),), "ELAN", source=Path("talk.eaf"))
    pooled = citation.methods(model.predict_turns(EXAMPLE, segments=turns, pool=True).provenance)
    assert "Turns are those of talk.eaf (ELAN)." in pooled and "Each value describes 1 s" in pooled
    assert "the mean of the values with speech whose windows lie inside it" in pooled


def test_references_alone_are_a_bib_file() -> None:
    result = runner.invoke(main.app, ["cite", "--bibtex"])
    assert result.exit_code == 0
    assert result.stdout.startswith("@software{emow2v,")


def test_what_is_no_result(tmp_path: Path, trajectory: emow2v.Trajectory) -> None:
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b.json").write_text("no")
    (tmp_path / "c.json").write_text(json.dumps([1]))
    (tmp_path / "d.csv").write_text("file,start\n")
    for name in ("a.json", "b.json", "c.json", "d.csv", "none.json"):
        with pytest.raises(FormatError, match=r"emow2v wrote|cannot be read"):
            read_provenance(tmp_path / name)
