"""A submission becomes a queued run, once, however often it is sent with one Idempotency-Key."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from api.db.engine import after_commit_send
from api.db.tables import Event, Run
from api.errors import Conflict, IdempotencyMismatch, Invalid
from api.runs.access import Caller, must_submit, visible_to
from api.runs.bodies import Submission
from api.runs.capacity import known_nodes, never_fits
from api.runs.data_roots import folder_problems
from api.runs.documents import sha256_of_document, unstorable
from api.runs.durations import likeness_of
from api.runs.initial_weights import initial_problems
from api.runs.length import split_problems
from api.runs.queue import tell_overtaken
from api.runs.quotas import NO_QUOTAS, Quotas, quota_problems
from api.runs.webhooks.notices import tell_webhooks
from api.telemetry import traces
from trainer.contract.problems import SpecProblem

MAX_KEY = 128


def submit(
    session: Session,
    caller: Caller,
    submission: Submission,
    *,
    request: dict[str, Any],
    data_roots: Sequence[Path] = (),
    storage: Path | None = None,
    quotas: Quotas = NO_QUOTAS,
    idempotency_key: str | None = None,
) -> tuple[Run, bool]:
    """The run and whether it is new; `request` is the body as sent, `quotas` are those of users who have none of their
    own. Does not commit.

    Raises NotAllowed, IdempotencyMismatch, Conflict for the key of a deleted run, and Invalid for what cannot be
    stored, read or can never fit.
    """
    must_submit(caller)
    must_be_storable(request, idempotency_key)
    digest = sha256_of_document(request)
    if idempotency_key is not None and (run := _earlier(session, caller, idempotency_key, digest)):
        return run, False
    try:
        must_be_possible(session, caller, submission, data_roots, storage, quotas, lock=True)
    except Invalid:
        # While this one waited for the quota's lock, the same submission may have taken the last place.
        if idempotency_key is not None and (run := _earlier(session, caller, idempotency_key, digest)):
            return run, False
        raise
    run_id = secrets.token_hex(6)
    new = session.execute(
        insert(Run)
        .values(
            id=run_id,
            user_id=caller.user_id,
            project=submission.project,
            study=submission.study,
            visibility=submission.visibility,
            priority=submission.priority,
            name=submission.name or f"{name_stem(submission)[:123]}-{run_id[:4]}",
            copied_from=submission.copied_from,
            time_limit_seconds=submission.spec.limits.time_limit_seconds,
            deadline=submission.spec.limits.deadline,
            preemptible=submission.preemptible,
            likeness=likeness_of(submission.spec),
            request=request,
            request_sha256=digest,
            spec=submission.spec.model_dump(mode="json"),
            idempotency_key=idempotency_key,
            traceparent=traces.current(),
        )
        .on_conflict_do_nothing(index_elements=["user_id", "idempotency_key"])
        .returning(Run)
    ).scalar_one_or_none()
    if new is None:  # The same request at the same moment was first, and is committed by now.
        assert idempotency_key is not None, "only the key can collide"
        run = _earlier(session, caller, idempotency_key, digest)
        assert run is not None, "a conflicting row is there"
        return run, False
    session.add(Event(run_id=run_id, kind="submitted", actor=caller.actor, text="Submitted and queued."))
    tell_overtaken(session, submission.priority)
    after_commit_send(session, "launch", run_id)
    tell_webhooks(session, new, None, sentence="Submitted and queued.")
    return new, True


def must_be_storable(request: Any, idempotency_key: str | None = None) -> None:
    """Raises Invalid."""
    if problem := unstorable(request) or _bad_key(idempotency_key):
        raise Invalid.because([problem])


def must_be_possible(
    session: Session,
    caller: Caller,
    submission: Submission,
    data_roots: Sequence[Path],
    storage: Path | None,
    quotas: Quotas,
    *,
    lock: bool = False,
) -> None:
    """Raises Invalid with everything in a well-formed submission that cannot work here or is over a quota."""
    spec = submission.spec
    problems = [*split_problems(spec), *folder_problems(spec.data, data_roots)]
    problems += initial_problems(session, caller, spec.model.init_from, data_roots, storage)
    if problem := never_fits(spec.resources, known_nodes(session)):
        problems.append(problem)
    if problem := _deadline_past(session, spec.limits.deadline):
        problems.append(problem)
    if problem := _origin_unknown(session, caller, submission.copied_from):
        problems.append(problem)
    problems += quota_problems(session, caller.user_id, spec.resources, quotas, lock=lock)
    if problems:
        raise Invalid.because(problems)


def name_stem(submission: Submission) -> str:
    """What the name of a run begins with that was given none."""
    spec = submission.spec
    return f"{spec.optimizer.name if spec.method.name == 'none' else spec.method.name}-{spec.model.name}"


def _deadline_past(session: Session, deadline: datetime | None) -> SpecProblem | None:
    """By the database's clock, which will also be the judge of it."""
    if deadline is None:
        return None
    now: datetime = session.execute(select(func.now())).scalar_one()
    if deadline > now:
        return None
    return SpecProblem(
        path="spec.limits.deadline",
        value=deadline.isoformat(),
        allowed=f"must be in the future, and it is {now.isoformat(timespec='seconds')}",
        remedy="Give a later moment, or leave it out",
    )


def _origin_unknown(session: Session, caller: Caller, run_id: str | None) -> SpecProblem | None:
    """A run that is private to somebody else is told like one that is not there."""
    if run_id is None or session.scalar(select(Run.id).where(Run.id == run_id, visible_to(caller))):
        return None
    return SpecProblem(
        path="copied_from",
        value=run_id,
        allowed="must be a run that you may see",
        remedy="Leave it out, or look the id up with `basin run list`",
    )


def _earlier(session: Session, caller: Caller, key: str, digest: str) -> Run | None:
    run = session.execute(
        select(Run).where(Run.user_id == caller.user_id, Run.idempotency_key == key)
    ).scalar_one_or_none()
    if run is not None and run.request_sha256 != digest:
        raise IdempotencyMismatch(
            f"Idempotency-Key {key!r} was used for run {run.id} with another body: send the same body, or a new key",
            extra={"run_id": run.id},
        )
    if run is not None and run.deleted_at is not None:
        remedy = "" if run.purged_at is not None else f"bring it back with `basin run restore {run.id}`, or "
        raise Conflict(
            f"Idempotency-Key {key!r} was used for run {run.id}, which is deleted: {remedy}send a new key",
            extra={"run_id": run.id},
        )
    return run


def _bad_key(key: str | None) -> SpecProblem | None:
    if key is None or (1 <= len(key) <= MAX_KEY and key.isascii() and key.isprintable()):
        return None
    return SpecProblem(
        path="Idempotency-Key",
        value=ascii(key)[:MAX_KEY],
        allowed=f"must be 1 to {MAX_KEY} printable ASCII characters",
        remedy="Use a random UUID",
    )
