"""Rows as answers. Everything a list needs is read in at most five queries, however many runs there are."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session, aliased

from api.db import tables
from api.runs import schemas
from api.runs.queue import positions
from api.runs.service_clock import serving_seconds
from api.runs.status import RunStatus
from api.runs.timeline import states_of
from trainer.contract.ends import ENDS, EndReason

MAX_NOTICES = 100


def summaries(
    session: Session, runs: Sequence[tables.Run], *, lease_timeout_seconds: float | None = None
) -> list[schemas.RunSummary]:
    """Summaries in the order of `runs`. Without `lease_timeout_seconds` no run is called silent."""
    newest = _newest_attempts(session, [run.id for run in runs]) if runs else {}
    return [
        schemas.RunSummary(**fields)
        for fields in _summary_fields(session, runs, newest, lease_timeout_seconds=lease_timeout_seconds)
    ]


def run_page(session: Session, run: tables.Run, *, lease_timeout_seconds: float) -> schemas.Run:
    """Everything about one run."""
    attempts = session.scalars(
        select(tables.Attempt).where(tables.Attempt.run_id == run.id).order_by(tables.Attempt.number)
    ).all()
    newest = {run.id: attempts[-1]} if attempts else {}
    [fields] = _summary_fields(session, [run], newest, lease_timeout_seconds=lease_timeout_seconds)
    notices = session.scalars(
        select(tables.Event)
        .where(tables.Event.run_id == run.id, tables.Event.kind == "notice")
        .order_by(tables.Event.id.desc())
        .limit(MAX_NOTICES)
    ).all()
    clock = _clock(session, attempts)
    return schemas.Run(
        **fields,
        spec=run.spec,
        request=run.request,
        attempts=[attempt_view(attempt, clock) for attempt in attempts],
        notices=[event_view(event) for event in reversed(notices)],
        states=states_of(session, run),
    )


def attempt_view(attempt: tables.Attempt, clock: float) -> schemas.Attempt:
    columns = {
        name: getattr(attempt, name)
        for name in schemas.Attempt.model_fields
        if name not in ("reason", "sentence", "lease_age_seconds")
    }
    reason = _reason(attempt.reason)
    return schemas.Attempt(
        **columns,
        lease_age_seconds=_lease_age(attempt, clock),
        reason=reason,
        sentence=ENDS[reason].sentence if reason else None,
    )


def event_view(event: tables.Event) -> schemas.TimelineEvent:
    return schemas.TimelineEvent(
        id=event.id,
        run_id=event.run_id,
        attempt=event.attempt_number,
        at=event.at,
        kind=event.kind,
        actor=event.actor,
        text=event.text,
        data=event.data or {},
    )


def finite(value: float | None) -> float | None:
    """What JSON can hold."""
    return value if value is not None and math.isfinite(value) else None


def _summary_fields(
    session: Session, runs: Sequence[tables.Run], newest: Mapping[str, tables.Attempt], *,
    lease_timeout_seconds: float | None,
) -> list[dict[str, Any]]:  # fmt: skip
    """`newest`: the newest attempt of each run that has any."""
    if not runs:
        return []
    users = _names(session, {run.user_id for run in runs})
    queued = [run.id for run in runs if run.status == RunStatus.queued]
    places = positions(session, queued) if queued else {}
    shown_origins = _shown_origins(session, runs)
    clock = _clock(session, newest.values())
    return [
        _fields(
            run,
            user=users[run.user_id],
            attempt=newest.get(run.id),
            position=places.get(run.id),
            shows_origin=run.id in shown_origins,
            clock=clock,
            lease_timeout_seconds=lease_timeout_seconds,
        )
        for run in runs
    ]


def _fields(
    run: tables.Run,
    *,
    user: str,
    attempt: tables.Attempt | None,
    position: int | None,
    shows_origin: bool,
    clock: float,
    lease_timeout_seconds: float | None,
) -> dict[str, Any]:
    reason = _reason(run.reason)
    end = ENDS[reason] if reason else None
    sentence = end.sentence if end else None
    age = _lease_age(attempt, clock) if attempt is not None else None
    silent = (
        run.status == RunStatus.running and lease_timeout_seconds is not None and (age or 0) > lease_timeout_seconds
    )
    if silent:
        sentence = f"No sign of life from the trainer for {age:.0f} s, while Ray still runs it."
    resources = _part(run.spec, "resources")
    return {
        **{
            name: getattr(run, name)
            for name in (
                "id", "name", "project", "study", "visibility", "priority", "detail", "wait_reason",
                "estimated_start", "step", "total_steps", "created_at", "started_at", "cancel_requested_at", "ended_at",
                "status_at", "archived_at", "deleted_at",
            )
        },
        "user": user,
        "status": RunStatus(run.status),
        "reason": reason,
        "sentence": sentence,
        "fault": end.fault if end else None,
        "position": position,
        "silent": silent,
        "copied_from": run.copied_from if shows_origin else None,
        "data": str(_part(run.spec, "data").get("source", "digits")),
        "model": str(_part(run.spec, "model").get("name", "")),
        "method": str(_part(run.spec, "method").get("name", "none")),
        "method_settings": {
            name: value for name, value in _part(run.spec, "method").items() if name != "name" and value is not None
        },
        "optimizer": str(_part(run.spec, "optimizer").get("name", "")),
        "workers": int(resources.get("workers", 1)),
        "gpus_per_worker": int(resources.get("gpus_per_worker", 0)),
        "epoch": finite(run.epoch),
        "eta_seconds": finite(run.eta_seconds),
        "attempt": attempt.number if attempt else None,
        "latest": {name: schemas.LatestValue(**value) for name, value in (run.latest or {}).items()},
    }  # fmt: skip


def _part(spec: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = spec.get(name)
    return part if isinstance(part, Mapping) else {}


def _reason(word: str | None) -> EndReason | None:
    """A reason that another version wrote and this one does not know reads as a crash, rather than as an error here."""
    if word is None:
        return None
    try:
        return EndReason(word)
    except ValueError:
        return EndReason.trainer_crashed


def _lease_age(attempt: tables.Attempt, clock: float) -> float | None:
    if attempt.lease_serving_seconds is None or attempt.ended_at is not None:
        return None
    return max(0.0, clock - attempt.lease_serving_seconds)


def _has_lease(attempt: tables.Attempt) -> bool:
    return attempt.lease_serving_seconds is not None and attempt.ended_at is None


def _newest_attempts(session: Session, run_ids: Sequence[str]) -> dict[str, tables.Attempt]:
    newest = session.scalars(
        select(tables.Attempt)
        .ext(distinct_on(tables.Attempt.run_id))
        .where(tables.Attempt.run_id.in_(run_ids))
        .order_by(tables.Attempt.run_id, tables.Attempt.number.desc())
    )
    return {attempt.run_id: attempt for attempt in newest}


def _shown_origins(session: Session, runs: Sequence[tables.Run]) -> frozenset[str]:
    """Ids of runs whose copy may name them: whoever sees the copy must be one who may see the original.

    A live change is rendered once for everybody, so this cannot depend on who asks.
    """
    if not any(run.copied_from for run in runs):
        return frozenset()
    origin = aliased(tables.Run)
    both_private = (tables.Run.visibility == "private") & (tables.Run.user_id == origin.user_id)
    return frozenset(
        session.scalars(
            select(tables.Run.id)
            .join(origin, origin.id == tables.Run.copied_from)
            .where(tables.Run.id.in_([run.id for run in runs]), (origin.visibility == "team") | both_private)
        )
    )


def _names(session: Session, user_ids: Collection[int]) -> dict[int, str]:
    """Each is read once in a transaction, which renders a run more than once."""
    known: dict[int, str] = session.info.setdefault("names of users", {})
    if missing := set(user_ids) - known.keys():
        found = session.execute(select(tables.User.id, tables.User.name).where(tables.User.id.in_(missing)))
        known.update(dict(found.all()))
    return known


def _clock(session: Session, attempts: Iterable[tables.Attempt]) -> float:
    """The service's clock, asked where one of them has a lease to measure; else 0."""
    if not any(_has_lease(attempt) for attempt in attempts):
        return 0.0
    return float(session.execute(select(func.coalesce(serving_seconds(), 0.0))).scalar_one())
