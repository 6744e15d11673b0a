"""Logistic regression in closed form: loss, gradient and Hessian in plain NumPy. Convex, and shares nothing with the
trainer.

    z = x w + b,  L = mean softplus(z) - y z,  dL/dz = sigmoid(z) - y,  d2L/dz2 = sigmoid(z) (1 - sigmoid(z))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tests.unit.trainer.oracles.network import Arrays


@dataclass(frozen=True)
class Logistic:
    inputs: int = 5

    def start(self) -> Arrays:
        rng = np.random.default_rng(3)
        return [rng.normal(size=(self.inputs, 1)), rng.normal(size=1)]

    def loss_and_gradient(self, weights: Arrays, x: np.ndarray, labels: np.ndarray) -> tuple[float, Arrays]:
        z = (x @ weights[0] + weights[1])[:, 0]
        error = (1 / (1 + np.exp(-z)) - labels) / len(x)
        return float((np.logaddexp(0, z) - labels * z).mean()), [x.T @ error[:, None], error.sum(keepdims=True)]

    def hessian(self, weights: Arrays, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
        s = 1 / (1 + np.exp(-(x @ weights[0] + weights[1])))
        extended = np.hstack([x, np.ones((len(x), 1))])
        return extended.T @ (s * (1 - s) * extended) / len(x)


def logistic_loss(weights: Sequence[Tensor], x: Tensor, labels: Tensor) -> Tensor:
    z = (x @ weights[0] + weights[1])[:, 0]
    return torch.nn.functional.binary_cross_entropy_with_logits(z, labels.to(z.dtype))
