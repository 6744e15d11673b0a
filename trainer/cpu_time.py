"""CPU time of training steps, over all ranks and attempts."""

from __future__ import annotations

import time

import torch
from torch import Tensor


class StepsCpuTime:
    """A clock of this process's CPU time that runs inside training steps (`with`) and sums over ranks.

    Each gradient evaluation sends what has passed since the one before, with the gradient: so small a number loses
    nothing in float32. What follows a step's last evaluation (the optimizer) comes with the next step's first, and the
    last step's never. All threads of the process count, processes that load images do not.
    """

    def __init__(self, device: torch.device) -> None:
        self.total = torch.zeros((), dtype=torch.float64, device=device)
        """Seconds, 0-dim on the device, equal on all ranks."""
        self._unsent = 0.0
        self._since = 0.0

    def __enter__(self) -> None:
        self._since = time.process_time()

    def __exit__(self, *error: object) -> None:
        self._add_up()

    def to_send(self) -> float:
        """Seconds of this process since the last call, without those outside of steps."""
        self._add_up()
        seconds, self._unsent = self._unsent, 0.0
        return seconds

    def received(self, seconds: Tensor) -> None:
        """What all ranks sent, summed."""
        self.total += seconds

    def _add_up(self) -> None:
        now = time.process_time()
        self._unsent += now - self._since
        self._since = now
