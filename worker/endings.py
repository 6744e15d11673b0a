"""Ends an attempt and draws the consequence for its run, in one transaction."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from api.db.tables import Attempt, CheckpointRow, Run
from api.runs.pause import end_pause
from api.runs.status import RunStatus, move
from trainer.contract.ends import ENDS, EndReason
from worker.decisions import (
    EndAttempt,
    Failures,
    FinishRun,
    LeaveRun,
    Limits,
    PauseRun,
    RetryRun,
    after_end,
)

ACTOR = "worker"
MAX_DETAIL = 4_000


def end_attempt(
    session: Session, attempt: Attempt, end: EndAttempt, limits: Limits, *, log_tail: str | None = None
) -> None:
    """Ends an attempt whose row is locked and whose Ray job is over: frees its slots, moves its run. No commit."""
    session.execute(
        update(Attempt)
        .where(Attempt.id == attempt.id)
        .values(
            ended_at=func.now(),
            slots_released_at=func.now(),
            reason=end.reason,
            detail=end.detail[:MAX_DETAIL] or None,
            log_tail=log_tail,
        )
    )
    run = session.get_one(Run, attempt.run_id, with_for_update=True, populate_existing=True)
    newest = session.execute(
        select(func.coalesce(func.max(CheckpointRow.step), 0)).where(CheckpointRow.run_id == run.id)
    ).scalar_one()
    consequence = after_end(
        RunStatus(run.status),
        end.reason,
        Failures(count=run.failures, at_step=run.failures_at_step),
        newest_checkpoint_step=newest,
        limits=limits_of(run, limits),
        counts=end.counts,
    )
    match consequence:
        case LeaveRun():
            pass
        case PauseRun():
            end_pause(session, run, actor=ACTOR, attempt_number=attempt.number)
        case FinishRun(to=to, reason=reason):
            _finish(session, run, attempt, to, reason, end)
        case RetryRun():
            _retry(session, run, attempt, consequence, end)


def limits_of(run: Run, limits: Limits) -> Limits:
    """The settings, with what the run's own spec says in their place."""
    own = (run.spec.get("limits") or {}).get("max_failures")
    return limits if own is None else replace(limits, max_failures=int(own))


def _finish(session: Session, run: Run, attempt: Attempt, to: RunStatus, reason: EndReason, end: EndAttempt) -> None:
    if run.status == RunStatus.launching and to is RunStatus.succeeded:
        # All that the trainer had to say was taken in at once, so nobody moved the run on its way.
        move(session, run, RunStatus.running, actor=ACTOR, text="Training started.", attempt_number=attempt.number)
    move(
        session,
        run,
        to,
        actor=ACTOR,
        text=ENDS[reason].sentence,
        reason=reason,
        detail=end.detail[:MAX_DETAIL] or None,
        attempt_number=attempt.number,
        data={"detail": end.detail[:MAX_DETAIL]} if end.detail else None,
    )


def _retry(session: Session, run: Run, attempt: Attempt, retry: RetryRun, end: EndAttempt) -> None:
    session.execute(
        update(Run)
        .where(Run.id == run.id)
        .values(
            failures=retry.failures.count,
            failures_at_step=retry.failures.at_step,
            not_before=func.now() + timedelta(seconds=retry.back_off_seconds),
        )
    )
    moved = move(
        session,
        run,
        RunStatus.queued,
        actor=ACTOR,
        text=f"{ENDS[end.reason].sentence} A new attempt follows from the last checkpoint.",
        attempt_number=attempt.number,
        data={
            "attempt_reason": end.reason,
            "detail": end.detail[:MAX_DETAIL],
            "failures": retry.failures.count,
            "back_off_seconds": retry.back_off_seconds,
        },
        keeps_place=ENDS[end.reason].fault == "infrastructure",
    )
    if moved:
        run.wait_reason = f"attempt {attempt.number} ended ({end.reason}); the next may start after a short pause"
