"""The two gradients of a SAM step or a refresh, and where the ascent is taken between them.

    global           eps from the gradient of the global batch, the same on all ranks
    per_rank         each rank's eps from its own share of the batch (m-sharpness, as SAM's authors train)
    per_microbatch   each micro-batch's eps from its own gradient: `per_rank` of more devices, on fewer

In all of them the second gradients are averaged over the global batch, and so is g, which LookSAM needs for its split:
there is one g_v, the same on all ranks. All-reduces of the gradient: `global` two; the others one for SAM, which needs
no g, and two for LookSAM.

Whatever happens in between, the weights are put back bit for bit, by copying: subtracting an eps that each rank has of
its own would let the replicas drift. Buffers a forward pass writes (running statistics) are those of the first passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from trainer import looksam
from trainer.passes import Evaluated, Passes, Tensors, evaluate, kept, sweep


class Ascent(Protocol):
    """Where the methods differ that take a second gradient (`looksam.ascent`, `layerwise.ascent`)."""

    def __call__(
        self, weights: Sequence[Tensor], gradient: Sequence[Tensor], gradient_norms: Tensor, *, rho: float,
        loss_scale: float | Tensor,
    ) -> list[Tensor]:  # fmt: skip
        """eps^l/g^l for each tensor."""


@dataclass(frozen=True, kw_only=True)
class TwoGradients:
    """g_s is in the gradients, g in the `held` buffer if there was one; norms are of the loss times the loss scale."""

    loss: Tensor
    perturbed_loss: Tensor | None
    """None where the first gradient was not finite, and therefore no second one was taken; `held` is as it was."""
    evaluated: Evaluated
    gradient_norms: Tensor | None
    """||g^l||, shape (tensors,); None where g of the global batch was not needed."""
    scales: list[Tensor] | None = None
    """eps^l/g^l, where all took one ascent along the gradient of the global batch."""


Perturbation = Callable[["Tensors", Passes, Ascent, float, "list[Tensor] | None"], TwoGradients]


def globally(
    tensors: Tensors, passes: Passes, ascent: Ascent, rho: float, held: list[Tensor] | None
) -> TwoGradients:  # fmt: skip
    first = evaluate(passes)
    norms = tensors.norms()
    if not _goes_on(tensors, first, norms):
        return TwoGradients(loss=first.loss, perturbed_loss=None, evaluated=first, gradient_norms=norms)
    _hold(held, tensors.gradients)
    with _perturbed(tensors, ascent, norms, rho, loss_scale=tensors.loss_scale.factor) as scales, kept(tensors.buffers):
        second = evaluate(passes, perturbed=True)
    return TwoGradients(
        loss=first.loss, perturbed_loss=second.perturbed_loss, evaluated=first, gradient_norms=norms, scales=scales
    )  # fmt: skip


def per_rank(
    tensors: Tensors, passes: Passes, ascent: Ascent, rho: float, held: list[Tensor] | None
) -> TwoGradients:  # fmt: skip
    passes.zero()
    sweep(passes)
    own = tensors.norms()
    # A rank's gradient is its share of the global mean.
    scale = tensors.loss_scale.factor / passes.num_ranks
    with _perturbed(tensors, ascent, own, rho, loss_scale=scale), kept(tensors.buffers):
        if held is None:
            passes.zero(keep_numbers=True)
            sweep(passes, perturbed=True)
            both = passes.sum_over_ranks()
            return TwoGradients(loss=both.loss, perturbed_loss=both.perturbed_loss, evaluated=both, gradient_norms=None)
        first = passes.sum_over_ranks()
        norms = tensors.norms()
        if not _goes_on(tensors, first, norms):
            return TwoGradients(loss=first.loss, perturbed_loss=None, evaluated=first, gradient_norms=norms)
        _hold(held, tensors.gradients)
        second = evaluate(passes, perturbed=True)
    return TwoGradients(loss=first.loss, perturbed_loss=second.perturbed_loss, evaluated=first, gradient_norms=norms)


def per_microbatch(
    tensors: Tensors, passes: Passes, ascent: Ascent, rho: float, held: list[Tensor] | None
) -> TwoGradients:  # fmt: skip
    """One sweep of pairs of passes, with an accumulator for g_s and, where it is wanted, `held` for g."""
    perturbed_gradient = [torch.zeros_like(gradient) for gradient in tensors.gradients]
    if held is not None:
        torch._foreach_zero_(held)
    scale = tensors.loss_scale.factor / (passes.num_ranks * passes.num_micro_batches)
    passes.zero()
    for micro_batch in range(passes.num_micro_batches):
        passes.zero(keep_numbers=True)
        passes.forward_backward(micro_batch)
        if held is not None:
            torch._foreach_add_(held, tensors.gradients)
        own = tensors.norms()
        with _perturbed(tensors, ascent, own, rho, loss_scale=scale), kept(tensors.buffers):
            passes.zero(keep_numbers=True)
            passes.forward_backward(micro_batch, perturbed=True)
        torch._foreach_add_(perturbed_gradient, tensors.gradients)
    norms = None
    if held is not None:
        torch._foreach_copy_(tensors.gradients, held)
        both = passes.sum_over_ranks()
        norms = tensors.norms()
        _hold(held, tensors.gradients)
        passes.zero()
        torch._foreach_copy_(tensors.gradients, perturbed_gradient)
        passes.sum_over_ranks()
    else:
        torch._foreach_copy_(tensors.gradients, perturbed_gradient)
        both = passes.sum_over_ranks()
    return TwoGradients(loss=both.loss, perturbed_loss=both.perturbed_loss, evaluated=both, gradient_norms=norms)


PERTURBATIONS: dict[str, Perturbation] = {
    "global": globally, "per_rank": per_rank, "per_microbatch": per_microbatch,
}  # fmt: skip


def _goes_on(tensors: Tensors, first: Evaluated, gradient_norms: Tensor) -> bool:
    """Whether a second pass makes sense. Where the loss scale moves the host waits to know; elsewhere it goes on."""
    return not tensors.loss_scale.moves or bool(first.loss.isfinite() & gradient_norms.isfinite().all())


def _hold(held: list[Tensor] | None, gradients: Sequence[Tensor]) -> None:
    if held is not None:
        torch._foreach_copy_(held, list(gradients))


@contextmanager
def _perturbed(
    tensors: Tensors, ascent: Ascent, gradient_norms: Tensor, rho: float, *, loss_scale: float
) -> Iterator[list[Tensor]]:
    """Within it the weights are at w + eps; gives eps^l/g^l."""
    with tensors.clock.phase("ascent"):
        scales = ascent(tensors.weights, tensors.gradients, gradient_norms, rho=rho, loss_scale=loss_scale)
        saved = looksam.perturb(tensors.weights, tensors.gradients, scales)
        try:
            if tensors.watch is not None:
                tensors.watch.perturbed(saved, gradient_norms, rho, loss_scale)
            yield scales
        finally:
            looksam.restore(tensors.weights, saved)
            if tensors.watch is not None:
                tensors.watch.restored(saved)
