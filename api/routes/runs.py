"""Runs: submit, list, show, edit, timeline; and the studies they form. `api.routes.lifecycle` has the rest."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse

from api.routes.dependencies import CallerDep, RunDep, ServicesDep, SessionDep
from api.routes.problems import PROBLEMS
from api.runs import bodies, schemas
from api.runs.access import run_for
from api.runs.checkpoints import checkpoint_list
from api.runs.dry_run import dry_run as predict
from api.runs.edit import edit
from api.runs.listing import list_events, list_runs, list_studies
from api.runs.quotas import default_quotas
from api.runs.status import RunStatus
from api.runs.submit import submit
from api.runs.views import run_page

router = APIRouter(prefix="/runs", tags=["runs"], responses=PROBLEMS)
studies = APIRouter(responses=PROBLEMS)


async def body_as_sent(request: Request) -> Any:
    """The JSON body before any default is filled in; FastAPI has read and checked it by the time this runs."""
    if not await request.body():
        return None  # FastAPI says next that the body is missing.
    return await request.json()


@router.post(
    "",
    status_code=201,
    summary="Submit a run",
    response_model=schemas.Run,
    responses={
        200: {
            "model": schemas.Run | schemas.DryRun,
            "description": "The run that this Idempotency-Key made before; with `dry_run`, what would be done.",
        }
    },
)
def submit_run(
    submission: bodies.Submission,
    request: Annotated[Any, Depends(body_as_sent)],
    response: Response,
    services: ServicesDep,
    session: SessionDep,
    caller: CallerDep,
    dry_run: Annotated[bool, Query(description="Check and predict only: answers 200 with a DryRun.")] = False,
    idempotency_key: Annotated[
        str | None, Header(description="Random, 1 to 128 printable characters; a repeat gives the same run.")
    ] = None,
) -> schemas.Run | Response:
    """Queues a training run. With an `Idempotency-Key` a repeat answers 200 with the same run and the header
    `Idempotent-Replayed: true`; the same key with another body is a mistake (422). With `dry_run=true` the same checks
    are made and nothing is stored or sent."""
    data_roots, storage = services.settings.data_roots, services.settings.storage
    quotas = default_quotas(services.settings)
    if dry_run:
        outcome = predict(
            session, caller, submission, request=request, data_roots=data_roots, storage=storage, quotas=quotas
        )
        return JSONResponse(outcome.model_dump(mode="json"))
    run, is_new = submit(
        session,
        caller,
        submission,
        request=request,
        data_roots=data_roots,
        storage=storage,
        quotas=quotas,
        idempotency_key=idempotency_key,
    )
    if not is_new:
        response.status_code = 200
        response.headers["Idempotent-Replayed"] = "true"
    response.headers["Location"] = f"/api/v1/runs/{run.id}"
    return run_page(session, run, lease_timeout_seconds=services.settings.lease_timeout_seconds)


@router.get("", summary="List runs, newest first")
def get_runs(
    services: ServicesDep,
    session: SessionDep,
    caller: CallerDep,
    status: Annotated[list[RunStatus] | None, Query(description="May be repeated.")] = None,
    project: Annotated[str | None, Query(max_length=64)] = None,
    study: Annotated[str | None, Query(max_length=128, description="Exactly this study.")] = None,
    q: Annotated[str | None, Query(max_length=128, description="Part of a name or id; case does not matter.")] = None,
    archived: Annotated[bool, Query(description="Those that were archived, in place of those that were not.")] = False,
    deleted: Annotated[bool, Query(description="Those that were deleted and can be restored.")] = False,
    cursor: Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> schemas.RunPage:
    return list_runs(
        session,
        caller,
        statuses=status or (),
        project=project,
        study=study,
        contains=q,
        archived=archived,
        deleted=deleted,
        cursor=cursor,
        limit=limit,
        lease_timeout_seconds=services.settings.lease_timeout_seconds,
    )


@router.get("/{run_id}", summary="Show a run")
def get_run(run: RunDep, services: ServicesDep, session: SessionDep) -> schemas.Run:
    return run_page(session, run, lease_timeout_seconds=services.settings.lease_timeout_seconds)


@router.patch("/{run_id}", summary="Change a run's name, study or priority")
def edit_run(
    run_id: str, body: bodies.RunEdit, services: ServicesDep, session: SessionDep, caller: CallerDep
) -> schemas.Run:
    """By its owner and admins. The priority can be changed while the run is queued (409 otherwise, and then nothing is
    changed); the queue is in the new order at once."""
    run = run_for(session, caller, run_id, lock=True)
    edit(session, caller, run, body)
    return run_page(session, run, lease_timeout_seconds=services.settings.lease_timeout_seconds)


@router.get("/{run_id}/checkpoints", summary="A run's checkpoints, newest first")
def get_checkpoints(run: RunDep, services: ServicesDep, session: SessionDep) -> schemas.CheckpointList:
    """Where they lie: whoever shares the storage with the API can export and go on from them."""
    return checkpoint_list(session, services.settings, run)


@router.get("/{run_id}/events", summary="A run's timeline, oldest first")
def get_events(
    run: RunDep,
    session: SessionDep,
    after: Annotated[int, Query(ge=0, le=2**53, description="`next_after` of the page before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> schemas.EventPage:
    return list_events(session, run, after=after, limit=limit)


@studies.get("/studies", summary="List studies, the one with the newest run first", tags=["runs"])
def get_studies(
    session: SessionDep,
    caller: CallerDep,
    q: Annotated[str | None, Query(max_length=128, description="Part of a name; case does not matter.")] = None,
) -> schemas.StudyList:
    """Of the runs that you may see: how many each study has, and what became of them."""
    return list_studies(session, caller, contains=q)
