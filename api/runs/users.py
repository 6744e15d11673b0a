"""Users as admins see and change them: quotas, weight, and what each has had."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.db.tables import Run, User
from api.errors import Invalid, NotAllowed, NotFound
from api.runs.access import Caller
from api.runs.quotas import Quotas, quotas_of, waits
from api.runs.schemas import Answer, Role
from api.runs.use import Use, use_by_user
from api.settings import Settings
from trainer.contract.problems import SpecProblem

MOST = 2**31 - 1


class UserQuotas(BaseModel):
    """Body of PATCH /users/{name}; what is left out stays, and null brings back the installation's default."""

    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, json_schema_extra={"examples": [{"max_workers": 16}]}
    )

    max_workers: int | None = Field(default=None, ge=0, le=MOST)
    """Workers at once; 0: none."""
    max_queued_runs: int | None = Field(default=None, ge=0, le=MOST)
    """Runs that wait, paused ones included; 0: none."""
    gpu_hours_per_month: float | None = Field(default=None, ge=0, le=1e9)
    """In a calendar month, by UTC; once used up, runs on GPUs wait for the next month. Those that run go on."""
    weight: float | None = Field(default=None, gt=0, le=1e6)
    """Fair share: twice the weight is entitled to twice the slots. Null: 1."""


class UserAccount(Answer):
    """A user with their quotas and their use."""

    name: str
    role: Role
    weight: float
    max_workers: int | None
    """Workers at once, as it holds: their own quota, else the installation's; null, here and below: no limit."""
    max_queued_runs: int | None
    gpu_hours_per_month: float | None
    queued_runs: int
    """Those that wait, paused ones included."""
    gpu_hours_this_month: float
    created_at: datetime


class UserList(Answer):
    items: list[UserAccount]
    """By name."""


def list_users(session: Session, caller: Caller, settings: Settings, default: Quotas) -> UserList:
    """Raises NotAllowed for all but admins."""
    _must_be_admin(caller)
    users = session.scalars(select(User).order_by(User.name)).all()
    uses = use_by_user(session, settings.share_half_life_seconds)
    queued = dict(session.execute(select(Run.user_id, func.count()).where(waits()).group_by(Run.user_id)).all())
    return UserList(
        items=[
            _account(user, quotas_of(user, default), uses.get(user.id, Use()), queued.get(user.id, 0)) for user in users
        ]
    )


def set_quotas(
    session: Session, caller: Caller, name: str, wanted: UserQuotas, settings: Settings, default: Quotas
) -> UserAccount:
    """Holds from the next admission on; what runs already goes on. Does not commit.

    Raises NotAllowed for all but admins, NotFound, and Invalid where nothing is given.
    """
    _must_be_admin(caller)
    if not wanted.model_fields_set:
        raise Invalid.because(
            [
                SpecProblem(
                    path="body",
                    value="",
                    allowed="names nothing to change",
                    remedy="Give max_workers, max_queued_runs, gpu_hours_per_month or weight",
                )
            ]
        )
    user = session.execute(select(User).where(User.name == name).with_for_update(key_share=True)).scalar_one_or_none()
    if user is None:
        raise NotFound(f"there is no user {name!r}: `basin admin users` shows those there are")
    for field in wanted.model_fields_set:
        value = getattr(wanted, field)
        setattr(user, field, 1.0 if field == "weight" and value is None else value)
    session.flush()
    return next(item for item in list_users(session, caller, settings, default).items if item.name == name)


def _account(user: User, quotas: Quotas, use: Use, queued: int) -> UserAccount:
    return UserAccount(
        name=user.name,
        role=user.role,
        weight=user.weight,
        max_workers=quotas.max_workers,
        max_queued_runs=quotas.max_queued_runs,
        gpu_hours_per_month=quotas.gpu_hours_per_month,
        queued_runs=queued,
        gpu_hours_this_month=round(use.gpu_hours_this_month, 3),
        created_at=user.created_at,
    )


def _must_be_admin(caller: Caller) -> None:
    if caller.role != "admin":
        raise NotAllowed(f"your role is {caller.role}: only admins see and change users; ask an admin")
