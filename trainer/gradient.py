"""The gradient of a global batch: the passes of this rank's micro-batches, then one sum over all ranks.

Every call for a step uses the same images and the same dropout and drop-path masks (they are keyed, see
`trainer.randomness`), so a refresh evaluates the same loss function twice, at two points.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from trainer import randomness
from trainer.contract.spec import TrainingSpec
from trainer.cpu_time import StepsCpuTime
from trainer.datasets.image_set import TrainingSet
from trainer.datasets.order import BatchPlan
from trainer.errors import rejected
from trainer.parallel import ReducedGradients, World
from trainer.step import Evaluated

NUM_SCALARS = 4
"""Loss, images classified rightly, the wish to stop, CPU-seconds: they travel with the gradient."""


def arithmetic(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The passes' arithmetic: bf16 is autocast over float32 weights."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


class BatchGradient:
    """Evaluates gradients into `reduced`; the loss is the mean cross-entropy over the global batch."""

    def __init__(
        self, model: nn.Module, images: TrainingSet, spec: TrainingSpec, plan: BatchPlan, world: World,
        reduced: ReducedGradients,
    ) -> None:  # fmt: skip
        self.model, self.spec, self.plan, self.world, self.reduced = model, spec, plan, world, reduced
        self.batches = images.batches(spec.seed, plan, world.rank)
        self.cpu_time = StepsCpuTime(world.device)

    def at(self, step: int, stop_wanted: bool) -> Callable[[], Evaluated]:
        return partial(self.evaluate, step, stop_wanted)

    def evaluate(self, step: int, stop_wanted: bool) -> Evaluated:
        """One gradient evaluation: `plan.num_micro_batches` forward-backward passes on every rank, one all-reduce."""
        passes = self.world.size * self.plan.num_micro_batches
        self.reduced.zero_()
        for micro_batch in range(self.plan.num_micro_batches):
            pixels, labels = self.batches.at(step, micro_batch)
            randomness.seed_masks(self.spec.seed, step, micro_batch, self.world.rank)
            with arithmetic(self.spec.precision, self.world.device):
                logits = self._forward(pixels)
                loss = cross_entropy(logits, labels) / passes
            loss.backward()  # type: ignore[no-untyped-call]
            self.reduced.scalars[0] += loss.detach()
            self.reduced.scalars[1] += (logits.detach().argmax(dim=1) == labels).sum()
            self.world.passed()
        if stop_wanted:
            self.reduced.scalars[2] = 1.0
        self.reduced.scalars[3] = self.cpu_time.to_send()
        loss_sum, correct, stop_flag, cpu_seconds = self.reduced.sum_over_ranks().double().unbind()
        self.cpu_time.received(cpu_seconds)
        return Evaluated(loss=loss_sum, correct=correct, stop=stop_flag)

    def _forward(self, pixels: torch.Tensor) -> torch.Tensor:
        try:
            logits: torch.Tensor = self.model(pixels)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise rejected(
                f"micro_batch_size is {self.plan.pass_size}: BatchNorm needs more than one value per channel in a "
                "pass. Raise it, lower `resources.workers`, or raise `model.image_size`."
            ) from error
        return logits
