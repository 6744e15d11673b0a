"""LookSAM's mathematics: pure functions on lists of tensors. They know no model, no loss and no optimizer.

LookSAM (arXiv 2203.02714, CVPR 2022). Only the paper's abstract and introduction could be checked, not its full text;
the formulas are those that five independent implementations agree on, mended where these are known to be wrong.

A *refresh* every k steps, the first step always, and k-1 *reuse* steps in between:

    g   = grad L(w)
    refresh:  eps = rho * g/||g||
              g_s = grad L(w + eps), on the same batch with the same masks; w is restored bit for bit
              g_v = g_s - (<g, g_s>/||g||^2) * g           the part of g_s orthogonal to g
              d   = g_s,  u = g_v/||g_v|| is stored
    reuse:    d   = g + alpha * ||g|| * u

and the base optimizer takes d as its gradient. Every norm and inner product is one number over all tensors (`scope`
"global"). With "per_tensor" those of the split and of the reuse are taken tensor by tensor, and alpha, c and the gate
are one for each; the ascent stays as it is (`trainer.layerwise` has the ones that differ by tensor).

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
one copy of the weights for u, which holds g while a refresh runs, and then one more for the weights themselves.

Numbers are float64 tensors on the device of the weights; nothing here waits for the device.

Where the ranks share the tensors out (`trainer.sharding`), the lists hold this rank's part of each, which may be empty,
and `over_ranks` sums numbers of the parts; all numbers are those of the whole tensors then. None: they are whole here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.contract.methods import Scope

# What is left of g_v below this share of ||g_s|| is rounding (measured: 1e-7 in fp32, 2e-16 in fp64 at rho = 0).
NEGLIGIBLE_SHARE = {torch.float32: 1e-6, torch.float64: 1e-12}

PERSISTENCE_DECAY = 0.8

PIECE = 2**18
"""Elements that an inner product takes at a time."""

MAX_SAMPLE = 2**20
"""Elements of the direction that the cosine with the one before is taken over, at most: all of a smaller model."""


OverRanks = Callable[[Tensor], Tensor]
"""Sums a tensor of numbers over the ranks, in place; every rank gets the same bits."""


def norms(tensors: Sequence[Tensor], over_ranks: OverRanks | None = None) -> Tensor:
    """L2 norm of each tensor, shape (tensors,), in float64."""
    each = torch.stack(torch._foreach_norm(list(tensors), 2, dtype=torch.float64))
    return each if over_ranks is None else over_ranks(each.square()).sqrt()


def norm(tensors: Sequence[Tensor], over_ranks: OverRanks | None = None) -> Tensor:
    """L2 norm over all tensors as one vector, in float64."""
    return total(norms(tensors, over_ranks))


def total(each: Tensor) -> Tensor:
    """The norm over all tensors from the norm of each."""
    whole: Tensor = torch.linalg.vector_norm(each)
    return whole


def inners(a: Sequence[Tensor], b: Sequence[Tensor], over_ranks: OverRanks | None = None) -> Tensor:
    """Inner product of each pair, shape (tensors,), in float64."""
    each = torch.stack([_inner(x.reshape(-1), y.reshape(-1)) for x, y in zip(a, b, strict=True)])
    return each if over_ranks is None else over_ranks(each)


def _inner(x: Tensor, y: Tensor) -> Tensor:
    """Piece by piece, so that float64 copies of a large tensor need little memory, and stay in the cache."""
    if x.numel() <= PIECE:
        return _product(x, y).sum()
    pieces = zip(torch.split(x, PIECE), torch.split(y, PIECE), strict=True)
    return torch.stack([_product(a, b).sum() for a, b in pieces]).sum()


def _product(x: Tensor, y: Tensor) -> Tensor:
    """x * y in float64, with one copy instead of three."""
    return x.double().mul_(y) if x.dtype != torch.float64 else x * y


def scoped_norm(each: Tensor, scope: Scope) -> Tensor:
    """From the norm of each tensor: 0-dim over all ("global"), or as they are ("per_tensor")."""
    return total(each) if scope == "global" else each


def scoped_inner(each: Tensor, scope: Scope) -> Tensor:
    return each.sum() if scope == "global" else each


@torch.no_grad()
def ascent(
    weights: Sequence[Tensor], gradient: Sequence[Tensor], gradient_norms: Tensor, *, rho: float,
    loss_scale: float | Tensor = 1.0,
) -> list[Tensor]:  # fmt: skip
    """eps^l/g^l for each tensor, 0-dim: rho/||g|| for all. Weights and loss scale do not matter here."""
    gradient_norm = total(gradient_norms)
    scale = torch.where(gradient_norm == 0, 0.0, rho / gradient_norm)
    # A gradient near the smallest numbers would need a scale beyond the largest: eps is smaller then, not infinite.
    scale = scale.clamp(max=torch.finfo(gradient[0].dtype).max).to(gradient[0].dtype)
    return [scale] * len(gradient)


@torch.no_grad()
def perturb(weights: Sequence[Tensor], gradient: Sequence[Tensor], scales: Sequence[Tensor]) -> list[Tensor]:
    """Adds eps^l = scale^l * g^l to the weights in place; returns copies of the weights before, for `restore`."""
    saved = [weight.clone() for weight in weights]
    for weight, g, scale in zip(weights, gradient, scales, strict=True):
        weight.addcmul_(g, scale)
    return saved


@torch.no_grad()
def restore(weights: Sequence[Tensor], saved: Sequence[Tensor]) -> None:
    """Writes the saved weights back, bit for bit and in place, so that addresses stay and shards see it."""
    torch._foreach_copy_(list(weights), list(saved))


@dataclass(frozen=True, kw_only=True)
class Split:
    """What a refresh finds besides d = g_s. All numbers are float64 tensors: 0-dim, or (tensors,) where per tensor."""

    direction: list[Tensor]
    """u = g_v/||g_v||; all zeros where g_v is negligible."""
    exists: Tensor
    """bool: whether g_v is more than rounding."""
    orthogonal_norm: Tensor
    """||g_v||, 0 where negligible."""
    orthogonal_ratio: Tensor
    """||g_v||/||g||; 0 where g is zero."""
    gradient_cosine: Tensor
    """cos(g, g_s), 0-dim in both scopes; 0 where either is zero."""


@torch.no_grad()
def split(
    gradient: list[Tensor], perturbed_gradient: Sequence[Tensor], gradient_norms: Tensor, perturbed_norms: Tensor,
    scope: Scope = "global", over_ranks: OverRanks | None = None,
) -> Split:  # fmt: skip
    """Takes the part of g_s along g away. `gradient` is overwritten: its memory becomes the direction's.

    The norms are those of each tensor, shape (tensors,).
    """
    products = inners(gradient, perturbed_gradient, over_ranks)
    gradient_norm, perturbed_norm = scoped_norm(gradient_norms, scope), scoped_norm(perturbed_norms, scope)
    along = torch.where(gradient_norm == 0, 0.0, scoped_inner(products, scope) / gradient_norm**2)
    _multiply(gradient, -along)
    torch._foreach_add_(gradient, list(perturbed_gradient))  # now g_v
    rest = scoped_norm(norms(gradient, over_ranks), scope)
    exists = rest > NEGLIGIBLE_SHARE[gradient[0].dtype] * perturbed_norm
    _multiply(gradient, torch.where(exists, 1.0 / rest, 0.0))  # now u
    orthogonal_norm = torch.where(exists, rest, 0.0)
    return Split(
        direction=gradient,
        exists=exists,
        orthogonal_norm=orthogonal_norm,
        orthogonal_ratio=_quotient(orthogonal_norm, gradient_norm),
        gradient_cosine=_quotient(products.sum(), total(gradient_norms) * total(perturbed_norms)),
    )


@torch.no_grad()
def reuse(
    gradient: list[Tensor], direction: Sequence[Tensor], gradient_norms: Tensor, alpha: Tensor, scope: Scope = "global"
) -> None:
    """Turns g into d = g + alpha * ||g|| * u in place; the correction's norm is alpha * ||g||."""
    strength = (alpha * scoped_norm(gradient_norms, scope)).to(gradient[0].dtype)
    for g, u, each in zip(gradient, direction, strength.expand(len(gradient)).unbind(), strict=True):
        g.addcmul_(u, each)


