"""The Python client's part for webhooks: `client.webhooks.add("https://...")`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from pydantic import Field

from cli.answers import read
from cli.views import View

READ_SECONDS_OF_A_TEST = 45.0
"""A test waits up to 15 s for the receiver."""


class WebhookView(View):
    """A webhook; with its secret at creation and rotation alone."""

    id: str
    user: str
    url: str
    description: str | None = None
    project: str | None = None
    events: list[str] = Field(default_factory=list)
    covers: str = "mine"
    enabled: bool = True
    disabled_reason: str | None = None
    failing_since: datetime | None = None
    last_success_at: datetime | None = None
    waiting: int = 0
    secret: str | None = None


class WebhookPage(View):
    """Webhooks, newest first."""

    items: list[WebhookView]


class AttemptView(View):
    """One HTTP request."""

    number: int
    at: datetime
    milliseconds: int | None = None
    status_code: int | None = None
    error: str | None = None
    excerpt: str | None = None


class DeliveryView(View):
    """One message to one webhook."""

    id: int
    message_id: str
    type: str
    run_id: str | None = None
    state: str
    created_at: datetime
    next_at: datetime | None = None
    attempts: list[AttemptView] = Field(default_factory=list)


class DeliveryPage(View):
    """A piece of a log, newest first."""

    items: list[DeliveryView]
    next_before: int | None = None


class Webhooks:
    """Requests about webhooks, by the client's connection."""

    def __init__(self, ask: Callable[..., Any]) -> None:
        self._ask = ask

    def add(self, url: str, **about: Any) -> WebhookView:
        """`about` is the rest of the body: description, project, events, covers; what is None is left out."""
        body = {"url": url} | {key: value for key, value in about.items() if value is not None}
        return read(WebhookView, self._ask("POST", "/webhooks", json=body))

    def list(self, *, everybody: bool = False) -> WebhookPage:
        query = {"everybody": "true"} if everybody else {}
        return read(WebhookPage, self._ask("GET", "/webhooks", params=query))

    def show(self, webhook_id: str) -> WebhookView:
        return read(WebhookView, self._ask("GET", path_of(webhook_id)))

    def edit(self, webhook_id: str, changes: Mapping[str, Any]) -> WebhookView:
        return read(WebhookView, self._ask("PATCH", path_of(webhook_id), json=dict(changes)))

    def rotate(self, webhook_id: str) -> WebhookView:
        return read(WebhookView, self._ask("POST", f"{path_of(webhook_id)}/rotate"))

    def delete(self, webhook_id: str) -> None:
        self._ask("DELETE", path_of(webhook_id))

    def test(self, webhook_id: str) -> DeliveryView:
        """Waits for the receiver, up to 15 s."""
        answer = self._ask("POST", f"{path_of(webhook_id)}/test", timeout=READ_SECONDS_OF_A_TEST)
        return read(DeliveryView, answer)

    def deliveries(
        self, webhook_id: str, *, state: str | None = None, before: int | None = None, limit: int = 20
    ) -> DeliveryPage:
        """Newest first; `limit` is 1 to 200, `before` the page before's `next_before`."""
        query = {"state": state, "before": before, "limit": limit}
        asked = {key: value for key, value in query.items() if value is not None}
        return read(DeliveryPage, self._ask("GET", f"{path_of(webhook_id)}/deliveries", params=asked))

    def redeliver(self, webhook_id: str, delivery_id: int) -> DeliveryView:
        path = f"{path_of(webhook_id)}/deliveries/{delivery_id}/redeliver"
        return read(DeliveryView, self._ask("POST", path))


def path_of(webhook_id: str) -> str:
    return f"/webhooks/{quote(webhook_id, safe='')}"
