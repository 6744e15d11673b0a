"""The trainer's side of the comparisons: its step and its optimizer on the small network, gradients by autograd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from tests.unit.trainer.oracles.network import Arrays, Network
from tests.unit.trainer.oracles.reference import Row
from trainer.contract.methods import Method
from trainer.contract.optimizers import SGD
from trainer.contract.optimizers import Optimizer as OptimizerSpec
from trainer.optimizer import GuardedOptimizer
from trainer.step import choose_step

LossOf = Callable[[Sequence[Tensor], Tensor, Tensor], Tensor]
"""Of weights, images and labels."""
Batches = Callable[[int], Sequence[tuple[np.ndarray, np.ndarray]]]
"""The micro-batches of a step."""


def method_of(document: dict[str, Any]) -> Any:
    """The `method` section as the trainer gets it: validated, its defaults filled in."""
    return TypeAdapter(Method).validate_python(document)


def network_loss(network: Network, weights: Sequence[Tensor], x: Tensor, labels: Tensor) -> Tensor:
    layers = len(network.widths) - 1
    for layer in range(layers):
        x = x @ weights[2 * layer] + weights[2 * layer + 1]
        x = x.tanh() if layer < layers - 1 else x
    return torch.nn.functional.cross_entropy(x * weights[-1] if network.has_gain else x, labels)


def trained(
    objective: Any, document: dict[str, Any], start: Arrays, batches: Batches, steps: int, *,
    loss: LossOf | None = None, optimizer: OptimizerSpec | None = None, lr: Callable[[int], float] | None = None,
    rho: Callable[[int], float] | None = None, loss_scale: float = 1.0, factor: float = 1.0,
    dtype: torch.dtype = torch.float64, model: nn.Module | None = None,
) -> list[Row]:  # fmt: skip
    """What `steps` steps leave. `factor` is part of the loss; `loss_scale` is the scaler's, taken off d as in the loop.

    `objective` is the fixture; the loss is that of the network unless another is given. `model`: whose parameters, in
    the order of `start`, say which layer each tensor belongs to, for layer decay.
    """
    loss, optimizer = loss or partial(network_loss, Network()), optimizer or SGD(name="sgd", lr=0.05)
    current = 0

    def loss_of(micro_batch: int) -> Callable[[Sequence[Tensor]], Tensor]:
        def of_weights(weights: Sequence[Tensor]) -> Tensor:
            x, labels = map(torch.from_numpy, batches(current)[micro_batch])
            return factor * loss(weights, x.to(dtype), labels)

        return of_weights

    problem = objective([torch.from_numpy(w).to(dtype) for w in start], *map(loss_of, range(len(batches(0)))))
    problem.tensors.loss_scale.factor = loss_scale
    for weight, gradient in zip(problem.weights, problem.gradients, strict=True):
        weight.grad = gradient
    guarded = GuardedOptimizer(optimizer, problem.weights, model, None if model is None else list(model.parameters()))
    step = choose_step(method_of(document), problem.tensors, problem.state, rho=rho)
    rows = []
    for current in range(steps):
        guarded.set_learning_rate(optimizer.lr if lr is None else lr(current))
        descent = step(current, problem)
        torch._foreach_mul_(problem.gradients, 1 / loss_scale)
        direction = numpy_of(problem.gradients)
        guarded.step(descent.finite)
        signals = descent.signals | {"grad_norm": descent.gradient_norm, "train_loss": descent.evaluated.loss}
        state = problem.state
        rows.append(
            Row(
                numpy_of(problem.weights), direction, state.alpha.numpy().copy(), state.persistence.numpy().copy(),
                problem.evaluations // len(problem.losses), {name: value.item() for name, value in signals.items()},
            )
        )  # fmt: skip
        assert state.gradient_evaluations == rows[-1].evaluations, "counted as they happened"
    return rows


def numpy_of(tensors: Sequence[Tensor]) -> Arrays:
    return [tensor.detach().numpy().copy() for tensor in tensors]