@torch.no_grad()
def clip(gradient: list[Tensor], max_norm: float, gradient_norm: Tensor) -> None:
    """Shortens d, whose norm is given, to `max_norm` where it is longer."""
    torch._foreach_mul_(gradient, (max_norm / gradient_norm).clamp(max=1.0).to(gradient[0].dtype))


@torch.no_grad()
def sample(direction: Sequence[Tensor]) -> list[Tensor]:
    """Copies of at most 2^20 elements, the same ones each time and some of every tensor; all of a small model.

    Each rank samples the parts that it has.
    """
    stride = _stride(sum(tensor.numel() for tensor in direction), len(direction))
    return [tensor.reshape(-1)[::stride].clone() for tensor in direction]


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """What g_v now and g_v of the refresh before have in common, over the `sample`. All but `exist`: (tensors,)."""

    products: Tensor
    norms: Tensor
    norms_before: Tensor
    exist: Tensor
    """bool: whether both are more than rounding; 0-dim in scope "global"."""

    def cosine(self, scope: Scope = "global") -> Tensor:
        """cos(g_v now, before), NaN where either is negligible; one for each tensor in scope "per_tensor"."""
        sizes = scoped_norm(self.norms, scope) * scoped_norm(self.norms_before, scope)
        return torch.where(self.exist & (sizes > 0), scoped_inner(self.products, scope) / sizes, torch.nan)

    def cosine_of(self, members: Tensor, scope: Scope = "global") -> Tensor:
        """The same of some tensors alone, 0-dim; `members` is bool, shape (tensors,). "per_tensor": their mean."""
        if scope == "per_tensor":
            return torch.where(members, self.cosine(scope), torch.nan).nanmean()
        products, now, before = (
            torch.where(members, each, 0.0) for each in (self.products, self.norms, self.norms_before)
        )
        return Overlap(products=products, norms=now, norms_before=before, exist=self.exist).cosine(scope)


