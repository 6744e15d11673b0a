"""Sends the webhook messages that are due. `api.runs.webhooks.delivering` says what taking and recording mean."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import structlog

from api.runs.webhooks.delivering import record, send_taken, take
from worker.connections import Connections

log = structlog.get_logger()

THREADS = 6
"""Requests at once. Half of the threads leave receivers that failed last time to the other half."""
BUDGET_SECONDS = 30.0
"""After that nothing new is taken, so that the Celery process is free again; the next message or beat goes on."""
IDLE_SECONDS = 0.25


class UnderWay:
    """How many requests the threads of one task are waiting for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def any(self) -> bool:
        with self._lock:
            return self._count > 0

    @contextmanager
    def one(self) -> Iterator[None]:
        with self._lock:
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1


def deliver_due(connections: Connections, *, threads: int = THREADS, budget_seconds: float = BUDGET_SECONDS) -> int:
    """Sends until nothing is due or the budget is used up; returns how many requests were made.

    Any number of these may run at once: each message is leased to one of them.
    """
    until = time.monotonic() + budget_seconds
    with ThreadPoolExecutor(threads, thread_name_prefix="webhook") as pool:
        under_way = UnderWay()
        working = [
            pool.submit(_work, connections, until, under_way, failing_too=place % 2 == 0) for place in range(threads)
        ]
        return sum(work.result() for work in working)


def deliver_alone(connections: Connections) -> None:
    """`deliver_due` unless another process is at it: of the few Celery processes, receivers that hang hold one."""
    with connections.only_one("deliver_webhooks") as mine:
        if mine:
            deliver_due(connections)


def _work(connections: Connections, until: float, under_way: UnderWay, *, failing_too: bool) -> int:
    made = 0
    while time.monotonic() < until:
        with connections.transaction() as session:
            taken = take(session, failing_too=failing_too)
        if taken is None:
            if not under_way.any():
                break
            time.sleep(IDLE_SECONDS)  # Others still send, so this process stays; what comes meanwhile is not kept.
            continue
        with under_way.one():
            outcome = send_taken(connections.settings, taken)
        made += 1
        with connections.transaction() as session:
            record(session, taken, outcome)
        log.info(
            "webhook_sent", webhook=taken.webhook_id, delivery=taken.delivery_id, type=taken.type,
            attempt=taken.number, status=outcome.status_code, milliseconds=outcome.milliseconds,
            # Beside a status it is the receiver's words, a redirect's target with whatever secret is in it.
            error=outcome.error if outcome.status_code is None else None,
        )  # fmt: skip
    return made
