"""The training steps: base, SAM and LookSAM, and the last two with LayerSAM's ascent. One is chosen before the loop.

A step evaluates gradients (one or two passes over the same global batch) and leaves the descent direction d where the
base optimizer looks for its gradient. It moves the weights only between the two passes of a refresh, and puts them back
bit for bit, whatever happens in between. It neither owns the model nor the loss: `Passes` fill the gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from trainer import layerwise, looksam
from trainer.contract.methods import SAM, LayerSAM, LookLayerSAM, LookSAM, Method, NoMethod
from trainer.passes import Evaluated, Passes, Tensors, evaluate
from trainer.perturbation import PERTURBATIONS, Ascent, TwoGradients

WEAK_PERSISTENCE = 0.1

Rho = Callable[[int], float]
"""The radius of a step, counted from 0."""


@dataclass(kw_only=True)
class MethodState:
    """What a method carries from one step to the next; a checkpoint holds all of it.

    Numbers are 0-dim tensors; in scope "per_tensor" alpha, c and `direction_exists` have one entry for each tensor once
    there was a refresh.
    """

    gradient_evaluations: int
    direction: list[Tensor] | None
    """u of the last refresh; None before the first, after a resume that has none and after a refresh that failed: then
    the next step is a refresh."""
    direction_exists: Tensor
    """bool: whether the last refresh's g_v was more than rounding."""
    persistence: Tensor
    """c, float64."""
    alpha: Tensor
    """In use until the next refresh, float64."""
    weak_refreshes: Tensor
    """Refreshes in a row after which c (its mean over the tensors) was below 0.1, float64, 0-dim."""

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
    """||g||; NaN where the gradient of the global batch was not needed (SAM with an ascent per rank)."""
    finite: Tensor
    """bool: whether every loss and gradient of the step is finite, on any rank."""
    signals: dict[str, Tensor]


class Step(Protocol):
    def __call__(self, step: int, passes: Passes) -> Descent:
        """Leaves d, times the loss scale, in the gradients. `step` counts from 0."""


def choose_step(
    method: Method, tensors: Tensors, state: MethodState, rho: Rho | None = None,
    shows: Callable[[int], bool] | None = None,
) -> Step:  # fmt: skip
    """`rho`: where the radius is not the same at every step. `shows`: at which steps somebody reads signals that the
    method itself does not need; None: at all."""
    match method:
        case SAM() | LayerSAM():
            return SAMStep(method, tensors, state, rho, shows)
        case LookSAM() | LookLayerSAM():
            return LookSAMStep(method, tensors, state, rho, shows)
        case _:
            return BaseStep(tensors, state)


def ascent_of(method: SAM | LookSAM | LayerSAM | LookLayerSAM, over_ranks: looksam.OverRanks | None = None) -> Ascent:
    """SAM's ascent, or the layer-wise one, with the method's options."""
    match method:
        case SAM() | LookSAM():
            return looksam.ascent
        case LayerSAM() | LookLayerSAM():
            excluded = method.one_dimensional == "excluded"
            return partial(
                layerwise.ascent, rule=method.layerwise, exclude_one_dimensional=excluded, over_ranks=over_ranks
            )


def is_refresh(method: Method, step: int) -> bool:
    """Whether step `step` takes the second gradient by the method's calendar."""
    return not isinstance(method, NoMethod) and is_active(method, step) and (step - method.start_step) % method.k == 0


def is_active(method: Method, step: int) -> bool:
    """Whether the method is on: outside of [start_step, stop_step) the base optimizer trains alone."""
    if isinstance(method, NoMethod):
        return False
    return method.start_step <= step and (method.stop_step is None or step < method.stop_step)


