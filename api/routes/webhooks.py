"""Webhooks: addresses that are told of run events, and the log of what was told. For receivers: `docs/webhooks.md`."""

from __future__ import annotations

from threading import BoundedSemaphore
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from api.db.engine import transaction
from api.db.webhook_tables import Webhook
from api.errors import Unavailable
from api.routes.dependencies import CallerDep, DetachedCallerDep, ServicesDep, SessionDep
from api.routes.problems import PROBLEMS
from api.runs.webhooks import schemas
from api.runs.webhooks.log import deliveries, redeliver, send_test
from api.runs.webhooks.registry import add, edit, list_webhooks, must_submit, remove, rotate, views, webhook_for

router = APIRouter(prefix="/webhooks", tags=["webhooks"], responses=PROBLEMS)

TESTS_AT_ONCE = 4
_tests = BoundedSemaphore(TESTS_AT_ONCE)
"""A test holds a thread of the pool for up to 15 s; the others belong to everybody else's requests."""

WebhookId = Annotated[str, Path(max_length=64)]


def get_locked_webhook(webhook_id: WebhookId, session: SessionDep, caller: CallerDep) -> Webhook:
    return webhook_for(session, caller, webhook_id, lock=True)


def get_editable_webhook(webhook: Annotated[Webhook, Depends(get_locked_webhook)], caller: CallerDep) -> Webhook:
    must_submit(caller)
    return webhook


def get_visible_webhook(webhook_id: WebhookId, session: SessionDep, caller: CallerDep) -> Webhook:
    return webhook_for(session, caller, webhook_id)


LockedWebhook = Annotated[Webhook, Depends(get_locked_webhook)]
EditableWebhook = Annotated[Webhook, Depends(get_editable_webhook)]
VisibleWebhook = Annotated[Webhook, Depends(get_visible_webhook)]


@router.post("", status_code=201, summary="Add a webhook")
def add_webhook(
    body: schemas.WebhookSubmission, response: Response, services: ServicesDep, session: SessionDep, caller: CallerDep
) -> schemas.WebhookWithSecret:
    """The answer holds the secret, which is shown this once. A user has at most 20 webhooks."""
    made = add(session, services.settings, caller, body)
    response.headers["Location"] = f"/api/v1/webhooks/{made.id}"
    return made


@router.get("", summary="List webhooks, newest first")
def get_webhooks(
    session: SessionDep,
    caller: CallerDep,
    everybody: Annotated[bool, Query(description="All users'; for admins.")] = False,
) -> schemas.WebhookList:
    return list_webhooks(session, caller, everybody=everybody)


@router.get("/{webhook_id}", summary="Show a webhook")
def get_webhook(webhook: VisibleWebhook, session: SessionDep) -> schemas.Webhook:
    return views(session, [webhook])[0]


@router.patch("/{webhook_id}", summary="Change, enable or disable a webhook")
def edit_webhook(
    webhook: EditableWebhook, body: schemas.WebhookEdit, services: ServicesDep, session: SessionDep
) -> schemas.Webhook:
    return edit(session, services.settings, webhook, body)


@router.delete("/{webhook_id}", status_code=204, summary="Delete a webhook and its log")
def delete_webhook(webhook: LockedWebhook, session: SessionDep) -> None:
    remove(session, webhook)


@router.post("/{webhook_id}/rotate", summary="Give a webhook a new secret")
def rotate_webhook_secret(
    webhook: EditableWebhook, services: ServicesDep, session: SessionDep
) -> schemas.WebhookWithSecret:
    """The answer holds the new secret, which is shown this once. For 24 h messages are signed by both."""
    return rotate(session, services.settings, webhook)


@router.post("/{webhook_id}/test", summary="Send a test message and say what came of it")
def send_webhook_test(
    webhook_id: WebhookId, services: ServicesDep, caller: DetachedCallerDep
) -> schemas.WebhookDelivery:
    """Posts `webhook.test`, waits up to 15 s, and answers with the attempt. Works for a disabled webhook too; it is
    sent once and changes nothing about the webhook."""
    if not _tests.acquire(blocking=False):
        raise Unavailable(f"{TESTS_AT_ONCE} tests are under way: try again in a moment")
    try:
        return send_test(lambda: transaction(services.engine, services.outbox), services.settings, caller, webhook_id)
    finally:
        _tests.release()


@router.get("/{webhook_id}/deliveries", summary="A webhook's messages with their attempts, newest first")
def get_webhook_deliveries(
    webhook: VisibleWebhook,
    session: SessionDep,
    caller: CallerDep,
    state: Annotated[schemas.State | None, Query(description="Only those.")] = None,
    before: Annotated[int | None, Query(ge=1, le=2**53, description="`next_before` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> schemas.WebhookDeliveryPage:
    """They are kept for BASIN_WEBHOOK_LOG_KEPT_DAYS, 30 days by default."""
    return deliveries(session, caller, webhook, state=state, before=before, limit=limit)


@router.post("/{webhook_id}/deliveries/{delivery_id}/redeliver", status_code=202, summary="Send a message again")
def redeliver_webhook_message(
    webhook: EditableWebhook,
    delivery_id: Annotated[int, Path(ge=1, le=2**53)],
    session: SessionDep,
    caller: CallerDep,
) -> schemas.WebhookDelivery:
    """Now, with the same id and body, and with a new schedule of attempts."""
    return redeliver(session, caller, webhook, delivery_id)
