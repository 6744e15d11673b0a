"""Collects what is kept no longer than the settings want. `api.runs.collection` says what that is."""

from __future__ import annotations

import structlog

from api.runs.collection import collect
from worker.connections import Connections

log = structlog.get_logger()

SECONDS = 60.0
"""After that a pass begins no further batch: it must not hold a Celery process for long; the next one goes on."""


def collect_due(connections: Connections, *, seconds: float = SECONDS) -> dict[str, int]:
    """One pass; returns how much went of each kind. Does nothing beside another pass."""
    with connections.only_one("collect") as mine:
        if not mine:
            return {}
        gone = collect(connections.transaction, connections.settings, seconds=seconds)
    if gone:
        log.info("collected", **{name.replace(" ", "_"): count for name, count in gone.items()})
    return gone
