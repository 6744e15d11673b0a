"""Data parallelism without a wrapper around the model: a process group, and gradients in one buffer that is summed.

Why not DistributedDataParallel: the second pass of a refresh must see the same micro-batches at other weights, and its
sum must stand beside the first one's. With the gradients in one flat buffer a pass is zero, backward, sum; the few
scalars that all ranks must agree on (loss, hits, the wish to stop) ride at its end and cost no message of their own.

The buffer's layout is the order of the model's parameters, nothing else. So a resumed run adds the same numbers in the
same order, and is equal bit for bit on the same hardware.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

JOIN_TIMEOUT_SECONDS = 120.0
"""How long a rank waits for the others to join."""
HANG_TIMEOUT_SECONDS = 300.0
"""How long a collective waits for the slowest rank, at most; then the process ends with an error."""
GPU_LAG_STEPS = 2
"""How many steps late the host reads a GPU's flags: enough for it to keep launching, few enough to stop soon."""


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

    def passed(self) -> None:
        """One micro-batch or validation batch is through; whoever watches over the ranks may count it."""

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
    *, rank: int, size: int, device: torch.device, store: dist.distributed_c10d.Store | None = None,
    join_timeout_seconds: float = JOIN_TIMEOUT_SECONDS, hang_timeout_seconds: float = HANG_TIMEOUT_SECONDS,
) -> World:  # fmt: skip
    """Joins the process group: nccl on a GPU, gloo on a CPU; through `store`, or as torchrun's variables say.

    Raises torch's DistError or RuntimeError on a time-out.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=store, rank=rank, world_size=size, timeout=timedelta(seconds=join_timeout_seconds),
        device_id=device if device.type == "cuda" else None,
    )  # fmt: skip
    group = dist.new_group(timeout=timedelta(seconds=hang_timeout_seconds))
    assert isinstance(group, dist.ProcessGroup)  # every rank is a member
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


class ReducedGradients:
    """The gradients of all weights, and a few scalars behind them, in one buffer that one all-reduce sums.

    `tensors` are views into it, in the order of `weights`, and are the weights' `.grad`: backward adds in place.
    Whoever sets a `.grad` to None breaks that (so never call an optimizer's `zero_grad`). All weights must share one
    dtype.

    Weights that the first gradient evaluation does not reach on any rank are no part of the network's function: they
    stop requiring a gradient, so that the optimizer passes them over (a zero gradient would still decay them).
    """

    def __init__(
        self, weights: Sequence[Tensor], world: World, num_scalars: int, parameters: Sequence[Tensor] | None = None
    ) -> None:  # fmt: skip
        """`parameters`: what backward reaches, in the order of `weights`, where these are parts of them."""
        dtypes = {weight.dtype for weight in weights}
        assert len(dtypes) == 1, f"weights of one dtype are needed, found {dtypes}"
        self._world = world
        self._buffer = torch.zeros(
            sum(weight.numel() for weight in weights) + num_scalars, dtype=weights[0].dtype, device=world.device
        )
        self._gradients = self._buffer[: self._buffer.numel() - num_scalars]
        *pieces, self.scalars = torch.split(self._buffer, [*(weight.numel() for weight in weights), num_scalars])
        self.tensors = [
            piece.as_strided(weight.size(), weight.stride(), piece.storage_offset())
            for piece, weight in zip(pieces, weights, strict=True)
        ]
        self._weights, self._parameters = weights, weights if parameters is None else parameters
        self._reached: set[Tensor] = set()  # tensors hash by identity
        for weight, gradient in zip(weights, self.tensors, strict=True):
            weight.grad = gradient
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(self._reached.add)  # type: ignore[no-untyped-call]
            for parameter in self._parameters
        ]

    def zero_(self, *, keep_scalars: bool = False) -> None:
        (self._gradients if keep_scalars else self._buffer).zero_()

    def multiply_(self, factor: float) -> None:
        """The gradients alone."""
        self._gradients.mul_(factor)

    def sum_over_ranks(self) -> Tensor:
        """Sums gradients and scalars in place; returns a copy of the scalars, which outlives the next `zero_`."""
        self._sum()
        if self._hooks:
            self._set_unreached_aside()
        scalars: Tensor = self.scalars.clone()
        return scalars

    def _sum(self) -> None:
        self._world.sum_(self._buffer)

    def _set_unreached_aside(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        reached = torch.tensor([float(each in self._reached) for each in self._parameters], device=self._world.device)
        ranks = self._world.sum_(reached).tolist()
        for weight, parameter, reached_by in zip(self._weights, self._parameters, ranks, strict=True):
            if reached_by == 0:
                parameter.requires_grad_(False)
                parameter.grad = weight.grad = None
        self._reached.clear()


class LateFlags:
    """Reads small tensors on the host some steps after they were computed, so that the host need not wait.

    All ranks read the same values (they come from reduced numbers) at the same step, hence act alike. `lag` is 0 on a
    CPU, where reading is free.
    """

    def __init__(self, device: torch.device, lag: int | None = None) -> None:
        self._on_gpu = device.type == "cuda"
        self._lag = lag if lag is not None else (GPU_LAG_STEPS if self._on_gpu else 0)
        self._waiting: deque[tuple[int, Tensor, torch.cuda.Event | None]] = deque()

    def push(self, step: int, flags: Tensor) -> None:
        if not self._on_gpu:
            self._waiting.append((step, flags, None))
            return
        copy = torch.empty(flags.shape, dtype=flags.dtype, pin_memory=True)
        copy.copy_(flags, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record()
        self._waiting.append((step, copy, arrived))

    def read(self, *, everything: bool) -> Iterator[tuple[int, list[float]]]:
        """The (step, flags) that are due, oldest first; all of them where `everything`, which waits for the device."""
        while len(self._waiting) > (0 if everything else self._lag):
            step, flags, arrived = self._waiting.popleft()
            if arrived is not None:
                arrived.synchronize()
            yield step, flags.tolist()
