"""Sends hints to the broker: Celery tasks by name, and a word that wakes live streams. A broken broker is logged.

The rows are the truth: reconcile finds a run whose message was lost, and a stream that nobody wakes looks by itself.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import redis
import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from api.settings import Settings
from api.telemetry import traces
from api.telemetry.logs import request_id

log = structlog.get_logger()

CHANNEL = "basin:changes"
TIMEOUT_SECONDS = 1.0
REST_SECONDS = 2.0
"""After a failure the broker is left alone for so long, so that requests do not wait one after the other."""


class Dispatcher:
    """One per process; thread-safe, since Celery's producer pool and the Redis client are."""

    def __init__(self, settings: Settings) -> None:
        self._celery = Celery("basin-sender", broker=settings.broker_url, set_as_current=False)
        self._celery.conf.update(
            task_ignore_result=True,
            task_serializer="json",
            broker_transport_options={
                "socket_timeout": TIMEOUT_SECONDS,
                "socket_connect_timeout": TIMEOUT_SECONDS,
                "max_retries": 0,
            },
            broker_connection_timeout=TIMEOUT_SECONDS,
        )
        self._redis: redis.Redis = redis.Redis.from_url(
            settings.broker_url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
        )
        self._rests_until = 0.0

    def send(self, tasks: Sequence[tuple[str, Sequence[str | int | float]]]) -> None:
        """Hands Celery tasks, each a name and its arguments; never raises.

        They do not expire: the worker would judge that by its own clock. A hint that comes late finds nothing to do.
        Each carries the id of the request that it comes from, and its place in a trace.
        """
        if not tasks or self._rests():
            return
        origin = {"request_id": request_id(), traces.HEADER: traces.current()}
        headers = {name: value for name, value in origin.items() if value is not None}
        try:
            for name, arguments in tasks:
                self._celery.send_task(name, args=list(arguments), headers=headers, retry=False, ignore_result=True)
        except (OperationalError, redis.RedisError, OSError) as error:
            self._rest("tasks_not_sent", error, tasks=[name for name, _ in tasks])

    def wake_streams(self) -> None:
        """Tells every API process that there are new changes to read; never raises."""
        if self._rests():
            return
        try:
            self._redis.publish(CHANNEL, b"")
        except (redis.RedisError, OSError) as error:
            self._rest("streams_not_woken", error)

    def ping(self) -> None:
        """Raises redis.RedisError or OSError if the broker does not answer."""
        self._redis.ping()

    def close(self) -> None:
        self._celery.close()
        self._redis.close()

    def _rests(self) -> bool:
        return time.monotonic() < self._rests_until

    def _rest(self, what: str, error: Exception, **numbers: object) -> None:
        self._rests_until = time.monotonic() + REST_SECONDS
        log.warning(what, error=str(error), **numbers)
