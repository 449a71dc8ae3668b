"""Models in other processes: joblib, audinterface and PyTorch's DataLoader themselves send them."""

import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import soundfile

import emow2v
from emow2v import cards
from emow2v.errors import Closed, ModelError
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from worker_functions import Clips, scores_and_identity

pytest.importorskip("audinterface")
joblib = pytest.importorskip("joblib")

SIGNAL = soundfile.read(EXAMPLE, dtype="float32")[0]
CLIPS = [SIGNAL[16000 * k : 16000 * (k + 1)] for k in range(4)]


AUDINTERFACE = """
import audinterface
import numpy as np
import emow2v
from worker_functions import logits

if __name__ == "__main__":
    feature = audinterface.Feature(
        ["arousal", "dominance", "valence"], process_func=logits,
        process_func_args={"model": emow2v.load("lite", threads=1)}, num_workers=2, multiprocessing=True,
    )
    found = feature.process_files([f"{number}.wav" for number in range(4)])
    np.testing.assert_allclose(found, np.load("expected.npy"), atol=1e-5)
"""
FORKING = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
import numpy as np
import emow2v
from worker_functions import scores_and_identity

clips, expected = np.load("clips.npy"), np.load("expected.npy")
model = emow2v.load("lite", threads=1)
np.testing.assert_allclose(scores_and_identity(model, clips[0])[0], expected[0], atol=1e-5)
with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
    results = [pool.submit(scores_and_identity, model, clip) for clip in clips]
    np.testing.assert_allclose([one.result()[0] for one in results], expected, atol=1e-5)
assert len({one.result()[1:] for one in results}) == 1
"""


@pytest.fixture(scope="module")
def model() -> Model:
    return emow2v.load("lite", threads=1)


@pytest.fixture(scope="module")
def expected(model: Model) -> np.ndarray:
    return np.stack([model(clip, 16000)["logits"][0] for clip in CLIPS])


def test_joblib_loads_the_model_once_a_worker(model: Model, expected: np.ndarray) -> None:
    work = joblib.Parallel(n_jobs=2, batch_size=1)
    results = work(joblib.delayed(scores_and_identity)(model, clip) for clip in CLIPS * 2)
    np.testing.assert_allclose([scores for scores, _, _ in results], np.concatenate([expected, expected]), atol=1e-5)
    models = {(process, one) for _, process, one in results}
    assert len(models) == len({process for process, _ in models}) <= 2
    assert (id(model) not in {one for _, one in models}) or len(models) > 1


def test_audinterface_works_in_processes(expected: np.ndarray, tmp_path: Path) -> None:
    for number, clip in enumerate(CLIPS):
        soundfile.write(tmp_path / f"{number}.wav", clip, 16000, subtype="FLOAT")
    run_alone(AUDINTERFACE, tmp_path, expected)


def run_alone(program: str, folder: Path, expected: np.ndarray) -> None:
    """Run a program that forks, in a process of its own: OpenVINO hangs in a fork of one that has closed a model of frames."""
    np.save(folder / "clips.npy", CLIPS)
    np.save(folder / "expected.npy", expected)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run([sys.executable, "-c", program], cwd=folder, env=environment, check=True, timeout=300)


def test_a_data_loader_works_in_spawned_workers(model: Model) -> None:
    torch = pytest.importorskip("torch")
    loader = torch.utils.data.DataLoader(
        Clips(model, CLIPS), batch_size=2, num_workers=2, multiprocessing_context="spawn"
    )
    found = torch.cat(list(loader)).numpy()
    alone = np.stack([model(clip, 16000)["hidden_states"][0] for clip in CLIPS])
    assert (np.linalg.norm(found - alone, axis=1) <= 1e-5 * np.linalg.norm(alone, axis=1)).all()


def test_spawned_processes_load_it_too(model: Model, expected: np.ndarray) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        results = [pool.submit(scores_and_identity, model, clip) for clip in CLIPS]
        np.testing.assert_allclose([one.result()[0] for one in results], expected, atol=1e-5)
    assert len({one.result()[1:] for one in results}) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_processes_that_fork_load_it_too(expected: np.ndarray, tmp_path: Path) -> None:
    run_alone(FORKING, tmp_path, expected)


# --------------------------------------------------------------------------------------------------------- what is pickled


@pytest.fixture
def package(model: Model, tmp_path: Path) -> Path:
    """A package of its own, that may be changed."""
    return Path(shutil.copytree(model.card.folder, tmp_path / "mine"))


def test_a_pickle_is_small_and_names_package_weights_and_options(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(package.parent)
    sent = pickle.dumps(emow2v.load("mine", engine="openvino", threads=1))
    assert len(sent) < 1000 and str(package).encode() in sent and b"openvino" in sent
    assert cards.read_card(package).sha256.encode() in sent


def test_in_its_own_process_it_is_itself(model: Model) -> None:
    assert pickle.loads(pickle.dumps(model)) is model
    assert copy.copy(model) is model and copy.deepcopy({"model": model})["model"] is model


def test_other_weights_are_refused(package: Path) -> None:
    sent = pickle.dumps(emow2v.load(package))  # the model itself is gone
    card = json.loads((package / "card.json").read_text())
    card["files"]["model.onnx"]["sha256"] = "0" * 64
    (package / "card.json").write_text(json.dumps(card))
    other = cards.read_card(package).sha256[:12]
    with pytest.raises(
        ModelError, match=rf"holds other weights \(SHA-256 {other}\.\.\.\) than the model that was sent"
    ):
        pickle.loads(sent)
    shutil.rmtree(package)
    with pytest.raises(ModelError, match="was not found"):
        pickle.loads(sent)


def test_a_closed_model_is_loaded_anew(package: Path) -> None:
    with emow2v.load(package) as model:
        sent = pickle.dumps(model)
    again = pickle.loads(sent)
    assert again is not model and again(CLIPS[0], 16000)["logits"].shape == (1, 3)


def test_a_model_of_no_package_says_where_to_load_it(model: Model) -> None:
    with pytest.raises(TypeError, match=r"Only a model that emow2v\.load opened"):
        pickle.dumps(Model(model.card, model.engine))


# -------------------------------------------------------------------------------------------------------------- closing


def test_a_closed_model_predicts_nothing_more(package: Path) -> None:
    with emow2v.load(package) as model:
        trajectory = model.predict(CLIPS[0], 16000)
        rows = model.predict(CLIPS[1], 16000).load()
        stream = model.stream()
        assert repr(model) == f"<Model lite {model.card.version}>" and not model.closed
    assert repr(model) == f"<Model lite {model.card.version} (closed)>" and model.closed and len(rows.scores) == 25
    for use in (
        lambda: model.predict(CLIPS[0], 16000), lambda: model(CLIPS[0], 16000), lambda: trajectory.scores,
        lambda: model.predict_batch(CLIPS, 16000), lambda: model.predict_files([]), model.stream,
        lambda: list(stream.add(CLIPS[0], flush=True)), lambda: model.run(CLIPS[0][None]), lambda: model.engine,
    ):  # fmt: skip
        with pytest.raises(Closed, match="The model lite is closed; expected an open one; load it again"):
            use()
