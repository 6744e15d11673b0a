"""A GPU is taken only when nothing else is on it.

Ray gives out a GPU as soon as the worker that had it is gone, and knows nothing of processes that are not its own. A
process that died while the driver worked for it keeps its memory for seconds, one that is stuck in the driver for ever;
on a GPU so held the run would be told that it asks for too much memory. So each rank waits for its GPU, and gives up
with a reason that says whose fault it is.
"""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable

import torch

from trainer.contract.ends import EndReason
from trainer.errors import TrainerError

log = logging.getLogger(__name__)

HELD_BYTES = 2 * 2**30
"""More than a driver, a desktop and a CUDA context of ours take together, less than a training process does."""
LOOK_SECONDS = 1.0

UsedBytes = Callable[[torch.device], float]


def wait_until_free(
    device: torch.device, *, patience_seconds: float, used_bytes: UsedBytes = torch.cuda.device_memory_used
) -> None:
    """Returns when less than `HELD_BYTES` of the GPU are in use, at once where NVML does not tell.

    To be called before this process puts anything there. Raises TrainerError (`gpu_held`) after `patience_seconds`.
    """
    gives_up_at = time.monotonic() + patience_seconds
    is_told = False
    while (used := _asked(device, used_bytes)) >= HELD_BYTES:
        if time.monotonic() >= gives_up_at:
            raise TrainerError(
                EndReason.gpu_held,
                f"{used / 2**30:.1f} GiB of the GPU that Ray gave on {platform.node()} were in use before the run "
                f"began, and still after {patience_seconds:.0f} s: `nvidia-smi` there names the process; end it. "
                "If it names none, the GPU has to be reset.",
            )
        if not is_told:
            log.warning("%.1f GiB of the GPU are in use by another process: waiting for it to end.", used / 2**30)
            is_told = True
        time.sleep(LOOK_SECONDS)


def _asked(device: torch.device, used_bytes: UsedBytes) -> float:
    try:
        return float(used_bytes(device))
    except Exception as error:  # NVML's own class is only there with its package
        log.info("Whether the GPU is free is not known: %s: %s", type(error).__name__, error)
        return 0.0
