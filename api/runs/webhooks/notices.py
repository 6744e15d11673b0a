"""What a status move means to webhooks, and the messages for them, written in the transaction of the move.

So a message is there exactly when its event is, whatever becomes of the broker or the Celery worker.
"""

from __future__ import annotations

import json
import secrets
from enum import StrEnum
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from api.db.engine import after_commit_send
from api.db.tables import Run
from trainer.contract.ends import ENDS, EndReason

DELIVER_TASK = "deliver_webhooks"
MAX_DETAIL = 500


class EventType(StrEnum):
    """What a webhook can be told of a run."""

    queued = "run.queued"
    """It was submitted, resumed, or made way for another run and waits again."""
    started = "run.started"
    """An attempt began to train; `data.attempt` says which."""
    retried = "run.retried"
    """An attempt was lost and a new one follows."""
    paused = "run.paused"
    succeeded = "run.succeeded"
    failed = "run.failed"
    cancelled = "run.cancelled"


TEST_TYPE = "webhook.test"
"""Sent by the test button alone; no webhook chooses it."""

_BY_STATUS = {
    "running": EventType.started,
    "paused": EventType.paused,
    "succeeded": EventType.succeeded,
    "failed": EventType.failed,
    "cancelled": EventType.cancelled,
}


def event_of(before: str | None, to: str) -> EventType | None:
    """The type that a move from status `before` (null: submitted) to `to` is told as; null: webhooks hear nothing."""
    if to == "queued":
        return EventType.retried if before in ("launching", "running") else EventType.queued
    return _BY_STATUS.get(to)


# Webhooks that are being deleted at this moment are waited for and left out, so that no foreign key fails the move.
_WRITE = text(
    """
WITH told AS (
    SELECT webhooks.id FROM webhooks JOIN users ON users.id = webhooks.user_id
    WHERE webhooks.enabled
      AND (webhooks.project IS NULL OR webhooks.project = :project)
      AND (cardinality(webhooks.events) = 0 OR :type = ANY(webhooks.events))
      AND (webhooks.user_id = :owner OR (webhooks.covers = 'everybody' AND users.role = 'admin'))
    FOR KEY SHARE OF webhooks
)
INSERT INTO webhook_deliveries (webhook_id, message_id, type, run_id, data)
SELECT told.id, :message_id, :type, :run_id,
       CAST(:data AS jsonb) || jsonb_build_object('user', (SELECT name FROM users WHERE id = :owner))
FROM told RETURNING id
"""
)


def tell_webhooks(
    session: Session,
    run: Run,
    before: str | None,
    *,
    sentence: str,
    attempt: int | None = None,
    step: int | None = None,
) -> None:
    """Writes a message for each webhook that wants to know of this move of `run`; does not commit.

    `run` is as the move left it; `sentence` is what its event says. One statement; where no webhook wants it, nothing
    is written and nothing is sent.
    """
    event = event_of(before, run.status)
    if event is None:
        return
    values = {
        "project": run.project,
        "type": event.value,
        "owner": run.user_id,
        "run_id": run.id,
        "message_id": f"msg_{secrets.token_hex(12)}",
        "data": json.dumps(summary(run, sentence=sentence, attempt=attempt, step=step)),
    }
    if session.execute(_WRITE, values).all():
        after_commit_send(session, DELIVER_TASK)


def summary(run: Run, *, sentence: str, attempt: int | None, step: int | None) -> dict[str, Any]:
    """The run as a message tells it; the user's name and the link are added on the way."""
    end = ENDS[EndReason(run.reason)] if run.reason in set(EndReason) else None
    return {
        "id": run.id,
        "name": run.name,
        "project": run.project,
        "study": run.study,
        "status": run.status,
        "reason": run.reason,
        "sentence": end.sentence if end else sentence,
        "fault": end.fault if end else None,
        "detail": run.detail[:MAX_DETAIL] if run.detail else None,
        "step": run.step if step is None else step,
        "total_steps": run.total_steps,
        "attempt": attempt,
    }
