"""What trainers call: claim and report. What people read of an attempt: its log."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse
from sqlalchemy import select

from api.db.tables import Attempt
from api.errors import NotAuthenticated, NotFound
from api.routes.dependencies import Bearer, RunDep, ServicesDep, SessionDep
from api.routes.problems import PROBLEMS, problem
from api.runs import schemas
from api.runs.claims import Refusal, claim
from api.runs.credentials import same, sha256_of
from api.runs.intake import take_in
from api.runs.logs import log_tail
from trainer.contract.reports import Claim, ClaimRequest, ReportBatch, ReportReply

router = APIRouter(responses=PROBLEMS)
AttemptId = Annotated[str, Path(max_length=24)]


@router.post("/attempts/{attempt_id}/claim", tags=["trainer"], summary="Claim an attempt", response_model=Claim)
def claim_attempt(
    attempt_id: AttemptId, body: ClaimRequest, services: ServicesDep, session: SessionDep, bearer: Bearer
) -> Claim | JSONResponse:
    """With the launch code as bearer token. The first process wins; 409 for any other: it exits. The same process
    may ask again and gets the same answer."""
    code = bearer.credentials if bearer else None
    answer = claim(session, services.settings, attempt_id, code, body)
    # A refusal was written down and must be committed, so it is answered rather than raised.
    return problem(answer.error) if isinstance(answer, Refusal) else answer


@router.post("/attempts/{attempt_id}/reports", tags=["trainer"], summary="Report")
def post_reports(attempt_id: AttemptId, batch: ReportBatch, session: SessionDep, bearer: Bearer) -> ReportReply:
    """With the attempt's token, in order, gzip accepted. A repeat does nothing; a gap is 409 with `acknowledged`."""
    attempt = session.get(Attempt, attempt_id)
    token = bearer.credentials if bearer else ""
    if attempt is None or attempt.token_sha256 is None or not same(attempt.token_sha256, sha256_of(token)):
        raise NotAuthenticated("the attempt token is wrong: only the process that claimed this attempt can report")
    return take_in(session, attempt, batch.writer, batch.reports)


@router.get("/runs/{run_id}/attempts/{number}/log", tags=["runs"], summary="Log lines of an attempt")
def get_log(
    run: RunDep,
    services: ServicesDep,
    session: SessionDep,
    number: Annotated[int, Path(ge=1, le=1_000_000)],
    source: Annotated[str | None, Query(max_length=16, description="One of `sources`; off: rank 0, else any.")] = None,
    lines: Annotated[int, Query(ge=1, le=5000)] = 200,
    after: Annotated[
        int | None, Query(ge=0, le=2**53, description="`end` of the answer before: the first lines behind it.")
    ] = None,
) -> schemas.LogTail:
    """The last lines; to follow, ask again with `after` set to `end` and `source` to the answer's."""
    attempt = session.scalar(select(Attempt).where(Attempt.run_id == run.id, Attempt.number == number))
    if attempt is None:
        raise NotFound(f"run {run.id} has no attempt {number}")
    return log_tail(services.settings.storage, attempt, source=source, lines=lines, after=after)
