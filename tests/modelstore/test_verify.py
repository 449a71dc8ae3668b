"""Verification that must be able to fail."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emow2v import cards
from emow2v.cards.published import MSP_DIM, PUBLISHED, Expectation
from emow2v.engines import choose
from emow2v.errors import ModelError
from emow2v.modelstore import verify
from emow2v.modelstore.onnx_import import import_graph
from emow2v.modelstore.verify import EXAMPLE, own_expectations, signal

PARITY = Path(__file__).resolve().parents[3] / "shared" / "data" / "parity" / "bagus-test_16000.wav"


@pytest.fixture
def copy(package: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(package, tmp_path / "copy"))


def rewrite(folder: Path, **change: object) -> None:
    content = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**content, **change}))


def test_inputs_are_those_of_the_publication() -> None:
    np.random.seed(0)
    np.testing.assert_array_equal(signal("noise", 0, 16000)[0], np.random.normal(size=16000).astype(np.float32))
    assert signal("zeros", 0, 16000).shape == (1, 16000) and not signal("zeros", 0, 16000).any()
    example, rate = soundfile.read(EXAMPLE, dtype="float32")
    assert rate == 16000
    np.testing.assert_allclose(signal("example", 16000, 48000)[0], example[16000:48000], atol=1e-6)


def test_a_wrong_number_fails(copy: Path) -> None:
    content = json.loads((copy / "card.json").read_text())["expected"]
    content[1]["logits"][2] += 2e-4
    content[2]["first"][0] += 0.1
    rewrite(copy, expected=content)
    rows = verify.verify(cards.find(copy))
    assert {row.input for row in rows if not row.passed} == {"noise, 1 s", "example, 3 s"}
    assert all(row.difference > 1e-4 for row in rows if row.input == "noise, 1 s")


@pytest.mark.parametrize(
    "expected",
    [
        [{"input": "zeros"}],
        [3],
        {"a": 1},
        [{"input": "zeros", "begin": 0, "end": "x"}],
        [{"input": "zeros", "begin": 0, "end": 10**12, "logits": [0, 0, 0], "first": [], "last": [], "source": ""}],
        [{"input": "zeros", "begin": 0, "end": 16000, "logits": [0, 0], "first": [], "last": [], "source": ""}],
    ],
)
def test_expectations_that_make_no_sense_are_refused(copy: Path, expected: object) -> None:
    rewrite(copy, expected=expected)
    with pytest.raises(ModelError, match="holds expectations that cannot be read"):
        verify.verify(cards.find(copy))


def test_nothing_known_is_said(checkpoint: Path) -> None:
    with pytest.raises(ModelError, match="No expected scores are known for small; verify a published model"):
        verify.verify(cards.find(checkpoint))


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime", "torch"])
def test_numbers_published_without_normalisation_are_recognised(
    package, checkpoint, tmp_path, monkeypatch, engine
) -> None:
    """A published figure may come from a graph that did not normalise; ours does, and both are told apart."""
    from checkpoints import foreign_graph
    from emow2v.engines import open_graph

    plain = foreign_graph(checkpoint, tmp_path / "theirs" / "model.onnx", normalise=False)

    loud = own_expectations(open_graph("onnxruntime", plain).run, "published, ONNX")[2]
    published = Expectation(
        "example", 0, 48000, tuple(loud["logits"]), tuple(loud["first"]), tuple(loud["last"]), "published, ONNX", onnx=True
    )  # fmt: skip
    monkeypatch.setitem(PUBLISHED, "small", replace(MSP_DIM, name="small", expectations=(published,)))
    monkeypatch.setattr(verify, "installed", lambda name: name == engine)
    folder = Path(shutil.copytree(package, tmp_path / "small"))
    row = verify.verify(cards.find(folder))[0]
    assert row.passed and row.note.startswith("published without normalisation of the input; with it, as here: ")
    monkeypatch.setitem(
        PUBLISHED, "small", replace(MSP_DIM, name="small", expectations=(replace(published, onnx=False),))
    )
    assert not verify.verify(cards.find(folder))[0].passed
    assert sorted(path.name for path in folder.parent.iterdir()) == ["small", "theirs"]  # nothing left lying about
    if engine != "torch":  # the same for a graph whose normalisation was added
        card = import_graph(plain, tmp_path / "package" / "small", {**IDENTITY, "name": "small"})
        monkeypatch.setitem(PUBLISHED, "small", replace(MSP_DIM, name="small", expectations=(published,)))
        assert verify.verify(card)[0].passed


IDENTITY = {"version": "1", "description": "", "licence": "", "citation": ""}


def test_another_recording_is_refused(copy: Path) -> None:
    rewrite(copy, name="msp-dim")
    with pytest.raises(ModelError, match=r"another recording; expected bagus-test_16000\.wav"):
        verify.verify(cards.find(copy), speech=EXAMPLE)
    with pytest.raises(ModelError, match="No recording is known for lite"):
        verify.verify(cards.find("lite"), speech=EXAMPLE)


@pytest.mark.skipif(not PARITY.exists(), reason="../shared/data/parity with the published recording is not here")
def test_the_published_recording_is_asked_for_all_its_numbers(copy: Path) -> None:
    rewrite(copy, name="msp-dim")
    rows = verify.verify(cards.find(copy), speech=PARITY)
    spoken = [row for row in rows if row.input.startswith("speech") and row.engine.startswith("torch")]
    assert len(spoken) == 8 and not any(row.passed for row in spoken)  # random weights
    engine = choose(cards.find(copy), "torch")
    samples, _ = soundfile.read(PARITY, dtype="float32")
    np.testing.assert_allclose(spoken[3].got, engine.run(samples[None, 32000:64000])[1][0], atol=1e-5)


def test_the_embedded_model_keeps_its_numbers() -> None:
    rows = verify.verify(cards.find("lite"))
    assert all(row.passed for row in rows)
    engines = [row.engine.split()[0] for row in rows if row.precision == "fp32"]
    assert len(engines) == 3 * len(set(engines)) and {"openvino", "onnxruntime"} <= set(engines)
    assert not verify.record(cards.find("lite"), rows)  # its card is not ours to change
    assert verify.verdict(cards.find("lite")) == "shipped"


def test_what_verifications_left_is_swept_and_what_runs_is_not(tmp_path: Path) -> None:
    """A process that was killed, or a file that Windows had mapped; nobody swept it."""
    for name in (".verify.old", ".verify.young", ".mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "raw.onnx").write_bytes(b"graph")
        os.utime(tmp_path / name, (0, 0))
    os.utime(tmp_path / ".verify.young")
    verify.remove_abandoned(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine", ".verify.young"]
    verify.remove_abandoned(tmp_path / "none")


def test_a_package_elsewhere_is_verified_without_a_file_beside_it(tmp_path: Path, package: Path, monkeypatch) -> None:
    """Only beside pulled models, which are emow2v's own, something is put for a while."""
    folder = Path(shutil.copytree(package, tmp_path / "theirs" / "small"))
    seen: list[list[str]] = []
    opened = verify.open_graph

    def opening(name: str, path: Path) -> object:
        seen.append([one.name for one in folder.parent.iterdir()])
        return opened(name, path)

    monkeypatch.setattr(verify, "open_graph", opening)
    with verify._raw(cards.find(folder), "onnxruntime") as engine:
        assert engine is not None
    assert seen == [["small"]]
