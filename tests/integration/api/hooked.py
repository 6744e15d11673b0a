"""What tests of webhooks do: add one, let a run live, let time pass, let a worker send."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from sqlalchemy import text
from sqlalchemy.orm import Session

from api.db.tables import Run
from api.runs.status import RunStatus, move
from api.settings import Settings
from tests.integration.api.stack import Api, person
from trainer.contract.ends import EndReason
from worker.connections import Connections
from worker.webhooks import deliver_due


@dataclass(frozen=True)
class Hooked:
    """The API with a Celery worker's connections beside it."""

    api: Api
    connections: Connections

    def ask(self, method: str, path: str = "", who: str = "max", **options: Any) -> httpx.Response:
        return self.api.http.request(method, f"/api/v1/webhooks{path}", headers=person(who), **options)

    def add(self, url: str, who: str = "max", **fields: Any) -> dict[str, Any]:
        answer = self.ask("POST", who=who, json={"url": url, **fields})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def show(self, webhook_id: str, who: str = "max") -> dict[str, Any]:
        answer = self.ask("GET", f"/{webhook_id}", who)
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    def log(self, webhook_id: str, who: str = "max", **query: Any) -> list[dict[str, Any]]:
        """Newest first."""
        answer = self.ask("GET", f"/{webhook_id}/deliveries", who, params=query)
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    def end(self, run_id: str, to: RunStatus, reason: EndReason, detail: str | None = None) -> None:
        """As reconcile does when a job is over."""
        with self.connections.transaction() as session:
            run = session.get_one(Run, run_id)
            assert move(session, run, to, actor="worker", text="Over.", reason=reason, detail=detail)

    def deliver(self) -> int:
        return deliver_due(self.connections)

    def time_passes(self) -> None:
        """Until everything that waits is due and every lease ran out."""
        self.execute("UPDATE webhook_deliveries SET next_at = now() - interval '1 s' WHERE state = 'waiting'")
        self.execute("UPDATE webhook_deliveries SET leased_until = now() WHERE leased_until IS NOT NULL")

    def execute(self, statement: str, **values: Any) -> None:
        with Session(self.api.engine) as session, session.begin():
            session.execute(text(statement), values)


def environment_of(settings: Settings) -> dict[str, str]:
    """The variables from which a Celery worker builds the same settings, as far as webhooks need them."""
    return {
        "BASIN_DATABASE_URL": settings.database_url,
        "BASIN_BROKER_URL": settings.broker_url,
        "BASIN_STORAGE": str(settings.storage),
        "BASIN_SECRET": settings.secret.get_secret_value(),
        "BASIN_LOOPBACK": "true",
        "BASIN_WEBHOOK_PRIVATE_HOSTS": ",".join(settings.webhook_private_hosts),
    }


@contextmanager
def hooked(api: Api) -> Iterator[Hooked]:
    connections = Connections(api.settings)
    yield Hooked(api, connections)
    connections.close()
