"""Metrics of a run as columns, and the catalogue of all metrics."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from api.routes.dependencies import CallerDep, RunDep, SessionDep
from api.routes.problems import PROBLEMS
from api.runs import schemas
from api.runs.metrics import columns
from trainer.contract.metrics import CATALOGUE

router = APIRouter(tags=["metrics"], responses=PROBLEMS)


@router.get("/metrics/catalogue", summary="What every metric means")
def get_catalogue(_: CallerDep) -> list[schemas.MetricInfo]:
    return [schemas.MetricInfo(**dataclasses.asdict(metric)) for metric in CATALOGUE]


@router.get(
    "/runs/{run_id}/metrics",
    summary="Metrics of a run",
    response_model=schemas.MetricColumns,
    responses={304: {"description": "Nothing changed since the answer with this ETag."}},
)
def get_metrics(
    run: RunDep,
    session: SessionDep,
    names: Annotated[str | None, Query(max_length=4096, description="Comma-separated; off: all, at most 64.")] = None,
    max_points: Annotated[int, Query(ge=2, le=10_000, description="Most entries of one series.")] = 1000,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Valid points only: what a crashed attempt did after the checkpoint its successor resumed from does not count.

    The same points give the same bytes. A series longer than `max_points` comes in buckets of equal width, each with
    its last, lowest and highest value.
    """
    wanted = [name for name in (names or "").split(",") if name]
    body = columns(session, run.id, names=wanted, max_points=max_points).model_dump_json().encode()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if if_none_match is not None and etag in (tag.strip().removeprefix("W/") for tag in if_none_match.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)
