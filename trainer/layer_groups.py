"""A network's tensors from its input to its output, in five groups that mean the same in every model.

The order is timm's own (`group_matcher`, which layer-wise decay uses, too), so it needs no list of models here. Its
first group is the stem and its last the head; in between a block belongs to the third of the depth that its middle is
in, so that one block alone is the middle, and two are early and late.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models import group_parameters
from torch import Tensor, nn

from trainer.contract.metrics import LAYER_GROUPS

STEM, *THIRDS, HEAD = LAYER_GROUPS


def layer_groups(model: nn.Module) -> list[str | None]:
    """The group of each trainable tensor, in the order of `model.parameters()`; None where timm knows no order."""
    matcher = getattr(model, "group_matcher", None)
    if matcher is None:
        return [None for weight in model.parameters() if weight.requires_grad]
    found: dict[Any, list[str]] = group_parameters(model, matcher(coarse=False))
    ordered = [found[key] for key in sorted(found)]
    group_of: dict[str, str] = {}
    for place, names in enumerate(ordered):
        group_of |= dict.fromkeys(names, _group_at(place, len(ordered)))
    return [group_of.get(name) for name, weight in model.named_parameters() if weight.requires_grad]


def masks_of(groups: list[str | None], device: torch.device) -> dict[str, Tensor]:
    """Which tensors are in each group that has any: bool, shape (tensors,)."""
    return {
        name: torch.tensor([group == name for group in groups], device=device)
        for name in LAYER_GROUPS if name in groups
    }  # fmt: skip


def _group_at(place: int, num_places: int) -> str:
    if place in (0, num_places - 1):
        return STEM if place == 0 else HEAD
    block, blocks = place - 1, num_places - 2
    return THIRDS[(2 * block + 1) * 3 // (2 * blocks)]
