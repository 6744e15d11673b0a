"""Whether a batch of 65,536 images takes a whole cycle of LookSAM in the memory of one micro-batch, on one process."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image

from trainer.contract.spec import TrainingSpec
from trainer.listener import Silence
from trainer.loop import train
from trainer.parallel import World

SIDE = 32
IMAGES, CLASSES = 2048, 8
MOST_GROWTH = 0.05
SHOW_EVERY = 64  # micro-batches


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m benchmarks.large_batch", description=__doc__)
    options.add_argument("--batch", type=int, default=65_536, help="global batch size (default 65,536)")
    options.add_argument("--micro-batch", type=int, default=256, help="images in one pass (default 256)")
    options.add_argument("--k", type=int, default=5, help="the cycle: one refresh, k-1 reuses (default 5)")
    options.add_argument("--device", default="cpu")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_images(folder / "images")
        spec = spec_of(folder / "images", chosen.batch, chosen.micro_batch, chosen.k)
        world = Watched(rank=0, size=1, device=torch.device(chosen.device))
        train(spec, world, folder=folder / "run", listener=Begins(world))
    return report(world, chosen.batch, chosen.k)


def write_images(folder: Path) -> None:
    """JPEG files in class folders, as a lab has them: they are read and decoded anew in every pass."""
    chance = np.random.default_rng(0)
    for number in range(IMAGES):
        place = folder / f"class_{number % CLASSES}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = chance.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.jpg")


def spec_of(images: Path, batch: int, micro_batch: int, k: int) -> TrainingSpec:
    """One cycle: the batch is larger than the data set, so each crosses the ends of many epochs."""
    return TrainingSpec.model_validate({
        "model": {
            "name": "vit_tiny_patch16_224", "image_size": SIDE,
            "arguments": {"patch_size": 8, "embed_dim": 64, "depth": 3, "num_heads": 4},
        },
        "data": {"source": "image_folder", "train": str(images), "validation_fraction": 0.1, "loader_workers": 0},
        "optimizer": {"name": "lamb", "lr": 1e-3},
        "method": {"name": "look_layersam", "rho": 0.05, "k": k},
        "global_batch_size": batch, "micro_batch_size": micro_batch, "steps": k,
        "evaluation": {"every_epochs": 1_000_000, "batch_size": micro_batch},
        "logging": {"every_steps": 1},
    })  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Watched(World):
    """Looks at the process's resident memory after every micro-batch; `resident` are bytes, the first is the base."""

    resident: list[int] = field(default_factory=list)
    began: list[float] = field(default_factory=list)

    def passed(self) -> None:
        if not self.began:
            return  # the data set is still being read
        self.resident.append(psutil.Process().memory_info().rss)
        if len(self.resident) % SHOW_EVERY == 0:
            grown = (max(self.resident) - self.resident[0]) / 1e6
            print(f"{len(self.resident)} passes, {time.monotonic() - self.began[0]:.0f} s: grown by {grown:.1f} MB",
                  flush=True)  # fmt: skip


class Begins(Silence):
    """The loop says where it stands right before its first step."""

    def __init__(self, world: Watched) -> None:
        self._world = world

    def progress(self, step: int, total_steps: int, epoch: float) -> None:
        if not self._world.began:
            self._world.began.append(time.monotonic())


def report(world: Watched, batch: int, k: int) -> int:
    one_batch = batch * 3 * SIDE * SIDE * 4
    growth = max(world.resident) - world.resident[0]
    on_gpu = world.device.type == "cuda"
    found = {
        "question": "large_batch",
        "device": torch.cuda.get_device_name(world.device) if on_gpu else platform.machine(),
        "global_batch_size": batch, "k": k, "passes": len(world.resident),
        "seconds": round(time.monotonic() - world.began[0], 1),
        "resident_mb_after_first_micro_batch": round(world.resident[0] / 1e6, 1),
        "growth_mb": round(growth / 1e6, 1), "one_fp32_batch_mb": round(one_batch / 1e6, 1),
        "share": round(growth / one_batch, 4), "holds": growth <= MOST_GROWTH * one_batch,
    }  # fmt: skip
    if on_gpu:
        found["gpu_peak_mb"] = round(torch.cuda.max_memory_allocated(world.device) / 1e6, 1)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
