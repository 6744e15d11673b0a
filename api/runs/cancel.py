"""Cancelling: a column that trainer and reconcile read; the message is a hint."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.db.engine import after_commit_send
from api.db.tables import Event, Run
from api.runs.access import Caller, must_own
from api.runs.status import RunStatus, move
from trainer.contract.ends import EndReason

SAME_WISH_SECONDS = 2.0
"""A cancel repeated within so long is a double click or a request sent again, not a second wish."""


def cancel(session: Session, caller: Caller, run: Run, *, at_once: bool = False) -> bool:
    """Cancels a run whose row is locked; True if that changed anything. Does not commit.

    A run that waits is cancelled at once. One that has an attempt is `cancelling` until its trainer has saved or
    its grace is over; `at_once` gives it none. One that ended stays as it is.
    """
    must_own(caller, run, "cancel")
    if run.status == RunStatus.cancelling:
        return at_once and _hurry(session, caller, run)
    if run.status in (RunStatus.queued, RunStatus.paused):
        run.cancel_requested_at = func.now()
        return move(
            session,
            run,
            RunStatus.cancelled,
            actor=caller.actor,
            text="Cancelled before it started." if run.started_at is None else "Cancelled while it waited.",
            reason=EndReason.cancelled_by_user,
        )
    if run.status in (RunStatus.launching, RunStatus.running, RunStatus.pausing):
        run.cancel_requested_at, run.cancel_at_once = func.now(), at_once
        moved = move(
            session,
            run,
            RunStatus.cancelling,
            actor=caller.actor,
            text="Cancel requested; "
            + ("the trainer is stopped at once." if at_once else "the trainer saves a checkpoint and ends."),
        )
        after_commit_send(session, "cancel", run.id)
        return moved
    return False


def cancel_again(session: Session, caller: Caller, run: Run) -> bool:
    """Cancels a run whose row is locked; one that has been `cancelling` for two seconds is now stopped at once."""
    asked_before = select(func.now() - Run.cancel_requested_at >= timedelta(seconds=SAME_WISH_SECONDS))
    is_second = run.status == RunStatus.cancelling and bool(session.scalar(asked_before.where(Run.id == run.id)))
    return cancel(session, caller, run, at_once=is_second)


def _hurry(session: Session, caller: Caller, run: Run) -> bool:
    if run.cancel_at_once:
        return False
    run.cancel_at_once = True
    text = "Cancelled again: the trainer is stopped at once, with what it has saved by then."
    session.add(Event(run_id=run.id, kind="cancel", actor=caller.actor, text=text))
    after_commit_send(session, "cancel", run.id)
    return True
