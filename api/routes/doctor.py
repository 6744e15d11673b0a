"""A look at every part of the installation, for admins."""

from __future__ import annotations

from contextlib import AbstractContextManager

from fastapi import APIRouter
from sqlalchemy.orm import Session

from api.db.engine import transaction
from api.doctor.diagnosis import Diagnosis, begin, look
from api.routes.dependencies import DetachedCallerDep, Services, ServicesDep
from api.routes.problems import PROBLEMS

router = APIRouter(prefix="/doctor", tags=["doctor"], responses=PROBLEMS)


@router.post("", status_code=201, summary="Look at every part of the installation")
def begin_diagnosis(services: ServicesDep, caller: DetachedCallerDep) -> Diagnosis:
    """By admins. Answers with what the API found; ask for the rest with GET until it is complete."""
    return begin(lambda: _transaction(services), services.engine, services.settings, caller)


@router.get("/{diagnosis_id}", summary="How far a look at every part is")
def get_diagnosis(diagnosis_id: str, services: ServicesDep, caller: DetachedCallerDep) -> Diagnosis:
    """By admins. Complete when every part has answered, or has not in its time."""
    return look(lambda: _transaction(services), services.settings, caller, diagnosis_id)


def _transaction(services: Services) -> AbstractContextManager[Session]:
    return transaction(services.engine, services.outbox)
