"""Sends `reconcile` where no beat does, so that a beat that is away or silent for a while does no harm."""

from __future__ import annotations

import structlog
from sqlalchemy import Engine, func, select

from api.db.tables import Heartbeat
from api.dispatch import Dispatcher
from api.settings import Settings

log = structlog.get_logger()

INTERVALS = 5
LEAST_SECONDS = 10.0
"""Without a pass, or five of beat's intervals where that is longer: then reconcile is overdue."""
LONGEST_SECONDS = 60.0
"""Between two messages that changed nothing. With no Celery worker to take them they would only pile up."""


class Overdue:
    """Looks at the time of the last pass, by the database's clock; one per API process."""

    def __init__(self, engine: Engine, dispatcher: Dispatcher, settings: Settings) -> None:
        self._engine, self._dispatcher = engine, dispatcher
        self._patience = max(LEAST_SECONDS, INTERVALS * settings.reconcile_seconds)
        self._sent_at_age: float | None = None

    def look(self) -> None:
        """Sends one message when a pass is overdue; again when its age has doubled, or a minute later. An installation
        that never had a pass is left to its beat. Raises SQLAlchemyError."""
        age = self._age()
        if age is None or age < self._patience:
            self._sent_at_age = None
            return
        sent_at = self._sent_at_age
        if sent_at is not None and age < sent_at + min(sent_at, LONGEST_SECONDS):
            return
        self._sent_at_age = age
        log.warning("reconcile_is_overdue", last_pass_seconds_ago=round(age))
        self._dispatcher.send([("reconcile", ())])

    def _age(self) -> float | None:
        with self._engine.connect() as connection:
            passed = func.extract("epoch", func.clock_timestamp() - Heartbeat.at)
            age = connection.execute(select(passed).where(Heartbeat.part == "reconcile")).scalar_one_or_none()
        return None if age is None else float(age)
