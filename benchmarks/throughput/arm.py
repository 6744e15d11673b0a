"""`python -m benchmarks.throughput.arm ARM SOURCE FOLDER`: trains in its own process, a block for each line it reads.

`basin` is the trainer's own loop, as a run has it (its logging, its checks); under RANK and WORLD_SIZE one of its
data-parallel workers. `plain` is the least that a person would write: timm's model, torch's DataLoader, fused AdamW.
SOURCE is `files` (JPEG, decoded and augmented by one process beside the training) or `memory` (scikit-learn's digits).
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from sklearn.datasets import load_digits
from timm.data import create_transform
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset
from torchvision.datasets import ImageFolder  # type: ignore[import-untyped]

from trainer.contract.spec import TrainingSpec
from trainer.listener import Silence
from trainer.loop import train
from trainer.parallel import join_from_environment

BATCH = 64
LR, WEIGHT_DECAY = 1e-3, 0.05
SIDE = 32
MODELS: dict[str, dict[str, Any]] = {
    "files": {"patch_size": 8, "embed_dim": 192, "depth": 4, "num_heads": 3},
    "memory": {"patch_size": 2, "embed_dim": 192, "depth": 4, "num_heads": 3},
}
FIRST_STEPS = 10  # before anything is measured
SKIPPED, MEASURED = 6, 20  # steps of a block: those that may live on what was read meanwhile, and the others
MEAN = STD = (0.5, 0.5, 0.5)


class Turns(Silence):
    """Waits for a line before each block, and prints the seconds a step of it took; the input's end is the end."""

    def progress(self, step: int, total_steps: int, epoch: float) -> None:
        at = step - FIRST_STEPS
        if at < 0:
            return
        into = at % (SKIPPED + MEASURED)
        if into == SKIPPED:
            self._started = time.perf_counter()
        if into == 0:
            if at:
                print((time.perf_counter() - self._started) / MEASURED, flush=True)
            if not sys.stdin.readline():
                os._exit(0)  # the loader's process ends with us


def main() -> None:
    arm, source, folder = sys.argv[1:]
    torch.set_num_threads(1)
    if arm == "basin":
        basin(source, folder)
    else:
        plain(source, folder)


def basin(source: str, folder: str) -> None:
    world = join_from_environment(torch.device("cpu"))
    with tempfile.TemporaryDirectory() as scratch:
        train(spec_of(source, folder, world.size), world, folder=Path(scratch), listener=Turns())


def spec_of(source: str, folder: str, workers: int) -> TrainingSpec:
    images = {
        "source": "image_folder", "train": folder, "validation_fraction": 0.1, "loader_workers": 1,
        "mean": MEAN, "std": STD,
    }  # fmt: skip
    return TrainingSpec.model_validate({
        "model": {
            "name": "vit_tiny_patch16_224", "arguments": MODELS[source],
            "image_size": SIDE if source == "files" else None,
        },
        "data": images if source == "files" else {"source": "digits"},
        "optimizer": {"name": "adamw", "lr": LR, "weight_decay": WEIGHT_DECAY},
        "schedule": {"name": "constant"},
        "global_batch_size": BATCH * workers, "steps": 1_000_000,
        "evaluation": {"every_epochs": 1_000_000}, "checkpoint": {"every_steps": 1_000_000},
        "resources": {"workers": workers},
    })  # fmt: skip


def plain(source: str, folder: str) -> None:
    torch.manual_seed(0)
    loader, side, channels, classes = files(folder) if source == "files" else memory()
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=side, in_chans=channels, num_classes=classes, **MODELS[source]
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY, fused=True)
    turns = Turns()
    for step, (pixels, labels) in enumerate(for_ever(loader), 1):
        optimizer.zero_grad(set_to_none=True)
        cross_entropy(model(pixels), labels).backward()
        optimizer.step()
        turns.progress(step, 0, 0.0)


def files(folder: str) -> tuple[DataLoader[tuple[Tensor, Tensor]], int, int, int]:
    transform = create_transform((3, SIDE, SIDE), is_training=True, mean=MEAN, std=STD, color_jitter=None,
                                 interpolation="bicubic")  # fmt: skip
    images = ImageFolder(folder, transform)
    loader = DataLoader(images, BATCH, shuffle=True, drop_last=True, num_workers=1, persistent_workers=True)
    return loader, SIDE, 3, len(images.classes)


def memory() -> tuple[DataLoader[tuple[Tensor, ...]], int, int, int]:
    digits = load_digits()
    pixels = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 8 - 1
    images = TensorDataset(pixels, torch.tensor(digits.target))
    return DataLoader(images, BATCH, shuffle=True, drop_last=True), 8, 1, 10


def for_ever(loader: DataLoader[Any]) -> Iterator[Any]:
    while True:
        yield from loader


if __name__ == "__main__":
    main()
