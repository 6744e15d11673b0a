"""Taking a message to send, and writing down what came of it: each a transaction, with no request in between.

A message is taken by a lease. Who finds one whose lease ran out sends it again, so a message is sent at least once
and its id says which one it is. Locks are taken in the order webhook, delivery.
"""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.orm import Session

from api.db.tables import Event, Run
from api.db.webhook_tables import Webhook, WebhookAttempt, WebhookDelivery
from api.runs.webhooks.addresses import PrivateHosts
from api.runs.webhooks.back_off import MAX_ATTEMPTS, delay_seconds
from api.runs.webhooks.sending import TIMEOUT_SECONDS, Outcome, send
from api.runs.webhooks.signing import body_of, secret_of, signed_headers
from api.settings import Settings

log = structlog.get_logger()

LEASE_SECONDS = 60.0
"""By the database's clock; longer than a request may take."""
assert LEASE_SECONDS > 2 * TIMEOUT_SECONDS
EVENT_KIND = "webhook"
DIED = "whoever sent this died before the answer came; it was sent again"


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A message with all it takes to send it."""

    delivery_id: int
    number: int
    """Of the attempt, from 1."""
    lease: str
    webhook_id: str
    url: str
    nonces: tuple[str, ...]
    """Of the secrets that are valid now, the newest first."""
    message_id: str
    type: str
    created_at: datetime
    taken_at: datetime
    """By the database's clock: receivers refuse a message whose time is minutes off."""
    data: dict[str, Any]


MOST_OF_A_USER = 2
"""Messages under way at once, so that many slow webhooks of one user leave threads to the others."""
TAKE_LOCK = 0x6861_6E64
"""Advisory lock: who takes sees every lease before, so that a burst for one webhook is not taken by all at once."""

# A webhook gets one message at a time, so that one that hangs holds up itself alone. Of others' runs only admins are
# told, and the role is that of now: it may have been another when the message was written.
_TAKE = text(
    """
UPDATE webhook_deliveries SET lease = :lease, leased_until = now() + make_interval(secs => :seconds),
    attempts = attempts + 1
WHERE id = (
    SELECT due.id FROM webhook_deliveries AS due JOIN webhooks ON webhooks.id = due.webhook_id
        JOIN users ON users.id = webhooks.user_id
    WHERE due.state = 'waiting' AND due.next_at <= now() AND webhooks.enabled
      AND (due.leased_until IS NULL OR due.leased_until <= now())
      AND (:failing_too OR webhooks.failing_since IS NULL)
      AND (users.role = 'admin' OR due.data->>'user' = users.name)
      AND NOT EXISTS (
          SELECT FROM webhook_deliveries AS under_way WHERE under_way.webhook_id = due.webhook_id
          AND under_way.state = 'waiting' AND under_way.leased_until > now()
      )
      AND (
          SELECT count(*) FROM webhook_deliveries AS under_way
              JOIN webhooks AS theirs ON theirs.id = under_way.webhook_id
          WHERE theirs.user_id = webhooks.user_id
          AND under_way.state = 'waiting' AND under_way.leased_until > now()
      ) < :most_of_a_user
    ORDER BY due.next_at, due.id LIMIT 1 FOR UPDATE OF due SKIP LOCKED
)
RETURNING id
"""
)


def take(session: Session, *, failing_too: bool = True) -> Taken | None:
    """The message that is due longest, leased to the caller; null: none is due. Does not commit.

    Without `failing_too` those whose receiver failed last time are left to others. An attempt that was under way
    under a lease that ran out is marked so.
    """
    session.execute(
        select(func.pg_advisory_xact_lock(TAKE_LOCK))
    )  # A statement before: the next sees what is committed.
    values = {
        "lease": secrets.token_hex(8),
        "seconds": LEASE_SECONDS,
        "failing_too": failing_too,
        "most_of_a_user": MOST_OF_A_USER,
    }
    delivery_id = session.execute(_TAKE, values).scalar_one_or_none()
    if delivery_id is None:
        return None
    _mark_broken_off(session, delivery_id)
    delivery = session.get_one(WebhookDelivery, delivery_id, populate_existing=True)
    webhook = session.get_one(Webhook, delivery.webhook_id, populate_existing=True)
    return begin(session, webhook, delivery)


def begin(session: Session, webhook: Webhook, delivery: WebhookDelivery) -> Taken:
    """Notes the attempt of a delivery that is leased to the caller, before it is made."""
    assert delivery.lease is not None, "only who holds the lease sends"
    now = session.execute(select(func.now())).scalar_one()
    nonces = [webhook.secret_nonce]
    if webhook.previous_nonce and webhook.previous_until and webhook.previous_until > now:
        nonces.append(webhook.previous_nonce)
    session.execute(insert(WebhookAttempt).values(delivery_id=delivery.id, number=delivery.attempts))
    return Taken(
        delivery_id=delivery.id,
        number=delivery.attempts,
        lease=delivery.lease,
        webhook_id=webhook.id,
        url=webhook.url,
        nonces=tuple(nonces),
        message_id=delivery.message_id,
        type=delivery.type,
        created_at=delivery.created_at,
        taken_at=now,
        data=delivery.data,
    )


