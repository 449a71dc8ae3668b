"""Published models that emow2v installs: where they are, their terms, and the numbers that they must give."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Expectation:
    """The numbers that a model must give for a known input.

    Attributes:
        input: "zeros"; "noise", `numpy.random.seed(0)` and `normal(size=samples)`; "example", the clip in this
            package; "speech", a recording that the user has
        begin, end: first sample of the window in the input, and the one behind its last
        logits: arousal, dominance, valence
        first, last: the first and the last few hidden states
        source: where the numbers come from
        onnx: the numbers are those of a graph for which it is not known whether it normalises its input
    """

    input: str
    begin: int
    end: int
    logits: tuple[float, ...]
    first: tuple[float, ...] = ()
    last: tuple[float, ...] = ()
    source: str = ""
    onnx: bool = False


@dataclass(frozen=True)
class Published:
    """A published model.

    Attributes:
        name, version, description, licence, citation: as in a `Card`
        terms: the licence in a sentence, shown before the model is installed
        zenodo, zenodo_file: number of the record on Zenodo, and name of the zip in it
        hub: owner and name on the model hub
        speech, speech_sha256: the recording that some of the numbers belong to, in words, and its checksum
        expectations: the published numbers
    """

    name: str
    version: str
    description: str
    licence: str
    terms: str
    citation: str
    zenodo: str
    zenodo_file: str
    hub: str
    speech: str
    speech_sha256: str
    expectations: tuple[Expectation, ...]


_SECONDS = (
    (0.3404813, 0.42247295, 0.35256445),
    (0.22009875, 0.322832, 0.51018834),
    (0.3478799, 0.4332775, 0.45645887),
    (0.29967275, 0.4038131, 0.4949872),
    (0.24804251, 0.33543587, 0.50990975),
    (0.38564402, 0.43214017, 0.37035757),
)

MSP_DIM = Published(
    name="msp-dim",
    version="1.1.0",
    description="wav2vec2-large-robust pruned to 12 layers, fine-tuned on MSP-Podcast 1.7.",
    licence="CC-BY-NC-SA-4.0",
    terms=(
        "Weights of msp-dim: Copyright audEERING GmbH, Creative Commons BY-NC-SA 4.0: for research, with attribution, "
        "changes under the same terms; no commercial use, for which audEERING sells a licence with devAIce. "
        "https://creativecommons.org/licenses/by-nc-sa/4.0/"
    ),
    citation=(
        "Wagner et al. (2023), Dawn of the Transformer Era in Speech Emotion Recognition: Closing the Valence Gap, "
        "IEEE TPAMI, arXiv 2203.07378"
    ),
    zenodo="6221127",
    zenodo_file="w2v2-L-robust-12.6bc4a7fd-1.1.0.zip",
    hub="audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim",
    speech="bagus-test_16000.wav (13.31 s, 16 kHz)",
    speech_sha256="ad05320575c877c7f34269a704f9b23bece1160205660d1d3bfab80dca686c92",
    expectations=(
        Expectation(
            "zeros", 0, 16000, (0.5460754, 0.6062266, 0.40431657),
            (-0.00752167, 0.0065819, -0.00746342), (0.00663632, 0.00848748, 0.00599211),
            "published, PyTorch with processor",
        ),
        Expectation(
            "noise", 0, 16000, (0.6563389, 0.630771, 0.4762332),
            (-0.00723587, 0.00645568, -0.00865646), (0.00670633, 0.00948439, 0.0028789),
            "published, ONNX", onnx=True,
        ),
        Expectation("speech", 0, 212960, (0.32000706, 0.4031646, 0.54803556), source="published, ONNX", onnx=True),
        Expectation("speech", 0, 160000, (0.32293236, 0.41639617, 0.5942142), source="published, ONNX", onnx=True),
        *(
            Expectation("speech", 32000 * k, 32000 * (k + 1), values, source="published, ONNX", onnx=True)
            for k, values in enumerate(_SECONDS)
        ),
    ),
)  # fmt: skip

PUBLISHED = {MSP_DIM.name: MSP_DIM}  # by name; the one list of models that `emow2v models pull` knows
