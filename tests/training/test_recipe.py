"""Recipes: what is shipped and what version 0.1.0 wrote is read; what is wrong is one clear sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("accelerate")
import yaml
from typer.testing import CliRunner

from emow2v.cli.main import app
from emow2v.errors import Emow2vError, FormatError
from emow2v.training import recipe as recipes
from emow2v.training.finetune.task import FineTuningRecipe
from emow2v.training.lite.recipe import LATER, LiteRecipe

# As `emow2v train` of version 0.1.0 wrote them to the folders of runs.
FINE_TUNING_0_1_0 = """\
task: fine-tuning
model: pruned
corpus: csv
data: corpus.csv
corpus_options:
  scale: '1:7'
allow:
- missing-files
thorough: true
epochs: 2
batch_size: 3
micro_batch: 0
max_seconds: 30.0
learning_rate: 0.001
max_gradient_norm: 0.0
freeze_feature_encoder: true
network:
  layerdrop: 0.0
precision: fp32
gradient_checkpointing: false
patience: 0
checkpoint_steps: 1
tensorboard: true
workers: 2
seed: 1
"""
LITE_0_1_0 = """\
task: lite
data: corpora
encoder: openai/whisper-base
epochs: 1
batch_size: 4
leave_out: ''
corpus_shares:
  nemo: 0.48
  ravdess: 0.32
  baved: 0.2
crop_seconds:
- 0.5
- 1.0
long_share: 0.05
long_seconds: 1.2
repeat_short: 0.7
speed: 0.1
frozen_layers: 1
trunk_rate: 5.0e-05
head_rate: 0.0007
weight_decay: 0.02
emotion_weight: 1.0
consistency_weight: 4.0
consistency_from: 5
confidence_weight: 0.3
no_speech: 1
average_decay: 0.998
half: true
checkpoint_steps: 2
tensorboard: false
threads: 1
device: cpu
seed: 1
"""


@pytest.mark.parametrize(
    ("text", "task", "kind"),
    [(FINE_TUNING_0_1_0, recipes.FINE_TUNING, FineTuningRecipe), (LITE_0_1_0, recipes.LITE, LiteRecipe)],
)
def test_a_recipe_of_0_1_0_is_read_and_written_the_same(tmp_path: Path, text: str, task: str, kind: type[Any]) -> None:
    (tmp_path / "old.yaml").write_text(text)
    values = recipes.read(tmp_path / "old.yaml")
    assert recipes.task(values) == task
    recipes.write(tmp_path, task, recipes.parse(kind, values))
    written = yaml.safe_load((tmp_path / recipes.FILE).read_text())
    assert written | yaml.safe_load(text) == written
    later = written.keys() - yaml.safe_load(text).keys()  # at the defaults, which are what 0.1.0 did
    assert later == ({"rated", *LATER} if kind is LiteRecipe else set())
    assert kind is FineTuningRecipe or not {"rated", *LATER} & recipes.parse(kind, values).numbers().keys()


def test_a_recipe_is_a_name_or_a_file(tmp_path: Path) -> None:
    paper = recipes.parse(FineTuningRecipe, recipes.read(recipes.find("msp-dim")))
    assert (paper.epochs, paper.batch_size, paper.learning_rate, paper.freeze_feature_encoder) == (5, 32, 1e-4, True)
    (tmp_path / "own.yaml").write_text("epochs: 2\nlearning_rate: 3e-5\nallow: [missing-files]\nmodel: 1\n")
    own = recipes.parse(FineTuningRecipe, recipes.read(recipes.find(str(tmp_path / "own.yaml")), ["seed=7"]))
    assert (own.epochs, own.learning_rate, own.allow, own.seed) == (2, 3e-5, ("missing-files",), 7)
    assert own.model == "1"  # a folder may be called so
    with pytest.raises(
        FormatError,
        match="expected lite or lite-2 or lite-2-confidence or lite-2-tuned or lite-frames or msp-dim, or a YAML file",
    ):
        recipes.find("paper")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["batch_size=0"], "'batch_size' of a recipe is 0; expected a number above 0"),
        (["micro_batch=-1"], "'micro_batch' of a recipe is -1; expected 0 or more"),
        (["patience=-3"], "'patience' of a recipe is -3; expected 0 or more"),
        (["max_gradient_norm=-0.5"], "'max_gradient_norm' of a recipe is -0.5; expected 0 or more"),
        (["learning_rate=.nan"], "'learning_rate' of a recipe is nan; expected a number"),
        (["learning_rate=true"], "'learning_rate' of a recipe is True; expected a number"),
        (["learning_rate=fast"], "'learning_rate' of a recipe is 'fast'; expected a number"),
        (["max_seconds=0"], "'max_seconds' of a recipe is 0; expected a number above 0"),
        (["precision=fp64"], "'precision' of a recipe is 'fp64'; expected fp32, bf16 or fp16"),
        (["network={hidden_size: 3}"], "'network' of a recipe has no 'hidden_size'"),
        (["network={layer_drop: 0}"], "did you mean 'layerdrop'"),
        (["nonsense=1"], "A recipe has no 'nonsense'; it has model, corpus"),
        (["learningrate=1"], "did you mean 'learning_rate'"),
        (["epochs=many"], "'epochs' of a recipe is 'many'; expected a whole number"),
        (["epochs=2.5"], "'epochs' of a recipe is 2.5; expected a whole number"),
        (["tensorboard=1"], "'tensorboard' of a recipe is 1; expected true or false"),
        (["epochs"], "expected key=value"),
        (["allow=missing-files"], "expected a list such as [one, two]"),
        (["corpus_options=3"], "expected keys with values"),
        (["model="], "'model' of a recipe is None; expected a word"),
        ([], "names no model"),
        (["model=x"], "names no data"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_in_a_sentence(tmp_path: Path, change: list[str], sentence: str) -> None:
    result = CliRunner().invoke(app, ["train", "msp-dim", *change, "-o", str(tmp_path / "run")])
    assert isinstance(result.exception, Emow2vError) and sentence in str(result.exception), result.output
    assert len(str(result.exception).splitlines()) == 1 and str(result.exception).endswith((".", "2."))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "change", "sentence"),
    [
        ("epoch: 3", "", "A recipe has no 'epoch'; it has data, encoder, epochs.*; did you mean 'epochs'"),
        ("epochs: many", "", "'epochs' of a recipe is 'many'; expected a whole number"),
        ("half: 1", "", "expected true or false"),
        ("crop_seconds: [1]", "", r"expected 2 values, such as \[0.8, 4.0\]"),
        ("crop_seconds: [1, 2, 3]", "", r"expected 2 values, such as \[0.8, 4.0\]"),
        ("crop_seconds: [1, long]", "", "expected a number"),
        ("crop_seconds: 1", "", "expected a list"),
        ("corpus_shares: {nemo: most}", "", "expected a number for nemo"),
        ("speed: fast", "", "expected a number"),
        ("speed: 2", "", "expected 1 or less"),
        ("a: [", "", "is no recipe"),
        ("- a", "", "is no recipe"),
        ("epochs: 3", "seed", "changes nothing; expected key=value"),
    ],
)
def test_bad_recipes(tmp_path: Path, text: str, change: str, sentence: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(FormatError, match=sentence):
        recipes.parse(LiteRecipe, recipes.read(path, [change] if change else ["seed=1"]))
    with pytest.raises(FormatError, match="cannot be read"):
        recipes.read(tmp_path / "none.yaml")
