"""Celery's beat by a clock that nobody can set, and with nothing on disk.

Celery's own schedulers go by the wall clock. One that jumps back sends nothing until the old time has come again; one
that jumps ahead keeps in a file that all was sent in the future, so that a beat started later, with the right clock,
stays silent.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

import structlog
from celery.beat import Scheduler

from worker.alive import BEAT, note_alive

log = structlog.get_logger()


class SteadyScheduler(Scheduler):  # type: ignore[misc]
    """Sends every entry at the start and then each time its seconds have passed, by the monotonic clock.

    Entries are intervals. What was due while this process could not send is sent once, not made up for.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._due_at: dict[str, float] = {}
        super().__init__(*arguments, **options)
        log.info("beat_started", seconds={name: entry.schedule.seconds for name, entry in self.schedule.items()})

    def tick(self, *_: Any, **__: Any) -> float:
        """Sends what is due; returns the seconds until the next is."""
        for name, entry in self.schedule.items():
            now = monotonic()
            if self._due_at.get(name, now) <= now:
                self._due_at[name] = now + entry.schedule.seconds
                self.apply_entry(entry, producer=self.producer)
        first = min(self._due_at.values(), default=monotonic() + self.max_interval)
        return max(0.0, min(first - monotonic(), float(self.max_interval)))

    def apply_async(self, *arguments: Any, **options: Any) -> Any:
        """Raises what Celery does where the broker is away; so only what was sent is noted for the health check."""
        sent = super().apply_async(*arguments, **options)
        note_alive(BEAT)
        return sent
