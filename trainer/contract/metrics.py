"""The metric catalogue: every number a run can report, with its unit, its direction and whether it is deterministic.

Deterministic means: an undisturbed run and one that was killed and resumed report the same value at the same step, bit
for bit, on the same hardware. Wall-clock numbers are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["lower", "higher", "none"]
Group = Literal["training", "validation", "method", "speed"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One entry; `direction` says which way is better, `none` where neither is."""

    name: str
    title: str
    unit: str
    direction: Direction
    deterministic: bool
    group: Group
    description: str


LAYER_GROUPS = {
    "stem": "before the blocks (patch and position embedding, first convolution)",
    "early": "the first third of the blocks",
    "middle": "the second third of the blocks",
    "late": "the last third of the blocks",
    "head": "after the blocks (the classifier)",
}
"""Parts of a network that mean the same in every model, from its input to its output."""

Phase = Literal["data", "forward_backward", "ascent", "optimizer", "communication"]

PHASES: dict[Phase, str] = {
    "data": "Waiting for images, copying and mixing them; on a GPU what the device waited for.",
    "forward_backward": "Loss and gradient at the weights.",
    "ascent": "Perturbing the weights, the passes there, and restoring them; reuse steps have none.",
    "optimizer": "The method's arithmetic, clipping, the base optimizer, the average of the weights.",
    "communication": "Sums over the workers, with the wait for the slowest; what sharding exchanges counts as passes.",
}
"""Where the time of a step goes; together they are the step."""

