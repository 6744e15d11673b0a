"""The one place where a run's status changes: guarded by the old status, with an event in the same transaction.

Terminal statuses absorb. A move that the old status does not allow changes
nothing and returns False: somebody else was first.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import func, update
from sqlalchemy.orm import Session

from api.db.tables import Event, Run
from api.runs.webhooks.notices import tell_webhooks
from trainer.contract.ends import EndReason


class RunStatus(StrEnum):
    queued = "queued"
    launching = "launching"
    running = "running"
    pausing = "pausing"
    paused = "paused"
    cancelling = "cancelling"
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"


TERMINAL = frozenset({RunStatus.succeeded, RunStatus.failed, RunStatus.cancelled})

MOVES: dict[RunStatus, frozenset[RunStatus]] = {
    RunStatus.queued: frozenset({RunStatus.launching, RunStatus.paused, RunStatus.cancelled, RunStatus.failed}),
    RunStatus.launching: frozenset(
        {RunStatus.running, RunStatus.queued, RunStatus.pausing, RunStatus.failed, RunStatus.cancelling}
    ),
    RunStatus.running: frozenset(
        {RunStatus.succeeded, RunStatus.failed, RunStatus.queued, RunStatus.pausing, RunStatus.cancelling}
    ),
    RunStatus.pausing: frozenset(
        {RunStatus.paused, RunStatus.queued, RunStatus.succeeded, RunStatus.failed, RunStatus.cancelling}
    ),
    RunStatus.paused: frozenset({RunStatus.queued, RunStatus.cancelled, RunStatus.failed}),
    RunStatus.cancelling: frozenset({RunStatus.cancelled, RunStatus.succeeded}),
    RunStatus.succeeded: frozenset(),
    RunStatus.failed: frozenset(),
    RunStatus.cancelled: frozenset(),
}


def move(
    session: Session,
    run: Run,
    to: RunStatus,
    *,
    actor: str,
    text: str,
    reason: EndReason | None = None,
    detail: str | None = None,
    attempt_number: int | None = None,
    data: dict[str, Any] | None = None,
    keeps_place: bool = False,
) -> bool:
    """Moves `run` to `to` if its status in the database still allows it; does not commit.

    `reason` is required for a terminal status and forbidden otherwise. Sets `status_at`, `started_at`, `ended_at` and
    `queued_at`, which a run that goes back to the queue for no doing of its own keeps (`keeps_place`).
    Returns whether the row moved; afterwards `run` shows what the database holds.
    """
    assert (to in TERMINAL) == (reason is not None), f"a terminal status needs a reason and no other has one: {to}"
    allowed_from = [source.value for source, targets in MOVES.items() if to in targets]
    values: dict[str, Any] = {
        "status": to.value, "wait_reason": None, "estimated_start": None, "status_at": func.now(),
    }  # fmt: skip
    if to in TERMINAL:
        values |= {"reason": reason, "detail": detail, "ended_at": func.now(), "eta_seconds": None}
    if to is RunStatus.queued:
        values |= {"queued_at": Run.queued_at if keeps_place else func.now(), "eta_seconds": None}
    if to is RunStatus.paused:
        values |= {"eta_seconds": None}
    if to is RunStatus.running:
        values |= {"started_at": func.coalesce(Run.started_at, func.now())}
    session.flush()
    before = run.status
    moved = session.execute(
        update(Run).where(Run.id == run.id, Run.status.in_(allowed_from)).values(values).returning(Run.id),
        execution_options={"synchronize_session": False},
    ).scalar_one_or_none()
    session.refresh(run)
    if moved is None:
        return False
    session.add(
        Event(
            run_id=run.id,
            attempt_number=attempt_number,
            kind="status",
            actor=actor,
            text=text,
            data={"from": before, "to": to.value, "reason": reason, **(data or {})},
        )
    )
    tell_webhooks(session, run, before, sentence=text, attempt=attempt_number, step=(data or {}).get("resume_step"))
    return True
