"""Pausing and going on: a run saves, gives its slots back, and goes on later with the same bits.

As with a cancel, a column says what is wanted, the trainer hears it in the answer to its next report, and `reconcile`
sees to the rest; the message is a hint.
"""

from __future__ import annotations

from sqlalchemy import func
from sqlalchemy.orm import Session

from api.db.engine import after_commit_send
from api.db.tables import Event, Run
from api.errors import Conflict
from api.runs.access import Caller, must_own
from api.runs.status import TERMINAL, RunStatus, move

ENDING = TERMINAL | {RunStatus.cancelling}
"""In which nothing is left to pause or to resume."""


def request_pause(session: Session, run: Run, *, actor: str, preempted: bool = False, text: str | None = None) -> bool:
    """Pauses a run whose row is locked; True if that changed anything. Does not commit.

    One that waits is paused at once. One that has an attempt is `pausing` until its trainer has saved or its time to
    save is over. `preempted`: it goes back to the queue by itself, to the place that it had; one that waits anyway is
    left alone. `text`: what its timeline says, where that is not the usual.
    """
    if run.status == RunStatus.queued and not preempted:
        return move(session, run, RunStatus.paused, actor=actor, text="Paused while it waited.")
    if run.status in (RunStatus.launching, RunStatus.running):
        run.pause_requested_at, run.requeues = func.now(), preempted
        text = text or (
            "Preempted by a run of higher priority; the trainer saves a checkpoint, then the run waits again."
            if preempted
            else "Pause requested; the trainer saves a checkpoint and gives its slots back."
        )
        moved = move(session, run, RunStatus.pausing, actor=actor, text=text, data={"preempted": preempted})
        after_commit_send(session, "cancel", run.id)
        return moved
    if run.status == RunStatus.pausing and run.requeues and not preempted:
        run.requeues = False
        _note(session, run, actor, "Pause requested; the run stays paused once it has saved.")
        return True
    return False


def resume(session: Session, run: Run, *, actor: str) -> bool:
    """Queues a paused run whose row is locked; True if that changed anything. Does not commit.

    One that is still saving goes back to the queue as soon as it has.
    """
    if run.status == RunStatus.paused:
        run.not_before = None
        moved = move(session, run, RunStatus.queued, actor=actor, text="Resumed: it waits for its slots again.")
        after_commit_send(session, "launch", run.id)
        return moved
    if run.status == RunStatus.pausing and not run.requeues:
        # It queues anew, as one that was resumed later would: nobody keeps a place by pausing.
        run.requeues, run.queued_at = True, func.now()
        _note(session, run, actor, "Resume requested; the run waits again once it has saved.")
        return True
    return False


def end_pause(session: Session, run: Run, *, actor: str, attempt_number: int) -> bool:
    """The attempt of a run that is pausing has ended: paused, or back in the queue. Does not commit."""
    if not run.requeues:
        text = "The run stands paused at its last checkpoint."
        return move(session, run, RunStatus.paused, actor=actor, text=text, attempt_number=attempt_number)
    run.requeues = False
    text = "The run waits again, to go on from its last checkpoint."
    moved = move(
        session, run, RunStatus.queued, actor=actor, text=text, attempt_number=attempt_number, keeps_place=True
    )
    after_commit_send(session, "launch", run.id)
    return moved


def pause_by(session: Session, caller: Caller, run: Run) -> bool:
    """As a person asks. Raises NotAllowed, and Conflict for a run that is over or being cancelled."""
    must_own(caller, run, "pause")
    if run.status in ENDING:
        raise Conflict(f"run {run.id} is {run.status}: only a run that waits or trains can be paused")
    return request_pause(session, run, actor=caller.actor)


def resume_by(session: Session, caller: Caller, run: Run) -> bool:
    """As a person asks; changes nothing where the run waits or trains. Raises NotAllowed, Conflict for one that is
    over or being cancelled."""
    must_own(caller, run, "resume")
    if run.status in ENDING:
        raise Conflict(f"run {run.id} is {run.status}: only a paused run can be resumed; `basin run clone` copies it")
    return resume(session, run, actor=caller.actor)


def _note(session: Session, run: Run, actor: str, text: str) -> None:
    session.add(Event(run_id=run.id, kind="pause", actor=actor, text=text))
