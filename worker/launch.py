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
from api.runs.durations import expected_seconds
from api.runs.pause import request_pause
from api.runs.queue import queue_order
from api.runs.quotas import default_quotas
from api.runs.service_clock import serving_seconds, silent_seconds
from api.runs.status import RunStatus, move
from api.settings import Settings
from api.telemetry import traces
from trainer.contract.ends import ENDS, EndReason
from trainer.contract.reports import LaunchPayload
from worker.admission import NeverFits, Policy, Preempt, Start, Wait, admit
from worker.admission_rows import held_slots, people, tell_waits, waiting_rows
from worker.cluster import hosts_of, known_nodes, record_nodes
from worker.connections import Connections
from worker.decisions import API_AWAY_SECONDS, EndAttempt
from worker.endings import ACTOR, end_attempt
from worker.pace import Pace
from worker.ray_jobs import JobRequest, Node, RayJobs, RayRefused, RayUnreachable

log = structlog.get_logger()

ADMISSION_LOCK = "basin admission"


@dataclass(frozen=True, kw_only=True)
class Launched:
    """An attempt to hand to Ray."""

    attempt_id: str
    run_id: str
    number: int
    submission_id: str
    traceparent: str | None = None
    """Where the run's submission stands in a trace."""


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


def launch_for(connections: Connections, run_id: str, pace: Pace) -> list[Launched]:
    """The same for the message that this run was queued: nothing is left to do where a pass has seen it since.

    In a burst one pass sees all that were queued while `pace` rested, and their messages cost a look at a row each.
    """
    pace.rest()
    with connections.transaction() as session:
        unseen = select(Run.id).where(Run.id == run_id, Run.status == RunStatus.queued, Run.wait_reason.is_(None))
        if session.scalar(unseen) is None:
            return []
    with pace.passing():
        return launch(connections)


def launch_waiting(connections: Connections, ray: RayJobs, nodes: Sequence[Node] | RayUnreachable) -> list[Launched]:
    """The same for a caller who has asked Ray for its nodes already, with what it answered."""
    if not _somebody_waits(connections):
        return []
    if isinstance(nodes, RayUnreachable):
        log.warning("nothing_launched", error=str(nodes))
        _all_wait(connections, "Ray cannot be reached")
        return []
    with connections.transaction() as session:
        silent = session.execute(select(silent_seconds())).scalar_one()
    if silent > API_AWAY_SECONDS:
        log.warning("nothing_launched", error=f"no API has served for {silent:.0f} s")
        _all_wait(connections, "the API does not answer, so no trainer could claim the run")
        return []
    with connections.transaction() as session:
        launched = _admit(session, nodes, connections.settings)
    for attempt in launched:
        try:
            submit(connections, ray, attempt)
        except RayUnreachable as error:
            log.warning("submission_postponed", run=attempt.run_id, attempt=attempt.number, error=str(error))
            break  # Reconcile submits this one and the rest.
    return launched


def _all_wait(connections: Connections, reason: str) -> None:
    with connections.transaction() as session:
        rows = waiting_rows(session, {})
        tell_waits(session, rows, [Wait(run_id=row.queued.run_id, reason=reason) for row in rows])


def submit(connections: Connections, ray: RayJobs, attempt: Launched) -> None:
    """Hands an attempt to Ray, again if need be. One that Ray refuses ends here. Raises RayUnreachable."""
    with traces.span("submit job", parent=attempt.traceparent, **traced_ids(attempt)):
        _submit(connections, ray, attempt)


def traced_ids(attempt: Launched) -> dict[str, str | int]:
    """Attributes of spans."""
    return {"basin.run": attempt.run_id, "basin.attempt": attempt.number, "basin.attempt_id": attempt.attempt_id}


def _submit(connections: Connections, ray: RayJobs, attempt: Launched) -> None:
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
        log_format=settings.log_format,
        traceparent=traces.current(),
        otlp_endpoint=traces.endpoint(),
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


def _admit(session: Session, nodes: Sequence[Node], settings: Settings) -> list[Launched]:
    """One admission: whoever comes second waits for the lock, then sees what the first one did."""
    key = int.from_bytes(hashlib.sha256(ADMISSION_LOCK.encode()).digest()[:8], signed=True)
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
    record_nodes(session, nodes)
    lengths = expected_seconds(session)
    rows = waiting_rows(session, lengths)
    decisions = admit(
        [row.queued for row in rows],
        held_slots(session, lengths),
        known_nodes(session),
        people(session, default_quotas(settings), settings.share_half_life_seconds),
        Policy(preemption=settings.preemption, pause_seconds=max(1.0, settings.cancel_grace_seconds)),
    )
    launched: list[Launched] = []
    waits: list[Wait] = []
    for decision in decisions:
        match decision:
            case Wait():
                waits.append(decision)
            case NeverFits(run_id=run_id, detail=detail):
                _refuse(session, run_id, detail)
            case Start(run_id=run_id, placement=placement):
                if started := _start(session, session.get_one(Run, run_id), placement):
                    launched.append(started)
            case Preempt():
                _preempt(session, decision)
    tell_waits(session, rows, waits)
    if launched:
        log.info("admitted", started=[a.run_id for a in launched], waiting=len(waits), nodes=len(nodes))
    return launched


def _refuse(session: Session, run_id: str, detail: str) -> None:
    """Ends a run that can never start, unless it was paused or cancelled a moment ago."""
    run = session.get_one(Run, run_id, with_for_update={"key_share": True}, populate_existing=True)
    if run.status == RunStatus.queued:
        reason = EndReason.never_fits
        move(session, run, RunStatus.failed, actor=ACTOR, text=ENDS[reason].sentence, reason=reason, detail=detail)


def _preempt(session: Session, decision: Preempt) -> None:
    """Pauses a running run for one of higher priority: it saves, gives its slots back, and queues itself again."""
    run = session.get_one(Run, decision.run_id, with_for_update={"key_share": True}, populate_existing=True)
    if run.status == RunStatus.running:
        request_pause(session, run, actor=ACTOR, preempted=True)
        log.info("preempted", run=decision.run_id, for_run=decision.for_run_id)


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
        attempt_id=secrets.token_hex(12),
        run_id=run.id,
        number=number,
        submission_id=f"run-{run.id}-{number}",
        traceparent=run.traceparent,
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
            hosts=hosts_of(session, placement),
            # Until the claim this is when the launch began, by the clock that outages of ours do not move.
            lease_serving_seconds=serving_seconds(),
        )
    )
    return attempt
