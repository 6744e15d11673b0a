"""What a step works with: the weights, their gradients, and the forward-backward passes over one global batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from trainer.looksam import OverRanks, norms
from trainer.loss_scale import LossScale
from trainer.step_clock import StepClock


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What a sum over ranks brought besides the gradient. 0-dim float64 tensors on the device."""

    loss: Tensor
    """Mean over the global batch, at the weights; 0 where no such pass was summed."""
    perturbed_loss: Tensor
    """The same at the perturbed weights."""
    correct: Tensor
    """Images classified rightly at the weights."""
    stop: Tensor
    """More than 0 where rank 0 was asked to stop."""


class Watch(Protocol):
    """Looks at what a step does to the weights (`trainer.doctor`)."""

    def begin(self) -> None: ...
    def perturbed(self, saved: Sequence[Tensor], gradient_norms: Tensor, rho: float, loss_scale: float) -> None: ...
    def restored(self, saved: Sequence[Tensor]) -> None: ...


@dataclass(kw_only=True)
class Tensors:
    """What a step works on: trainable tensors, their gradients in the same order, buffers a forward pass may write.

    Where the ranks share the weights out, these are this rank's parts.
    """

    weights: Sequence[Tensor]
    gradients: list[Tensor]
    """Those of the loss times `loss_scale`."""
    buffers: list[Tensor]
    loss_scale: LossScale = field(default_factory=LossScale)
    watch: Watch | None = None
    clock: StepClock = field(default_factory=StepClock)
    layer_groups: Mapping[str, Tensor] = field(default_factory=dict)
    """Which tensors are in each group that signals tell apart (`trainer.layer_groups`): bool, shape (tensors,)."""
    over_ranks: OverRanks | None = None
    """Sums numbers of the parts; None where the tensors are whole."""

    def norms(self, tensors: Sequence[Tensor] | None = None) -> Tensor:
        """L2 norms of whole tensors from what is here of each, shape (tensors,), float64; by default the gradients'."""
        return norms(self.gradients if tensors is None else tensors, self.over_ranks)


class Passes(Protocol):
    """The passes of one step. Whoever repeats one sees the same images, augmented alike, under the same masks.

    Gradients add up in `Tensors.gradients`. Each pass carries its share of the global mean, so that the sum over all
    micro-batches and ranks is the gradient of the global batch.
    """

    @property
    def num_micro_batches(self) -> int:
        """Of this rank."""

    @property
    def num_ranks(self) -> int: ...

    def begin(self, *, refresh: bool) -> None:
        """Once a step, before its first pass."""

    def zero(self, *, keep_numbers: bool = False) -> None:
        """Empties the gradients, and losses and hits unless they are to be summed with the next ones."""

    def forward_backward(self, micro_batch: int, *, perturbed: bool = False) -> None:
        """Adds the gradient of one micro-batch, and its loss to the numbers of the weights or the perturbed weights."""

    def sum_over_ranks(self) -> Evaluated:
        """Sums gradients and numbers over the ranks, in place, with one message."""


def evaluate(passes: Passes, *, perturbed: bool = False) -> Evaluated:
    """The gradient of the global batch: one gradient evaluation."""
    passes.zero()
    sweep(passes, perturbed=perturbed)
    return passes.sum_over_ranks()


def sweep(passes: Passes, *, perturbed: bool = False) -> None:
    for micro_batch in range(passes.num_micro_batches):
        passes.forward_backward(micro_batch, perturbed=perturbed)


@contextmanager
def kept(buffers: Sequence[Tensor]) -> Iterator[None]:
    """Gives the buffers back as they were: running statistics are those of each micro-batch's first forward pass."""
    saved = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        put_back(buffers, saved)


def put_back(buffers: Sequence[Tensor], saved: Sequence[Tensor]) -> None:
    for buffer, value in zip(buffers, saved, strict=True):
        buffer.copy_(value)
