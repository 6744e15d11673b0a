"""What is kept no longer, for admins: what would go, and having it go now."""

from __future__ import annotations

from contextlib import AbstractContextManager

from fastapi import APIRouter
from sqlalchemy.orm import Session

from api.db.engine import after_commit_send, transaction
from api.errors import NotAllowed
from api.routes.dependencies import DetachedCallerDep, Services, ServicesDep
from api.routes.problems import PROBLEMS
from api.runs.access import Caller
from api.runs.collection import CollectionPlan, plan

router = APIRouter(prefix="/collection", tags=["collection"], responses=PROBLEMS)
COLLECT_TASK = "collect"


@router.get("", summary="What would be collected")
def get_collection(services: ServicesDep, caller: DetachedCallerDep) -> CollectionPlan:
    """By admins. Changes nothing."""
    _must_be_admin(caller)
    return plan(lambda: _transaction(services), services.settings)


@router.post("", status_code=202, summary="Collect now")
def begin_collection(services: ServicesDep, caller: DetachedCallerDep) -> CollectionPlan:
    """By admins. The Celery worker does it in batches, as it does every hour; answers with what will go."""
    _must_be_admin(caller)
    found = plan(lambda: _transaction(services), services.settings)
    with _transaction(services) as session:
        after_commit_send(session, COLLECT_TASK)
    return found


def _transaction(services: Services) -> AbstractContextManager[Session]:
    return transaction(services.engine, services.outbox)


def _must_be_admin(caller: Caller) -> None:
    if caller.role != "admin":
        raise NotAllowed(f"your role is {caller.role}: only admins collect; ask an admin")
