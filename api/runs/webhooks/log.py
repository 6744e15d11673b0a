"""A webhook's delivery log: look at it, send a message again, send one as a test."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta

from sqlalchemy import ColumnElement, func, or_, select, true
from sqlalchemy.orm import Session

from api.db.engine import after_commit_send
from api.db.webhook_tables import Webhook, WebhookAttempt, WebhookDelivery
from api.errors import Conflict, NotFound
from api.runs.access import Caller
from api.runs.webhooks import schemas
from api.runs.webhooks.delivering import LEASE_SECONDS, begin, note_attempt, send_taken
from api.runs.webhooks.notices import DELIVER_TASK, TEST_TYPE
from api.runs.webhooks.registry import must_submit, webhook_for
from api.settings import Settings

SHOWN_ATTEMPTS = 20


def deliveries(
    session: Session, caller: Caller, webhook: Webhook, *, state: str | None, before: int | None, limit: int
) -> schemas.WebhookDeliveryPage:
    """A page of the log, newest first, with `before` only those older than that id."""
    query = select(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook.id, _may_be_read_by(caller))
    if state is not None:
        query = query.where(WebhookDelivery.state == state)
    if before is not None:
        query = query.where(WebhookDelivery.id < before)
    rows = session.scalars(query.order_by(WebhookDelivery.id.desc()).limit(limit + 1)).all()
    page = rows[:limit]
    return schemas.WebhookDeliveryPage(
        items=delivery_views(session, page), next_before=page[-1].id if len(rows) > limit else None
    )


def redeliver(session: Session, caller: Caller, webhook: Webhook, delivery_id: int) -> schemas.WebhookDelivery:
    """Has a message sent again now, with the same id and a new schedule; does not commit. The webhook's row is locked.

    Raises NotFound, and Conflict where the webhook is disabled or the message is a test.
    """
    if not webhook.enabled:
        raise Conflict(
            f"webhook {webhook.id} is disabled: enable it first (`basin webhook edit {webhook.id} --enable`)"
        )
    delivery = session.scalar(
        select(WebhookDelivery)
        .where(WebhookDelivery.id == delivery_id, WebhookDelivery.webhook_id == webhook.id, _may_be_read_by(caller))
        .with_for_update()
    )
    if delivery is None:
        raise NotFound(
            f"webhook {webhook.id} has no delivery {delivery_id}: its log (`basin webhook deliveries {webhook.id}`)"
            " shows those of the last BASIN_WEBHOOK_LOG_KEPT_DAYS, 30 days by default"
        )
    if delivery.type == TEST_TYPE:
        raise Conflict(f"delivery {delivery_id} was a test: send a new one (`basin webhook test {webhook.id}`)")
    delivery.state, delivery.ended_at, delivery.failures = "waiting", None, 0
    delivery.next_at = delivery.scheduled_at = func.now()
    session.flush()
    session.refresh(delivery)
    after_commit_send(session, DELIVER_TASK)
    return delivery_views(session, [delivery])[0]


def send_test(
    transaction: Callable[[], AbstractContextManager[Session]], settings: Settings, caller: Caller, webhook_id: str
) -> schemas.WebhookDelivery:
    """Sends `webhook.test` once, now, and says what came of it; in two transactions, with the request between them.

    The webhook may be disabled, and stays what it is whatever the receiver answers: a test decides nothing.
    """
    with transaction() as session:
        webhook = webhook_for(session, caller, webhook_id)
        must_submit(caller)
        delivery = WebhookDelivery(
            webhook_id=webhook.id,
            message_id=f"msg_{secrets.token_hex(12)}",
            type=TEST_TYPE,
            data={"webhook": webhook.id, "user": caller.name, "sentence": "This is a test; nothing happened."},
            state="failed",  # Nobody else sends it, and it is not sent again.
            attempts=1,
            lease=secrets.token_hex(8),
            leased_until=func.now() + timedelta(seconds=LEASE_SECONDS),
            ended_at=func.now(),
        )
        session.add(delivery)
        session.flush()
        session.refresh(delivery)
        taken = begin(session, webhook, delivery)
    outcome = send_taken(settings, taken)
    with transaction() as session:
        found = session.get(WebhookDelivery, taken.delivery_id, with_for_update=True)
        if found is None:
            raise NotFound(f"webhook {webhook_id} was deleted while it was tested: add it again")
        note_attempt(session, taken, outcome)
        found.state = "delivered" if outcome.is_success else "failed"
        found.lease, found.leased_until, found.ended_at = None, None, func.now()
        session.flush()
        session.refresh(found)
        return delivery_views(session, [found])[0]


def _may_be_read_by(caller: Caller) -> ColumnElement[bool]:
    """Of others' runs only admins read, and an owner who was one no longer does."""
    if caller.role == "admin":
        return true()
    return or_(WebhookDelivery.type == TEST_TYPE, WebhookDelivery.data["user"].astext == caller.name)


def delivery_views(session: Session, rows: Sequence[WebhookDelivery]) -> list[schemas.WebhookDelivery]:
    """Rows with their attempts, in their order, in one query more."""
    attempts: dict[int, list[schemas.WebhookAttempt]] = {row.id: [] for row in rows}
    newest = (
        select(WebhookAttempt)
        .join(WebhookDelivery, WebhookDelivery.id == WebhookAttempt.delivery_id)
        .where(
            WebhookAttempt.delivery_id.in_(list(attempts)),
            WebhookAttempt.number > WebhookDelivery.attempts - SHOWN_ATTEMPTS,
        )
        .order_by(WebhookAttempt.delivery_id, WebhookAttempt.number)
    )
    for attempt in session.scalars(newest) if rows else ():
        shown = {name: getattr(attempt, name) for name in schemas.WebhookAttempt.model_fields}
        attempts[attempt.delivery_id].append(schemas.WebhookAttempt(**shown))
    return [
        schemas.WebhookDelivery(
            id=row.id,
            webhook_id=row.webhook_id,
            message_id=row.message_id,
            type=row.type,
            run_id=row.run_id,
            state=row.state,
            data=row.data,
            created_at=row.created_at,
            next_at=row.next_at if row.state == "waiting" else None,
            ended_at=row.ended_at,
            attempts=attempts[row.id],
        )
        for row in rows
    ]
