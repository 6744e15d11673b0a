"""Two processes that sum a tensor: `python -m trainer.host.all_reduce`, as ranks of a run would, with a time-out.

Each rank is `python -m trainer.host.all_reduce RANK SIZE BACKEND PORT SECONDS` and says nothing unless it fails.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import suppress

from trainer.contract.findings import Found, failed, ok

SECONDS = 120.0
"""Until both have loaded torch, met and summed: half a minute on a machine that is busy. A rank waits half as long for
the others, so that it can say itself that one did not come."""
NUMBERS = 1 << 20
LOOPBACK = "127.0.0.1"


def all_reduce(backend: str, *, size: int = 2, start: int | None = None, seconds: float = SECONDS) -> Found:
    """`backend`: "gloo", or "nccl" with a GPU for each rank. `start`: how many of the ranks come; all (None)."""
    port = _free_port()
    ranks = [_start(rank, size, backend, port, seconds / 2) for rank in range(size)[:start]]
    deadline, said = time.monotonic() + seconds, ""
    began = time.monotonic()
    try:
        for rank in ranks:
            _, problem = rank.communicate(timeout=max(0.1, deadline - time.monotonic()))
            if rank.returncode:
                said = said or _last(problem)
    except subprocess.TimeoutExpired:
        said = f"not done within {seconds:g} s"
    finally:
        for rank in ranks:
            if rank.poll() is None:
                rank.kill()
            with suppress(ValueError):
                rank.communicate()
    if said:
        return failed(
            f"{size} processes with {backend}: {said}",
            needed=f"a sum over {size} processes within {seconds:g} s",
            remedy=_remedy(backend),
        )
    return ok(
        f"{size} processes with {backend} summed {NUMBERS:,} numbers, {time.monotonic() - began:.1f} s with start"
    )


def _remedy(backend: str) -> str:
    if backend == "gloo":
        return "Let processes of this machine reach each other on 127.0.0.1, and give it memory for two of them"
    return (
        "Run again with NCCL_DEBUG=INFO for NCCL's own reason; usual ones: too little /dev/shm, a container without"
        " `ipc: host`, peer access that the IOMMU breaks (try NCCL_P2P_DISABLE=1)"
    )


def _start(rank: int, size: int, backend: str, port: int, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "trainer.host.all_reduce", str(rank), str(size), backend, str(port), f"{seconds:g}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        port: int = listener.getsockname()[1]
        return port


def _last(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return (lines[-1] if lines else "a process ended without a word")[:300]


def main(arguments: list[str]) -> None:
    rank, size, backend, port, seconds = arguments
    from datetime import timedelta

    import torch
    import torch.distributed as dist

    device = torch.device("cuda", int(rank)) if backend == "nccl" else torch.device("cpu")
    patience = timedelta(seconds=float(seconds))
    # torch offers it without saying so to type checkers.
    store = dist.TCPStore(  # type: ignore[attr-defined]
        LOOPBACK, int(port), int(size), is_master=rank == "0", timeout=patience
    )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(backend, store=store, rank=int(rank), world_size=int(size), timeout=patience)
    numbers = torch.full((NUMBERS,), float(int(rank) + 1), device=device)
    dist.all_reduce(numbers)
    wanted = float(sum(range(1, int(size) + 1)))
    if not bool((numbers == wanted).all()):
        sys.exit(f"the sum is {numbers[0].item():g} and should be {wanted:g}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1:])
