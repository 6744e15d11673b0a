"""What people send and what the API answers about webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.runs.bodies import Title
from api.runs.schemas import Answer
from api.runs.webhooks.notices import EventType

Covers = Literal["mine", "everybody"]
State = Literal["waiting", "delivered", "failed", "dropped"]
Address = Annotated[str, StringConstraints(strip_whitespace=True)]
Project = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Types = Annotated[list[EventType], Field(max_length=len(EventType))]


class WebhookSubmission(BaseModel):
    """Body of POST /webhooks."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={
            "examples": [{"url": "https://hooks.example.org/basin", "events": ["run.failed", "run.succeeded"]}]
        },
    )

    url: Address
    """Where messages are posted: https, 1 to 2048 characters, without user, password and fragment."""
    description: Title | None = None
    """Off (null): none."""
    project: Project | None = None
    """Only runs of this project. Off (null): of all."""
    events: Types = []
    """Only these. Off (empty): all, and those of later versions."""
    covers: Covers = "mine"
    """"mine": your own runs; "everybody": all that you may see, for admins only."""


class WebhookEdit(BaseModel):
    """Body of PATCH /webhooks/{webhook_id}; what is left out stays as it is."""

    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, json_schema_extra={"examples": [{"enabled": True}]}
    )

    url: Address | None = None
    """Off (null): stays as it is."""
    description: Title | None = None
    """Null takes it away; left out, it stays."""
    project: Project | None = None
    """Null: of all projects; left out, it stays."""
    events: Types | None = None
    """Empty: all. Off (null): stays as it is."""
    covers: Covers | None = None
    """Off (null): stays as it is."""
    enabled: bool | None = None
    """False drops what waits and stops; true begins again with what comes from now on. Off (null): stays as it is."""


class Webhook(Answer):
    """An address that is told of runs."""

    id: str
    user: str
    """Whose it is."""
    url: str
    description: str | None
    project: str | None
    events: list[str]
    """Empty: all."""
    covers: Covers
    enabled: bool
    disabled_at: datetime | None
    disabled_reason: str | None
    """Why, and what to do; null where it is enabled."""
    failing_since: datetime | None
    """First failure since the last success; null: the last message was taken."""
    last_success_at: datetime | None
    previous_secret_until: datetime | None
    """Until then messages are signed by the secret before the rotation too."""
    waiting: int
    """Messages that are not delivered yet."""
    created_at: datetime
    updated_at: datetime


class WebhookWithSecret(Webhook):
    """A webhook at its creation or rotation: the only answers that hold the secret."""

    secret: str
    """`whsec_...`, for the receiver to verify signatures with."""


class WebhookList(Answer):
    """All of a user's, or with `everybody` of all users, the newest first."""

    items: list[Webhook]


class WebhookAttempt(Answer):
    """One HTTP request."""

    number: int
    at: datetime
    milliseconds: int | None
    """How long it took; null: it is under way, or its worker died."""
    status_code: int | None
    error: str | None
    """Why there is no status, or what is wrong with it."""
    excerpt: str | None
    """The first KiB of the answer."""


class WebhookDelivery(Answer):
    """One message to one webhook."""

    id: int
    webhook_id: str
    message_id: str
    """The header `webhook-id`, the same in every attempt."""
    type: str
    run_id: str | None
    state: State
    """"waiting": to be sent, or sent again; "dropped": its webhook was disabled before."""
    data: dict[str, Any]
    created_at: datetime
    next_at: datetime | None
    """When it is sent next; null unless it waits."""
    ended_at: datetime | None
    attempts: list[WebhookAttempt]
    """The newest 20, oldest first."""


class WebhookDeliveryPage(Answer):
    """A piece of a webhook's log, newest first."""

    items: list[WebhookDelivery]
    next_before: int | None
    """Give it as `before` for the next page; null: this was the last."""
