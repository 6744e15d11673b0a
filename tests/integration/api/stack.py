"""What the API's tests say: people, specs, and the steps that the Celery worker and a trainer would take."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import redis
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from api.db.tables import Attempt, Run
from api.runs.credentials import launch_code
from api.runs.schemas import Role
from api.runs.status import RunStatus, move
from api.runs.storage import read_proof
from api.settings import Settings

TOKENS: dict[str, tuple[Role, str]] = {
    "ada": ("admin", "basin_ada_token_with_enough_characters_1"),
    "max": ("member", "basin_max_token_with_enough_characters_2"),
    "mia": ("member", "basin_mia_token_with_enough_characters_3"),
    "vic": ("viewer", "basin_vic_token_with_enough_characters_4"),
}
SPEC: dict[str, Any] = {
    "model": {"name": "vit_tiny_patch16_224", "arguments": {"patch_size": 2}},
    "optimizer": {"name": "adamw", "lr": 0.001},
    "method": {"name": "looksam", "k": 5},
    "global_batch_size": 64,
    "steps": 100,
    "resources": {"workers": 2},
}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def person(name: str) -> dict[str, str]:
    return bearer(TOKENS[name][1])


@dataclass(frozen=True)
class Api:
    """The served API, with the database under it."""

    http: httpx.Client
    url: str
    settings: Settings
    engine: Engine

    def get(self, path: str, who: str = "max", **query: Any) -> httpx.Response:
        return self.http.get(f"/api/v1{path}", headers=person(who), params=query)

    def submit(self, who: str = "max", *, key: str | None = None, **fields: Any) -> httpx.Response:
        headers = person(who) | ({"Idempotency-Key": key} if key else {})
        return self.http.post("/api/v1/runs", headers=headers, json={"spec": SPEC, **fields})

    def new_run(self, who: str = "max", **fields: Any) -> str:
        answer = self.submit(who, **fields)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def run(self, run_id: str, who: str = "ada") -> dict[str, Any]:
        answer = self.get(f"/runs/{run_id}", who)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def cancel(self, run_id: str, who: str = "max") -> httpx.Response:
        return self.http.post(f"/api/v1/runs/{run_id}/cancel", headers=person(who))

    # The Celery worker's steps, without Ray.

    def launch(self, run_id: str) -> str:
        """queued -> launching with a new attempt; returns its id."""
        with Session(self.engine) as session, session.begin():
            run = session.get_one(Run, run_id)
            assert move(session, run, RunStatus.launching, actor="worker", text="Admitted.")
            number = session.query(Attempt).filter_by(run_id=run_id).count() + 1
            attempt_id = secrets.token_hex(8)
            session.add(
                Attempt(
                    id=attempt_id,
                    run_id=run_id,
                    number=number,
                    submission_id=f"run-{run_id}-{number}",
                    world_size=2,
                    gpus_per_worker=0,
                    placement={"node": 2},
                )
            )
        return attempt_id

    def lose(self, run_id: str, attempt_id: str) -> None:
        """What reconcile does to an attempt that died: it ends, the run waits for the next."""
        with Session(self.engine) as session, session.begin():
            attempt = session.get_one(Attempt, attempt_id)
            attempt.ended_at = datetime.now(UTC)
            attempt.reason = "trainer_crashed"
            assert move(session, session.get_one(Run, run_id), RunStatus.queued, actor="worker", text="Lost.")

    # A trainer's steps.

    def claim(self, attempt_id: str, process_id: str = "process-0123456789", **fields: Any) -> httpx.Response:
        body = {"process_id": process_id, "storage_proof": read_proof(self.settings.storage), **fields}
        code = launch_code(self.settings.secret, attempt_id)
        return self.http.post(f"/api/v1/attempts/{attempt_id}/claim", headers=bearer(code), json=body)

    def report(self, trainer: Trainer, *reports: dict[str, Any], writer: str = "rank0") -> httpx.Response:
        body = {"writer": writer, "reports": [{"at": "2026-01-01T00:00:00Z", **report} for report in reports]}
        path = f"/api/v1/attempts/{trainer.attempt_id}/reports"
        return self.http.post(path, headers=bearer(trainer.token), json=body)

    def start(self, run_id: str) -> Trainer:
        """Launch and claim."""
        attempt_id = self.launch(run_id)
        answer = self.claim(attempt_id)
        assert answer.status_code == 200, answer.text
        return Trainer(attempt_id=attempt_id, token=answer.json()["attempt_token"], claim=answer.json())

    # What the broker and the tables hold.

    def messages(self) -> list[bytes]:
        """Those that no Celery worker has taken, the newest first, but for the API's canaries."""
        with redis.Redis.from_url(self.settings.broker_url) as broker:
            waiting: list[bytes] = broker.lrange("celery", 0, -1)  # type: ignore[assignment]
        return [message for message in waiting if b'"task": "canary"' not in message]

    def count(self, table: str, **where: Any) -> int:
        conditions = " AND ".join(f"{column} = :{column}" for column in where) or "true"
        with self.engine.connect() as connection:
            number: int = connection.execute(
                text(f"SELECT count(*) FROM {table} WHERE {conditions}"), where
            ).scalar_one()
        return number


@dataclass(frozen=True)
class Trainer:
    attempt_id: str
    token: str
    claim: dict[str, Any]


def metrics(seq: int, step: int, **values: Any) -> dict[str, Any]:
    return {"kind": "metrics", "seq": seq, "step": step, "values": values}


def progress(seq: int, step: int, total: int = 100) -> dict[str, Any]:
    return {
        "kind": "progress", "seq": seq, "step": step, "total_steps": total, "epoch": step / 10, "eta_seconds": 9.5,
    }  # fmt: skip


def checkpoint(seq: int, step: int, run_id: str) -> dict[str, Any]:
    path = f"runs/{run_id}/checkpoints/step-{step:08d}"
    return {"kind": "checkpoint", "seq": seq, "step": step, "path": path, "size_bytes": 1000}
