"""A user's webhooks: add, list, edit, rotate the secret, delete. Owners and admins may."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from api.db.tables import User
from api.db.webhook_tables import Webhook, WebhookDelivery
from api.errors import Conflict, Invalid, NotAllowed, NotFound
from api.runs.access import Caller
from api.runs.webhooks import schemas
from api.runs.webhooks.addresses import PrivateHosts, url_problem
from api.runs.webhooks.delivering import disable, drop_waiting
from api.runs.webhooks.signing import new_nonce, secret_of
from api.settings import Settings
from trainer.contract.problems import SpecProblem

MOST_PER_USER = 20
PURGE_BATCH = 5000
"""Rows of a log deleted in one statement."""
PREVIOUS_VALID = timedelta(hours=24)


def add(
    session: Session, settings: Settings, caller: Caller, wanted: schemas.WebhookSubmission
) -> schemas.WebhookWithSecret:
    """A new webhook of the caller's, with its secret; does not commit.

    Raises NotAllowed, Invalid, and Conflict where the user has 20 already.
    """
    must_submit(caller)
    _must_be_good(settings, wanted.url, wanted.covers, owner_is_admin=caller.role == "admin")
    session.execute(select(User.id).where(User.id == caller.user_id).with_for_update(key_share=True))
    count = session.scalar(select(func.count()).select_from(Webhook).where(Webhook.user_id == caller.user_id)) or 0
    if count >= MOST_PER_USER:
        raise Conflict(f"you have {count} webhooks and {MOST_PER_USER} is the most: delete one that you do not need")
    webhook = Webhook(
        id=secrets.token_hex(6),
        user_id=caller.user_id,
        url=wanted.url,
        description=wanted.description or "",
        project=wanted.project,
        events=_ordered(wanted.events),
        covers=wanted.covers,
        secret_nonce=new_nonce(),
    )
    session.add(webhook)
    session.flush()
    session.refresh(webhook)
    return _with_secret(session, settings, webhook)


def must_submit(caller: Caller) -> None:
    """Raises NotAllowed for viewers, who may look at and delete what they have from before they were viewers."""
    if not caller.may_submit:
        raise NotAllowed(f"your role is {caller.role}: only members and admins have runs to be told of; ask an admin")


def webhook_for(session: Session, caller: Caller, webhook_id: str, *, lock: bool = False) -> Webhook:
    """The webhook if it is the caller's, or the caller is an admin; else NotFound, so that ids do not leak."""
    query = select(Webhook).where(Webhook.id == webhook_id)
    if caller.role != "admin":
        query = query.where(Webhook.user_id == caller.user_id)
    if lock:
        query = query.with_for_update(key_share=True)
    webhook = session.scalar(query)
    if webhook is None:
        raise NotFound(f"there is no webhook {webhook_id!r} of yours: `basin webhook list` shows those there are")
    return webhook


def list_webhooks(session: Session, caller: Caller, *, everybody: bool) -> schemas.WebhookList:
    """The caller's, newest first; with `everybody` all users', for admins. Raises NotAllowed."""
    query = select(Webhook).order_by(Webhook.created_at.desc(), Webhook.id)
    if not everybody:
        query = query.where(Webhook.user_id == caller.user_id)
    elif caller.role != "admin":
        raise NotAllowed(f"your role is {caller.role}: only admins list everybody's webhooks; leave `everybody` out")
    return schemas.WebhookList(items=views(session, session.scalars(query).all()))


