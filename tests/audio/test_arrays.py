"""Arrays, tensors and lists as sources; NumPy's own conversion and the file of the same samples judge."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from emow2v.audio import arrays, recording
from emow2v.errors import AudioError
from emow2v.model import Model

SAMPLES = (0.3 * np.sin(np.arange(16000) / 20)).astype(np.float32)


class ByProtocol:
    """What a library of arrays gives that is not NumPy."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return SAMPLES.copy()


class ByDLPack:
    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


def tensors() -> dict[str, Any]:
    torch = pytest.importorskip("torch")
    plain = torch.from_numpy(SAMPLES.copy())
    return {
        "float32": plain, "float64": plain.double(), "with gradient": plain.clone().requires_grad_(),
        "float16": plain.half(), "bfloat16": plain.bfloat16(), "stereo": torch.stack([plain, plain]),
        "int16": (plain * 32767).to(torch.int16),
    }  # fmt: skip


@pytest.mark.parametrize(
    "source",
    [SAMPLES, SAMPLES.tolist(), tuple(SAMPLES.tolist()), [SAMPLES, SAMPLES], ByProtocol(), ByDLPack(SAMPLES), pd.Series(SAMPLES)],
    ids=["array", "list", "tuple", "list of arrays", "__array__", "DLPack", "Series"],
)  # fmt: skip
def test_an_array_may_come_from_anywhere(source: Any) -> None:
    assert arrays.is_array(source)
    signal, rate = recording.read(source, 16000)
    assert rate == 16000 and signal.dtype == np.float32
    np.testing.assert_allclose(signal, SAMPLES, atol=1e-7)


@pytest.mark.parametrize("kind", ["float32", "float64", "with gradient", "float16", "bfloat16", "stereo", "int16"])
def test_a_tensor_is_an_array(kind: str) -> None:
    signal, _ = recording.read(tensors()[kind], 16000)
    np.testing.assert_allclose(signal, SAMPLES, atol={"bfloat16": 2e-3, "float16": 2e-4}.get(kind, 5e-5))


def test_a_tensor_gives_the_numbers_of_the_file(lite: Model, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    soundfile.write(tmp_path / "talk.wav", SAMPLES, 16000, subtype="FLOAT")
    expected = lite.predict(tmp_path / "talk.wav", unit="files").scores
    np.testing.assert_allclose(lite(torch.from_numpy(SAMPLES), 16000)["logits"], expected, atol=1e-6)


@pytest.mark.parametrize("path", ["talk.wav", b"talk.wav", np.str_("talk.wav"), Path("talk.wav")])
def test_names_are_no_arrays(path: Any) -> None:
    """Strings of NumPy have `__array__`."""
    assert not arrays.is_array(path)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (np.zeros((16000, 2)), r"got \[16000, 2\], which looks like \[samples, channels\]; transpose it"),
        (np.zeros((1, 2, 3)), r"got \[1, 2, 3\]; transpose it"),
        (np.zeros((0, 16000)), "got no channels"),
        (["a", "b"], "Expected an array of floats or integers, got <U1; convert it to float32"),
        ([0.5, None], "Expected an array of floats or integers, got object"),
        (np.ones(9, bool), "got bool"),
        (np.ones(9, complex), "got complex128"),
        ([1, 2, 3], r"A list of whole numbers does not say its full scale; expected an array: numpy\.asarray\(samples, numpy\.int16"),
        ([[0.5, 0.5], [0.5]], "The signal cannot be read as an array of numbers"),
        ([0.5, float("nan")], "NaN or infinity"),
    ],
)  # fmt: skip
def test_what_is_no_signal_is_one_sentence(source: Any, sentence: str) -> None:
    with pytest.raises(AudioError, match=sentence):
        recording.open_recording(source, 16000)


def test_a_live_stream_takes_tensors_and_lists_of_one_channel(lite: Model) -> None:
    torch = pytest.importorskip("torch")
    expected = lite.predict(SAMPLES, 16000).scores
    for whole in (torch.from_numpy(SAMPLES), SAMPLES.tolist(), SAMPLES.astype(np.float64), SAMPLES[None]):
        with lite.stream() as stream:
            blocks = [*stream.add(whole), *stream.finish()]
        np.testing.assert_allclose(np.concatenate([one.scores for one in blocks]), expected, atol=1e-5)
    with lite.stream() as stream, pytest.raises(AudioError, match="Expected samples of one channel"):
        list(stream.add(np.zeros((2, 1600), np.float32)))
