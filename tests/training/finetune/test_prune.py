"""Pruned checkpoints against Transformers: its own model, cut after the last layer that is kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn
from typer.testing import CliRunner

from checkpoints import write_checkpoint
from emow2v import cards
from emow2v.cli.main import app
from emow2v.engines import choose
from emow2v.errors import FormatError, ModelError
from emow2v.modelstore.export import export
from emow2v.networks import wav2vec2
from emow2v.training.finetune.prune import prune, source
from encoders import FAMILIES, pretrained, read

SIGNAL = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)


def extracted(folder: Path) -> torch.Tensor:
    extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder)
    return extractor(SIGNAL, sampling_rate=16000, return_tensors="pt").input_values


def cut(folder: Path, kind: str, keep: list[int]) -> torch.Tensor:
    """Mean of the last hidden states of Transformers' model, whose other layers were taken out."""
    model = getattr(transformers, f"{FAMILIES[kind]}Model").from_pretrained(folder).eval()
    layers = model.encoder.layers
    if kind == "wavlm":
        layers[keep[0]].attention.rel_attn_embed = layers[0].attention.rel_attn_embed
    model.encoder.layers = nn.ModuleList(layers[k] for k in keep)
    with torch.no_grad():
        return model(extracted(folder)).last_hidden_state.mean(dim=1)


@pytest.mark.parametrize("keep", [2, [1, 3]])
@pytest.mark.parametrize("kind", FAMILIES)
def test_the_kept_layers_give_what_they_gave(tmp_path: Path, kind: str, keep: int | list[int]) -> None:
    folder = pretrained(tmp_path / "whole", kind)
    done = prune(folder, tmp_path / "pruned", keep=keep)
    expected = cut(folder, kind, [0, 1] if keep == 2 else [1, 3])
    judge = read(tmp_path / "pruned", kind)
    with torch.no_grad():
        pooled, scores = judge(extracted(tmp_path / "pruned"))
    assert torch.equal(pooled, expected)
    hidden, own, _ = choose(cards.find(tmp_path / "pruned"), "torch").run(SIGNAL[None])
    np.testing.assert_allclose(hidden, pooled, atol=1e-5)
    np.testing.assert_allclose(own, scores, atol=1e-5)
    assert done.layers == 4 and len(done.kept) == 2
    assert done.parameters == sum(value.numel() for value in judge.state_dict().values())


@pytest.mark.parametrize("kind", ["hubert", "wavlm"])
@pytest.mark.slow
def test_its_kind_is_masked_and_exported_like_wav2vec2(tmp_path: Path, kind: str) -> None:
    prune(pretrained(tmp_path / "whole", kind), tmp_path / "pruned", keep=2)
    model = wav2vec2.load(tmp_path / "pruned").model
    batch = torch.randn(2, 24000) * 0.1
    batch[1, 16000:] = torch.nan
    with torch.no_grad():
        together = model(batch, torch.tensor([24000, 16000]))
        for k, alone in enumerate((model(batch[:1]), model(batch[1:, :16000]))):
            torch.testing.assert_close(together[0][k], alone[0][0], atol=1e-5, rtol=0)
            torch.testing.assert_close(together[1][k], alone[1][0], atol=1e-5, rtol=0)
    card, checks = export(cards.find(tmp_path / "pruned"), tmp_path / "package")
    assert max(one.logits for one in checks) < 1e-5 and card.description.startswith(kind)


def test_names_with_and_without_the_encoders_prefix_are_read(tmp_path: Path) -> None:
    """Pre-training wrote "wav2vec2." before the encoder's names and kept tensors of its own; older PyTorch spelt weights
    otherwise, and our packages keep the positional weight in one."""
    folder = pretrained(tmp_path / "whole")
    prune(folder, tmp_path / "bare", keep=3)
    tensors = wav2vec2.spelled(load_file(folder / "model.safetensors"))
    positions = "encoder.pos_conv_embed.conv."
    gain, direction = (tensors.pop(positions + name) for name in wav2vec2.SPELLINGS.values())
    tensors[positions + "weight"] = direction * gain / direction.norm(dim=(0, 1), keepdim=True)
    prefixed = {f"wav2vec2.{name}": value for name, value in tensors.items()}
    save_file({**prefixed, "quantizer.codevectors": torch.zeros(1, 4, 8)}, folder / "model.safetensors")
    done = prune(folder, tmp_path / "prefixed", keep=3)
    assert done.left_over == ("quantizer.codevectors",)
    with torch.no_grad():
        one, other = (read(tmp_path / name)(extracted(folder))[0] for name in ("bare", "prefixed"))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_a_fine_tuned_model_can_be_pruned_further(tmp_path: Path) -> None:
    """What its feature extractor asks for and its licence are kept; its head is not."""
    folder = write_checkpoint(tmp_path / "fine")
    (folder / "preprocessor_config.json").write_text('{"do_normalize": false}')
    done = prune(folder, tmp_path / "pruned", keep=1)
    assert len(done.left_over) == 4 and all(name.startswith("classifier.") for name in done.left_over)
    found = cards.find(tmp_path / "pruned")
    assert found.licence == "CC-BY-NC-SA-4.0" and not wav2vec2.load(found.folder).model.normalise