def planned_refreshes(method: Method, total_steps: int) -> int:
    """How many of a run's steps take the second gradient by the method's calendar."""
    if isinstance(method, NoMethod):
        return 0
    end = total_steps if method.stop_step is None else min(method.stop_step, total_steps)
    return max(0, -(-(end - method.start_step) // method.k))


class BaseStep:
    """d = g. One gradient evaluation."""

    def __init__(self, tensors: Tensors, state: MethodState) -> None:
        self.tensors, self.state = tensors, state

    def __call__(self, step: int, passes: Passes) -> Descent:
        descent, _ = _descend(self.tensors, self.state, passes)
        return descent


class _Ascending:
    """What the steps share that take a second gradient."""

    def __init__(
        self, method: SAM | LookSAM | LayerSAM | LookLayerSAM, tensors: Tensors, state: MethodState, rho: Rho | None,
        shows: Callable[[int], bool] | None,
    ) -> None:  # fmt: skip
        self.method, self.tensors, self.state = method, tensors, state
        self._ascent = ascent_of(method, tensors.over_ranks)
        self._perturbation = PERTURBATIONS[method.perturbation]
        self._rho = rho or (lambda step: method.rho)
        self._shows = shows or (lambda step: True)
        self._spare: list[Tensor] | None = None  # memory for g of a refresh that failed

    def _two_gradients(self, step: int, passes: Passes, held: list[Tensor] | None) -> TwoGradients:
        if self.tensors.watch is not None:
            self.tensors.watch.begin()
        passes.begin(refresh=True)
        found = self._perturbation(self.tensors, passes, self._ascent, self._rho(step), held)
        self.state.gradient_evaluations += 1 if found.perturbed_loss is None else 2
        return found

    def _eps_norm(self, step: int, two: TwoGradients) -> float | Tensor:
        """||eps||: rho, but for the layer-wise rules; there NaN where nobody reads it, or each share had its own."""
        if not isinstance(self.method, LayerSAM | LookLayerSAM):
            return self._rho(step)
        if two.scales is None or two.gradient_norms is None or not self._shows(step):
            return float("nan")
        return looksam.total(torch.stack(two.scales) * two.gradient_norms)

    def _room(self) -> list[Tensor]:
        spare, self._spare = self._spare, None
        return spare or [torch.empty_like(gradient) for gradient in self.tensors.gradients]


class SAMStep(_Ascending):
    """d = g_s every k steps (two gradient evaluations), d = g otherwise."""

    method: SAM | LayerSAM

    def __call__(self, step: int, passes: Passes) -> Descent:
        if not is_refresh(self.method, step):
            descent, _ = _descend(self.tensors, self.state, passes)
            return descent
        # g is not needed for the step itself, so only where its angle to g_s is shown is it worth a copy and the sums.
        held = self._room() if self.method.perturbation == "global" and self._shows(step) else None
        two = self._two_gradients(step, passes, held)
        if two.perturbed_loss is None or held is None:
            return _found(self.tensors, two)
        norms, perturbed_norms = two.gradient_norms, self.tensors.norms()
        assert norms is not None
        split = looksam.split(held, self.tensors.gradients, norms, perturbed_norms, over_ranks=self.tensors.over_ranks)
        return _found(self.tensors, two, split, perturbed_norms, self._eps_norm(step, two))


class LookSAMStep(_Ascending):
    """d = g_s at a refresh (two gradient evaluations), d = g + alpha*||g||*u at a reuse (one)."""

    method: LookSAM | LookLayerSAM

    def __call__(self, step: int, passes: Passes) -> Descent:
        if not is_active(self.method, step):
            descent, _ = _descend(self.tensors, self.state, passes)
            return descent
        if is_refresh(self.method, step) or self.state.direction is None:
            return self._refresh(step, passes)
        descent, norms = _descend(self.tensors, self.state, passes)
        looksam.reuse(self.tensors.gradients, self.state.direction, norms, self.state.alpha, self.method.scope)
        return descent

    def _refresh(self, step: int, passes: Passes) -> Descent:
        state, scope = self.state, self.method.scope
        compares = self.method.alpha == "auto" or self._shows(step)  # auto follows the cosine
        before = looksam.sample(state.direction) if compares and state.direction is not None else None
        held = state.direction or self._room()  # the old direction is dead once its sample is taken
        two = self._two_gradients(step, passes, held)
        if two.perturbed_loss is None:
            if state.direction is None:
                self._spare = held
            return _found(self.tensors, two)
        perturbed_norms = self.tensors.norms()
        assert two.gradient_norms is not None
        now = looksam.split(
            held, self.tensors.gradients, two.gradient_norms, perturbed_norms, scope, self.tensors.over_ranks
        )
        descent = _found(self.tensors, two, now, perturbed_norms, self._eps_norm(step, two))
        if self.tensors.loss_scale.moves and not descent.finite:
            # The step is taken again. What was stored is overwritten, so that one has to be a refresh.
            self._spare, state.direction = held, None
            return descent
        if before is not None:
            self._compare(now, before, descent.signals)
        self._set_alpha(now, two.gradient_norms, descent.signals)
        state.direction, state.direction_exists = held, now.exists
        return descent

    def _compare(self, now: looksam.Split, before: list[Tensor], signals: dict[str, Tensor]) -> None:
        state, scope = self.state, self.method.scope
        overlap = looksam.overlap(now, before, state.direction_exists, self.tensors.over_ranks)
        cosine = overlap.cosine(scope)
        signals["direction_cosine"] = cosine.nanmean()
        for group, members in self.tensors.layer_groups.items():
            signals[f"direction_cosine/{group}"] = overlap.cosine_of(members, scope)
        if self.method.alpha == "auto":
            state.persistence = looksam.updated_persistence(state.persistence, cosine)

    def _set_alpha(self, now: looksam.Split, gradient_norms: Tensor, signals: dict[str, Tensor]) -> None:
        state = self.state
        if self.method.alpha == "auto":
            state.alpha = looksam.shrunk_alpha(now.orthogonal_ratio, state.persistence)
            persistence = state.persistence.mean()
            state.weak_refreshes = torch.where(persistence < WEAK_PERSISTENCE, state.weak_refreshes + 1, 0.0)
            signals["persistence"] = persistence
        elif self.method.alpha == "fresh_ratio":
            state.alpha = now.orthogonal_ratio
        else:
            state.alpha = torch.full_like(now.orthogonal_ratio, self.method.alpha)
        if self.method.scope == "global":
            signals["alpha"] = state.alpha
        else:  # what the correction's size is of ||g||
            signals["alpha"] = looksam.total(state.alpha * gradient_norms) / looksam.total(gradient_norms)
        ratio = signals["orthogonal_ratio"]
        # Where g_v is gated, reuse adds nothing and stands for nothing: there is no such number.
        signals["reuse_amplification"] = torch.where(ratio > 0, signals["alpha"] / ratio, torch.nan)


def _descend(tensors: Tensors, state: MethodState, passes: Passes) -> tuple[Descent, Tensor]:
    """One pass; g stays in the gradients. Also returns the norm of each of them."""
    passes.begin(refresh=False)
    evaluated = evaluate(passes)
    state.gradient_evaluations += 1
    norms = tensors.norms()
    gradient_norm = looksam.total(norms)
    # The squares are summed in float64, so the norm is finite exactly where every float32 element is.
    finite = evaluated.loss.isfinite() & gradient_norm.isfinite()
    return Descent(
        evaluated=evaluated, gradient_norm=gradient_norm / tensors.loss_scale.factor, finite=finite, signals={}
    ), norms  # fmt: skip


def _found(
    tensors: Tensors, two: TwoGradients, split: looksam.Split | None = None, perturbed_norms: Tensor | None = None,
    eps_norm: float | Tensor = 0.0,
) -> Descent:  # fmt: skip
    """What two gradients say; `split`, the norms and ||eps|| where there was a second one and g was kept."""
    factor = tensors.loss_scale.factor
    norms = perturbed_norms if perturbed_norms is not None else tensors.norms()
    last_norm = looksam.total(norms)
    finite = two.loss.isfinite() & last_norm.isfinite()
    gradient_norm = torch.full_like(last_norm, torch.nan)
    if two.gradient_norms is not None:
        gradient_norm = looksam.total(two.gradient_norms)
        finite = finite & gradient_norm.isfinite()
    signals: dict[str, Tensor] = {}
    if two.perturbed_loss is not None:
        finite = finite & two.perturbed_loss.isfinite()
        signals = {"loss_rise": two.perturbed_loss - two.loss, "perturbed_grad_norm": last_norm / factor}
    if split is not None:
        ratio = looksam.total(split.orthogonal_norm) / gradient_norm
        along = (last_norm * split.gradient_cosine - gradient_norm) / factor
        signals |= {
            "gradient_cosine": split.gradient_cosine,
            "orthogonal_ratio": torch.where(gradient_norm == 0, 0.0, ratio),
            "directional_curvature": _per_length(along, eps_norm),
        }
    return Descent(evaluated=two.evaluated, gradient_norm=gradient_norm / factor, finite=finite, signals=signals)


def _per_length(rise: Tensor, length: float | Tensor) -> Tensor:
    """NaN where no way was gone. A length on the device is not waited for."""
    if isinstance(length, Tensor):
        return torch.where(length > 0, rise / length, torch.nan)
    return rise / length if length > 0 else torch.full_like(rise, torch.nan)
