"""What a transaction changed, as a dashboard hears it, and the outbox that wakes whoever follows after the commit."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.db.changes import Change
from api.db.engine import Message, publish
from api.db.tables import Event, Run
from api.dispatch import Dispatcher
from api.runs import schemas
from api.runs.views import event_view, finite, summaries
from api.settings import Settings


class LiveOutbox:
    """The real outbox: Celery and the channel that wakes live streams. One per process."""

    def __init__(self, settings: Settings) -> None:
        self.dispatcher = Dispatcher(settings)

    def changes_of(self, session: Session, run_ids: Collection[str], events: list[Event]) -> list[Change]:
        """The summary of each run and its new events, runs first.

        A summary is rendered with its run's row locked until the commit, since streams tell changes in the order in
        which they were written (`api.db.changes`). A run that somebody else has locked is left to them: they are
        changing it and tell of it after us. Nobody is waited for, so nobody waits in a circle.
        """
        if not run_ids:
            return []
        wanted = select(Run).where(Run.id.in_(run_ids)).execution_options(populate_existing=True)
        locked = {run.id: run for run in session.scalars(wanted.with_for_update(key_share=True, skip_locked=True))}
        ordered = [locked[run_id] for run_id in run_ids if run_id in locked]
        changes = [
            _change("run", run, summary) for run, summary in zip(ordered, summaries(session, ordered), strict=True)
        ]
        runs = {event.run_id: locked.get(event.run_id) or session.get_one(Run, event.run_id) for event in events}
        return changes + [_change("event", runs[event.run_id], event_view(event)) for event in events]

    def deliver(self, messages: list[Message], *, wakes_streams: bool) -> None:
        self.dispatcher.send([(message.task, message.arguments) for message in messages])
        if wakes_streams:
            self.dispatcher.wake_streams()

    def close(self) -> None:
        self.dispatcher.close()


def publish_metrics(session: Session, run: Run, attempt_number: int, step: int, values: Mapping[str, float]) -> None:
    """Tells the numbers of one step."""
    shown = schemas.MetricsChange(
        run_id=run.id,
        attempt=attempt_number,
        step=step,
        values={name: finite(value) for name, value in values.items()},
    )
    publish(session, _change("metrics", run, shown))


def _change(kind: str, run: Run, data: schemas.Answer) -> Change:
    return Change(
        kind=kind,
        run_id=run.id,
        user_id=run.user_id,
        visibility=run.visibility,
        data=data.model_dump(mode="json"),
    )
