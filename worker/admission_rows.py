"""What admission reads from the rows, and what it writes back for the runs that wait: each in one statement.

Ten thousand rows may wait, so nothing here is done row by row, and no ORM object is made of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Integer, func, or_, select, text
from sqlalchemy.orm import Session

from api.db.engine import publish
from api.db.tables import Attempt, Run, User
from api.runs.queue import MOST_TOLD, queue_order
from api.runs.quotas import Quotas, quotas_of
from api.runs.status import RunStatus
from api.runs.use import Use, use_by_user
from worker.admission import Held, Person, Queued, Wait

ESTIMATE_STEP_SECONDS = 60.0
"""An estimated start is written anew when it moves by more than this, and by more than a tenth of what is left."""


@dataclass(frozen=True, kw_only=True)
class WaitingRow:
    """A queued run, with what its row says now about its waiting."""

    queued: Queued
    reason: str | None
    estimated_start: datetime | None


def waiting_rows(session: Session, lengths: Mapping[str, float]) -> list[WaitingRow]:
    """Every queued run that is not backing off, by place in the queue."""
    resources = Run.spec["resources"]
    rows = session.execute(
        select(
            Run.id,
            Run.user_id,
            Run.priority,
            func.extract("epoch", func.now() - Run.queued_at),
            resources["workers"].astext.cast(Integer),
            resources["gpus_per_worker"].astext.cast(Integer),
            Run.likeness,
            Run.step,
            Run.total_steps,
            Run.wait_reason,
            Run.estimated_start,
        )
        .where(Run.status == RunStatus.queued.value, or_(Run.not_before.is_(None), Run.not_before <= func.now()))
        .order_by(*queue_order())
    )
    return [
        WaitingRow(
            queued=Queued(
                run_id=run_id,
                workers=workers,
                gpus_per_worker=gpus,
                user=str(user_id),
                priority=priority,
                waiting_seconds=max(0.0, float(waited)),
                expected_seconds=_left(lengths.get(likeness or ""), step, total),
            ),
            reason=reason,
            estimated_start=estimated_start,
        )
        for run_id, user_id, priority, waited, workers, gpus, likeness, step, total, reason, estimated_start in rows
    ]


def held_slots(session: Session, lengths: Mapping[str, float]) -> list[Held]:
    """By attempts whose Ray job is not known to be over. Their ends are the trainers' estimates; before the first one,
    those of runs like them."""
    rows = session.execute(
        select(
            Attempt.placement,
            Attempt.hosts,
            Attempt.gpus_per_worker,
            Run.id,
            Run.user_id,
            Run.priority,
            Run.status,
            Run.preemptible,
            Run.visibility,
            Run.likeness,
            Run.step,
            Run.total_steps,
            (Run.eta_seconds - func.extract("epoch", func.now() - Attempt.lease_renewed_at)).label("eta"),
            func.extract("epoch", func.now() - Attempt.created_at).label("age"),
            (Attempt.claimed_at.is_not(None) & Attempt.ended_at.is_(None)).label("lives"),
        )
        .join(Run, Run.id == Attempt.run_id)
        .where(Attempt.slots_released_at.is_(None))
    )
    found: list[Held] = []
    for row in rows:
        eta = row.eta
        if eta is None and (whole := _left(lengths.get(row.likeness or ""), row.step, row.total_steps)) is not None:
            eta = max(0.0, whole - float(row.age))
        running = row.status == RunStatus.running
        found.append(
            Held(
                placement=row.placement,
                hosts=row.hosts or {},
                gpus_per_worker=row.gpus_per_worker,
                run_id=row.id,
                user=str(row.user_id),
                priority=row.priority,
                ends_in_seconds=None if eta is None else float(eta),
                preemptible=running and row.lives and row.preemptible,
                private=row.visibility == "private",
                leaving=not running and row.status != RunStatus.launching,
            )
        )
    return found


def people(session: Session, default: Quotas, half_life_seconds: float) -> dict[str, Person]:
    """Everybody's weight, quotas and use, by user id."""
    uses = use_by_user(session, half_life_seconds)
    found: dict[str, Person] = {}
    for user in session.scalars(select(User)):
        quotas, use = quotas_of(user, default), uses.get(user.id, Use())
        found[str(user.id)] = Person(
            weight=user.weight,
            max_workers=quotas.max_workers,
            gpu_hours_per_month=quotas.gpu_hours_per_month,
            gpu_hours_used=use.gpu_hours_this_month,
            recent_cpus=use.recent_cpus,
            recent_gpus=use.recent_gpus,
        )
    return found


def tell_waits(session: Session, rows: Sequence[WaitingRow], waits: Sequence[Wait]) -> None:
    """Writes what changed of reasons and estimates, to rows that nobody is changing at this moment; the next pass sees
    to those. Live streams are told of the first of them."""
    now: datetime = session.execute(select(func.now())).scalar_one()
    before = {row.queued.run_id: row for row in rows}
    changed = [wait for wait in waits if _says_something_new(before[wait.run_id], wait, now)]
    if not changed:
        return
    written = session.execute(
        text(
            """
            WITH told AS (SELECT * FROM
                unnest(CAST(:ids AS text[]), CAST(:reasons AS text[]), CAST(:starts AS float8[]))
                AS told(id, reason, starts_in)),
            mine AS (SELECT runs.id FROM runs JOIN told USING (id) WHERE runs.status = 'queued'
                FOR NO KEY UPDATE OF runs SKIP LOCKED)
            UPDATE runs SET wait_reason = told.reason, estimated_start = now() + make_interval(secs => told.starts_in)
            FROM told JOIN mine USING (id) WHERE runs.id = told.id RETURNING runs.id
            """
        ),
        {
            "ids": [wait.run_id for wait in changed],
            "reasons": [wait.reason for wait in changed],
            "starts": [wait.starts_in_seconds for wait in changed],
        },
    )
    told = set(written.scalars())
    for run_id in [wait.run_id for wait in changed if wait.run_id in told][:MOST_TOLD]:
        publish(session, run_id)


def _says_something_new(row: WaitingRow, wait: Wait, now: datetime) -> bool:
    if row.reason != wait.reason or (row.estimated_start is None) != (wait.starts_in_seconds is None):
        return True
    if row.estimated_start is None or wait.starts_in_seconds is None:
        return False
    moved = abs((row.estimated_start - now).total_seconds() - wait.starts_in_seconds)
    return moved > max(ESTIMATE_STEP_SECONDS, 0.1 * wait.starts_in_seconds)


def _left(whole: float | None, step: int, total_steps: int | None) -> float | None:
    """What is left of a run that has got so far, if the whole takes so long."""
    if whole is None or not total_steps:
        return whole
    return whole * max(0.0, 1 - step / total_steps)