def edit(session: Session, settings: Settings, webhook: Webhook, wanted: schemas.WebhookEdit) -> schemas.Webhook:
    """Applies an edit to a webhook whose row is locked, all of it or nothing; does not commit. Raises Invalid."""
    given = wanted.model_fields_set
    if not given:
        remedy = "Give url, description, project, events, covers or enabled"
        raise Invalid.because([SpecProblem(path="body", value="", allowed="names nothing to change", remedy=remedy)])
    role = session.scalar(select(User.role).where(User.id == webhook.user_id))
    _must_be_good(settings, wanted.url, wanted.covers, owner_is_admin=role == "admin")
    if "project" in given:
        webhook.project = wanted.project
    if "description" in given:
        webhook.description = wanted.description or ""
    if wanted.url is not None:
        webhook.url = wanted.url
    if wanted.events is not None:
        webhook.events = _ordered(wanted.events)
    if wanted.covers is not None:
        webhook.covers = wanted.covers
    if wanted.enabled is False and webhook.enabled:
        disable(session, webhook, "Disabled by hand. Enable it to be told of what comes from then on.")
    if wanted.enabled is True and not webhook.enabled:
        drop_waiting(session, webhook)  # A move that had seen it enabled may have written after it was disabled.
        webhook.enabled, webhook.disabled_at, webhook.disabled_reason, webhook.failing_since = True, None, None, None
    webhook.updated_at = func.now()
    session.flush()
    session.refresh(webhook)
    return views(session, [webhook])[0]


def remove(session: Session, webhook: Webhook) -> None:
    """Deletes a webhook whose row is locked, with its log; does not commit.

    The log goes first: runs that move wait for the webhook's own deletion, which would take long with it.
    """
    log = select(WebhookDelivery.id).where(WebhookDelivery.webhook_id == webhook.id).limit(PURGE_BATCH)
    gone = -1
    while gone:
        batch = delete(WebhookDelivery).where(WebhookDelivery.id.in_(log)).returning(WebhookDelivery.id)
        gone = len(session.execute(batch, execution_options={"synchronize_session": False}).all())
    session.delete(webhook)


def rotate(session: Session, settings: Settings, webhook: Webhook) -> schemas.WebhookWithSecret:
    """A new secret for a webhook whose row is locked; the one before is valid for 24 h more. Does not commit."""
    webhook.previous_nonce, webhook.previous_until = webhook.secret_nonce, func.now() + PREVIOUS_VALID
    webhook.secret_nonce = new_nonce()
    webhook.updated_at = func.now()
    session.flush()
    session.refresh(webhook)
    return _with_secret(session, settings, webhook)


def views(session: Session, webhooks: Sequence[Webhook]) -> list[schemas.Webhook]:
    """Rows as answers, in their order."""
    users = dict(
        session.execute(select(User.id, User.name).where(User.id.in_({each.user_id for each in webhooks}))).all()
    )
    waiting = dict(
        session.execute(
            select(WebhookDelivery.webhook_id, func.count())
            .where(WebhookDelivery.webhook_id.in_([each.id for each in webhooks]), WebhookDelivery.state == "waiting")
            .group_by(WebhookDelivery.webhook_id)
        ).all()
    )
    return [
        schemas.Webhook(
            **{
                name: getattr(each, name)
                for name in (
                    "id", "url", "project", "events", "covers", "enabled", "disabled_at", "disabled_reason",
                    "failing_since", "last_success_at", "created_at", "updated_at",
                )
            },
            user=users[each.user_id],
            description=each.description or None,
            previous_secret_until=each.previous_until if each.previous_nonce else None,
            waiting=waiting.get(each.id, 0),
        )
        for each in webhooks
    ]  # fmt: skip


def _with_secret(session: Session, settings: Settings, webhook: Webhook) -> schemas.WebhookWithSecret:
    [shown] = views(session, [webhook])
    secret = secret_of(settings.secret, webhook.id, webhook.secret_nonce)
    return schemas.WebhookWithSecret(**shown.model_dump(), secret=secret)


def _must_be_good(settings: Settings, url: str | None, covers: str | None, *, owner_is_admin: bool) -> None:
    """Raises Invalid with everything that cannot work."""
    problems = []
    if url is not None and (bad := url_problem(url, PrivateHosts.parsed(settings.webhook_private_hosts))):
        problems.append(bad)
    if covers == "everybody" and not owner_is_admin:
        problems.append(
            SpecProblem(
                path="covers",
                value=covers,
                allowed="must be \"mine\": only an admin's webhook is told of everybody's runs",
                remedy="Leave it out, or ask an admin to add the webhook",
            )
        )
    if problems:
        raise Invalid.because(problems)


def _ordered(events: Sequence[str]) -> list[str]:
    return [str(event) for event in dict.fromkeys(events)]
