"""Data parallelism without a wrapper around the model: a process group, and gradients in one buffer that is summed.

Why not DistributedDataParallel: the second pass of a refresh must see the same micro-batches at other weights, and its
sum must stand beside the first one's. With the gradients in one flat buffer a pass is zero, backward, sum; the few
scalars that all ranks must agree on (loss, hits, the wish to stop) ride at its end, so they cost no message of their own.

The buffer's layout is the order of the model's parameters, nothing else. So a resumed run adds the same numbers in the
same order, and is equal bit for bit on the same hardware.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

JOIN_TIMEOUT_SECONDS = 120.0
"""How long a rank waits for the others to join."""
HANG_TIMEOUT_SECONDS = 300.0
"""How long a collective waits for the slowest rank, at most; then the process ends with an error."""


@dataclass(frozen=True, kw_only=True)
class World:
    """The data-parallel workers of one run, seen from one of them. `group` is None for a single process."""

    rank: int
    size: int
    device: torch.device
    group: dist.ProcessGroup | None = None

    @classmethod
    def single(cls, device: torch.device | str = "cpu") -> World:
        return cls(rank=0, size=1, device=torch.device(device))

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def sum_(self, tensor: Tensor) -> Tensor:
        """Sums in place over all ranks; every rank gets the same bits."""
        if self.group is not None:
            dist.all_reduce(tensor, group=self.group)
        return tensor

    def from_first_(self, tensor: Tensor) -> Tensor:
        """Overwrites in place with rank 0's values."""
        if self.group is not None:
            dist.broadcast(tensor, src=dist.get_global_rank(self.group, 0), group=self.group)
        return tensor


def join(
    *, rank: int, size: int, device: torch.device, init_method: str = "env://",
    join_timeout_seconds: float = JOIN_TIMEOUT_SECONDS, hang_timeout_seconds: float = HANG_TIMEOUT_SECONDS,
) -> World:  # fmt: skip
    """Joins the process group: nccl on a GPU, gloo on a CPU. Raises torch's DistError or RuntimeError on a time-out."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=init_method, rank=rank, world_size=size, timeout=timedelta(seconds=join_timeout_seconds),
        device_id=device if device.type == "cuda" else None,
    )  # fmt: skip
    group = dist.new_group(timeout=timedelta(seconds=hang_timeout_seconds))
    return World(rank=rank, size=size, device=device, group=group)


def join_from_environment(device: torch.device) -> World:
    """The world that torchrun describes in RANK and WORLD_SIZE; a single process where it does not."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if "RANK" not in os.environ or size == 1:
        return World.single(device)
    return join(rank=int(os.environ["RANK"]), size=size, device=device)


def leave(world: World) -> None:
    if world.group is not None and dist.is_initialized():
        dist.destroy_process_group()
