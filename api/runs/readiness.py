"""Whether Basin can take and train runs now, part by part."""

from __future__ import annotations

from collections.abc import Callable

import redis
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from api.db.migrate import current_revision, head_revision
from api.db.tables import Heartbeat
from api.dispatch import Dispatcher
from api.runs.schemas import Check, Readiness
from api.settings import Settings

LEAST_PATIENCE_SECONDS = 30.0
PARTS = {"celery worker": "reconcile", "ray": "ray"}
"""What people call a part -> its row in `heartbeats`."""


def readiness(engine: Engine, dispatcher: Dispatcher, settings: Settings) -> Readiness:
    """Never raises; no secret is in a detail."""
    checks = [_database(engine), _broker(dispatcher)]
    if checks[0].ok:
        checks[1:1] = [_checked("migrations", lambda: _migrations(engine))]
        patience = max(LEAST_PATIENCE_SECONDS, 10 * settings.reconcile_seconds)
        for name, part in PARTS.items():
            checks.append(_checked(name, lambda part=part: _heartbeat(engine, part, patience)))  # type: ignore[misc]
    return Readiness(ready=all(check.ok for check in checks), checks=checks)


class _NotReadyError(Exception):
    """Its text is the detail."""


def _checked(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name=name, ok=True, detail=look())
    except _NotReadyError as error:
        return Check(name=name, ok=False, detail=str(error))
    except SQLAlchemyError:
        return Check(name=name, ok=False, detail="the database did not answer")
    except (redis.RedisError, OSError):
        return Check(name=name, ok=False, detail="did not answer: is Valkey up, and BASIN_BROKER_URL right?")


def _database(engine: Engine) -> Check:
    def look() -> str:
        with engine.connect() as connection:
            connection.execute(select(1))
        return "answers"

    return _checked("database", look)


def _broker(dispatcher: Dispatcher) -> Check:
    def look() -> str:
        dispatcher.ping()
        return "answers"

    return _checked("broker", look)


def _migrations(engine: Engine) -> str:
    with engine.connect() as connection:
        current = current_revision(connection)
    if current != head_revision():
        raise _NotReadyError(f"at {current}, needs {head_revision()}: run `python -m api.db.migrate`")
    return f"at {current}"


def _heartbeat(engine: Engine, part: str, patience_seconds: float) -> str:
    with engine.connect() as connection:
        row = connection.execute(
            select(func.extract("epoch", func.clock_timestamp() - Heartbeat.at), Heartbeat.detail).where(
                Heartbeat.part == part
            )
        ).one_or_none()
    if row is None:
        raise _NotReadyError("never seen: is the Celery worker up?")
    age = float(row[0])
    if age > patience_seconds:
        raise _NotReadyError(f"last seen {age:.0f} s ago{f': {row[1]}' if row[1] else ''}")
    return f"seen {max(0.0, age):.0f} s ago"
