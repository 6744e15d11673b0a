"""Users: quotas and use, for admins."""

from __future__ import annotations

from fastapi import APIRouter

from api.routes.dependencies import CallerDep, ServicesDep, SessionDep
from api.routes.problems import PROBLEMS
from api.runs.quotas import default_quotas
from api.runs.users import UserAccount, UserList, UserQuotas, list_users, set_quotas

router = APIRouter(prefix="/users", tags=["users"], responses=PROBLEMS)


@router.get("", summary="List users with their quotas and use")
def get_users(services: ServicesDep, session: SessionDep, caller: CallerDep) -> UserList:
    """By admins."""
    return list_users(session, caller, services.settings, default_quotas(services.settings))


@router.patch("/{name}", summary="Change a user's quotas or weight")
def edit_user(
    name: str, body: UserQuotas, services: ServicesDep, session: SessionDep, caller: CallerDep
) -> UserAccount:
    """By admins. What runs already goes on; the next admission keeps the new quotas."""
    return set_quotas(session, caller, name, body, services.settings, default_quotas(services.settings))
