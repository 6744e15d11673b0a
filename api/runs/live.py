"""What a transaction changed, as a dashboard hears it, and the outbox that sends it after the commit."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.db.engine import Change, Message, after_commit_publish
from api.db.tables import Event, Run
from api.dispatch import Dispatcher
from api.runs import schemas
from api.runs.views import event_view, finite, summaries
from api.settings import Settings


class LiveOutbox:
    """The real outbox: Celery and the live channel. One per process."""

    def __init__(self, settings: Settings) -> None:
        self.dispatcher = Dispatcher(settings)

    def changes_of(self, session: Session, run_ids: Collection[str], events: list[Event]) -> list[Change]:
        """The summary of each run and its new events, runs first."""
        if not run_ids:
            return []
        runs = {run.id: run for run in session.scalars(select(Run).where(Run.id.in_(run_ids)))}
        ordered = [runs[run_id] for run_id in run_ids if run_id in runs]
        changes = [
            _change("run", run, summary) for run, summary in zip(ordered, summaries(session, ordered), strict=True)
        ]
        return changes + [_change("event", runs[event.run_id], event_view(event)) for event in events]

    def deliver(self, messages: list[Message], changes: list[Change]) -> None:
        self.dispatcher.send([(message.task, message.arguments) for message in messages])
        self.dispatcher.publish([json.dumps(asdict(change), separators=(",", ":")) for change in changes])

    def close(self) -> None:
        self.dispatcher.close()


def publish_metrics(session: Session, run: Run, attempt_number: int, step: int, values: Mapping[str, float]) -> None:
    """Publishes the numbers of one step after the commit."""
    shown = schemas.MetricsChange(
        run_id=run.id,
        attempt=attempt_number,
        step=step,
        values={name: finite(value) for name, value in values.items()},
    )
    after_commit_publish(session, _change("metrics", run, shown))


def _change(kind: str, run: Run, data: schemas.Answer) -> Change:
    return Change(
        kind=kind,
        run_id=run.id,
        user_id=run.user_id,
        visibility=run.visibility,
        data=data.model_dump(mode="json"),
    )
