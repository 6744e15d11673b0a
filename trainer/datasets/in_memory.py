"""Images that fit on the device, all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.datasets.image_set import Batch, share
from trainer.datasets.order import BatchPlan, EndlessOrder, Indices


@dataclass(frozen=True, kw_only=True)
class ImagesInMemory:
    """N images in a set, on the device. Shapes: pixels (N, channels, side, side), labels (N,)."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Indices) -> Batch:
        index = torch.from_numpy(indices).to(self.labels.device, non_blocking=True)
        return self.pixels[index], self.labels[index]

    def share_of(self, rank: int, num_ranks: int, batch_size: int) -> Iterator[Batch]:
        mine = share(len(self), rank, num_ranks)
        for start in range(0, len(mine), batch_size):
            yield self.take(mine[start : start + batch_size])

    def batches(self, seed: int, plan: BatchPlan, rank: int) -> _Batches:
        return _Batches(self, seed, plan, rank)


class _Batches:
    def __init__(self, images: ImagesInMemory, seed: int, plan: BatchPlan, rank: int) -> None:
        self._images, self._plan, self._rank = images, plan, rank
        self._order = EndlessOrder(len(images), seed)

    def at(self, step: int, micro_batch: int) -> Batch:
        return self._images.take(self._order.between(*self._plan.positions(step, self._rank, micro_batch)))
