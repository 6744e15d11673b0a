"""LayerSAM's ascent: the perturbation eps, shared out over the tensors. Pure functions on lists of tensors.

LayerSAM and Look-LayerSAM (arXiv 2203.02714, CVPR 2022) scale the *perturbation* tensor by tensor, because layers
differ in stability; the rule is inspired by LARS and LAMB, which scale the update. Only the paper's abstract and
introduction could be checked, not its formula, and no official code exists: the four rules are Basin's reading of it,
and of what other code bases do. All else (g_v, reuse, alpha) stays LookSAM's, over all tensors together.

    trust      eps^l = rho * ||w^l|| * g^l/||g^l||              as LARS and LAMB scale: the default
    literal    eps^l = rho * (||w^l||/||g^l||) * g^l/||g||      the trust ratio on SAM's own eps
    unit       eps^l = rho * g^l/||g^l||                        blind to the size of the weights
    asam_dual  eps^l = rho * T_l^2 * g^l/||Tg||, T_l = ||w^l||  ||Tg||^2 is the sum of T_l^2 * ||g^l||^2

    symbol                 name              |  symbol             name
    w, w^l                 weights, weight   |  ||w^l||, T_l       sizes, after "trust 1" below
    g, g^l, ||g||          gradient, ...norm |  ||g^l||            gradient_norms
    rho                    the same          |  eps^l/g^l          scales

What rho measures. trust: a share of each tensor's norm, ||eps^l|| = rho * ||w^l||, so ||eps|| = rho * ||w||. literal:
||eps^l|| = rho * ||w^l||/||g||. unit: ||eps^l|| = rho, so ||eps|| = rho * sqrt(tensors). asam_dual: the norm of all
eps^l/T_l together is rho. None of them is SAM's absolute rho.

Loss times c: trust, unit and asam_dual do not change, bit for bit where c is a power of two; literal is divided by c.
A cap on ||w^l||/||g^l||, as one code base has, would make trust depend on c too: there is none.

Trust 1. For tensors of at most one axis (biases, norm layers) and those with ||w^l|| = 0 (a fresh bias, a fresh head)
||w^l|| is replaced by 1 in trust and asam_dual, and ||w^l||/||g^l|| by 1 in literal; without that a zero tensor would
never be perturbed. "Trust 1" read as eps^l = rho * g^l, as LAMB has it, would depend on the scale of the loss. Tensors
of at most one axis may be left out instead: then eps^l = 0, and ||Tg|| goes over the others. ||g^l|| = 0: eps^l = 0.

Scalars are float64 tensors on the device of the weights; nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.contract.methods import Layerwise
from trainer.looksam import OverRanks, norms, total


@torch.no_grad()
def ascent(
    weights: Sequence[Tensor], gradient: Sequence[Tensor], gradient_norms: Tensor, *, rho: float, rule: Layerwise,
    exclude_one_dimensional: bool, loss_scale: float | Tensor = 1.0, over_ranks: OverRanks | None = None,
) -> list[Tensor]:  # fmt: skip
    """eps^l/g^l for each tensor, 0-dim, in the dtype of the gradient.

    `gradient_norms` are those of each tensor, shape (tensors,), float64; ||g|| goes over all, also the excluded ones.
    The gradient is that of the loss times `loss_scale`, which `literal` alone must know. `over_ranks`: see `looksam`.
    """
    one_dimensional, sizes = _one_dimensional(weights), norms(weights, over_ranks)
    scales = _scales(one_dimensional, sizes, gradient_norms, rule, exclude_one_dimensional, loss_scale) * rho
    # A gradient near the smallest numbers would need a scale beyond the largest: eps^l is smaller then, not infinite.
    scales = scales.clamp(max=torch.finfo(gradient[0].dtype).max).to(gradient[0].dtype)
    return list(scales.unbind())


def _scales(
    one_dimensional: Tensor, sizes: Tensor, gradient_norms: Tensor, rule: Layerwise, exclude_one_dimensional: bool,
    loss_scale: float | Tensor,
) -> Tensor:  # fmt: skip
    """eps^l/g^l for rho = 1, shape (tensors,), float64."""
    has_trust_one = one_dimensional | (sizes == 0)
    sizes = torch.where(has_trust_one, 1.0, sizes)
    perturbed = gradient_norms != 0
    if exclude_one_dimensional:
        perturbed = perturbed & ~one_dimensional
    match rule:
        case "trust":
            scales = sizes / gradient_norms
        case "literal":
            scales = torch.where(has_trust_one, 1.0, loss_scale * sizes / gradient_norms) / total(gradient_norms)
        case "unit":
            scales = 1.0 / gradient_norms
        case "asam_dual":
            dual_norm = torch.linalg.vector_norm(torch.where(perturbed, sizes * gradient_norms, 0.0))
            scales = sizes**2 / dual_norm
    return torch.where(perturbed, scales, 0.0)


def _one_dimensional(tensors: Sequence[Tensor]) -> Tensor:
    """Which have at most one axis, shape (tensors,). Made on the device: a copy from the host would wait for it."""
    no = torch.zeros((), dtype=torch.bool, device=tensors[0].device)
    yes = torch.ones_like(no)
    return torch.stack([yes if tensor.ndim <= 1 else no for tensor in tensors])
