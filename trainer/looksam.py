"""LookSAM's mathematics: pure functions on lists of tensors. They know no model, no loss, no optimizer and no ranks.

LookSAM (arXiv 2203.02714, CVPR 2022). Only the paper's abstract and introduction could be checked, not its full text;
the formulas are those that five independent implementations agree on, mended where these are known to be wrong.

A *refresh* every k steps, the first step always, and k-1 *reuse* steps in between:

    g   = grad L(w)
    refresh:  eps = rho * g/||g||
              g_s = grad L(w + eps), on the same batch with the same masks; w is restored bit for bit
              g_v = g_s - (<g, g_s>/||g||^2) * g           the part of g_s orthogonal to g
              d   = g_s,  u = g_v/||g_v|| is stored
    reuse:    d   = g + alpha * ||g|| * u

and the base optimizer takes d as its gradient. Every norm and inner product is one number over all tensors ("global").

    symbol          name                  |  symbol            name
    w               weights               |  u = g_v/||g_v||   direction
    g, ||g||        gradient, ...norm     |  ||g_v||/||g||     orthogonal ratio
    g_s, ||g_s||    perturbed_gradient    |  c                 persistence
    rho, k, alpha   the same              |  cos(g_v, before)  direction cosine

What is stored is u, not g_v: only the direction is used, and it does not depend on the scale of the loss.

Degenerate cases. ||g|| = 0: no ascent. ||g_v|| <= tau * ||g_s||: nothing but rounding is left, so g_v = 0 and reuse is
the base step; without this gate, at rho = 0, the noise would be blown up to the size of g. No small constant is added
to the projection's denominator: it would leave a residue along g, which reuse multiplies by ||g||/||g_v||.

`alpha="auto"` departs from the paper, whose 0.7 holds for large batches: at small ones most of the stored direction is
noise k steps later. It is the linear predictor of the fresh g_v from the stale one: at each refresh
alpha = min(1, ||g_v||/||g||) * c, where c follows the cosine between successive directions. `alpha="fresh_ratio"` is
||g_v||/||g|| of the last refresh as it is: the stored direction at the size it had, for study (it can diverge).

Cost in gradient evaluations: a refresh 2, a reuse 1, so T + ceil(T/k) for T steps. Memory beyond the base optimizer:
one copy of the weights for u, and two more while a refresh runs.

Scalars are 0-dim float64 tensors on the device of the weights; nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# What is left of g_v below this share of ||g_s|| is rounding (measured: 1e-7 in fp32, 2e-16 in fp64 at rho = 0).
NEGLIGIBLE_SHARE = {torch.float32: 1e-6, torch.float64: 1e-12}

PERSISTENCE_DECAY = 0.8


def norm(tensors: Sequence[Tensor]) -> Tensor:
    """L2 norm over all tensors as one vector, in float64."""
    partials = torch._foreach_norm(list(tensors), 2, dtype=torch.float64)
    total: Tensor = torch.linalg.vector_norm(torch.stack(partials))
    return total


def inner(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Inner product over all tensors as one vector, in float64."""
    return torch.stack([(x.double() * y.double()).sum() for x, y in zip(a, b, strict=True)]).sum()


@torch.no_grad()
def ascent(weights: Sequence[Tensor], gradient: Sequence[Tensor], gradient_norm: Tensor, *, rho: float) -> list[Tensor]:
    """eps = rho * g/||g||, a new tensor for each weight; the weights themselves do not matter here."""
    scale = torch.where(gradient_norm == 0, 0.0, rho / gradient_norm)
    return list(torch._foreach_mul(list(gradient), scale.to(gradient[0].dtype)))


@torch.no_grad()
def perturb(weights: Sequence[Tensor], eps: Sequence[Tensor]) -> list[Tensor]:
    """Adds eps to the weights in place; returns copies of the weights before, for `restore`."""
    saved = [weight.clone() for weight in weights]
    torch._foreach_add_(list(weights), list(eps))
    return saved


@torch.no_grad()
def restore(weights: Sequence[Tensor], saved: Sequence[Tensor]) -> None:
    """Writes the saved weights back, bit for bit and in place, so that addresses stay and shards see it."""
    torch._foreach_copy_(list(weights), list(saved))


@dataclass(frozen=True, kw_only=True)
class Split:
    """What a refresh finds besides d = g_s. All scalars are 0-dim float64 tensors."""

    direction: list[Tensor]
    """u = g_v/||g_v||; all zeros where g_v is negligible."""
    exists: Tensor
    """Whether g_v is more than rounding."""
    orthogonal_norm: Tensor
    """||g_v||, 0 where negligible."""
    gradient_cosine: Tensor
    """cos(g, g_s); 0 where either is zero."""
    orthogonal_ratio: Tensor
    """||g_v||/||g||; 0 where g is zero."""


@torch.no_grad()
def split(
    gradient: list[Tensor], perturbed_gradient: Sequence[Tensor], gradient_norm: Tensor, perturbed_norm: Tensor
) -> Split:
    """Takes the part of g_s along g away. `gradient` is overwritten: its memory becomes the direction's."""
    product = inner(gradient, perturbed_gradient)
    along = torch.where(gradient_norm == 0, 0.0, product / gradient_norm**2)
    torch._foreach_mul_(gradient, (-along).to(gradient[0].dtype))
    torch._foreach_add_(gradient, list(perturbed_gradient))  # now g_v
    rest = norm(gradient)
    exists = rest > NEGLIGIBLE_SHARE[gradient[0].dtype] * perturbed_norm
    torch._foreach_mul_(gradient, torch.where(exists, 1.0 / rest, 0.0).to(gradient[0].dtype))  # now u
    orthogonal_norm = torch.where(exists, rest, 0.0)
    return Split(
        direction=gradient,
        exists=exists,
        orthogonal_norm=orthogonal_norm,
        gradient_cosine=_quotient(product, gradient_norm * perturbed_norm),
        orthogonal_ratio=_quotient(orthogonal_norm, gradient_norm),
    )


@torch.no_grad()
def reuse(gradient: list[Tensor], direction: Sequence[Tensor], gradient_norm: Tensor, alpha: Tensor) -> None:
    """Turns g into d = g + alpha * ||g|| * u in place; the correction's norm is alpha * ||g||."""
    strength = (alpha * gradient_norm).to(gradient[0].dtype)
    torch._foreach_add_(gradient, torch._foreach_mul(list(direction), strength))


def direction_cosine(now: Split, before: Sequence[Tensor], before_exists: Tensor) -> Tensor:
    """cos(g_v now, g_v of the refresh before); NaN where either is negligible."""
    return torch.where(now.exists & before_exists, inner(now.direction, before), torch.nan)


def updated_persistence(persistence: Tensor, cosine: Tensor) -> Tensor:
    """c <- 0.8*c + 0.2*max(0, cosine), no bias correction; unchanged where the cosine is NaN."""
    moved = PERSISTENCE_DECAY * persistence + (1 - PERSISTENCE_DECAY) * cosine.clamp(min=0)
    return torch.where(cosine.isnan(), persistence, moved)


def shrunk_alpha(orthogonal_ratio: Tensor, persistence: Tensor) -> Tensor:
    """alpha = min(1, ||g_v||/||g||) * c, kept until the next refresh."""
    return orthogonal_ratio.clamp(max=1) * persistence


def _quotient(numerator: Tensor, denominator: Tensor) -> Tensor:
    return torch.where(denominator == 0, 0.0, numerator / denominator)
