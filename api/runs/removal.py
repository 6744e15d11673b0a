"""Archiving, which tidies lists, and deleting, which can be undone for a while.

A deleted run is hidden at once and everywhere. Its files and rows go later: `worker.purge` removes them once
BASIN_DELETED_KEPT_HOURS have passed.
"""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.db.tables import Event, Run
from api.errors import Conflict
from api.runs.access import Caller, must_own
from api.runs.status import TERMINAL

EVENT = "kept"


def archive(session: Session, caller: Caller, run: Run) -> bool:
    """Leaves a run out of lists; True if that changed anything. Does not commit. Raises NotAllowed, Conflict."""
    must_own(caller, run, "archive")
    _must_be_over(run, "archived")
    return _set(session, caller, run, "archived_at", True, "Archived.")


def unarchive(session: Session, caller: Caller, run: Run) -> bool:
    """Brings it back to the lists; True if that changed anything. Does not commit. Raises NotAllowed."""
    must_own(caller, run, "unarchive")
    return _set(session, caller, run, "archived_at", False, "Taken out of the archive.")


def delete(session: Session, caller: Caller, run: Run) -> bool:
    """Hides a run that is over and will be removed; True if that changed anything. Does not commit.

    Raises NotAllowed, and Conflict for a run that is not over or whose checkpoints a live run starts from.
    """
    must_own(caller, run, "delete")
    _must_be_over(run, "deleted")
    if user := _live_user_of(session, run.id):
        raise Conflict(
            f"run {user} starts from the checkpoints of {run.id} (model.init_from.run): wait until it is over"
        )
    return _set(session, caller, run, "deleted_at", True, "Deleted.")


def restore(session: Session, caller: Caller, run: Run) -> bool:
    """Undoes `delete`; True if that changed anything. Does not commit. Raises NotAllowed."""
    must_own(caller, run, "restore")
    return _set(session, caller, run, "deleted_at", False, "Restored.")


def _set(session: Session, caller: Caller, run: Run, column: str, on: bool, text: str) -> bool:
    if (getattr(run, column) is not None) == on:
        return False
    setattr(run, column, func.now() if on else None)
    session.add(Event(run_id=run.id, kind=EVENT, actor=caller.actor, text=text))
    session.flush()
    session.refresh(run)
    return True


def _must_be_over(run: Run, done: str) -> None:
    if run.status not in TERMINAL:
        raise Conflict(f"run {run.id} is {run.status}: only a run that is over can be {done}; cancel it first")


def _live_user_of(session: Session, run_id: str) -> str | None:
    """A run that is not over and names `run_id` as the origin of its first weights."""
    return session.scalar(
        select(Run.id)
        .where(
            Run.status.not_in([status.value for status in TERMINAL]),
            Run.spec["model"]["init_from"]["run"].astext == run_id,
        )
        .limit(1)
    )
