import errno
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from emow2v import cards, models
from emow2v.errors import ModelError


def test_lite_is_embedded_small_and_whole() -> None:
    (card,) = [card for card in models() if card.name == "lite"]
    assert card.size < 24e6
    assert card.licence == "CC-BY-NC-SA-4.0"
    assert card.verified_graph().is_file()
    assert card.details["held_out"]["whole"].keys() == {"arousal", "dominance", "valence"}


def test_a_folder_works_where_a_name_does(tmp_path) -> None:
    shutil.copytree(cards.find("lite").folder, tmp_path / "copy")
    assert cards.find(tmp_path / "copy").sha256 == cards.find("lite").sha256


def test_damaged_weights_are_refused(tmp_path) -> None:
    folder = shutil.copytree(cards.find("lite").folder, tmp_path / "copy")
    data = bytearray((folder / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.onnx").write_bytes(data)
    with pytest.raises(ModelError, match="damaged: expected SHA-256"):
        cards.find(folder).verified_graph()
    (folder / "model.onnx").unlink()
    with pytest.raises(ModelError, match="missing from model lite"):
        cards.find(folder).verified_graph()


def test_unknown_names_and_folders_without_a_card(tmp_path) -> None:
    with pytest.raises(ModelError, match="Model 'big' was not found; available: lite"):
        cards.find("big")
    with pytest.raises(ModelError, match=r"holds no card\.json"):
        cards.find(tmp_path)
    (tmp_path / "model.onnx").touch()
    with pytest.raises(ModelError, match="emow2v models pull msp-dim --from"):
        cards.find(tmp_path)
    for name in ("x" * 5000, "a\nb", "a\0b", "", " "):
        with pytest.raises(ModelError, match="was not found; available: lite") as error:
            cards.find(name)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["lite-1.0", "lite==1.0", "lite 1.0", "lite@v1"])
def test_another_version_of_the_embedded_model_is_named_by_its_folder(name) -> None:
    version = cards.find("lite").version
    expected = (
        rf"^Model '{name}' was not found; this emow2v has lite {version}, by the name lite; .* folder of lite 1\.0"
    )
    with pytest.raises(ModelError, match=expected):
        cards.find(name)


@pytest.mark.parametrize(
    "change",
    [
        {"graph": "other.onnx"}, {"files": {"../x": {}}, "graph": "../x"}, {"files": []}, {"files": {"model.onnx": 3}},
        {"min_samples": "16000"}, {"min_samples": None}, {"min_samples": 10**9}, {"max_samples": 0}, {"max_samples": -1},
        {"max_samples": 1.5}, {"max_samples": True}, {"sampling_rate": 0}, {"batch_samples": [1]}, {"max_batch": "x"},
        {"weights": "none.bin"}, {"weights": 5}, {"name": ["lite"]}, {"version": {}}, {"pytorch": "yes"}, {"graph": None},
    ],
)  # fmt: skip
def test_a_card_that_makes_no_sense_is_refused(tmp_path, change) -> None:
    content = json.loads((cards.find("lite").folder / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(ModelError, match="is not a model card"):
        cards.find(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense", '{"name": "x"}'])
def test_a_file_that_is_no_card_is_refused(tmp_path, text) -> None:
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(ModelError, match="is not a model card"):
        cards.read_card(tmp_path)


def test_a_checkpoint_has_a_card_of_its_own(checkpoint) -> None:
    card = cards.find(checkpoint)
    assert (card.name, card.graph, card.weights, card.pytorch) == ("small", "", "model.safetensors", True)
    assert card.licence == "CC-BY-NC-SA-4.0"
    assert card.sha256 == cards.file_sha256(checkpoint / "model.safetensors")


@pytest.mark.parametrize(
    ("readme", "licence"),
    [
        ("---\nlicense: mit\n---\n", "MIT"), ("---\nlanguage: en\nlicense: 'cc-by-4.0'\n---\n", "CC-BY-4.0"),
        ("license: mit", "unknown"), ("---\nlicense: [a, b]\n---\n", "unknown"), (None, "unknown"),
    ],
)  # fmt: skip
def test_a_checkpoints_licence_is_what_its_readme_states(tmp_path, readme, licence) -> None:
    if readme is not None:
        (tmp_path / "README.md").write_text(readme)
    assert cards.stated_licence(tmp_path) == licence


def test_two_writers_of_one_card_leave_a_whole_card(tmp_path) -> None:
    """Forty threads, each with a text of another length; what stands there is one of them, and nothing is left."""
    folder = shutil.copytree(cards.find("lite").folder, tmp_path / "copy")
    content = json.loads((folder / "card.json").read_text())
    before = sorted(path.name for path in folder.iterdir())
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(cards.update_card, folder, {**content, "note": "x" * 4000 * k}) for k in range(40)]:
            done.result()
    assert json.loads((folder / "card.json").read_text())["note"].strip("x") == ""
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_card_that_cannot_be_written_is_as_it_was(tmp_path, monkeypatch) -> None:
    folder = shutil.copytree(cards.find("lite").folder, tmp_path / "copy")
    before = (folder / "card.json").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:  # a disk that is full shows when it is flushed
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            cards.update_card(folder, {"name": "other"})
    assert (folder / "card.json").read_bytes() == before and not list(folder.glob(".*"))


@pytest.mark.parametrize("hidden", [".mine.0123abcd.old", ".mine.old.ab_d3fgh"])  # the latter is version 0.1.0's
def test_a_model_whose_replacement_was_killed_is_found_again(home, hidden) -> None:
    """By its name and by its path, without a pull."""
    for model in ("mine", home / "models" / "mine"):
        place = home / "models" / hidden / "mine"
        shutil.copytree(cards.find("lite").folder, place)
        cards.update_card(place, {**json.loads((place / "card.json").read_text()), "name": "mine"})
        assert cards.find(model).folder == home / "models" / "mine"
        assert [path.name for path in (home / "models").iterdir()] == ["mine"]
        shutil.rmtree(home / "models")
