"""Cancelling: a column that trainer and reconcile read; the message is a hint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import structlog
from sqlalchemy import func
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.db.engine import after_commit_send
from api.db.tables import Run
from api.errors import BasinError
from api.runs.access import Caller, must_own, run_for
from api.runs.schemas import CancelOutcome, CancelRefusal
from api.runs.status import RunStatus, move
from trainer.contract.ends import EndReason

log = structlog.get_logger()


def cancel(session: Session, caller: Caller, run: Run) -> bool:
    """Cancels a run whose row is locked; True if that changed anything. Does not commit.

    A run that waits is cancelled at once. One that has an attempt is `cancelling` until its trainer has saved or
    its grace is over. One that ended, or is being cancelled, stays as it is.
    """
    must_own(caller, run, "cancel")
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


def cancel_each(
    transaction: Callable[[], AbstractContextManager[Session]], caller: Caller, run_ids: Sequence[str]
) -> CancelOutcome:
    """Cancels runs one after the other, each in a transaction of its own, so that nothing fails the others."""
    cancelled: list[str] = []
    already_over: list[str] = []
    refused: list[CancelRefusal] = []
    for run_id in dict.fromkeys(run_ids):
        try:
            with transaction() as session:
                changed = cancel(session, caller, run_for(session, caller, run_id, lock=True))
        except BasinError as error:
            refused.append(CancelRefusal(run_id=run_id, detail=error.detail))
        except SQLAlchemyError as error:
            log.warning("not_cancelled", run=run_id, error=str(error).splitlines()[0])
            refused.append(CancelRefusal(run_id=run_id, detail="the database did not answer in time: try again"))
        else:
            (cancelled if changed else already_over).append(run_id)
    return CancelOutcome(cancelled=cancelled, already_over=already_over, refused=refused)
