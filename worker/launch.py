"""Takes queued runs to Ray: admission under one lock, the attempt in the same transaction, then the submission outside.

A crash between the two leaves an attempt that Ray does not know; reconcile submits it again under the same id.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import func, insert, or_, select, text, update
from sqlalchemy.orm import Session

from api.db.engine import publish
from api.db.tables import Attempt, Run
from api.runs.credentials import launch_code
from api.runs.queue import queue_order
from api.runs.service_clock import serving_seconds
from api.runs.status import RunStatus, move
from api.settings import Settings
from trainer.contract.ends import ENDS, EndReason
from trainer.contract.reports import LaunchPayload
from worker.admission import Held, NeverFits, Queued, Start, Wait, admit
from worker.cluster import known_nodes, record_nodes
from worker.connections import Connections
from worker.decisions import EndAttempt
from worker.endings import ACTOR, end_attempt
from worker.ray_jobs import JobRequest, Node, RayJobs, RayRefused, RayUnreachable

log = structlog.get_logger()

ADMISSION_LOCK = "basin admission"
LONGEST_QUEUE = 200
"""Runs looked at in one pass. Those behind them cannot start before these, and the next pass sees them."""


@dataclass(frozen=True, kw_only=True)
class Launched:
    """An attempt to hand to Ray."""

    attempt_id: str
    run_id: str
    number: int
    submission_id: str


def launch(connections: Connections) -> list[Launched]:
    """Starts every queued run whose turn it is. Safe to call any number of times at once."""
    if not _somebody_waits(connections):
        return []
    with connections.ray() as ray:
        try:
            nodes: list[Node] | RayUnreachable = ray.nodes()
        except RayUnreachable as error:
            nodes = error
        return launch_waiting(connections, ray, nodes)


def launch_waiting(connections: Connections, ray: RayJobs, nodes: Sequence[Node] | RayUnreachable) -> list[Launched]:
    """The same for a caller who has asked Ray for its nodes already, with what it answered."""
    if not _somebody_waits(connections):
        return []
    if isinstance(nodes, RayUnreachable):
        log.warning("nothing_launched", error=str(nodes))
        with connections.transaction() as session:
            _tell_wait_reasons(session, dict.fromkeys(_queue(session, LONGEST_QUEUE), "Ray cannot be reached"))
        return []
    with connections.transaction() as session:
        launched = _admit(session, nodes)
    for attempt in launched:
        try:
            submit(connections, ray, attempt)
        except RayUnreachable as error:
            log.warning("submission_postponed", run=attempt.run_id, attempt=attempt.number, error=str(error))
            break  # Reconcile submits this one and the rest.
    return launched


def submit(connections: Connections, ray: RayJobs, attempt: Launched) -> None:
    """Hands an attempt to Ray, again if need be. One that Ray refuses ends here. Raises RayUnreachable."""
    try:
        ray.submit(job_request(connections.settings, attempt))
    except RayRefused as error:
        log.warning("submission_refused", run=attempt.run_id, attempt=attempt.number, error=str(error))
        with connections.transaction() as session:
            row = session.get_one(Attempt, attempt.attempt_id, with_for_update=True)
            if row.ended_at is None and row.claimed_at is None:
                end = EndAttempt(reason=EndReason.ray_unreachable, detail=str(error))
                end_attempt(session, row, end, connections.limits)
        return
    with connections.transaction() as session:
        session.execute(
            update(Attempt)
            .where(Attempt.id == attempt.attempt_id, Attempt.submitted_at.is_(None))
            .values(submitted_at=func.now())
        )
        publish(session, attempt.run_id)
    log.info("submitted", run=attempt.run_id, attempt=attempt.number, submission_id=attempt.submission_id)


def job_request(settings: Settings, attempt: Launched) -> JobRequest:
    """The Ray job of an attempt: a driver that knows how to claim it and nothing else."""
    payload = LaunchPayload(
        api_url=settings.trainer_api_url or settings.api_url,
        attempt_id=attempt.attempt_id,
        launch_code=launch_code(settings.secret, attempt.attempt_id),
        storage=str(settings.storage),
        spool=str(settings.spool) if settings.spool else None,
    )
    return JobRequest(
        submission_id=attempt.submission_id,
        entrypoint=f"{shlex.quote(settings.trainer_python)} -m trainer.main",
        env_vars={"BASIN_LAUNCH": payload.model_dump_json()},
        metadata={"run_id": attempt.run_id, "attempt_id": attempt.attempt_id, "stack": stack_mark(settings)},
    )


def stack_mark(settings: Settings) -> str:
    """Tells this stack's jobs from those of others on one Ray cluster; says nothing about the secret."""
    return hmac.new(settings.secret.get_secret_value().encode(), b"stack", hashlib.sha256).hexdigest()[:16]


