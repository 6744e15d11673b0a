"""Archiving, which tidies lists, and deleting, which can be undone for a while.

A deleted run is hidden at once and everywhere. Its files and rows go later: `worker.purge` removes them once
BASIN_DELETED_KEPT_HOURS have passed.
"""

from __future__ import annotations

from sqlalchemy import String, TextualSelect, func, select, text
from sqlalchemy.orm import Session

from api.db.tables import Event, Run
from api.errors import Conflict
from api.runs.access import Caller, must_own
from api.runs.status import TERMINAL

EVENT = "kept"

LIVE_ORIGINS: TextualSelect = text(
    f"""
    SELECT runs.id AS live, origin.id AS origin
    FROM runs, LATERAL (
        SELECT runs.spec #>> '{{model,init_from,run}}' AS id
        UNION ALL
        SELECT found[2] FROM regexp_matches(
            coalesce(runs.spec #>> '{{model,init_from,checkpoint}}', runs.spec #>> '{{model,init_from,folder}}'),
            '(^|/)runs/[./]*([a-z0-9]+)', 'g') AS found
    ) AS origin
    WHERE runs.status NOT IN ({", ".join(repr(status.value) for status in sorted(TERMINAL))})
        AND origin.id IS NOT NULL
    """
).columns(live=String, origin=String)
"""Runs that are not over, each with every run that its first weights may come from: by id, or by a path below
`runs/<id>`, however its slashes are written. A path that leads there by a link is not seen."""


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
    if user := _live_user_of(session, caller, run.id):
        raise Conflict(f"{user} starts from the checkpoints of {run.id} (model.init_from): wait until it is over")
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


def _live_user_of(session: Session, caller: Caller, run_id: str) -> str | None:
    """In words, a run that is not over and starts from `run_id`: one that the caller may see, if there is one."""
    uses = LIVE_ORIGINS.subquery("uses")
    found = select(Run.id, Run.user_id, Run.visibility).where(
        Run.id.in_(select(uses.c.live).where(uses.c.origin == run_id))
    )
    users = session.execute(found.order_by(Run.created_at, Run.id)).all()
    for user in users:
        if caller.may_see(user_id=user.user_id, visibility=user.visibility):
            return f"run {user.id}"
    return "a run that you may not see" if users else None
