import numpy as np
import pytest

pytest.importorskip("torch")
import torch

from emow2v.networks.confidence import SMALLEST, Confidence


def filled() -> Confidence:
    torch.manual_seed(2)
    confidence = Confidence(6, 4)
    confidence.values.copy_(torch.rand(4, 3))
    confidence.weight.copy_(torch.tensor([[1.0, 0.5, 3.0], [0.2, 2.0, -1.0], [0.0, 1.0, 0.0]]))
    confidence.offset.copy_(torch.tensor([0.3, -0.2, 0.1]))
    return confidence.eval()


def test_confidence_is_the_product_of_speech_and_of_what_three_signs_tell() -> None:
    """Against the sums written out, row by row and dimension by dimension."""
    confidence = filled()
    values, scores, certainty = torch.randn(5, 6), torch.rand(5, 3), torch.randn(5, 3)
    with torch.no_grad():
        found = confidence(values, scores, certainty).numpy()
    state = {name: one.numpy().astype(np.float64) for name, one in confidence.state_dict().items()}
    for row in range(5):
        x = values[row].numpy()
        speech = 1 / (1 + np.exp(-(state["speech.weight"][0] @ x + state["speech.bias"][0])))
        odds = np.exp(state["classes.weight"] @ x + state["classes.bias"])
        for column in range(3):
            score = float(scores[row, column])
            distance = sum(
                share * abs(score - value)
                for share, value in zip(odds / odds.sum(), state["values"][:, column], strict=True)
            )
            signs = [float(certainty[row, column]), -np.log(distance + SMALLEST), (score - 0.5) ** 2]
            logit = float(np.dot(signs, state["weight"][column])) + state["offset"][column]
            assert found[row, column] == pytest.approx(speech / (1 + np.exp(-logit)), abs=1e-5)


def test_a_score_at_the_value_of_the_only_likely_class_is_surer_than_one_between_two() -> None:
    confidence = filled()
    with torch.no_grad():
        confidence.values.copy_(torch.tensor([[0.2] * 3, [0.8] * 3, [0.5] * 3, [0.5] * 3]))
        confidence.classes.weight.zero_()
        confidence.speech.bias.fill_(20.0)
        confidence.weight.copy_(torch.tensor([0.0, 1.0, 0.0]).expand(3, 3))
        scores = torch.full((1, 3), 0.2)
        sure = []
        for bias in ([9.0, 0.0, 0.0, 0.0], [9.0, 9.0, 0.0, 0.0]):
            confidence.classes.bias.copy_(torch.tensor(bias))
            sure.append(confidence(torch.zeros(1, 6), scores, torch.zeros(1, 3)))
        assert (sure[0] > sure[1] + 0.1).all()
        confidence.speech.bias.fill_(-20.0)  # nobody speaks
        assert confidence(torch.zeros(1, 6), scores, torch.full((1, 3), 50.0)).max() < 1e-6
