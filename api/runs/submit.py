"""A submission becomes a queued run, once, however often it is sent with one Idempotency-Key."""

from __future__ import annotations

import secrets
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from api.db.engine import after_commit_send
from api.db.tables import Event, Run
from api.errors import IdempotencyMismatch, Invalid
from api.runs.access import Caller, must_submit
from api.runs.capacity import known_nodes, never_fits
from api.runs.documents import sha256_of_document, unstorable
from api.runs.schemas import Submission
from trainer.contract.problems import SpecProblem

MAX_KEY = 128


def submit(
    session: Session,
    caller: Caller,
    submission: Submission,
    *,
    request: dict[str, Any],
    idempotency_key: str | None = None,
) -> tuple[Run, bool]:
    """The run and whether it is new; `request` is the body as sent. Does not commit.

    Raises NotAllowed, IdempotencyMismatch, and Invalid for what cannot be stored or can never fit.
    """
    must_submit(caller)
    if problem := unstorable(request) or _bad_key(idempotency_key):
        raise Invalid.because([problem])
    digest = sha256_of_document(request)
    if idempotency_key is not None and (run := _earlier(session, caller, idempotency_key, digest)):
        return run, False
    if problem := never_fits(submission.spec.resources, known_nodes(session)):
        raise Invalid.because([problem])
    run_id = secrets.token_hex(6)
    new = session.execute(
        insert(Run)
        .values(
            id=run_id,
            user_id=caller.user_id,
            project=submission.project,
            visibility=submission.visibility,
            name=submission.name or _name_for(submission, run_id),
            request=request,
            request_sha256=digest,
            spec=submission.spec.model_dump(mode="json"),
            idempotency_key=idempotency_key,
        )
        .on_conflict_do_nothing(index_elements=["user_id", "idempotency_key"])
        .returning(Run.id)
    ).scalar_one_or_none()
    if new is None:  # The same request at the same moment was first, and is committed by now.
        assert idempotency_key is not None, "only the key can collide"
        run = _earlier(session, caller, idempotency_key, digest)
        assert run is not None, "a conflicting row is there"
        return run, False
    session.add(Event(run_id=run_id, kind="submitted", actor=caller.actor, text="Submitted and queued."))
    after_commit_send(session, "launch", run_id)
    return session.get_one(Run, run_id), True


def _earlier(session: Session, caller: Caller, key: str, digest: str) -> Run | None:
    run = session.execute(
        select(Run).where(Run.user_id == caller.user_id, Run.idempotency_key == key)
    ).scalar_one_or_none()
    if run is not None and run.request_sha256 != digest:
        raise IdempotencyMismatch(
            f"Idempotency-Key {key!r} was used for run {run.id} with another body: send the same body, or a new key",
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


def _name_for(submission: Submission, run_id: str) -> str:
    spec = submission.spec
    method = spec.optimizer.name if spec.method.name == "none" else spec.method.name
    return f"{method}-{spec.model.name}-{run_id[:4]}"[:128]
