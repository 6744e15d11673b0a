"""Removes deleted runs for good, once nobody can restore them any more: first the files, then the rows.

In this order a crash between the two leaves a row, and the next pass goes on from there. Nothing outside of the run's
own folder is ever touched. A run that cannot be removed goes behind the others, so that it does not hold them up.
"""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from time import monotonic

import structlog
from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy import CursorResult, delete, exists, func, select, update
from sqlalchemy.exc import SQLAlchemyError

from api.db.tables import Attempt, MetricPoint, Run
from api.runs.past_counts import keep_counts
from api.runs.removal import LIVE_ORIGINS
from api.runs.storage import PROOF_NAME, is_there, run_folder
from api.runs.use import forget_old_use, keep_use
from worker.connections import Connections

log = structlog.get_logger()

MOST_PURGED = 50
"""Runs removed in one pass; the next one goes on."""
BEGIN_SECONDS = 30.0
"""After so long a pass begins no further run: it must not hold a Celery process for long."""
POINTS_AT_ONCE = 100_000
"""Metric points deleted in one transaction, so that none takes long."""


def purge_deleted(connections: Connections) -> list[str]:
    """One pass; returns the ids of the runs that are gone now. Does nothing beside another pass, nor where the storage
    is without its proof or with another: it may not be mounted. Idempotent."""
    gone: list[str] = []
    with connections.only_one("purge") as mine:
        if not mine or not _is_there(connections):
            return []
        end = monotonic() + BEGIN_SECONDS
        for run_id in _due(connections):
            if monotonic() >= end:
                break
            if _remove(connections, run_id):
                gone.append(run_id)
        with connections.transaction() as session:
            forget_old_use(session, connections.settings.share_half_life_seconds)
    if gone:
        log.info("purged", runs=gone)
    return gone


def _is_there(connections: Connections) -> bool:
    storage = connections.settings.storage
    with connections.transaction() as session:
        if is_there(session, storage):
            return True
    log.error("purge_refused", storage=str(storage), why=f"{PROOF_NAME} is missing or another's: mount the storage")
    return False


def _remove(connections: Connections, run_id: str) -> bool:
    """Whether the run is gone now; if not, it goes behind the others. Raises SQLAlchemyError only if that fails too."""
    try:
        # Once more: what is missing because the storage was unmounted meanwhile is not removed.
        if _remove_files(connections.settings.storage, run_id) and _is_there(connections):
            _remove_rows(connections, run_id)
            return True
    except SoftTimeLimitExceeded:
        _put_back(connections, run_id)
        raise
    except (OSError, SQLAlchemyError) as error:
        log.warning("not_purged", run=run_id, error=str(error).partition("\n")[0])
    _put_back(connections, run_id)
    return False


def _put_back(connections: Connections, run_id: str) -> None:
    """It stays marked, so that a restore cannot come between."""
    with connections.transaction() as session:
        session.execute(
            update(Run).where(Run.id == run_id, Run.purged_at.is_not(None)).values(purged_at=func.now()),
            execution_options={"synchronize_session": False},
        )


def _due(connections: Connections) -> list[str]:
    """Marks the runs whose time is over, which ends their being restorable, and returns all that are marked.

    One that a live run starts from stays unmarked. `delete` refuses it, but does not see a submission that is not yet
    committed; hours later all are.
    """
    kept = timedelta(hours=connections.settings.deleted_kept_hours)
    holds_slots = exists().where(Attempt.run_id == Run.id, Attempt.slots_released_at.is_(None))
    in_use = Run.id.in_(select(LIVE_ORIGINS.subquery("uses").c.origin))
    with connections.transaction() as session:
        session.execute(
            update(Run)
            .where(Run.deleted_at <= func.now() - kept, Run.purged_at.is_(None), ~holds_slots, ~in_use)
            .values(purged_at=func.now()),
            execution_options={"synchronize_session": False},
        )
        return list(
            session.scalars(
                select(Run.id)
                .where(Run.purged_at.is_not(None), Run.deleted_at.is_not(None))
                .order_by(Run.purged_at, Run.deleted_at)
                .limit(MOST_PURGED)
            )
        )


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
    """The points first, in parts; the rest goes with the run's row, but for what is counted of it."""
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
        marked = select(Run.id).where(Run.id == run_id, Run.purged_at.is_not(None)).with_for_update()
        if session.scalar(marked) is None:
            return
        keep_use(session, run_id)
        keep_counts(session, run_id)
        session.execute(delete(Run).where(Run.id == run_id), execution_options={"synchronize_session": False})