def send_taken(settings: Settings, taken: Taken) -> Outcome:
    """Signs and sends; no transaction is open meanwhile."""
    data = dict(taken.data)
    if run_id := data.get("id"):
        data["link"] = f"{settings.api_url.rstrip('/')}/runs/{run_id}"
    body = body_of(taken.type, taken.created_at, data)
    keys = [secret_of(settings.secret, taken.webhook_id, nonce) for nonce in taken.nonces]
    headers = signed_headers(taken.message_id, body, keys, now=taken.taken_at)
    return send(taken.url, headers, body, PrivateHosts.parsed(settings.webhook_private_hosts))


def record(session: Session, taken: Taken, outcome: Outcome) -> None:
    """Writes down what came of it, and what follows; does not commit.

    Whoever's lease was taken over meanwhile, or whose webhook was disabled, notes the attempt and no more.
    """
    webhook = session.get(Webhook, taken.webhook_id, with_for_update={"key_share": True}, populate_existing=True)
    if webhook is None:
        return
    delivery = session.get(WebhookDelivery, taken.delivery_id, with_for_update=True, populate_existing=True)
    note_attempt(session, taken, outcome)
    if delivery is None or delivery.lease != taken.lease:
        return
    delivery.lease = delivery.leased_until = None
    if outcome.is_success:
        delivery.state, delivery.ended_at = "delivered", func.now()
        webhook.failing_since, webhook.last_success_at = None, func.now()
        return
    if webhook.failing_since is None:
        webhook.failing_since = func.now()
    delivery.failures += 1
    wait = delay_seconds(delivery.failures, random.random(), outcome.retry_after_seconds)
    if wait is not None:
        delivery.next_at = func.now() + timedelta(seconds=wait)
    else:
        delivery.state, delivery.ended_at = "failed", func.now()
    _disable_if_hopeless(session, webhook, delivery, outcome)


def note_attempt(session: Session, taken: Taken, outcome: Outcome) -> None:
    session.execute(
        update(WebhookAttempt)
        .where(WebhookAttempt.delivery_id == taken.delivery_id, WebhookAttempt.number == taken.number)
        .values(
            milliseconds=outcome.milliseconds,
            status_code=outcome.status_code,
            error=outcome.error,
            excerpt=outcome.excerpt,
        )
    )


def disable(session: Session, webhook: Webhook, why: str) -> None:
    """Switches a webhook off whose row is locked; what waits for it is dropped. Does not commit."""
    webhook.enabled, webhook.disabled_at, webhook.disabled_reason = False, func.now(), why
    session.flush()
    drop_waiting(session, webhook)


def drop_waiting(session: Session, webhook: Webhook) -> None:
    """Nobody sends what waits for a webhook whose row is locked. Does not commit."""
    session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.webhook_id == webhook.id, WebhookDelivery.state == "waiting")
        .values(state="dropped", lease=None, leased_until=None, ended_at=func.now()),
        execution_options={"synchronize_session": False},
    )


def _disable_if_hopeless(session: Session, webhook: Webhook, delivery: WebhookDelivery, outcome: Outcome) -> None:
    """After a 410, or after a whole schedule in which the receiver took nothing."""
    if outcome.is_gone:
        why = "its receiver answered 410 (gone)"
    elif delivery.state == "failed" and not (
        webhook.last_success_at is not None and webhook.last_success_at > delivery.scheduled_at
    ):
        why = f"its receiver took none of {MAX_ATTEMPTS} attempts over days"
    else:
        return
    session.flush()
    disable(session, webhook, f"Disabled because {why}. Mend the receiver, test it, and enable the webhook again.")
    log.warning("webhook_disabled", webhook=webhook.id, why=why)
    if delivery.run_id is None:
        return
    # Locked, so that it is not purged before the event that refers to it is there: the outcome would be lost with it.
    kept = select(Run.id).where(Run.id == delivery.run_id).with_for_update(read=True, key_share=True)
    if session.scalar(kept) is not None:
        # The address is its owner's; whoever else sees the run learns that somebody was not told.
        session.add(
            Event(
                run_id=delivery.run_id,
                kind=EVENT_KIND,
                actor="worker",
                text=f"A webhook was disabled: {why}.",
                data={"webhook": webhook.id, "message": delivery.message_id, "type": delivery.type},
            )
        )


def _mark_broken_off(session: Session, delivery_id: int) -> None:
    session.execute(
        update(WebhookAttempt)
        .where(
            WebhookAttempt.delivery_id == delivery_id,
            WebhookAttempt.milliseconds.is_(None),
            WebhookAttempt.error.is_(None),
        )
        .values(error=DIED)
    )
