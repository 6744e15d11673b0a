"""How often one process goes over the whole queue: in a burst a pass for every message would take all of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

REST = 4.0
"""Times as long as a pass took nothing is begun, so that passes take a fifth of the process's time."""
LONGEST_REST_SECONDS = 1.0


class Pace:
    """Spaces passes out. The first one after a quiet while begins at once."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._rests_until = 0.0

    def rest(self) -> None:
        """Waits until the next pass may begin: at most a second."""
        if (left := self._rests_until - self._clock()) > 0:
            self._sleep(left)

    @contextmanager
    def passing(self) -> Iterator[None]:
        """A pass is inside."""
        began = self._clock()
        try:
            yield
        finally:
            ended = self._clock()
            self._rests_until = ended + min(LONGEST_REST_SECONDS, REST * (ended - began))
