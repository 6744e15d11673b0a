"""The gradient of a global batch: the passes of this rank's micro-batches, then one sum over all ranks.

Every call for a step uses the same images and the same dropout and drop-path masks (they are keyed, see
`trainer.randomness`), so a refresh evaluates the same loss function twice, at two points.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from trainer import randomness, sharding
from trainer.contract.spec import TrainingSpec
from trainer.cpu_time import StepsCpuTime
from trainer.datasets.image_set import TrainingSet
from trainer.datasets.order import BatchPlan
from trainer.errors import rejected
from trainer.gpu_readings import GpuReadings
from trainer.loss_scale import LossScale
from trainer.mixing import TrainingLoss
from trainer.parallel import ReducedGradients, World
from trainer.passes import Evaluated, evaluate, kept
from trainer.step_clock import StepClock

NUM_SCALARS = 5
"""Loss, loss at the perturbed weights, images classified rightly, the wish to stop, CPU-seconds: they travel with the
gradient, and `GpuReadings` behind them."""

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def arithmetic(precision: str, device: torch.device, *, keeps_weights: bool = True) -> AbstractContextManager[object]:
    """The passes' arithmetic: bf16 and fp16 are autocast over float32 weights.

    `keeps_weights`: what a pass has rounded is kept to its end, for weights that are used twice. A sharded network
    drops each block's weights behind it, and a copy kept would defeat that.
    """
    if precision not in AUTOCAST:
        return nullcontext()
    return torch.autocast(device.type, dtype=AUTOCAST[precision], cache_enabled=keeps_weights)


class BatchGradient:
    """Evaluates gradients into `reduced`; the loss is the mean cross-entropy over the global batch, times `scale`."""

    def __init__(
        self, model: nn.Module, images: TrainingSet, spec: TrainingSpec, plan: BatchPlan, world: World,
        reduced: ReducedGradients, scale: LossScale | None = None, num_classes: int = 0,
        readings: GpuReadings | None = None,
    ) -> None:  # fmt: skip
        self.model, self.spec, self.plan, self.world, self.reduced = model, spec, plan, world, reduced
        self.scale, self._readings = scale or LossScale(), readings
        self.batches = images.batches(spec.seed, plan, world.rank)
        self._loss = TrainingLoss(spec.regularization, spec.seed, num_classes)
        self._called: Callable[[torch.Tensor], torch.Tensor] = torch.compile(model) if spec.execution.compile else model
        self.cpu_time, self.clock = StepsCpuTime(world.device), StepClock(world.device)
        self.on_pass: Callable[[int, bool, torch.Tensor], None] | None = None
        """Called before each pass, when its masks are seeded: micro-batch, perturbed or not, images."""
        self._step, self._stop_wanted, self._precision = 0, False, spec.precision
        self._is_sharded = sharding.is_on(spec, world)
        # Activation checkpointing runs forward passes again within the backward, in training mode: running statistics
        # would be updated twice.
        self._buffers_of_backward = list(model.buffers()) if spec.execution.activation_checkpointing else []

    def at(self, step: int, *, stop_wanted: bool = False, reads: bool = False) -> BatchGradient:
        """The passes of one step (`trainer.passes.Passes`); `reads`: what NVML says shall come with it."""
        self._step, self._stop_wanted = step, stop_wanted
        if reads and self._readings is not None:
            self._readings.take()
        return self

    @property
    def num_micro_batches(self) -> int:
        return self.plan.num_micro_batches

    @property
    def num_ranks(self) -> int:
        return self.world.size

    def begin(self, *, refresh: bool) -> None:
        # Both passes, so that what one rounds away is no part of their difference.
        self._precision = (self.spec.ascent_precision if refresh else None) or self.spec.precision

    def zero(self, *, keep_numbers: bool = False) -> None:
        self.reduced.zero_(keep_scalars=keep_numbers)

    def forward_backward(self, micro_batch: int, *, perturbed: bool = False) -> None:
        where = self._step, micro_batch, self.world.rank
        with self.clock.phase("data"):
            pixels, targets = self._loss.mixed(*self.batches.at(self._step, micro_batch), *where)
            if self.spec.execution.channels_last:
                pixels = pixels.contiguous(memory_format=torch.channels_last)
        with self.clock.phase("ascent" if perturbed else "forward_backward"):
            randomness.seed_masks(self.spec.seed, *where)
            if self.on_pass is not None:
                self.on_pass(micro_batch, perturbed, pixels)
            self._pass(pixels, targets, perturbed=perturbed)
        self.world.passed()

    def _pass(self, pixels: torch.Tensor, targets: torch.Tensor, *, perturbed: bool) -> None:
        with arithmetic(self._precision, self.world.device, keeps_weights=not self._is_sharded):
            logits = self._forward(pixels)
            loss = self._loss.of(logits, targets) / (self.num_ranks * self.num_micro_batches)
        with kept(self._buffers_of_backward):
            (loss * self.scale.factor).backward()  # type: ignore[no-untyped-call]
        numbers = self.reduced.scalars
        if perturbed:
            numbers[1] += loss.detach()
        else:
            numbers[0] += loss.detach()
            numbers[2] += self._loss.hits(logits.detach(), targets)

    def sum_over_ranks(self) -> Evaluated:
        numbers = self.reduced.scalars
        if self._stop_wanted:
            numbers[3] = 1.0
        numbers[4] = self.cpu_time.to_send()
        if self._readings is not None:
            self._readings.send(numbers[NUM_SCALARS:])
        with self.clock.phase("communication"):
            summed = self.reduced.sum_over_ranks().double()
        loss, perturbed_loss, correct, stop, cpu_seconds = summed[:NUM_SCALARS].unbind()
        if self._readings is not None:
            self._readings.received(summed[NUM_SCALARS:])
        self.cpu_time.received(cpu_seconds)
        return Evaluated(loss=loss, perturbed_loss=perturbed_loss, correct=correct, stop=stop)

    def evaluate(self, step: int) -> Evaluated:
        """The gradient of one global batch."""
        self.at(step).begin(refresh=False)
        return evaluate(self)

    def _forward(self, pixels: torch.Tensor) -> torch.Tensor:
        try:
            logits: torch.Tensor = self._called(pixels)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise rejected(
                f"micro_batch_size is {self.plan.pass_size}: BatchNorm needs more than one value per channel in a "
                "pass. Raise it, lower `resources.workers`, or raise `model.image_size`."
            ) from error
        return logits
