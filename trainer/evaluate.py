"""Loss and accuracy on a set that is not trained on, shared out over the ranks."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from trainer.contract.spec import TrainingSpec
from trainer.datasets.image_set import ImageSet
from trainer.gradient import arithmetic
from trainer.model import keep_buffers_of_first
from trainer.parallel import World
from trainer.sharding import in_step, is_on


@torch.no_grad()
def validate(
    model: nn.Module, images: ImageSet, spec: TrainingSpec, world: World, *, name: str = "validation"
) -> dict[str, float]:
    """Every image once; `name` begins the metrics' names. The weights are never the perturbed ones: a step puts them
    back before it returns."""
    keep_buffers_of_first(model, world)
    batch_size = spec.evaluation.batch_size or spec.pass_size
    sums = torch.zeros(2, dtype=torch.float64, device=world.device)  # loss, correct
    was_training = model.training
    model.eval()
    try:
        for pixels, labels, counts in in_step(images, spec, world, batch_size):
            with arithmetic(spec.precision, world.device, keeps_weights=not is_on(spec, world)):
                logits = model(pixels)
                loss = cross_entropy(logits, labels, reduction="sum")
            sums += counts * torch.stack([loss.double(), (logits.argmax(dim=1) == labels).sum().double()])
            world.passed()
    finally:
        model.train(was_training)
    loss_sum, correct = world.sum_(sums).tolist()  # waits for the device: validation is rare
    return {f"{name}_loss": loss_sum / len(images), f"{name}_top1": 100.0 * correct / len(images)}
