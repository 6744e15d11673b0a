"""One yardstick for all methods: how much a step of length r up its gradient raises the loss of the whole training set.

    sharpness = L(w + r * g/||g||) - L(w),   g = grad L(w),   one norm over all tensors

L is the mean cross-entropy over the training set: each image once, without augmentation, in evaluation mode (no
dropout, running statistics). It is computed in the precision of the weights, also where training autocasts: bf16 would
blur so small a step. A method's own loss rise is no such yardstick, since its rho and its batch are its own.

Nothing of the training is changed: weights come back bit for bit, no draw is made, no evaluation is counted. It costs
two forward passes and a backward one over the training set.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainer import looksam
from trainer.contract.spec import TrainingSpec
from trainer.datasets.image_set import ImageSet
from trainer.model import keep_buffers_of_first
from trainer.parallel import ReducedGradients, World
from trainer.sharding import in_step


def measure(
    model: nn.Module, weights: Sequence[Tensor], reduced: ReducedGradients, images: ImageSet, spec: TrainingSpec,
    world: World, over_ranks: looksam.OverRanks | None = None,
) -> dict[str, float]:  # fmt: skip
    """`training_set_loss` L(w) and `sharpness`, in nats, the same on all ranks. Overwrites the gradients in `reduced`.

    `spec.evaluation.sharpness_radius` must be set. Shared out over the ranks, in passes of `spec.pass_size` images.
    `over_ranks`: where `weights` are this rank's parts.
    """
    assert spec.evaluation.sharpness_radius is not None
    keep_buffers_of_first(model, world)
    model.eval()
    try:
        reduced.zero_()
        loss = _mean_loss(model, images, spec, world, with_gradient=True)
        reduced.sum_over_ranks()
        norms = looksam.norms(reduced.tensors, over_ranks)
        scales = looksam.ascent(weights, reduced.tensors, norms, rho=spec.evaluation.sharpness_radius)
        saved = looksam.perturb(weights, reduced.tensors, scales)
        try:
            raised = _mean_loss(model, images, spec, world, with_gradient=False)
        finally:
            looksam.restore(weights, saved)
    finally:
        model.train()
    return {"training_set_loss": loss, "sharpness": raised - loss}


def _mean_loss(model: nn.Module, images: ImageSet, spec: TrainingSpec, world: World, *, with_gradient: bool) -> float:
    """Over all images and ranks, in float64; `with_gradient` adds this rank's part of its gradient to `.grad`."""
    total = torch.zeros((), dtype=torch.float64, device=world.device)
    with torch.set_grad_enabled(with_gradient):
        for pixels, labels, counts in in_step(images, spec, world, spec.pass_size):
            loss = counts * cross_entropy(model(pixels), labels, reduction="none").double().sum() / len(images)
            if with_gradient:
                loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
            world.passed()
    return world.sum_(total).item()