def _somebody_waits(connections: Connections) -> bool:
    with connections.transaction() as session:
        return bool(_queue(session, 1))


def _queue(session: Session, limit: int) -> list[str]:
    """Ids of the runs that wait and are not backing off, the first to start first."""
    return list(
        session.scalars(
            select(Run.id)
            .where(Run.status == RunStatus.queued, or_(Run.not_before.is_(None), Run.not_before <= func.now()))
            .order_by(*queue_order())
            .limit(limit)
        )
    )


def _admit(session: Session, nodes: Sequence[Node]) -> list[Launched]:
    """One admission: whoever comes second waits for the lock, then sees what the first one did."""
    key = int.from_bytes(hashlib.sha256(ADMISSION_LOCK.encode()).digest()[:8], signed=True)
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
    record_nodes(session, nodes)
    runs = {run_id: session.get_one(Run, run_id) for run_id in _queue(session, LONGEST_QUEUE)}
    queue = [_queued(run) for run in runs.values()]
    decisions = admit(queue, _held(session), known_nodes(session))
    launched: list[Launched] = []
    reasons: dict[str, str] = {}
    for decision in decisions:
        run = runs[decision.run_id]
        match decision:
            case Wait(reason=reason):
                reasons[run.id] = reason
            case NeverFits(detail=detail):
                move(
                    session,
                    run,
                    RunStatus.failed,
                    actor=ACTOR,
                    text=ENDS[EndReason.never_fits].sentence,
                    reason=EndReason.never_fits,
                    detail=detail,
                )
            case Start(placement=placement):
                if started := _start(session, run, placement):
                    launched.append(started)
    _tell_wait_reasons(session, reasons)
    if len(runs) == LONGEST_QUEUE:
        _tell_the_rest(session, list(runs))
    if launched:
        log.info("admitted", started=[a.run_id for a in launched], waiting=len(reasons), nodes=len(nodes))
    return launched


def _queued(run: Run) -> Queued:
    resources = run.spec["resources"]
    return Queued(
        run_id=run.id,
        workers=int(resources["workers"]),
        gpus_per_worker=int(resources["gpus_per_worker"]),
        priority=run.priority,
    )


def _held(session: Session) -> list[Held]:
    return [
        Held(placement=placement, gpus_per_worker=gpus)
        for placement, gpus in session.execute(
            select(Attempt.placement, Attempt.gpus_per_worker).where(Attempt.slots_released_at.is_(None))
        )
    ]


def _start(session: Session, run: Run, placement: dict[str, int]) -> Launched | None:
    """`queued -> launching` and the attempt; null if the run is no longer queued (cancelled a moment ago)."""
    number = (
        1
        + session.execute(
            select(func.coalesce(func.max(Attempt.number), 0)).where(Attempt.run_id == run.id)
        ).scalar_one()
    )
    moved = move(
        session,
        run,
        RunStatus.launching,
        actor=ACTOR,
        text=f"Attempt {number} was given its slots.",
        attempt_number=number,
        data={"placement": placement},
    )
    if not moved:
        return None
    attempt = Launched(
        attempt_id=secrets.token_hex(12), run_id=run.id, number=number, submission_id=f"run-{run.id}-{number}"
    )
    session.execute(
        insert(Attempt).values(
            id=attempt.attempt_id,
            run_id=run.id,
            number=number,
            submission_id=attempt.submission_id,
            world_size=sum(placement.values()),
            gpus_per_worker=int(run.spec["resources"]["gpus_per_worker"]),
            placement=placement,
            # Until the claim this is when the launch began, by the clock that outages of ours do not move.
            lease_serving_seconds=serving_seconds(),
        )
    )
    return attempt


def _tell_the_rest(session: Session, looked_at: Sequence[str]) -> None:
    """A reason for those that this pass did not look at; nobody is told live, since they may be thousands."""
    reason = f"behind at least {LONGEST_QUEUE} earlier runs"
    session.execute(
        update(Run)
        .where(
            Run.status == RunStatus.queued,
            Run.id.not_in(looked_at),
            or_(Run.not_before.is_(None), Run.not_before <= func.now()),
            Run.wait_reason.is_distinct_from(reason),
        )
        .values(wait_reason=reason),
        execution_options={"synchronize_session": False},
    )


def _tell_wait_reasons(session: Session, reasons: dict[str, str]) -> None:
    """Writes the reasons that changed, while the run still waits."""
    for run_id, reason in reasons.items():
        changed = session.execute(
            update(Run)
            .where(Run.id == run_id, Run.status == RunStatus.queued, Run.wait_reason.is_distinct_from(reason))
            .values(wait_reason=reason)
            .returning(Run.id)
        ).scalar_one_or_none()
        if changed:
            publish(session, run_id)