def overlap(
    now: Split, before: Sequence[Tensor], before_exists: Tensor, over_ranks: OverRanks | None = None
) -> Overlap:
    """`before` is the `sample` of the direction of the refresh before."""
    stride = _stride(sum(tensor.numel() for tensor in now.direction), len(before))
    current = [tensor.reshape(-1)[::stride] for tensor in now.direction]
    return Overlap(
        products=inners(current, before, over_ranks), norms=norms(current, over_ranks),
        norms_before=norms(before, over_ranks), exist=now.exists & before_exists,
    )  # fmt: skip


def updated_persistence(persistence: Tensor, cosine: Tensor) -> Tensor:
    """c <- 0.8*c + 0.2*max(0, cosine), no bias correction; unchanged where the cosine is NaN."""
    moved = PERSISTENCE_DECAY * persistence + (1 - PERSISTENCE_DECAY) * cosine.clamp(min=0)
    return torch.where(cosine.isnan(), persistence, moved)


def shrunk_alpha(orthogonal_ratio: Tensor, persistence: Tensor) -> Tensor:
    """alpha = min(1, ||g_v||/||g||) * c, kept until the next refresh."""
    return orthogonal_ratio.clamp(max=1) * persistence


def _multiply(tensors: list[Tensor], factor: Tensor) -> None:
    """In place, by one number or by one for each tensor."""
    factor = factor.to(tensors[0].dtype)
    torch._foreach_mul_(tensors, factor if factor.ndim == 0 else list(factor.unbind()))


def _stride(elements: int, tensors: int) -> int:
    """1, or a stride that shares no factor 2 or 3 with the lengths of rows, which the sample would then follow."""
    stride = -(-elements // (MAX_SAMPLE - tensors)) if elements > MAX_SAMPLE else 1
    while stride > 1 and (stride % 2 == 0 or stride % 3 == 0):
        stride += 1
    return stride


def _quotient(numerator: Tensor, denominator: Tensor) -> Tensor:
    return torch.where(denominator == 0, 0.0, numerator / denominator)
