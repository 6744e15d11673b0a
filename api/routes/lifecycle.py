"""What people do to a run in its life: cancel, pause, resume, archive, delete; one run, or many at once."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from api.db.engine import transaction
from api.db.tables import Run
from api.routes.dependencies import CallerDep, DetachedCallerDep, Services, ServicesDep, SessionDep
from api.routes.problems import PROBLEMS
from api.runs import bodies, schemas
from api.runs.access import Caller, run_for
from api.runs.bulk import Act, each_run
from api.runs.cancel import cancel, cancel_again
from api.runs.pause import pause_by, resume_by
from api.runs.removal import archive, delete, restore, unarchive
from api.runs.views import run_page

router = APIRouter(prefix="/runs", tags=["runs"], responses=PROBLEMS)


@router.post("/cancel", summary="Cancel many runs")
def cancel_runs(body: bodies.CancelRuns, services: ServicesDep, caller: DetachedCallerDep) -> schemas.CancelOutcome:
    """Each run by itself, in this order: one that is refused or over does not keep the others from being cancelled.
    With `now` none gets time to save; without it, repeating this changes nothing."""

    def act(session: Session, caller: Caller, run: Run) -> bool:
        return cancel(session, caller, run, at_once=body.now)

    bulk = each_run(lambda: transaction(services.engine, services.outbox), caller, body.run_ids, act)
    return schemas.CancelOutcome(cancelled=bulk.done, already_over=bulk.unchanged, refused=bulk.refused)


@router.post("/pause", summary="Pause many runs")
def pause_runs(body: bodies.RunIds, services: ServicesDep, caller: DetachedCallerDep) -> schemas.BulkOutcome:
    """Each run by itself, in this order."""
    return _each(services, caller, body, pause_by)


@router.post("/resume", summary="Resume many runs")
def resume_runs(body: bodies.RunIds, services: ServicesDep, caller: DetachedCallerDep) -> schemas.BulkOutcome:
    """Each run by itself, in this order."""
    return _each(services, caller, body, resume_by)


@router.post("/archive", summary="Archive many runs")
def archive_runs(body: bodies.RunIds, services: ServicesDep, caller: DetachedCallerDep) -> schemas.BulkOutcome:
    """Leaves runs that are over out of lists; `GET /runs?archived=true` shows them."""
    return _each(services, caller, body, archive)


@router.post("/unarchive", summary="Take many runs out of the archive")
def unarchive_runs(body: bodies.RunIds, services: ServicesDep, caller: DetachedCallerDep) -> schemas.BulkOutcome:
    """Each run by itself, in this order."""
    return _each(services, caller, body, unarchive)


@router.post("/delete", summary="Delete many runs")
def delete_runs(body: bodies.RunIds, services: ServicesDep, caller: DetachedCallerDep) -> schemas.BulkOutcome:
    """Hides runs that are over at once. `GET /runs?deleted=true` shows them and `POST /runs/restore` brings them back,
    until BASIN_DELETED_KEPT_HOURS later their files and rows are removed."""
    return _each(services, caller, body, delete)


@router.post("/restore", summary="Restore many deleted runs")
def restore_runs(body: bodies.RunIds, services: ServicesDep, caller: DetachedCallerDep) -> schemas.BulkOutcome:
    """Each run by itself, in this order."""
    return _each(services, caller, body, restore, deleted=True)


@router.post("/{run_id}/cancel", summary="Cancel a run")
def cancel_run(
    run_id: str,
    services: ServicesDep,
    session: SessionDep,
    caller: CallerDep,
    now: Annotated[bool, Query(description="Stop its trainer at once, without time to save.")] = False,
) -> schemas.Run:
    """A queued run is cancelled at once; a running one saves a checkpoint first, and a second cancel, or `now=true`,
    stops it without. A repeat within two seconds of the first is no second cancel; an ended run stays as it is."""
    run = run_for(session, caller, run_id, lock=True)
    cancel(session, caller, run, at_once=True) if now else cancel_again(session, caller, run)
    return _page(services, session, run)


@router.post("/{run_id}/pause", summary="Pause a run")
def pause_run(run_id: str, services: ServicesDep, session: SessionDep, caller: CallerDep) -> schemas.Run:
    """A queued run is paused at once; a running one saves a checkpoint and gives its slots back first. Repeating it
    changes nothing; 409 for a run that is over or being cancelled."""
    run = run_for(session, caller, run_id, lock=True)
    pause_by(session, caller, run)
    return _page(services, session, run)


@router.post("/{run_id}/resume", summary="Resume a run")
def resume_run(run_id: str, services: ServicesDep, session: SessionDep, caller: CallerDep) -> schemas.Run:
    """A paused run is queued and goes on from its last checkpoint, to the same numbers as without the pause. Repeating
    it changes nothing; 409 for a run that is over or being cancelled."""
    run = run_for(session, caller, run_id, lock=True)
    resume_by(session, caller, run)
    return _page(services, session, run)


@router.delete("/{run_id}", summary="Delete a run")
def delete_run(run_id: str, services: ServicesDep, session: SessionDep, caller: CallerDep) -> schemas.Run:
    """Hides a run that is over (409 otherwise); `POST /runs/restore` undoes it for BASIN_DELETED_KEPT_HOURS."""
    run = run_for(session, caller, run_id, lock=True)
    delete(session, caller, run)
    return _page(services, session, run)


def _page(services: Services, session: Session, run: Run) -> schemas.Run:
    return run_page(session, run, lease_timeout_seconds=services.settings.lease_timeout_seconds)


def _each(
    services: Services, caller: Caller, body: bodies.RunIds, act: Act, *, deleted: bool = False
) -> schemas.BulkOutcome:
    bulk = each_run(lambda: transaction(services.engine, services.outbox), caller, body.run_ids, act, deleted=deleted)
    return schemas.BulkOutcome(changed=bulk.done, unchanged=bulk.unchanged, refused=bulk.refused)
