"""The queue: in which order runs start, the place of each, and who is told when places change."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from api.db.engine import publish
from api.db.tables import Run
from api.runs.status import RunStatus

MOST_TOLD = 200
"""Runs whose new place is told at once; those behind hear it from admission, or see it when they look."""


def queue_order() -> tuple[ColumnElement[Any], ...]:
    """The order of the positions people see: priority, then who waits longest. Admission weighs fair share, too.

    A run whose trainer failed waits anew, so one that keeps crashing does not hold up the others. One that lost its
    attempt to the infrastructure, or was preempted, keeps its place.
    """
    return (Run.priority.desc(), Run.queued_at, Run.id)  # type: ignore[return-value]


def queued_ids(session: Session) -> list[str]:
    """Every queued run, the first to start first."""
    return list(session.scalars(select(Run.id).where(Run.status == RunStatus.queued).order_by(*queue_order())))


def positions(session: Session, run_ids: Collection[str]) -> dict[str, int]:
    """Place from 1 of those of the runs that are queued. The database counts: a burst queues thousands, and every
    answer asks."""
    places = (
        select(Run.id, func.row_number().over(order_by=queue_order()).label("place"))
        .where(Run.status == RunStatus.queued)
        .subquery()
    )
    found = session.execute(select(places.c.id, places.c.place).where(places.c.id.in_(run_ids)))
    return dict(found.all())


def place_for(session: Session, priority: int) -> int:
    """The place that a run submitted now would get: behind all of its priority."""
    ahead = select(func.count()).select_from(Run).where(Run.status == RunStatus.queued, Run.priority >= priority)
    return 1 + session.execute(ahead).scalar_one()


def tell_overtaken(session: Session, priority: int) -> None:
    """Publishes the runs that a newly queued one of this priority goes before, the first 200 of them."""
    behind = select(Run.id).where(Run.status == RunStatus.queued, Run.priority < priority)
    for run_id in session.scalars(behind.order_by(*queue_order()).limit(MOST_TOLD)):
        publish(session, run_id)


def tell_new_places(session: Session, before: Sequence[str], after: Sequence[str]) -> None:
    """Publishes the runs whose place differs between two readings of `queued_ids`, the first 200 of them."""
    old = {run_id: place for place, run_id in enumerate(before)}
    moved = [run_id for place, run_id in enumerate(after) if old.get(run_id) != place]
    for run_id in moved[:MOST_TOLD]:
        publish(session, run_id)
