"""Cancelling: a column that trainer and reconcile read; the message is a hint."""

from __future__ import annotations

from sqlalchemy import func
from sqlalchemy.orm import Session

from api.db.engine import after_commit_send
from api.db.tables import Run
from api.runs.access import Caller, must_cancel
from api.runs.status import RunStatus, move
from trainer.contract.ends import EndReason


def cancel(session: Session, caller: Caller, run: Run) -> bool:
    """Cancels a run whose row is locked; True if that changed anything. Does not commit.

    A run that waits is cancelled at once. One that has an attempt is `cancelling` until its trainer has saved or
    its grace is over. One that ended, or is being cancelled, stays as it is.
    """
    must_cancel(caller, run)
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
        run.cancel_requested_at = func.now()
        moved = move(
            session,
            run,
            RunStatus.cancelling,
            actor=caller.actor,
            text="Cancel requested; the trainer saves a checkpoint and ends.",
        )
        after_commit_send(session, "cancel", run.id)
        return moved
    return False
