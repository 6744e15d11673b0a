"""Removes deleted runs for good, once nobody can restore them any more: first the files, then the rows.

In this order a crash between the two leaves a row, and the next pass goes on from there. Nothing outside of the run's
own folder is ever touched.
"""

from __future__ import annotations

import re
import shutil
from datetime import timedelta
from pathlib import Path

import structlog
from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy import CursorResult, delete, exists, func, select, update

from api.db.tables import Attempt, MetricPoint, Run
from worker.connections import Connections

log = structlog.get_logger()

MOST_PURGED = 50
"""Runs removed in one pass; the next one goes on."""
POINTS_AT_ONCE = 100_000
"""Metric points deleted in one transaction, so that none takes long."""
RUN_ID = re.compile(r"[a-z0-9]{1,16}")


def purge_deleted(connections: Connections) -> list[str]:
    """One pass; returns the ids of the runs that are gone now. Does nothing beside another pass. Idempotent."""
    gone: list[str] = []
    with connections.only_one("purge") as mine:
        for run_id in _due(connections) if mine else []:
            try:
                if _remove_files(connections.settings.storage, run_id):
                    _remove_rows(connections, run_id)
                    gone.append(run_id)
            except SoftTimeLimitExceeded:
                raise
            except OSError as error:
                log.warning("not_purged", run=run_id, error=str(error))
    if gone:
        log.info("purged", runs=gone)
    return gone


def _due(connections: Connections) -> list[str]:
    """Marks the runs whose time is over, which ends their being restorable, and returns all that are marked."""
    kept = timedelta(hours=connections.settings.deleted_kept_hours)
    holds_slots = exists().where(Attempt.run_id == Run.id, Attempt.slots_released_at.is_(None))
    with connections.transaction() as session:
        session.execute(
            update(Run)
            .where(Run.deleted_at <= func.now() - kept, Run.purged_at.is_(None), ~holds_slots)
            .values(purged_at=func.now()),
            execution_options={"synchronize_session": False},
        )
        return list(
            session.scalars(
                select(Run.id)
                .where(Run.purged_at.is_not(None), Run.deleted_at.is_not(None))
                .order_by(Run.deleted_at)
                .limit(MOST_PURGED)
            )
        )


def run_folder(storage: Path, run_id: str) -> Path | None:
    """Where the run's files lie; None if that would not be a folder of its own directly below `runs/`."""
    folder = storage / "runs" / run_id
    if not RUN_ID.fullmatch(run_id) or folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        return None
    root = storage.resolve()
    return folder if folder.resolve() == root / "runs" / run_id else None


def _remove_files(storage: Path, run_id: str) -> bool:
    """True once nothing is left of the run's folder. Links inside it are removed and never followed."""
    folder = run_folder(storage, run_id)
    if folder is None:
        log.error("purge_refused", run=run_id, storage=str(storage), why="its folder is a link or no folder of its own")
        return False
    if folder.exists():
        shutil.rmtree(folder)
    return True


def _remove_rows(connections: Connections, run_id: str) -> None:
    """The points first, in parts; the rest goes with the run's row."""
    while True:
        with connections.transaction() as session:
            found = select(MetricPoint.run_id, MetricPoint.metric_id, MetricPoint.attempt_number, MetricPoint.step)
            keys = found.where(MetricPoint.run_id == run_id).limit(POINTS_AT_ONCE).cte("part")
            done = session.execute(
                delete(MetricPoint).where(
                    MetricPoint.run_id == keys.c.run_id,
                    MetricPoint.metric_id == keys.c.metric_id,
                    MetricPoint.attempt_number == keys.c.attempt_number,
                    MetricPoint.step == keys.c.step,
                ),
                execution_options={"synchronize_session": False},
            )
            assert isinstance(done, CursorResult)
            if done.rowcount < POINTS_AT_ONCE:
                break
    with connections.transaction() as session:
        session.execute(
            delete(Run).where(Run.id == run_id, Run.purged_at.is_not(None)),
            execution_options={"synchronize_session": False},
        )
