"""Ctrl-C and SIGTERM as a wish to stop: the loop saves a checkpoint and ends. A second one ends at once.

A second one within two seconds is the same wish: under torchrun, Ctrl-C reaches a worker from the terminal and then
once more from torchrun.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM)
SAME_WISH_SECONDS = 2.0


@contextmanager
def stop_wish() -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether a stop was asked for. Only in the main thread."""
    asked_at: float | None = None

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked_at
        now = time.monotonic()
        if asked_at is not None and now - asked_at > SAME_WISH_SECONDS:
            raise KeyboardInterrupt
        asked_at = asked_at or now

    before = {number: signal.signal(number, ask) for number in STOPPING}
    try:
        yield lambda: asked_at is not None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
