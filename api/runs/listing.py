"""Runs, studies and events, page by page. Keyset paging: rows that arrive meanwhile shift nothing."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, or_, select, tuple_
from sqlalchemy.orm import Session

from api.db.tables import Event, Run
from api.errors import Invalid
from api.runs import schemas
from api.runs.access import Caller, deleted_visible_to, visible_to
from api.runs.documents import unstorable
from api.runs.status import TERMINAL, RunStatus
from api.runs.views import event_view, summaries
from trainer.contract.problems import SpecProblem

MAX_STUDIES = 200


def list_runs(
    session: Session,
    caller: Caller,
    *,
    statuses: Sequence[RunStatus] = (),
    project: str | None = None,
    study: str | None = None,
    contains: str | None = None,
    archived: bool = False,
    deleted: bool = False,
    cursor: str | None = None,
    limit: int,
    lease_timeout_seconds: float,
) -> schemas.RunPage:
    """Newest first; `contains` is looked for in names and ids, without regard to case.

    Either the runs at work, or those that were archived, or those that were deleted and can be restored.
    Raises Invalid for a cursor that was not made here, and for words that no name can hold.
    """
    query = select(Run).where(deleted_visible_to(caller) if deleted else visible_to(caller))
    if not deleted:
        query = query.where(Run.archived_at.is_not(None) if archived else Run.archived_at.is_(None))
    if statuses:
        query = query.where(Run.status.in_([status.value for status in statuses]))
    if project is not None:
        query = query.where(Run.project == project)
    if study is not None:
        query = query.where(Run.study == _storable(study, "study"))
    if contains:
        words = _storable(contains, "q")
        query = query.where(
            or_(Run.name.icontains(words, autoescape=True), Run.id.contains(words.lower(), autoescape=True))
        )
    if cursor is not None:
        query = query.where(tuple_(Run.created_at, Run.id) < tuple_(*_position_of(cursor)))
    rows = session.scalars(query.order_by(Run.created_at.desc(), Run.id.desc()).limit(limit + 1)).all()
    page = rows[:limit]
    return schemas.RunPage(
        items=summaries(session, page, lease_timeout_seconds=lease_timeout_seconds),
        next_cursor=_cursor_after(page[-1]) if len(rows) > limit else None,
    )


def list_studies(session: Session, caller: Caller, *, contains: str | None = None) -> schemas.StudyList:
    """The studies of the runs that the caller may see, the one with the newest run first."""
    live = Run.status.not_in([status.value for status in TERMINAL])
    newest_at = func.max(Run.created_at)
    query = (
        select(
            Run.study,
            func.count(),
            func.count().filter(live),
            func.count().filter(Run.status == RunStatus.succeeded),
            func.count().filter(Run.status == RunStatus.failed),
            newest_at,
        )
        .where(Run.study.is_not(None), visible_to(caller))
        .group_by(Run.study)
        .order_by(newest_at.desc(), Run.study)
        .limit(MAX_STUDIES)
    )
    if contains:
        query = query.where(Run.study.icontains(_storable(contains, "q"), autoescape=True))
    return schemas.StudyList(
        items=[
            schemas.Study(name=name, runs=runs, live=live, succeeded=succeeded, failed=failed, newest_at=at)
            for name, runs, live, succeeded, failed, at in session.execute(query)
        ]
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


def _storable(words: str, field: str) -> str:
    if problem := unstorable(words):
        raise Invalid.because([problem.model_copy(update={"path": f"query.{field}"})])
    return words


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
