"""A small tanh network in plain NumPy, float64: its loss, its gradient by the chain rule, and its full Hessian.

    a_0 = x,  a_i = tanh(a_{i-1} W_i + b_i),  z = gain * (a_{n-1} W_n + b_n),  L = mean cross-entropy of softmax(z)

It shares nothing with the trainer. Without hidden layers and without the gain it is softmax regression. The gain is a
tensor of no axis and one element: per tensor, nothing of its gradient is orthogonal to it, so the gate must hold.

Every operation is analytic, so that the gradient also takes complex weights: the Hessian's column j is
Im(grad L(w + i*h*e_j))/h, without any difference of near numbers, and therefore exact to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

Arrays = list[np.ndarray]

BATCH = 16


@dataclass(frozen=True)
class Network:
    widths: tuple[int, ...] = (5, 6, 5, 4)
    """Inputs, hidden layers, classes: 96 weights in seven tensors as it stands."""
    has_gain: bool = True

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        layers = list(zip(self.widths, self.widths[1:], strict=False))
        return [shape for a, b in layers for shape in ((a, b), (b,))] + ([()] if self.has_gain else [])

    def start(self, *, fresh_head: bool = False) -> Arrays:
        """`fresh_head`: the last matrix is all zeros, and with it, at the first step, the gradient of all before it."""
        rng = np.random.default_rng(99)
        weights = [np.asarray(0.5 * rng.normal(size=shape)) for shape in self.shapes]
        if fresh_head:
            weights[2 * len(self.widths) - 4] *= 0.0
        if self.has_gain:
            weights[-1] += 1.5
        return weights

    def cut(self, vector: np.ndarray) -> Arrays:
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        parts = np.split(vector, np.cumsum(sizes)[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def loss_and_gradient(self, weights: Arrays, x: np.ndarray, labels: np.ndarray) -> tuple[complex, Arrays]:
        """Mean cross-entropy of images x (batch, inputs) with labels (batch,), and its gradient, tensor by tensor."""
        gain = weights[-1] if self.has_gain else np.ones(())
        matrices, biases = weights[0 : 2 * len(self.widths) - 2 : 2], weights[1 : 2 * len(self.widths) - 2 : 2]
        activations = [x]
        for matrix, bias in zip(matrices[:-1], biases[:-1], strict=True):
            activations.append(np.tanh(activations[-1] @ matrix + bias))
        last = activations[-1] @ matrices[-1] + biases[-1]
        scores = gain * last
        scores = scores - scores.real.max(axis=1, keepdims=True)
        p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        rows = np.arange(len(x))
        loss = -np.log(p[rows, labels]).mean()

        error = p.copy()  # dL/dz, shape (batch, classes)
        error[rows, labels] -= 1
        error /= len(x)
        found: Arrays = [np.asarray((error * last).sum())] if self.has_gain else []
        back = gain * error
        for layer in reversed(range(len(matrices))):
            found = [activations[layer].T @ back, back.sum(axis=0), *found]
            if layer:
                back = (back @ matrices[layer].T) * (1 - activations[layer] ** 2)
        return loss, found

    def hessian(self, weights: Arrays, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Of all weights as one vector, shape (weights, weights)."""
        w, h = joined(weights).astype(complex), 1e-30
        columns = []
        for j in range(len(w)):
            w[j] += 1j * h
            columns.append(joined(self.loss_and_gradient(self.cut(w), x, labels)[1]).imag / h)
            w[j] -= 1j * h
        return np.stack(columns, axis=1)


def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.ravel(array) for array in arrays])


def size(x: np.ndarray) -> float:
    """L2 norm of an array of any shape."""
    return float(np.sqrt((x * x).sum()))


@cache
def batch(
    step: int, micro_batch: int = 0, *, noise: float = 0.3, inputs: int = 5, classes: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels. With little noise batches share most of their signal, so that directions persist."""
    rng = np.random.default_rng([step, micro_batch])
    labels = rng.integers(0, classes, BATCH)
    centres = np.random.default_rng(1234).normal(size=(classes, inputs))
    return centres[labels] + noise * rng.normal(size=(BATCH, inputs)), labels
