"""What the database knows of the attempts that hold slots, as values for `worker.decisions`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Double, RowMapping, ScalarSelect, Select, case, cast, func, select
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.elements import ColumnElement

from api.db.tables import Attempt, Event, Run
from api.runs.service_clock import serving_seconds
from api.runs.status import RunStatus
from trainer.contract.ends import EndReason
from worker.decisions import Seen
from worker.launch import Launched
from worker.ray_jobs import Job, JobState

SILENT_EVENT = "silent"


@dataclass(frozen=True, kw_only=True)
class Open:
    """An attempt that holds slots. `seen` lacks Ray's part."""

    attempt: Launched
    placement: Mapping[str, int]
    ray_status: str | None
    """Ray's word as last noted."""
    seen: Seen

    def with_ray(self, job: Job, *, placement_alive: bool) -> Seen:
        return replace(self.seen, job=job.state, job_message=job.message, placement_alive=placement_alive)

    def is_news(self, job: Job) -> bool:
        """Whether the row does not show yet what Ray says."""
        return self.ray_status != job.state or (not self.seen.submitted and job.state is not JobState.gone)


def open_attempts(session: Session, *, run_id: str | None = None, attempt_id: str | None = None) -> list[Open]:
    """All of them, or those of one run, or one; oldest first."""
    statement = _STATEMENT
    if run_id is not None:
        statement = statement.where(Attempt.run_id == run_id)
    if attempt_id is not None:
        statement = statement.where(Attempt.id == attempt_id)
    return [_open(row) for row in session.execute(statement).mappings()]


def _seconds_since(moment: Any) -> ColumnElement[float]:
    return cast(func.extract("epoch", func.now() - moment), Double)


def ran_seconds(run_id: Any) -> ScalarSelect[float]:
    """Seconds in which attempts of a run have been training: from each one's claim to the last sign of life.

    Not to its end: that is written when somebody looks, which after an outage may be days later.
    """
    of_run = aliased(Attempt)
    until = func.least(func.coalesce(of_run.ended_at, func.now()), of_run.lease_renewed_at)
    lasted = cast(func.extract("epoch", until - of_run.claimed_at), Double)
    return (
        select(func.coalesce(func.sum(lasted), 0.0))
        .where(of_run.run_id == run_id, of_run.claimed_at.is_not(None))
        .scalar_subquery()
    )


# The index on open attempts serves this: it stays as fast when there are many that are closed.
_STATEMENT: Select[Any] = (
    select(
        Attempt.id,
        Attempt.run_id,
        Attempt.number,
        Attempt.submission_id,
        Attempt.placement,
        Attempt.ray_status,
        Attempt.reported_reason,
        Attempt.reported_detail,
        Attempt.ended_at.is_not(None).label("ended"),
        Attempt.submitted_at.is_not(None).label("submitted"),
        Attempt.claimed_at.is_not(None).label("claimed"),
        _seconds_since(Attempt.created_at).label("age_seconds"),
        func.greatest(0, serving_seconds() - Attempt.lease_serving_seconds).label("quiet_seconds"),
        _seconds_since(Attempt.stop_requested_at).label("stop_asked"),
        _seconds_since(Run.cancel_requested_at).label("cancel_asked"),
        Run.cancel_at_once,
        _seconds_since(Run.pause_requested_at).label("pause_asked"),
        Run.limit_reached,
        _seconds_since(Run.limit_reached_at).label("limit_asked"),
        Run.time_limit_seconds,
        (-_seconds_since(Run.deadline)).label("to_deadline"),
        case((Run.time_limit_seconds.is_not(None), ran_seconds(Attempt.run_id)), else_=0.0).label("ran_seconds"),
        Run.status,
        Run.reason,
        Run.traceparent,
        select(Event.id)
        .where(
            Event.run_id == Attempt.run_id,
            Event.attempt_number == Attempt.number,
            Event.kind == SILENT_EVENT,
            # A trainer that was heard of since may fall silent again, which is news again.
            Event.at > func.coalesce(Attempt.lease_renewed_at, Attempt.created_at),
        )
        .exists()
        .label("silence_told"),
    )
    .join(Run, Run.id == Attempt.run_id)
    .where(Attempt.slots_released_at.is_(None))
    .order_by(Attempt.created_at, Attempt.id)
)


def _open(row: RowMapping) -> Open:
    return Open(
        attempt=Launched(
            attempt_id=row["id"],
            run_id=row["run_id"],
            number=row["number"],
            submission_id=row["submission_id"],
            traceparent=row["traceparent"],
        ),
        placement=row["placement"],
        ray_status=row["ray_status"],
        seen=Seen(
            run_status=RunStatus(row["status"]),
            run_reason=_reason(row["reason"]),
            job=None,
            ended=row["ended"],
            submitted=row["submitted"],
            claimed=row["claimed"],
            age_seconds=row["age_seconds"],
            quiet_seconds=row["quiet_seconds"] or 0.0,
            reported=_reason(row["reported_reason"]),
            reported_detail=row["reported_detail"] or "",
            silence_told=row["silence_told"],
            stop_asked_seconds_ago=row["stop_asked"],
            cancel_asked_seconds_ago=row["cancel_asked"],
            cancel_at_once=row["cancel_at_once"],
            pause_asked_seconds_ago=row["pause_asked"],
            ran_seconds=row["ran_seconds"],
            time_limit_seconds=row["time_limit_seconds"],
            seconds_to_deadline=row["to_deadline"],
            limit_reached=_reason(row["limit_reached"]),
            limit_reached_seconds_ago=row["limit_asked"],
        ),
    )


def _reason(word: str | None) -> EndReason | None:
    """A reason that another version of Basin wrote and this one does not know counts as a crash."""
    if word is None:
        return None
    return EndReason(word) if word in set(EndReason) else EndReason.trainer_crashed
