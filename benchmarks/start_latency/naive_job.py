"""The peer: what one writes by the book, a Ray job whose script runs Ray Train's TorchTrainer.

It calls Basin's own training loop with the same spec, so that the way to the first step is the only difference.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray.train
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer


def train_func(config: dict[str, Any]) -> None:
    import torch
    import torch.distributed as dist

    from trainer.contract.spec import TrainingSpec
    from trainer.listener import Silence
    from trainer.loop import train
    from trainer.parallel import World

    class FirstStep(Silence):
        def first_step(self) -> None:
            Path(config["moment"]).write_text(datetime.now(UTC).isoformat(), encoding="ascii")

    context = ray.train.get_context()
    size = context.get_world_size()
    world = World(
        rank=context.get_world_rank(),
        size=size,
        device=torch.device("cpu"),
        group=dist.group.WORLD if size > 1 else None,
    )
    spec = TrainingSpec.model_validate(config["spec"])
    train(spec, world, folder=Path(config["folder"]), listener=FirstStep())


if __name__ == "__main__":
    config = json.loads(sys.argv[1])
    TorchTrainer(
        train_func,
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=config["spec"]["resources"]["workers"]),
        run_config=RunConfig(storage_path=config["folder"]),
    ).fit()
