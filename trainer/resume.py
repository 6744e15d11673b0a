"""Going on: from the live parts of a run to what a checkpoint holds, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import nn

from trainer import checkpoint
from trainer.checkpoint import Best, Saved
from trainer.contract.ends import EndReason
from trainer.contract.spec import TrainingSpec, stored_spec
from trainer.datasets.patience import waiting_for
from trainer.errors import TrainerError, first_line, rejected
from trainer.listener import Listener
from trainer.loss_scale import LossScale
from trainer.optimizer import GuardedOptimizer
from trainer.parallel import World
from trainer.preparation import Preparation
from trainer.sharding import WholeWeights
from trainer.step import MethodState

MAY_DIFFER = {
    "resources", "logging", "evaluation", "checkpoint", "micro_batch_size", "execution", "limits", "spec_version",
}  # fmt: skip
"""Fields that may change between a checkpoint and its continuation: they do not say what is trained."""


@dataclass(kw_only=True)
class Standing:
    """How far a run is, over all its attempts."""

    step: int = 0
    """Steps completed."""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    refreshes: int = 0
    """Steps that took a second gradient."""
    told: list[str] = field(default_factory=list)
    """Codes of the notices given."""
    numbers: dict[str, float] = field(default_factory=dict)
    """The last known value of every metric."""
    best: Best | None = None
    """The best validation so far."""


def newest(candidates: Sequence[Path], spec: TrainingSpec, world: World, tell: Listener) -> Saved | None:
    """The newest complete checkpoint, the same on every rank; None without candidates. Raises TrainerError."""
    if not candidates:
        return None
    chosen = torch.full((), -1, dtype=torch.int64, device=world.device)
    try:
        if world.is_first:
            index, problems = waiting_for(lambda: checkpoint.newest_complete(candidates), world.passed)
            chosen.fill_(index)
    finally:
        world.from_first_(chosen)  # also where rank 0 found none: the others must not wait for ever
    if chosen < 0:
        raise TrainerError(EndReason.checkpoint_unreadable, "Rank 0 found no complete checkpoint.")
    saved = waiting_for(lambda: checkpoint.read(candidates[int(chosen)]), world.passed)
    _check_same_training(saved, spec)
    if world.is_first and problems:
        text = f"Skipped {len(problems)} torn: {'; '.join(problems)}. Resumed from step {saved.step}."
        tell.notice("checkpoint_skipped", text, saved.step)
    return saved


def capture(
    standing: Standing, spec: TrainingSpec, model: nn.Module, average: ModelEmaV3 | None, optimizer: GuardedOptimizer,
    state: MethodState, scale: LossScale, weights: WholeWeights, preparation: Preparation,
) -> Saved:  # fmt: skip
    """Refers to the live tensors, so it is to be written before the next step.

    Where the network is sharded, all ranks must call, and rank 0 alone gets it.
    """
    return Saved(
        step=standing.step,
        spec=spec.model_dump(mode="json"),
        model=weights.state_of(model),
        average=None if average is None else average.module.state_dict(),
        optimizer=weights.state_of_optimizer(optimizer.base),
        direction=None if state.direction is None else weights.gathered(state.direction),
        method={
            "direction_exists": state.direction_exists, "persistence": state.persistence, "alpha": state.alpha,
            "weak_refreshes": state.weak_refreshes,
        },
        loss_scale=asdict(scale),
        gradient_evaluations=state.gradient_evaluations,
        refreshes=standing.refreshes,
        told=list(standing.told),
        seconds=standing.seconds,
        cpu_seconds=standing.cpu_seconds,
        numbers=dict(standing.numbers),
        best={} if standing.best is None else asdict(standing.best),
        preparation=preparation.as_document(),
        threads=torch.get_num_threads(),
        world_size=weights.world.size,
    )  # fmt: skip


def put_back(
    saved: Saved, model: nn.Module, average: ModelEmaV3 | None, optimizer: GuardedOptimizer, state: MethodState,
    scale: LossScale, weights: WholeWeights,
) -> Standing:  # fmt: skip
    """Writes a checkpoint into the live parts. Raises TrainerError(checkpoint_unreadable) where it does not fit.

    With another number of workers the direction of the last refresh is left out, so that the next step refreshes: the
    passes are cut otherwise, and so are the masks under which it was found. Sharding cuts no pass: it stays.
    """
    device = state.alpha.device
    try:
        weights.load_(model, saved.model)
        if average is not None and saved.average is not None:
            average.module.load_state_dict(saved.average)
        weights.load_optimizer_(optimizer.base, saved.optimizer)
    except (RuntimeError, ValueError, KeyError) as error:
        raise TrainerError(
            EndReason.checkpoint_unreadable,
            f"The checkpoint of step {saved.step} does not fit the model of the spec ({first_line(error)}); "
            "it may be of another version of timm or torch.",
        ) from error
    state.gradient_evaluations = saved.gradient_evaluations
    if saved.direction is not None and saved.world_size == weights.world.size:
        state.direction = weights.parts(saved.direction)
    for name, number in saved.loss_scale.items():
        setattr(scale, name, number)
    for name, value in saved.method.items():
        setattr(state, name, value.to(device))
    refreshes = saved.gradient_evaluations - saved.step if saved.refreshes is None else saved.refreshes
    return Standing(
        step=saved.step, refreshes=refreshes, seconds=saved.seconds, cpu_seconds=saved.cpu_seconds,
        told=list(saved.told), numbers=dict(saved.numbers), best=Best(**saved.best) if saved.best else None,
    )  # fmt: skip


def threads_to_use(saved: Saved | None, world: World, settled: int | None) -> int | None:
    """A resumed run keeps its number of CPU threads, which its last bits depend on; None leaves torch's own."""
    if settled is None and saved is not None and saved.world_size == world.size and world.device.type == "cpu":
        return saved.threads
    return settled


def _check_same_training(saved: Saved, spec: TrainingSpec) -> None:
    now: dict[str, Any] = spec.model_dump(mode="json")
    then: dict[str, Any] = stored_spec(saved.spec).model_dump(mode="json")  # with fields that are newer than it
    for name in now.keys() - MAY_DIFFER:
        before = then[name]
        if before != now[name]:
            raise rejected(
                f"{name} is {now[name]!r}, but the checkpoint of step {saved.step} was trained with {before!r}: must "
                "be the same to go on from it. Restore the value, or start a new run in another folder."
            )
