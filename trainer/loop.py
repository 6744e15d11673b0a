"""The training loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from trainer.contract.spec import TrainingSpec
from trainer.listener import Listener, Outcome
from trainer.parallel import World


def train(
    spec: TrainingSpec, world: World, *, folder: Path, listener: Listener, resume: Sequence[Path] = (),
    stop: Callable[[], bool] | None = None,
) -> Outcome:  # fmt: skip
    """Trains `spec` to its end or until `stop`; raises TrainerError. Checkpoints go to `folder`/checkpoints."""
    raise NotImplementedError
