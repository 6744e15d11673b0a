"""Signs of life for health checks: a file that a Celery worker writes with every task, and beat with every message.

The health check runs beside them, in the same container, so a file is enough; what it holds is the machine's monotonic
clock, which nobody sets. Only the standard library is loaded here, since a check runs every few seconds.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

WORKER, BEAT = "worker", "beat"
LEAST_BETWEEN_SECONDS = 1.0
"""A burst of tasks writes no more often."""

_noted_at: dict[str, float] = {}


def note_alive(part: str) -> None:
    """Never raises: where no file can be written the health check will say so."""
    now = time.monotonic()
    if now < _noted_at.get(part, -LEAST_BETWEEN_SECONDS) + LEAST_BETWEEN_SECONDS:
        return
    _noted_at[part] = now
    path = sign_path(part)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        draft.write_text(f"{now!r}\n", encoding="ascii")
        draft.replace(path)


def seconds_since_sign(part: str) -> float | None:
    """Age of the newest sign; null without one, or with one from before the machine was started."""
    try:
        age = time.monotonic() - float(sign_path(part).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return age if age >= 0 else None


def sign_path(part: str) -> Path:
    """In a folder of this user's own; the name tells the stacks of one machine apart by their broker."""
    stack = hashlib.sha256(os.environ.get("BASIN_BROKER_URL", "").encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"basin-alive-{os.getuid()}" / f"{stack}-{part}"