CATALOGUE: tuple[Metric, ...] = (
    Metric(
        name="train_loss",
        title="Training loss",
        unit="nat",
        direction="lower",
        deterministic=True,
        group="training",
        description="Mean loss of the global batch at the weights before the step.",
    ),
    Metric(
        name="train_top1",
        title="Training top-1",
        unit="%",
        direction="higher",
        deterministic=True,
        group="training",
        description="Share of the global batch classified rightly, before the step.",
    ),
    Metric(
        name="learning_rate",
        title="Learning rate",
        unit="1",
        direction="none",
        deterministic=True,
        group="training",
        description="Learning rate of the step.",
    ),
    Metric(
        name="grad_norm",
        title="||g||",
        unit="1",
        direction="none",
        deterministic=True,
        group="training",
        description="L2 norm of the gradient at the weights, over all parameters.",
    ),
    Metric(
        name="epoch",
        title="Epoch",
        unit="epoch",
        direction="none",
        deterministic=True,
        group="training",
        description="Passes over the training set after the step.",
    ),
    Metric(
        name="gradient_evaluations",
        title="Gradient evaluations",
        unit="1",
        direction="none",
        deterministic=True,
        group="training",
        description="Forward-backward passes over a global batch so far: the fair axis between methods.",
    ),
    Metric(
        name="validation_loss",
        title="Validation loss",
        unit="nat",
        direction="lower",
        deterministic=True,
        group="validation",
        description="Mean loss over the validation set.",
    ),
    Metric(
        name="validation_top1",
        title="Validation top-1",
        unit="%",
        direction="higher",
        deterministic=True,
        group="validation",
        description="Share of the validation set classified rightly.",
    ),
    Metric(
        name="ema_validation_loss",
        title="Validation loss of the average",
        unit="nat",
        direction="lower",
        deterministic=True,
        group="validation",
        description="Mean loss of the moving average of the weights over the validation set.",
    ),
    Metric(
        name="ema_validation_top1",
        title="Validation top-1 of the average",
        unit="%",
        direction="higher",
        deterministic=True,
        group="validation",
        description="Share of the validation set that the moving average of the weights classifies rightly.",
    ),
    Metric(
        name="test_loss",
        title="Test loss",
        unit="nat",
        direction="lower",
        deterministic=True,
        group="validation",
        description="Mean loss over the test set, measured once, after the last step.",
    ),
    Metric(
        name="test_top1",
        title="Test top-1",
        unit="%",
        direction="higher",
        deterministic=True,
        group="validation",
        description="Share of the test set classified rightly, measured once, after the last step.",
    ),
    Metric(
        name="sharpness",
        title="Sharpness L(w+r*g/||g||)-L(w)",
        unit="nat",
        direction="lower",
        deterministic=True,
        group="validation",
        description="How much a step of length sharpness_radius up its gradient raises the final training set's loss.",
    ),
    Metric(
        name="hessian_top_eigenvalue",
        title="Largest eigenvalue of the Hessian",
        unit="nat",
        direction="lower",
        deterministic=True,
        group="validation",
        description="How curved the final training loss is in its most curved direction: small in a flat minimum.",
    ),
    Metric(
        name="hessian_trace",
        title="Trace of the Hessian",
        unit="nat",
        direction="lower",
        deterministic=True,
        group="validation",
        description="The final training loss's curvature summed over all directions, estimated from 16 random ones.",
    ),
    Metric(
        name="training_set_loss",
        title="Training set loss",
        unit="nat",
        direction="lower",
        deterministic=True,
        group="validation",
        description="Mean loss over the whole training set at the end, in evaluation mode without augmentation.",
    ),
    Metric(
        name="loss_rise",
        title="Loss rise L(w+eps)-L(w)",
        unit="nat",
        direction="lower",
        deterministic=True,
        group="method",
        description="How much the ascent of size rho raises the loss of the batch: a free measure of sharpness.",
    ),
    Metric(
        name="perturbed_grad_norm",
        title="||g_s||",
        unit="1",
        direction="none",
        deterministic=True,
        group="method",
        description="L2 norm of the gradient at the perturbed weights.",
    ),
    Metric(
        name="gradient_cosine",
        title="cos(g, g_s)",
        unit="1",
        direction="none",
        deterministic=True,
        group="method",
        description="Cosine between the gradients at the weights and at the perturbed weights.",
    ),
    Metric(
        name="orthogonal_ratio",
        title="||g_v||/||g||",
        unit="1",
        direction="none",
        deterministic=True,
        group="method",
        description="Size of the part of g_s orthogonal to g, against g.",
    ),
    Metric(
        name="direction_cosine",
        title="cos(g_v now, g_v before)",
        unit="1",
        direction="higher",
        deterministic=True,
        group="method",
        description="Cosine between the directions of two refreshes: does what reuse adds still hold?",
    ),
    *(
        Metric(
            name=f"direction_cosine/{layers}",
            title=f"cos(g_v now, g_v before), {layers}",
            unit="1",
            direction="higher",
            deterministic=True,
            group="method",
            description=f"The same over a part of the tensors alone: {part}.",
        )
        for layers, part in LAYER_GROUPS.items()
    ),
    Metric(
        name="alpha",
        title="alpha in use",
        unit="1",
        direction="none",
        deterministic=True,
        group="method",
        description="Strength of the reuse until the next refresh.",
    ),
    Metric(
        name="persistence",
        title="c (persistence)",
        unit="1",
        direction="higher",
        deterministic=True,
        group="method",
        description="The running estimate c of how much of the direction persists, for alpha auto.",
    ),
    Metric(
        name="directional_curvature",
        title="Curvature along g",
        unit="1",
        direction="lower",
        deterministic=True,
        group="method",
        description="(g_s - g).g/||g|| over ||eps||: how fast the gradient grows in its own direction.",
    ),
    Metric(
        name="reuse_amplification",
        title="alpha*||g||/||g_v||",
        unit="1",
        direction="none",
        deterministic=True,
        group="method",
        description="Size of what reuse adds, against the fresh g_v it stands for: 5 overstates it five times.",
    ),
    Metric(
        name="images_per_second",
        title="Images per second",
        unit="1/s",
        direction="higher",
        deterministic=False,
        group="speed",
        description="Training images per second over all workers since the last point.",
    ),
    Metric(
        name="step_seconds",
        title="Seconds per step",
        unit="s",
        direction="lower",
        deterministic=False,
        group="speed",
        description="Mean wall-clock seconds per step since the last point.",
    ),
    *(
        Metric(
            name=f"{phase}_seconds",
            title=f"Seconds per step: {phase.replace('_', '-')}",
            unit="s",
            direction="lower",
            deterministic=False,
            group="speed",
            description=f"{part} Rank 0's mean since the last point.",
        )
        for phase, part in PHASES.items()
    ),
    Metric(
        name="seconds",
        title="Seconds",
        unit="s",
        direction="none",
        deterministic=False,
        group="speed",
        description="Seconds of training so far, over all attempts, without waiting and start-up.",
    ),
    Metric(
        name="cpu_seconds",
        title="CPU-seconds",
        unit="s",
        direction="lower",
        deterministic=False,
        group="speed",
        description="CPU time of all workers' processes in training steps so far, over all attempts.",
    ),
    Metric(
        name="memory_bytes",
        title="Peak memory",
        unit="B",
        direction="lower",
        deterministic=False,
        group="speed",
        description="Rank 0's most: on a GPU torch's tensors since the last point, on a CPU the process so far.",
    ),
    Metric(
        name="gpu_utilization",
        title="GPU utilisation",
        unit="%",
        direction="higher",
        deterministic=False,
        group="speed",
        description="Share of the last second or less in which a GPU computed, by NVML: the mean over the workers.",
    ),
    Metric(
        name="gpu_memory_bytes",
        title="GPU memory in use",
        unit="B",
        direction="lower",
        deterministic=False,
        group="speed",
        description="Memory in use on the fullest worker's GPU, by NVML, other processes' included.",
    ),
    Metric(
        name="gpu_watts",
        title="GPU power",
        unit="W",
        direction="lower",
        deterministic=False,
        group="speed",
        description="Power that the GPUs of all workers draw together, by NVML.",
    ),
)
"""Readings of a rank's own GPU are told beside these, under names outside of the catalogue: "gpu_watts/rank0"."""

BY_NAME: dict[str, Metric] = {metric.name: metric for metric in CATALOGUE}
DETERMINISTIC: frozenset[str] = frozenset(metric.name for metric in CATALOGUE if metric.deterministic)
