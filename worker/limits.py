"""Runs that reached their time limit or deadline: who waits is ended here, who trains is told to save and end."""

from __future__ import annotations

from sqlalchemy import Double, case, cast, func, or_, select
from sqlalchemy.orm import Session

from api.db.tables import Event, Run
from api.runs.status import RunStatus, move
from trainer.contract.ends import ENDS, EndReason
from worker.decisions import limit_reached
from worker.endings import ACTOR
from worker.observation import ran_seconds

WAITING = (RunStatus.queued.value, RunStatus.paused.value)
MOST_ENDED = 200
"""Runs ended in one pass; the next one sees to the rest."""


def end_overdue(session: Session) -> list[str]:
    """Ends runs that wait or stand paused and may not train any more; returns their ids. Does not commit.

    Rows that somebody else has locked are left to the next pass.
    """
    overdue = or_(Run.deadline <= func.now(), ran_seconds(Run.id) >= Run.time_limit_seconds)
    limited = or_(Run.deadline.is_not(None), Run.time_limit_seconds.is_not(None))
    found = session.scalars(
        select(Run)
        .where(Run.status.in_(WAITING), limited, overdue)
        .order_by(Run.id)
        .limit(MOST_ENDED)
        .with_for_update(key_share=True, skip_locked=True, of=Run)
    ).all()
    return [run.id for run in found if _end(session, run)]


def tell_limit(session: Session, run_id: str, attempt_number: int, reason: EndReason) -> None:
    """Notes it in the row, from which the trainer hears it with its next report. Does not commit."""
    run = session.get_one(Run, run_id, with_for_update={"key_share": True})
    if run.limit_reached is not None or run.status not in (
        RunStatus.launching,
        RunStatus.running,
        RunStatus.pausing,
    ):
        return
    run.limit_reached, run.limit_reached_at = reason.value, func.now()
    what = "The deadline has passed" if reason is EndReason.deadline_passed else "The time limit is used up"
    session.add(
        Event(
            run_id=run_id,
            attempt_number=attempt_number,
            kind="limit",
            actor=ACTOR,
            text=f"{what}; the trainer saves a checkpoint and ends.",
            data={"reason": reason.value},
        )
    )


def _end(session: Session, run: Run) -> bool:
    ran, to_deadline = session.execute(
        select(
            case((Run.time_limit_seconds.is_not(None), ran_seconds(Run.id)), else_=0.0),
            cast(func.extract("epoch", Run.deadline - func.now()), Double),
        ).where(Run.id == run.id)
    ).one()
    reason = limit_reached(ran_seconds=ran, time_limit_seconds=run.time_limit_seconds, seconds_to_deadline=to_deadline)
    if reason is None:
        return False
    return move(session, run, RunStatus.failed, actor=ACTOR, text=ENDS[reason].sentence, reason=reason)
