"""Which points count: a new attempt's claim ends its predecessors' validity at the step it resumes from.

Every step belongs to at most one attempt, so nothing is doubled; nothing is deleted, so the rest can be drawn as a
ghost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, false, func, or_, select, update
from sqlalchemy.orm import Session

from api.db.tables import Attempt, MetricPoint


@dataclass(frozen=True, kw_only=True)
class ValidRange:
    """Steps of an attempt that count: after_step < step <= until_step; null: without an end."""

    attempt_number: int
    after_step: int
    until_step: int | None


def valid_ranges(attempts: Iterable[Attempt]) -> list[ValidRange]:
    """Of all attempts of one run. One that started over (resume step 0) leaves nothing of those before it."""
    ranges = []
    for attempt in sorted(attempts, key=lambda attempt: attempt.number):
        if attempt.claimed_at is None:
            continue
        after = attempt.resume_step or -1
        until = attempt.valid_until_step
        if until is None or (until > 0 and until > after):
            ranges.append(ValidRange(attempt_number=attempt.number, after_step=after, until_step=until))
    return ranges


def ranges_of(session: Session, run_id: str) -> list[ValidRange]:
    return valid_ranges(session.scalars(select(Attempt).where(Attempt.run_id == run_id)))


def points_in(run_id: str, ranges: Sequence[ValidRange]) -> ColumnElement[bool]:
    """The condition on `metric_points`: index ranges, no sorting."""
    if not ranges:
        return false()
    return and_(
        MetricPoint.run_id == run_id,
        or_(
            *(
                and_(
                    MetricPoint.attempt_number == r.attempt_number,
                    MetricPoint.step > r.after_step,
                    *([MetricPoint.step <= r.until_step] if r.until_step is not None else []),
                )
                for r in ranges
            )
        ),
    )


def resume_at(session: Session, attempt: Attempt, step: int) -> None:
    """Notes that `attempt` went on from `step`: what its predecessors did after it no longer counts."""
    attempt.resume_step = step
    session.flush()
    lock_predecessors(session, attempt)
    session.execute(
        update(Attempt)
        .where(Attempt.run_id == attempt.run_id, Attempt.number < attempt.number)
        .values(valid_until_step=func.least(func.coalesce(Attempt.valid_until_step, step), step))
    )


def lock_predecessors(session: Session, attempt: Attempt) -> None:
    """For who will end their validity and is about to lock the run: one of them may report at this very moment, and
    wait for the run. `attempt` itself is locked before them, so all go from the newest to the oldest."""
    session.execute(
        select(Attempt.id)
        .where(Attempt.run_id == attempt.run_id, Attempt.number < attempt.number)
        .order_by(Attempt.number.desc())
        .with_for_update(key_share=True)
    ).all()
