"""The most memory that training took."""

from __future__ import annotations

from pathlib import Path

import torch

STATUS = Path("/proc/self/status")


class PeakMemory:
    """On a GPU of the tensors that torch has allocated there, on a CPU of the process."""

    def __init__(self, device: torch.device, status: Path = STATUS) -> None:
        self._device, self._status = device, status

    def since_last(self) -> dict[str, float]:
        """`memory_bytes`: on a GPU the most since the last call, on a CPU since the process began, as Linux counts it.

        {} where there is no such count.
        """
        if self._device.type == "cuda":
            most = torch.cuda.max_memory_allocated(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            return {"memory_bytes": float(most)}
        try:
            lines = self._status.read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            return {}
        kibibytes = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
        return {"memory_bytes": 1024.0 * kibibytes[0]} if kibibytes else {}
