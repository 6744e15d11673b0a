"""The base optimizer and its learning rate. It takes the descent direction d as its gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from timm.optim import create_optimizer_v2, param_groups_layer_decay
from torch import Tensor, nn
from torch.optim import Optimizer

from trainer.contract.optimizers import LAMB, LARS, SGD, AdamW, Lion, Muon
from trainer.contract.optimizers import Optimizer as OptimizerSpec
from trainer.contract.spec import Schedule


class GuardedOptimizer:
    """A base optimizer that leaves the weights alone from the first step on that is not finite.

    The decision is made on the device, so the host need not wait to learn it; `bad` stays 1 from then on, and the loop
    ends the run when it reads that. torch's fused SGD and AdamW take `found_inf`, as a gradient scaler uses it. timm's
    optimizers know nothing like it, and a NaN multiplied away is a NaN still, so their step is taken and then undone
    where `bad`: weights and moments are copied before it, and selected after it. That costs a copy of them while the
    step runs, when the activations, which are larger, are gone. Only their counters of steps on the host count on;
    nothing reads them any more, since the loop reads `bad` before it saves.
    """

    def __init__(
        self, spec: OptimizerSpec, weights: Sequence[Tensor], model: nn.Module | None = None,
        parameters: Sequence[Tensor] | None = None,
    ) -> None:  # fmt: skip
        self.base = build(spec, weights, model, parameters)
        self._takes_found_inf = isinstance(self.base, torch.optim.SGD | torch.optim.AdamW)
        self.bad = torch.zeros((), dtype=torch.float32, device=weights[0].device)

    def step(self, finite: Tensor) -> None:
        self.bad = torch.maximum(self.bad, (~finite).to(torch.float32))
        if self._takes_found_inf:
            self.base.found_inf = self.bad  # type: ignore[attr-defined]
            self.base.step()
        else:
            with _undone_where(self.bad, self.base):
                self.base.step()

    def set_learning_rate(self, lr: float) -> None:
        for group in self.base.param_groups:
            group["lr"] = lr * group.get("lr_scale", 1.0)


def build(
    spec: OptimizerSpec, weights: Sequence[Tensor], model: nn.Module | None = None,
    parameters: Sequence[Tensor] | None = None,
) -> Optimizer:  # fmt: skip
    """Biases, norm layers and other tensors of at most one axis are not decayed. `model` is needed for layer decay.

    The number of axes alone decides: position embeddings and class tokens, which timm's own training script leaves out
    by the model's `no_weight_decay()`, are decayed here.

    `parameters`: the model's own, in the order of `weights`, where these are parts of them.
    """
    groups = _groups(spec, weights, model, weights if parameters is None else parameters)
    match spec:
        case SGD():
            return torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum, nesterov=spec.nesterov, fused=True)
        case AdamW():
            return torch.optim.AdamW(groups, lr=spec.lr, betas=spec.betas, eps=spec.eps, fused=True)
        case LAMB():
            return _timms("lamb", groups, spec, betas=spec.betas, eps=spec.eps, max_grad_norm=spec.max_grad_norm)
        case LARS():
            return _timms(
                "lars", groups, spec, momentum=spec.momentum, nesterov=spec.nesterov, trust_coeff=spec.trust_coefficient
            )
        case Lion():
            return _timms("lion", groups, spec, betas=spec.betas)
        case Muon():
            return _timms("muon", groups, spec, momentum=spec.momentum, nesterov=spec.nesterov, betas=spec.betas)


def _timms(name: str, groups: list[dict[str, Any]], spec: OptimizerSpec, **options: Any) -> Optimizer:
    """By timm's factory, which is given the groups as they are."""
    optimizer = create_optimizer_v2(groups, opt=name, lr=spec.lr, weight_decay=spec.weight_decay, **options)
    return cast(Optimizer, optimizer)


def _groups(
    spec: OptimizerSpec, weights: Sequence[Tensor], model: nn.Module | None, parameters: Sequence[Tensor]
) -> list[dict[str, Any]]:  # fmt: skip
    groups: list[dict[str, Any]]
    if spec.layer_decay is None:
        decayed = [weight for weight in weights if weight.ndim > 1]
        others = [weight for weight in weights if weight.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": spec.weight_decay}, {"params": others, "weight_decay": 0.0},
        ]  # fmt: skip
    else:
        assert model is not None
        groups = param_groups_layer_decay(model, weight_decay=spec.weight_decay, layer_decay=spec.layer_decay)
        of_parameter = {id(parameter): weight for parameter, weight in zip(parameters, weights, strict=True)}
        for group in groups:
            group["params"] = [of_parameter[id(parameter)] for parameter in group["params"]]
    groups = [group for group in groups if group["params"]]
    if isinstance(spec, LAMB | LARS):
        for group in groups:
            # timm scales by the trust ratio only where there is decay, unless told: without decay it is LAMB, too.
            group["always_adapt"] = all(weight.ndim > 1 for weight in group["params"])
    return groups


@contextmanager
def _undone_where(bad: Tensor, optimizer: Optimizer) -> Iterator[None]:
    """Where `bad` (0-dim, on the device), weights and state are afterwards what they were before, bit for bit."""
    before = {name: tensor.detach().clone() for name, tensor in _tensors_of(optimizer)}
    yield
    is_bad = bad > 0
    with torch.no_grad():
        for name, tensor in _tensors_of(optimizer):
            # A moment that the optimizer's first step has just made was zero before.
            saved = before[name] if name in before else torch.zeros_like(tensor)
            torch.where(is_bad, saved, tensor, out=tensor)


def _tensors_of(optimizer: Optimizer) -> Iterator[tuple[tuple[int, str], Tensor]]:
    """Weights that have a gradient, and what the optimizer keeps for each, under names that stay."""
    for group in optimizer.param_groups:
        for weight in group["params"]:
            if weight.grad is not None:
                yield (id(weight), "weight"), weight
                for name, value in optimizer.state.get(weight, {}).items():
                    if isinstance(value, Tensor):
                        yield (id(weight), name), value


def learning_rate(schedule: Schedule, peak: float, step: int, total_steps: int) -> float:
    """Of step `step` (from 0): a linear warm-up, then the curve towards its final fraction of `peak`.

    A pure function of the step, so there is no scheduler to save. The warm-up starts from 0 *before* the first step:
    step t of w runs at (t+1)/w, since a first step at 0 would be wasted. Likewise the curve reaches its end *after* the
    last step.
    """
    if step < schedule.warmup_steps:
        return peak * (step + 1) / schedule.warmup_steps
    if schedule.name == "constant":
        return peak
    progress = (step - schedule.warmup_steps) / (total_steps - schedule.warmup_steps)
    left = 1 - progress if schedule.name == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return peak * (schedule.final_lr_fraction + (1 - schedule.final_lr_fraction) * left)
