"""The GPUs of a machine: what the driver offers against what torch sees. torch is loaded in a process of its own."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from trainer.contract.findings import Found, failed, ok, warning

TORCH_SECONDS = 90.0
"""Loading torch takes 2 to 20 s, and the first touch of the GPUs of a large machine a while."""
SAY = """
import json, torch
count, available = torch.cuda.device_count(), torch.cuda.is_available()
names = [torch.cuda.get_device_name(i) for i in range(count)] if available else []
print(json.dumps({"cuda": torch.version.cuda, "count": count, "available": available, "names": names}))
"""
LIBRARY = "libcuda.so.1"


@dataclass(frozen=True, kw_only=True)
class Torch:
    """What torch says of the GPUs."""

    cuda: str | None
    """The CUDA version that it was built for; None: it was built without."""
    count: int
    available: bool
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Driver:
    """What NVIDIA's driver says."""

    version: str
    cuda: tuple[int, int]
    """The newest CUDA version that it can run."""
    count: int
    """Of GPUs, whether or not this process may use them."""


def ask_torch(python: str = sys.executable) -> Torch:
    """Raises RuntimeError with its last line where torch does not load, TimeoutExpired where it hangs."""
    done = subprocess.run(
        [python, "-c", SAY],
        capture_output=True,
        text=True,
        timeout=TORCH_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["torch ended without a word"])[-1])
    said = json.loads(done.stdout.strip().splitlines()[-1])
    return Torch(cuda=said["cuda"], count=said["count"], available=said["available"], names=tuple(said["names"]))


def ask_driver() -> Driver | None:
    """Through NVML; None where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        version = pynvml.nvmlSystemGetDriverVersion()
        return Driver(
            version=version if isinstance(version, str) else version.decode(),
            cuda=(cuda // 1000, cuda % 1000 // 10),
            count=pynvml.nvmlDeviceGetCount(),
        )
    finally:
        pynvml.nvmlShutdown()


def has_cuda_library() -> bool:
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


def gpus_there() -> int:
    """GPUs that the kernel's driver made devices for, 0 on a machine without."""
    return len([path for path in Path("/dev").glob("nvidia[0-9]*") if path.name.removeprefix("nvidia").isdigit()])


def expected_gpus() -> int:
    """Where nobody says: those that the kernel shows, and at least one in a container that was given GPUs, so that one
    whose driver did not come along is told and does not train on CPUs without a word."""
    given = os.environ.get("NVIDIA_VISIBLE_DEVICES", "void") not in ("", "void", "none")
    return max(gpus_there(), int(given))


def without_driver(driver: Driver | None, *, expected: int) -> Found:
    """What is told where NVML finds no driver (None), or the driver's library for CUDA is not here: torch need not be
    loaded, it cannot use a GPU then. `expected`: GPUs that should be usable here; 0 asks for nothing."""
    missing = "NVIDIA's driver does not answer (NVML)" if driver is None else f"{LIBRARY} is not here"
    if not expected:
        return ok(f"{missing}, and no GPU is expected here")
    return failed(
        missing,
        needed=f"the driver and its {LIBRARY} for {expected} GPUs",
        remedy="Install NVIDIA's driver, and in a container the NVIDIA Container Toolkit with `gpus: all`",
    )


def judge_driver(driver: Driver, torch: Torch, *, expected: int) -> Found:
    """Whether the driver runs the CUDA that torch was built for. `expected`: GPUs that should be usable here."""
    if not expected:
        return ok("no GPU is expected here")
    if torch.cuda is None:
        return failed(
            "torch was built without CUDA",
            needed="a build for CUDA",
            remedy="Install torch from an index with CUDA builds (the image's variable for it)",
        )
    wanted = int(torch.cuda.split(".")[0])
    found = f"driver {driver.version} for CUDA {driver.cuda[0]}.{driver.cuda[1]}, torch for {torch.cuda}"
    if driver.cuda[0] < wanted:
        return failed(
            found,
            needed=f"a driver for CUDA {wanted} or newer",
            remedy="Install a newer driver on the host, or a torch for an older CUDA",
        )
    return ok(found)


def judge_count(driver: Driver, torch: Torch, *, expected: int, visible: str | None) -> Found:
    """`visible`: CUDA_VISIBLE_DEVICES. NVML tells of all GPUs, torch of those that this process may use and can."""
    there = driver.count
    usable = torch.count if torch.available else 0
    allowed = there if visible is None else len([word for word in visible.split(",") if word.strip()])
    found = f"NVML sees {there}, torch {usable}" + (f" (CUDA_VISIBLE_DEVICES={visible})" if visible is not None else "")
    if usable < min(there, allowed):
        return failed(
            found,
            needed=f"{min(there, allowed)} that torch can use",
            remedy="Look at `nvidia-smi` and `dmesg` for a GPU that fell out, and restart the host or its driver",
        )
    if usable < expected:
        return failed(
            found,
            needed=f"{expected}, which is what Ray offers",
            remedy="Give the container all GPUs (`gpus: all`, NVIDIA_VISIBLE_DEVICES), or let Ray offer fewer",
        )
    if usable > expected:
        return warning(
            found, needed=f"{expected} in use", remedy="Start Ray with all GPUs, or hide those that are not Basin's"
        )
    return ok(found + (f": {', '.join(sorted(set(torch.names)))}" if torch.names else ""))


def visible_devices() -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")
