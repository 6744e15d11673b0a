"""The checkpoints of a run that can be read again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.db.tables import Attempt, CheckpointRow, Run
from api.runs import schemas
from api.settings import Settings
from trainer.contract.reports import ResumePoint

MAX_POINTS = 20


def stored_checkpoints(
    session: Session, storage: Path, run_id: str, *, before_attempt: int | None = None
) -> list[ResumePoint]:
    """Valid checkpoints of the run (of attempts before `before_attempt`) that are still on storage, newest first."""
    points: dict[str, ResumePoint] = {}
    for step, path in _valid(session, run_id, before_attempt):
        if path not in points and (storage / path).is_dir():
            points[path] = ResumePoint(step=step, path=path)
        if len(points) == MAX_POINTS:
            break
    return list(points.values())


def valid_paths(session: Session, run_id: str, *, before_attempt: int) -> list[str]:
    """Where the valid checkpoints of earlier attempts were saved, newest first, on storage still or not."""
    return list(dict.fromkeys(path for _, path in _valid(session, run_id, before_attempt)))


def _valid(session: Session, run_id: str, before_attempt: int | None) -> Iterator[tuple[int, str]]:
    """Step and path, newest first."""
    query = (
        select(CheckpointRow.step, CheckpointRow.path)
        .join(Attempt, Attempt.id == CheckpointRow.attempt_id)
        .where(
            CheckpointRow.run_id == run_id,
            (Attempt.valid_until_step.is_(None)) | (CheckpointRow.step <= Attempt.valid_until_step),
        )
        .order_by(CheckpointRow.step.desc(), Attempt.number.desc())
    )
    if before_attempt is not None:
        query = query.where(Attempt.number < before_attempt)
    yield from ((row.step, row.path) for row in session.execute(query))


def checkpoint_list(session: Session, settings: Settings, run: Run) -> schemas.CheckpointList:
    points = stored_checkpoints(session, settings.storage, run.id)
    return schemas.CheckpointList(
        storage=str(settings.storage),
        items=[schemas.Checkpoint(step=point.step, path=point.path) for point in points],
    )
