"""What the training asks of images, whatever their source: its own batches, and whole sets without augmentation.

Every tensor is on the run's device: pixels (N, channels, side, side) in the precision of the weights, normalised;
labels (N,) int64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from trainer.datasets.order import BatchPlan, Indices

DTYPES = {"fp32": torch.float32, "bf16": torch.float32, "fp16": torch.float32, "fp64": torch.float64}
"""Of weights and images by precision; bf16 and fp16 are autocast over float32."""

Batch = tuple[Tensor, Tensor]
"""Pixels and labels."""


class TrainingBatches(Protocol):
    """The training batches of one rank."""

    def at(self, step: int, micro_batch: int) -> Batch:
        """Of `plan.pass_size` images. Whoever asks again gets the same images, augmented alike; any step may come
        first (a resumed run), the next one is the quickest. Raises TrainerError(data_unreadable)."""


class ImageSet(Protocol):
    """Images of known labels."""

    def __len__(self) -> int: ...

    def share_of(self, rank: int, num_ranks: int, batch_size: int) -> Iterator[Batch]:
        """This rank's images, without augmentation, in order, at most `batch_size` at a time; the ranks' shares make
        up the whole set, each image once, and differ by at most one image. Raises TrainerError(data_unreadable)."""


class TrainingSet(ImageSet, Protocol):
    def batches(self, seed: int, plan: BatchPlan, rank: int) -> TrainingBatches: ...


@dataclass(frozen=True, kw_only=True)
class VisionData:
    """The images of a run."""

    train: TrainingSet
    validation: ImageSet
    test: ImageSet | None = None
    """Measured once, at the end."""
    num_classes: int
    channels: int
    side: int
    """Height and width in pixels."""
    class_names: Sequence[str] = ()
    """By label, printable; empty where the data names none."""
    fingerprint: int = 0
    """63 bits of what was found; they must be the same on all ranks."""
    close: Callable[[], None] = lambda: None
    """Ends what serves the images; may be called again."""


def share(num_images: int, rank: int, num_ranks: int) -> Indices:
    """The images of one rank: neighbours, of sizes that differ by at most one."""
    return np.array_split(np.arange(num_images), num_ranks)[rank]
