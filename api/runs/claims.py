"""A launch code becomes an attempt token, for the first process that asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session, aliased

from api.db.tables import Attempt, Run
from api.errors import (
    AlreadyClaimed,
    CheckpointsLost,
    NotAuthenticated,
    NotClaimable,
    NotFound,
    StorageNotShared,
    Unavailable,
)
from api.runs.checkpoints import stored_checkpoints, valid_paths
from api.runs.credentials import attempt_token, launch_code, same, sha256_of
from api.runs.latest import latest_values
from api.runs.service_clock import serving_seconds
from api.runs.status import RunStatus, move
from api.runs.storage import PROOF_NAME, proof_of
from api.runs.validity import resume_at
from api.settings import Settings
from trainer.contract.ends import EndReason
from trainer.contract.reports import Claim, ClaimRequest, ResumePoint

MOST_NAMED = 3
"""Lost checkpoints that are named; the rest are counted."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A claim refused for a reason that was written down: commit first, then raise `error`."""

    error: StorageNotShared | CheckpointsLost


def claim(
    session: Session, settings: Settings, attempt_id: str, code: str | None, request: ClaimRequest
) -> Claim | Refusal:
    """Claims an attempt for `request.process_id`; the same process may ask again and gets the same answer.

    Moves the run from launching to running, ends the validity of earlier attempts at the resume step, starts the
    lease. Does not commit. Raises NotAuthenticated, NotFound, AlreadyClaimed, NotClaimable, and Unavailable while the
    storage is away.
    """
    if code is None or not same(code, launch_code(settings.secret, attempt_id)):
        raise NotAuthenticated("the launch code is wrong: only the Ray job of this attempt can claim it")
    token = attempt_token(settings.secret, attempt_id, request.process_id)
    if request.storage_proof != proof_of(session, settings.storage):
        error = StorageNotShared(_what_it_saw(settings, request))
        return _refuse(session, attempt_id, EndReason.storage_not_shared, error)
    attempt = session.get(Attempt, attempt_id)
    if attempt is None:
        raise NotFound(f"there is no attempt {attempt_id!r}: exit")
    resume = stored_checkpoints(session, settings.storage, attempt.run_id, before_attempt=attempt.number)
    if not resume and attempt.claim_process_id is None and (lost := _lost(session, settings, attempt)):
        # To start over instead would throw away what was trained, without a word.
        return _refuse(session, attempt_id, EndReason.checkpoint_unreadable, CheckpointsLost(lost))
    if not _take(session, attempt_id, request.process_id, sha256_of(token)):
        attempt = _claimed_before(session, attempt_id, request.process_id)
        if attempt.resume_step and not resume:
            raise Unavailable(f"the checkpoints of run {attempt.run_id} were there a moment ago: ask again")
        return _answer(session, settings, attempt, token, resume)
    attempt = session.get_one(Attempt, attempt_id, populate_existing=True)
    run = session.get_one(Run, attempt.run_id)
    step = resume[0].step if resume else 0
    resume_at(session, attempt, step)
    again = f" from the checkpoint of step {step}" if step else " from the start" if attempt.number > 1 else ""
    moved = move(
        session,
        run,
        RunStatus.running,
        actor="trainer",
        text=f"Training started{again}.",
        attempt_number=attempt.number,
        data={"resume_step": step},
    )
    if not moved:  # Cancelled at this very moment: the rollback takes the claim back.
        raise NotClaimable(f"the run is {run.status}: exit")
    run.step, run.eta_seconds = step, None
    run.latest = latest_values(session, run.id)
    return _answer(session, settings, attempt, token, resume)


