"""Celery's beat by a clock that nobody can set, and with nothing on disk.

Celery's own schedulers go by the wall clock. One that jumps back sends nothing until the old time has come again; one
that jumps ahead keeps in a file that all was sent in the future, so that a beat started later, with the right clock,
stays silent.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

import redis
import structlog
from celery import Celery
from celery.beat import Scheduler

from worker.alive import BEAT, note_alive

log = structlog.get_logger()

MOST_WAITING = 10_000
"""Messages, some hours of beat's. So many wait where no Celery worker takes any, and another would tell it nothing new.
They would fill the broker in days, and one that is full refuses what a worker writes when it starts [measured]: it
would never come back by itself."""
ASK_SECONDS = 1.0


class SteadyScheduler(Scheduler):  # type: ignore[misc]
    """Sends every entry at the start and then each time its seconds have passed, by the monotonic clock.

    Entries are intervals. What was due while this process could not send is sent once, not made up for.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._due_at: dict[str, float] = {}
        self._holds_back = False
        super().__init__(*arguments, **options)
        log.info("beat_started", seconds={name: entry.schedule.seconds for name, entry in self.schedule.items()})

    def tick(self, *_: Any, **__: Any) -> float:
        """Sends what is due; returns the seconds until the next is."""
        now = monotonic()
        due = [entry for name, entry in self.schedule.items() if self._due_at.get(name, now) <= now]
        held_back = bool(due) and self._must_hold_back()
        for entry in due:
            self._due_at[entry.name] = monotonic() + entry.schedule.seconds
            if not held_back:
                self.apply_entry(entry, producer=self.producer)
        first = min(self._due_at.values(), default=monotonic() + self.max_interval)
        return max(0.0, min(first - monotonic(), float(self.max_interval)))

    def _must_hold_back(self) -> bool:
        waiting = messages_waiting(self.app)
        if waiting < MOST_WAITING:
            self._holds_back = False
            return False
        if not self._holds_back:
            log.warning("beat_holds_back", waiting=waiting, most=MOST_WAITING, remedy="start a Celery worker")
        self._holds_back = True
        note_alive(BEAT)
        return True

    def apply_async(self, *arguments: Any, **options: Any) -> Any:
        """Raises what Celery does where the broker is away; so only what was sent is noted for the health check."""
        sent = super().apply_async(*arguments, **options)
        note_alive(BEAT)
        return sent


def messages_waiting(app: Celery) -> int:
    """In the queue that every task goes to; 0 where the broker does not say, which sending will tell."""
    broker = redis.Redis.from_url(app.conf.broker_url, socket_timeout=ASK_SECONDS, socket_connect_timeout=ASK_SECONDS)
    try:
        return int(broker.llen(app.conf.task_default_queue))
    except (redis.RedisError, OSError):
        return 0
    finally:
        broker.close()
