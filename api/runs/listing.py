"""Runs and events, page by page. Keyset paging: rows that arrive meanwhile shift nothing."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from api.db.tables import Event, Run
from api.errors import Invalid
from api.runs import schemas
from api.runs.access import Caller, visible_to
from api.runs.status import RunStatus
from api.runs.views import event_view, summaries
from trainer.contract.problems import SpecProblem


def list_runs(
    session: Session,
    caller: Caller,
    *,
    statuses: Sequence[RunStatus] = (),
    project: str | None = None,
    cursor: str | None = None,
    limit: int,
    lease_timeout_seconds: float,
) -> schemas.RunPage:
    """Newest first. Raises Invalid for a cursor that was not made here."""
    query = select(Run).where(visible_to(caller))
    if statuses:
        query = query.where(Run.status.in_([status.value for status in statuses]))
    if project is not None:
        query = query.where(Run.project == project)
    if cursor is not None:
        query = query.where(tuple_(Run.created_at, Run.id) < tuple_(*_position_of(cursor)))
    rows = session.scalars(query.order_by(Run.created_at.desc(), Run.id.desc()).limit(limit + 1)).all()
    page = rows[:limit]
    return schemas.RunPage(
        items=summaries(session, page, lease_timeout_seconds=lease_timeout_seconds),
        next_cursor=_cursor_after(page[-1]) if len(rows) > limit else None,
    )


def list_events(session: Session, run: Run, *, after: int, limit: int) -> schemas.EventPage:
    """The timeline, oldest first, from behind event `after`."""
    rows = session.scalars(
        select(Event).where(Event.run_id == run.id, Event.id > after).order_by(Event.id).limit(limit + 1)
    ).all()
    page = rows[:limit]
    return schemas.EventPage(
        items=[event_view(event) for event in page], next_after=page[-1].id if len(rows) > limit else None
    )


def _cursor_after(run: Run) -> str:
    return base64.urlsafe_b64encode(f"{run.created_at.isoformat()}|{run.id}".encode()).decode().rstrip("=")


def _position_of(cursor: str) -> tuple[datetime, str]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        created_at, run_id = text.split("|")
        moment = datetime.fromisoformat(created_at)
        if moment.tzinfo is None or not run_id.isalnum():
            raise ValueError(text)
    except (ValueError, binascii.Error):
        problem = SpecProblem(
            path="query.cursor",
            value=cursor[:120],
            allowed="must be the `next_cursor` of an earlier page",
            remedy="Start again without it",
        )
        raise Invalid.because([problem]) from None
    return moment, run_id
