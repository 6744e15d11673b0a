"""What every arm trains: one vision transformer of timm's on the same synthetic images in memory, in float32."""

from __future__ import annotations

from dataclasses import dataclass

import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

LR, WEIGHT_DECAY = 1e-3, 0.05


@dataclass(frozen=True, kw_only=True)
class Size:
    """timm's ViT of patch size 8 on square images."""

    side: int
    width: int
    depth: int
    batch: int


SIZES = {
    "small": Size(side=32, width=192, depth=6, batch=64),
    "quick": Size(side=32, width=64, depth=3, batch=64),
    "b16": Size(side=224, width=768, depth=12, batch=128),
}


class Problem:
    """A fresh model with the same initial weights for every arm, and one batch that all of them repeat."""

    def __init__(self, size: Size, device: torch.device) -> None:
        torch.manual_seed(0)
        patch = 16 if size.side >= 128 else 8
        self.model: nn.Module = timm.create_model(
            "vit_tiny_patch16_224", img_size=size.side, patch_size=patch, embed_dim=size.width, depth=size.depth,
            num_heads=max(1, size.width // 64), num_classes=10,
        ).to(device)  # fmt: skip
        generator = torch.Generator().manual_seed(1)
        self.images = torch.randn(size.batch, 3, size.side, size.side, generator=generator).to(device)
        self.labels = torch.randint(0, 10, (size.batch,), generator=generator).to(device)
        self.weights = list(self.model.parameters())

    @property
    def weight_bytes(self) -> int:
        return sum(weight.numel() * weight.element_size() for weight in self.weights)

    def loss(self) -> Tensor:
        return cross_entropy(self.model(self.images), self.labels)
