"""The training steps: base, SAM and LookSAM, and the last two with LayerSAM's ascent. One is chosen before the loop.

A step evaluates gradients (one or two passes over the same global batch) and leaves the descent direction d where the
base optimizer looks for its gradient. It moves the weights only between the two passes of a refresh, and puts them back
bit for bit, whatever happens in between. It neither owns the model nor the loss: `evaluate` fills `gradients`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from trainer import layerwise, looksam
from trainer.contract.methods import SAM, LayerSAM, LookLayerSAM, LookSAM, Method

WEAK_PERSISTENCE = 0.1


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """One gradient evaluation, agreed over all ranks. 0-dim float64 tensors on the device."""

    loss: Tensor
    """Mean over the global batch."""
    correct: Tensor
    """Images classified rightly."""
    stop: Tensor
    """More than 0 where rank 0 was asked to stop."""


Evaluate = Callable[[], Evaluated]
"""Writes the gradient of the global batch, summed over ranks, into `Tensors.gradients`."""

Ascent = Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], list[Tensor]]
"""eps from the weights, their gradients and ||g||: where the methods differ that take a second gradient."""


@dataclass(kw_only=True)
class Tensors:
    """What a step works on: trainable tensors, their gradients in the same order, buffers a forward pass may write."""

    weights: Sequence[Tensor]
    gradients: list[Tensor]
    buffers: list[Tensor]


@dataclass(kw_only=True)
class MethodState:
    """What a method carries from one step to the next; a checkpoint holds all of it. Scalars are 0-dim tensors."""

    gradient_evaluations: int
    direction: list[Tensor] | None
    """u of the last refresh; None before the first and after a resume that has none, which forces a refresh."""
    direction_exists: Tensor
    """bool: whether the last refresh's g_v was more than rounding."""
    persistence: Tensor
    """c, float64."""
    alpha: Tensor
    """In use until the next refresh, float64."""
    weak_refreshes: Tensor
    """Refreshes in a row after which c was below 0.1, float64."""

    @classmethod
    def fresh(cls, device: torch.device) -> MethodState:
        zero = torch.zeros((), dtype=torch.float64, device=device)
        return cls(
            gradient_evaluations=0, direction=None, direction_exists=torch.zeros((), dtype=torch.bool, device=device),
            persistence=zero, alpha=zero, weak_refreshes=zero,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Descent:
    """What a step found. `signals` are named as in the metric catalogue and empty unless the step was a refresh."""

    evaluated: Evaluated
    """Of the first pass: at the weights before the step."""
    gradient_norm: Tensor
    finite: Tensor
    """bool: whether every loss and gradient of the step is finite, on any rank."""
    signals: dict[str, Tensor]


class Step(Protocol):
    def __call__(self, step: int, evaluate: Evaluate) -> Descent:
        """Leaves d in the gradients. `step` counts from 0."""


def choose_step(method: Method, tensors: Tensors, state: MethodState) -> Step:
    match method:
        case SAM() | LayerSAM():
            return SAMStep(method, ascent_of(method), tensors, state)
        case LookSAM() | LookLayerSAM():
            return LookSAMStep(method, ascent_of(method), tensors, state)
        case _:
            return BaseStep(tensors, state)


def ascent_of(method: SAM | LookSAM | LayerSAM | LookLayerSAM) -> Ascent:
    """SAM's ascent, or the layer-wise one, with the method's options."""
    match method:
        case SAM() | LookSAM():
            return partial(looksam.ascent, rho=method.rho)
        case LayerSAM() | LookLayerSAM():
            exclude = method.one_dimensional == "excluded"
            return partial(layerwise.ascent, rho=method.rho, rule=method.layerwise, exclude_one_dimensional=exclude)


class BaseStep:
    """d = g. One gradient evaluation."""

    def __init__(self, tensors: Tensors, state: MethodState) -> None:
        self.tensors, self.state = tensors, state

    def __call__(self, step: int, evaluate: Evaluate) -> Descent:
        return _descend(self.tensors, self.state, evaluate)


class SAMStep:
    """d = g_s when t mod k = 0 (two gradient evaluations), d = g otherwise."""

    def __init__(self, method: SAM | LayerSAM, ascend: Ascent, tensors: Tensors, state: MethodState) -> None:
        self.method, self.ascend, self.tensors, self.state = method, ascend, tensors, state

    def __call__(self, step: int, evaluate: Evaluate) -> Descent:
        if step % self.method.k:
            return _descend(self.tensors, self.state, evaluate)
        descent, _ = _ascend_and_descend(self.tensors, self.state, evaluate, self.ascend)
        return descent


class LookSAMStep:
    """d = g_s at a refresh (two gradient evaluations), d = g + alpha*||g||*u at a reuse (one)."""

    def __init__(self, method: LookSAM | LookLayerSAM, ascend: Ascent, tensors: Tensors, state: MethodState) -> None:
        self.method, self.ascend, self.tensors, self.state = method, ascend, tensors, state

    def __call__(self, step: int, evaluate: Evaluate) -> Descent:
        if step % self.method.k == 0 or self.state.direction is None:
            return self._refresh(evaluate)
        descent = _descend(self.tensors, self.state, evaluate)
        looksam.reuse(self.tensors.gradients, self.state.direction, descent.gradient_norm, self.state.alpha)
        return descent

    def _refresh(self, evaluate: Evaluate) -> Descent:
        state = self.state
        descent, now = _ascend_and_descend(self.tensors, state, evaluate, self.ascend)
        if state.direction is not None:
            cosine = looksam.direction_cosine(now, state.direction, state.direction_exists)
            descent.signals["direction_cosine"] = cosine
            if self.method.alpha == "auto":
                state.persistence = looksam.updated_persistence(state.persistence, cosine)
        if self.method.alpha == "auto":
            state.alpha = looksam.shrunk_alpha(now.orthogonal_ratio, state.persistence)
            weak = state.persistence < WEAK_PERSISTENCE
            state.weak_refreshes = torch.where(weak, state.weak_refreshes + 1, 0.0)
            descent.signals["persistence"] = state.persistence
        elif self.method.alpha == "fresh_ratio":
            state.alpha = now.orthogonal_ratio
        else:
            state.alpha = torch.full_like(state.alpha, self.method.alpha)
        descent.signals["alpha"] = state.alpha
        state.direction, state.direction_exists = now.direction, now.exists
        return descent


def _descend(tensors: Tensors, state: MethodState, evaluate: Evaluate) -> Descent:
    """One pass; g stays in the gradients."""
    evaluated = evaluate()
    state.gradient_evaluations += 1
    gradient_norm = looksam.norm(tensors.gradients)
    return Descent(
        evaluated=evaluated, gradient_norm=gradient_norm, finite=_finite(evaluated, gradient_norm), signals={}
    )


def _ascend_and_descend(
    tensors: Tensors, state: MethodState, evaluate: Evaluate, ascend: Ascent
) -> tuple[Descent, looksam.Split]:
    """Two passes; g_s stays in the gradients, the weights and buffers are those after the first pass."""
    first = _descend(tensors, state, evaluate)
    gradient = [tensor.clone() for tensor in tensors.gradients]
    saved = looksam.perturb(tensors.weights, ascend(tensors.weights, gradient, first.gradient_norm))
    try:
        with _kept(tensors.buffers):
            second = evaluate()
    finally:
        looksam.restore(tensors.weights, saved)
    state.gradient_evaluations += 1
    perturbed_norm = looksam.norm(tensors.gradients)
    split = looksam.split(gradient, tensors.gradients, first.gradient_norm, perturbed_norm)
    descent = Descent(
        evaluated=first.evaluated,
        gradient_norm=first.gradient_norm,
        finite=first.finite & _finite(second, perturbed_norm),
        signals={
            "loss_rise": second.loss - first.evaluated.loss,
            "perturbed_grad_norm": perturbed_norm,
            "gradient_cosine": split.gradient_cosine,
            "orthogonal_ratio": split.orthogonal_ratio,
        },
    )
    return descent, split


def _finite(evaluated: Evaluated, gradient_norm: Tensor) -> Tensor:
    # The squares are summed in float64, so the norm is finite exactly where every float32 element is.
    return evaluated.loss.isfinite() & gradient_norm.isfinite()


@contextmanager
def _kept(buffers: Sequence[Tensor]) -> Iterator[None]:
    """Running statistics are those of the first pass: the second sees perturbed weights."""
    saved = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, value in zip(buffers, saved, strict=True):
            buffer.copy_(value)
