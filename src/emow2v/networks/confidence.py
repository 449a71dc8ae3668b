"""How sure a `lite` with two heads is of its scores."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLASSES = 8  # to which the sound may belong
SIGNS = 3  # values from which the confidence of a score follows
SMALLEST = 1e-3  # of an expected error, under its logarithm


class Confidence(nn.Module):
    """The probability that each score lies close to what people would rate, about 0 where nobody speaks.

    It is the product of the probability of speech and, for each dimension, of a logistic function of three signs: what the
    linear layer on the tuned layer says; how far the score lies from the values of the classes to which the sound may
    belong (less the logarithm of the mean distance); and how far it lies from the middle of the scale (squared).

    Attributes:
        values: arousal, dominance and valence of each class [classes, 3]
        weight, offset: of the logistic function [3, signs] and [3]
    """

    values: Tensor
    weight: Tensor
    offset: Tensor

    def __init__(self, embeddings: int, classes: int = CLASSES) -> None:
        super().__init__()
        self.speech = nn.Linear(embeddings, 1)
        self.classes = nn.Linear(embeddings, classes)
        self.register_buffer("values", torch.full((classes, 3), 0.5))
        self.register_buffer("weight", torch.ones(3, SIGNS))
        self.register_buffer("offset", torch.zeros(3))

    def signs(self, embeddings: Tensor, scores: Tensor, certainty: Tensor) -> tuple[Tensor, ...]:
        """What the confidence of each score follows from, `SIGNS` of [batch, 3].

        Args:
            embeddings: standardised values of both layers [batch, embeddings]
            scores, certainty: [batch, 3]
        """
        share = torch.softmax(self.classes(embeddings), dim=1)
        distance = (share[:, :, None] * (scores[:, None] - self.values).abs()).sum(dim=1)
        return certainty, -torch.log(distance + SMALLEST), (scores - 0.5) ** 2

    def forward(self, embeddings: Tensor, scores: Tensor, certainty: Tensor) -> Tensor:
        logits = self.offset
        for sign, weight in zip(self.signs(embeddings, scores, certainty), self.weight.T, strict=True):
            logits = logits + weight * sign  # OpenVINO 2026.4 sums a product with a square matrix over the wrong axis
        confidence: Tensor = torch.sigmoid(self.speech(embeddings)) * torch.sigmoid(logits)
        return confidence
