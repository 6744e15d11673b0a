"""What NVML says of every rank's GPU: how busy it is, how full, how much power it draws.

Each rank reads its own GPU, and only in a step that is logged, before it launches the step's work: a reading takes some
milliseconds at most, in which the device goes on. The readings of all ranks come to rank 0 with the gradient: each rank
writes its own behind the other scalars, where all others have zeros, so that the sum is all of them, without a message.

Where a reading is not to be had (no `nvidia-ml-py`, a driver or a part of a GPU that does not tell it) it is left out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from trainer.parallel import World

log = logging.getLogger(__name__)

READINGS = ("gpu_utilization", "gpu_memory_bytes", "gpu_watts")
"""Named as in the metric catalogue; in %, bytes and W."""
MAX_RANKS_TOLD = 32
"""Ranks whose readings are told one by one: a report holds 256 numbers, and a database 4096 names of metrics."""
ABSENT = -1.0

Asked = Callable[[torch.device], float]


def _watts(device: torch.device) -> float:
    return torch.cuda.power_draw(device) / 1000


# torch's own functions know which of the machine's GPUs a device is (CUDA_VISIBLE_DEVICES), which NVML does not.
NVML: tuple[Asked, ...] = (torch.cuda.utilization, torch.cuda.device_memory_used, _watts)


class GpuReadings:
    """Takes room for the readings of all ranks in the reduced buffer (`num_scalars`); none without a GPU."""

    def __init__(self, world: World, nvml: tuple[Asked, ...] = NVML) -> None:
        self._world = world
        self._asked: list[Asked | None] = list(nvml)
        self.num_scalars = len(READINGS) * world.size if world.device.type == "cuda" else 0
        self._own: list[float] = []
        self._summed: Tensor | None = None

    def take(self) -> None:
        """Reads this rank's GPU; what it says goes with the sums of this step."""
        if self.num_scalars:
            self._own = [self._ask(place) for place in range(len(READINGS))]

    def send(self, scalars: Tensor) -> None:
        """Writes what was taken into this rank's place, if anything was; `scalars` has shape (num_scalars,)."""
        for place, value in enumerate(self._own, len(READINGS) * self._world.rank):
            scalars[place] = value  # launches a kernel and does not wait

    def received(self, summed: Tensor) -> None:
        """The same place, summed over the ranks."""
        if self._own:
            self._summed = summed

    def told(self) -> dict[str, float]:
        """What was received last, and forgets it: over all ranks, and of each of the first 32 ("gpu_watts/rank0").

        Over all ranks it is the mean utilisation, the fullest GPU's bytes and the sum of the power. Waits for the
        device.
        """
        if self._summed is None:
            return {}
        of_ranks = self._summed.reshape(self._world.size, len(READINGS)).T.tolist()
        self._own, self._summed = [], None
        numbers: dict[str, float] = {}
        for name, values in zip(READINGS, of_ranks, strict=True):
            known = {rank: value for rank, value in enumerate(values) if value >= 0}
            if known:
                numbers[name] = _over_all(name, list(known.values()))
                numbers |= {f"{name}/rank{rank}": value for rank, value in known.items() if rank < MAX_RANKS_TOLD}
        return numbers

    def _ask(self, place: int) -> float:
        ask = self._asked[place]
        if ask is None:
            return ABSENT
        try:
            return float(ask(self._world.device))
        except Exception as error:  # NVML's own class is only there with its package
            log.info("%s is not read: %s: %s", READINGS[place], type(error).__name__, error)
            self._asked[place] = None  # it will not be there later either
            return ABSENT


def _over_all(name: str, values: list[float]) -> float:
    if name == "gpu_utilization":
        return sum(values) / len(values)
    return max(values) if name == "gpu_memory_bytes" else sum(values)