def _take(session: Session, attempt_id: str, process_id: str, token_sha256: str) -> bool:
    """The one guarded write: of many at once, one sees its condition hold."""
    later = aliased(Attempt)
    return (
        session.execute(
            update(Attempt)
            .where(
                Attempt.id == attempt_id,
                Attempt.claim_process_id.is_(None),
                Attempt.ended_at.is_(None),
                Attempt.reported_reason.is_(None),
                ~exists().where(later.run_id == Attempt.run_id, later.number > Attempt.number),
                exists().where(Run.id == Attempt.run_id, Run.status == RunStatus.launching),
            )
            .values(
                claim_process_id=process_id,
                token_sha256=token_sha256,
                claimed_at=func.now(),
                lease_renewed_at=func.now(),
                lease_serving_seconds=serving_seconds(),
            )
            .returning(Attempt.id),
            execution_options={"synchronize_session": False},
        ).scalar_one_or_none()
        is not None
    )


def _claimed_before(session: Session, attempt_id: str, process_id: str) -> Attempt:
    """The attempt, if this process holds it and should still train; else says why not."""
    attempt = session.get_one(Attempt, attempt_id, populate_existing=True)
    if attempt.claim_process_id is not None and attempt.claim_process_id != process_id:
        raise AlreadyClaimed("another process claimed this attempt first: exit")
    run = session.get_one(Run, attempt.run_id)
    newest = session.scalar(select(func.max(Attempt.number)).where(Attempt.run_id == run.id))
    if attempt.ended_at is not None or attempt.reported_reason is not None or newest != attempt.number:
        raise NotClaimable("the attempt is over: exit")
    if attempt.claim_process_id is None or run.status != RunStatus.running:
        raise NotClaimable(f"the run is {run.status}: exit")
    return attempt


def _what_it_saw(settings: Settings, request: ClaimRequest) -> str:
    saw = "no such file" if request.storage_proof is None else "another storage"
    return (
        f"the trainer found {saw} at {settings.storage / PROOF_NAME}: BASIN_STORAGE must be one folder that the API,"
        " the Celery worker and every training node mount at the same path"
    )


def _lost(session: Session, settings: Settings, attempt: Attempt) -> str | None:
    """What was looked for in vain, where the run has saved checkpoints and none of them is there; else None."""
    paths = valid_paths(session, attempt.run_id, before_attempt=attempt.number)
    if not paths:
        return None
    more = f" and {len(paths) - MOST_NAMED} older" if len(paths) > MOST_NAMED else ""
    return (
        f"none of the checkpoints that the run could go on from is in {settings.storage}: looked for"
        f" {', '.join(paths[:MOST_NAMED])}{more}"
    )


def _refuse(session: Session, attempt_id: str, reason: EndReason, error: StorageNotShared | CheckpointsLost) -> Refusal:
    """Writes down why, so that reconcile ends the attempt by it: the job cannot report without a token."""
    session.execute(
        update(Attempt)
        .where(Attempt.id == attempt_id, Attempt.claim_process_id.is_(None), Attempt.ended_at.is_(None))
        .values(reported_reason=reason, reported_detail=error.detail)
    )
    return Refusal(error=error)


def _answer(session: Session, settings: Settings, attempt: Attempt, token: str, resume: list[ResumePoint]) -> Claim:
    run = session.get_one(Run, attempt.run_id)
    return Claim(
        run_id=run.id,
        attempt_id=attempt.id,
        attempt_number=attempt.number,
        attempt_token=token,
        spec=run.spec,
        resume=resume,
        initial=_initial(session, settings, run.spec),
        storage=str(settings.storage),
        data_roots=[str(root) for root in settings.data_roots],
        lease_interval_seconds=settings.lease_interval_seconds,
        placement=attempt.placement,
        timeouts={"join": settings.join_timeout_seconds, "hang": settings.hang_timeout_seconds},
    )


def _initial(session: Session, settings: Settings, spec: dict[str, Any]) -> list[ResumePoint]:
    """Whether its owner may see that run was asked when this one was submitted."""
    named = (spec.get("model", {}).get("init_from") or {}).get("run")
    return stored_checkpoints(session, settings.storage, named) if named else []
