"""One cell, trained in a process of its own on one thread."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.accuracy.cells import MODELS, Cell, Row, median_or_none, shape_of
from benchmarks.accuracy.images import data_of
from trainer import data
from trainer.contract.spec import TrainingSpec
from trainer.errors import TrainerError
from trainer.listener import Silence
from trainer.loop import train
from trainer.parallel import World

LARGEST_PASS = 512
KEPT = ("train_loss", "validation_top1", "validation_loss", "test_top1", "test_loss")


def run(cell: Cell) -> Row:
    """What is kept of it; a run that diverged has the reason as `failed` and chance as its accuracy."""
    torch.set_num_threads(1)
    began, cosines = time.monotonic(), _Cosines()
    images = data_of(shape_of(cell).data, shape_of(cell).train_size, tuning=cell.is_tuning)
    data.load = lambda *_, **__: images  # both sets in memory, without decoding anew
    kept: dict[str, Any]
    try:
        with tempfile.TemporaryDirectory(prefix="basin-accuracy-") as folder:
            outcome = train(spec_of(cell), World.single(), folder=Path(folder), listener=cosines)
        kept = {name: round(outcome.numbers[name], 6) for name in KEPT if name in outcome.numbers}
        kept["gradient_evaluations"] = outcome.gradient_evaluations
    except TrainerError as error:
        kept = {"failed": str(error.reason), "validation_top1": 0.0, "validation_loss": float("inf"), "test_top1": 10.0}
    return {
        "cell": asdict(cell), **kept, "direction_cosine": median_or_none(cosines.seen),
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def spec_of(cell: Cell) -> TrainingSpec:
    shape = shape_of(cell)
    trained = shape.train_size - (round(0.2 * shape.train_size) if cell.is_tuning else 0)
    steps = max(1, round(shape.epochs * trained / cell.batch))
    pieces = -(-cell.batch // LARGEST_PASS)
    return TrainingSpec.model_validate({
        "model": {"name": "vit_tiny_patch16_224", "arguments": MODELS[shape.data]},
        "data": {"source": "digits"},
        "optimizer": {"name": cell.optimizer, "lr": cell.lr, "weight_decay": 0.05},
        "method": json.loads(cell.method),
        "schedule": {"name": "cosine", "warmup_steps": steps // 10},
        "global_batch_size": cell.batch, "micro_batch_size": cell.batch // pieces, "steps": steps, "seed": cell.seed,
        "evaluation": {"every_epochs": 1_000_000, "batch_size": LARGEST_PASS},
        "checkpoint": {"every_steps": steps}, "logging": {"every_steps": max(1, steps // 50)},
    })  # fmt: skip


class _Cosines(Silence):
    """cos(g_v now, before) of the refreshes that show it."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def metrics(self, step: int, values: dict[str, float]) -> None:
        if "direction_cosine" in values:
            self.seen.append(values["direction_cosine"])
