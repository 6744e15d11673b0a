"""What a user may have at most: their own quotas, else the installation's; checked at submit and by admission."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from api.db.tables import Run, User
from api.runs.status import RunStatus
from api.settings import Settings
from trainer.contract.problems import SpecProblem
from trainer.contract.spec import Resources


@dataclass(frozen=True, kw_only=True)
class Quotas:
    """Null: no such limit."""

    max_workers: int | None = None
    """At once."""
    max_queued_runs: int | None = None
    """Those that wait, as `waits` says."""
    gpu_hours_per_month: float | None = None
    """In a calendar month, by UTC."""


NO_QUOTAS = Quotas()


def default_quotas(settings: Settings) -> Quotas:
    """Those of users who have none of their own."""
    return Quotas(
        max_workers=settings.default_max_workers,
        max_queued_runs=settings.default_max_queued_runs,
        gpu_hours_per_month=settings.default_gpu_hours_per_month,
    )


def quotas_of(user: User, default: Quotas) -> Quotas:
    def own(name: str) -> int | float | None:
        value: int | float | None = getattr(user, name)
        return getattr(default, name) if value is None else value

    return Quotas(**{name: own(name) for name in Quotas.__dataclass_fields__})  # type: ignore[arg-type]


def waits() -> ColumnElement[bool]:
    """Runs that count for `max_queued_runs`. Paused ones are among them: a resume queues them, and is not refused."""
    return or_(
        Run.status.in_((RunStatus.queued.value, RunStatus.paused.value)),
        and_(Run.status == RunStatus.pausing.value, Run.requeues),
    )


def quota_problems(
    session: Session, user_id: int, resources: Resources, default: Quotas, *, lock: bool = False
) -> list[SpecProblem]:
    """What keeps the user from queueing a run with these resources. With `lock`, submissions of a user who has a limit
    of queued runs go one after the other, so that two at once cannot both be the last."""
    quotas = quotas_of(session.get_one(User, user_id), default)
    problems: list[SpecProblem] = []
    most = quotas.max_workers
    if most is not None and resources.workers > most:
        problems.append(
            SpecProblem(
                path="spec.resources.workers",
                value=str(resources.workers),
                allowed=f"is over your quota of {_count(most, 'worker')} at once",
                remedy=f"Set {most} or fewer, or ask an admin for a larger quota"
                if most
                else "Ask an admin for a quota",
            )
        )
    if quotas.max_queued_runs is not None:
        if lock:
            session.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))
        queued = session.execute(
            select(func.count()).select_from(Run).where(Run.user_id == user_id, waits())
        ).scalar_one()
        if queued >= quotas.max_queued_runs:
            most_queued = _count(quotas.max_queued_runs, "queued run")
            problems.append(
                SpecProblem(
                    path="queued_runs",
                    value=str(queued + 1),
                    allowed=f"is over your quota of {most_queued}, paused ones included",
                    remedy="Wait until some have started, cancel some, or ask an admin for a larger quota",
                )
            )
    return problems


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
