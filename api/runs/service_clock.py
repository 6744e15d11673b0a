"""Counts the seconds in which the API was serving. Leases age by it, so no outage of ours looks like a dead trainer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import structlog
from sqlalchemy import Double, Engine, ScalarSelect, cast, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from api.db.tables import ServiceClock

log = structlog.get_logger()

TICK_SECONDS = 1.0
MOST_PER_TICK_SECONDS = 3.0
"""A longer gap was an outage, or a machine asleep: it does not count as service."""

# One statement, so two APIs at once add up right: whoever comes second reads the row the first one left.
_TICK = text(
    "INSERT INTO service_clock AS c (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET"
    " serving_seconds = c.serving_seconds"
    " + greatest(0, least(extract(epoch FROM clock_timestamp() - c.ticked_at), :most)),"
    " ticked_at = greatest(c.ticked_at, clock_timestamp())"
)


def tick(engine: Engine) -> None:
    """Adds the time since the last tick, at most three seconds."""
    with engine.begin() as connection:
        connection.execute(_TICK, {"most": MOST_PER_TICK_SECONDS})


def serving_seconds() -> ScalarSelect[float]:
    """The clock's reading, for use inside a statement; 0 before the first tick."""
    return select(func.coalesce(func.max(ServiceClock.serving_seconds), cast(0, Double))).scalar_subquery()


def silent_seconds() -> ScalarSelect[float]:
    """Since an API last ticked, for use inside a statement; before the first tick, since the table was made."""
    passed = cast(func.extract("epoch", func.now() - func.max(ServiceClock.ticked_at)), Double)
    return select(func.coalesce(passed, cast(0, Double))).scalar_subquery()


class Ticker:
    """The thread of the API process that ticks each second, and looks after what else is to be looked at so often.

    A database that is away is logged once and waited for.
    """

    def __init__(self, engine: Engine, *, also: Sequence[Callable[[], None]]) -> None:
        self._engine, self._also = engine, also
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="service-clock", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        fails = False
        while not self._stop.is_set():
            try:
                tick(self._engine)
                for look in self._also:
                    look()
            except SQLAlchemyError as error:
                if not fails:
                    log.warning("service_clock_stands", error=str(error).splitlines()[0])
                fails = True
            else:
                if fails:
                    log.info("service_clock_runs_again")
                fails = False
            self._stop.wait(TICK_SECONDS)
