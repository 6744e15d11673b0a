"""/healthz: this process answers. /readyz: all parts work. Neither needs a token, neither tells a secret."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter, Response

from api.routes.dependencies import ServicesDep
from api.runs import schemas
from api.runs.readiness import readiness
from trainer.contract.build import source_revision

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Does this process answer?")
def healthz() -> schemas.Health:
    return schemas.Health(status="ok", version=version("basin"), revision=source_revision())


@router.get(
    "/readyz",
    summary="Can runs be taken and trained?",
    responses={503: {"model": schemas.Readiness, "description": "Some part does not work; `checks` says which."}},
)
def readyz(response: Response, services: ServicesDep) -> schemas.Readiness:
    state = readiness(services.engine, services.outbox.dispatcher, services.settings, services.storage)
    if not state.ready:
        response.status_code = 503
    return state
