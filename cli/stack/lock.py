"""One stack per folder: a lock that the kernel drops with the last process that holds it."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import psutil

from cli.failure import Failure

CLEANING_SECONDS = 30.0
"""After a killed supervisor its guard keeps the lock while it ends the parts; wait so long for it."""


def take_lock(path: Path) -> int:
    """Locks the file and writes our pid into it; the open descriptor is the lock. Raises Failure if it is taken."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    give_up_at = time.monotonic() + CLEANING_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            owner = locked_by(path)
            if (owner is not None and _lives(owner)) or time.monotonic() > give_up_at:
                os.close(descriptor)
                raise Failure(
                    f"a stack already runs on {path.parent} (process {owner}): use it, stop it with Ctrl-C, "
                    "or choose another folder with BASIN_HOME"
                ) from None
            time.sleep(0.1)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def locked_by(path: Path) -> int | None:
    """The pid in the lock file, alive or not."""
    try:
        return int(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return None