def test_the_heads_weights_follow_the_seed(tmp_path: Path) -> None:
    folder = pretrained(tmp_path / "whole")
    first, same, other = (
        load_file(prune(folder, tmp_path / name, keep=1, seed=seed).folder / "model.safetensors")
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert all(torch.equal(value, same[name]) for name, value in first.items())
    assert not torch.equal(first["classifier.dense.weight"], other["classifier.dense.weight"])


@pytest.mark.parametrize("keep", [0, 5, -1, [], [1, 1], [2, 1], [4], [-1, 0]])
def test_layers_that_are_not_there_are_refused(tmp_path: Path, keep: int | list[int]) -> None:
    folder = pretrained(tmp_path / "whole")
    with pytest.raises(ModelError, match="expected 1 to 4 of them, or numbers from 0 to 3"):
        prune(folder, tmp_path / "pruned", keep=keep)
    assert not (tmp_path / "pruned").exists()


def test_what_is_no_such_checkpoint_is_refused_in_a_sentence(tmp_path: Path) -> None:
    folder = pretrained(tmp_path / "whole")
    config = json.loads((folder / "config.json").read_text())
    for change, sentence in (
        ({"model_type": "whisper"}, "type 'whisper'; expected wav2vec2, hubert, wavlm"),
        ({"num_hidden_layers": "four"}, "has 'four' layers"),
        ({"model_type": "hubert", "hidden_size": 64}, "take both from the same checkpoint"),
        ({"hidden_size": 64}, "take both from the same checkpoint"),
        ({"num_hidden_layers": 9}, "lacks"),
    ):
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(ModelError, match=sentence):
            prune(folder, tmp_path / "pruned", keep=4 if change.get("num_hidden_layers") != 9 else 9)
        assert [path.name for path in tmp_path.iterdir()] == ["whole"]
    (folder / "config.json").write_text(json.dumps(config))
    (tmp_path / "pruned").mkdir()
    (tmp_path / "pruned" / "mine.txt").touch()
    with pytest.raises(FormatError, match="there already"):
        prune(folder, tmp_path / "pruned", keep=1)


def test_a_name_is_looked_for_on_the_hub_and_nothing_else(tmp_path: Path, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(
        "emow2v.training.finetune.prune.from_hub", lambda name, folder, progress: asked.append(name) or folder
    )
    assert source("facebook/wav2vec2-large-robust").parts[-2:] == ("facebook", "wav2vec2-large-robust")
    assert asked == ["facebook/wav2vec2-large-robust"]
    assert source(str(tmp_path)) == tmp_path
    for name in ("nothing", "a/b/c", "../there", str(tmp_path / "missing"), ""):
        with pytest.raises(ModelError, match="is no folder"):
            source(name)


def test_the_command_says_what_it_wrote(tmp_path: Path) -> None:
    folder = pretrained(tmp_path / "whole")
    options = ["prune", "--model", str(folder), "--output"]
    result = CliRunner().invoke(app, [*options, str(tmp_path / "a"), "--layers", "2"])
    assert result.exit_code == 0 and "layers 0 to 1 of 4" in result.output, result.output
    result = CliRunner().invoke(app, [*options, str(tmp_path / "b"), "--keep", "0,3"])
    assert result.exit_code == 0 and "layers 0, 3 of 4" in result.output, result.output
    for more, sentence in ((["--keep", "0,x"], "expected numbers"), (["--keep", "0", "--layers", "1"], "one of them")):
        result = CliRunner().invoke(app, [*options, str(tmp_path / "c"), *more])
        assert isinstance(result.exception, FormatError) and sentence in str(result.exception)


@pytest.mark.slow
def test_a_checkpoint_of_the_full_size_gives_what_its_first_12_layers_gave(tmp_path: Path) -> None:
    """The sizes of wav2vec2-large-robust, 24 layers, 1.3 GB of random weights."""
    folder = pretrained(
        tmp_path / "whole", hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096,
        conv_dim=[512] * 7, num_conv_pos_embeddings=128, num_conv_pos_embedding_groups=16,
    )  # fmt: skip
    expected = cut(folder, "wav2vec2", list(range(12)))
    done = prune(folder, tmp_path / "pruned", keep=12)
    assert done.parameters == 165_336_707  # as many as the published model has
    with torch.no_grad():
        assert torch.equal(read(tmp_path / "pruned")(extracted(folder))[0], expected)
