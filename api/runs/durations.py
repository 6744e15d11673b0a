"""How long a run will take, from runs like it: what admission reserves and fills gaps by."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.db.tables import Attempt, Run
from api.runs.documents import sha256_of_document
from api.runs.status import RunStatus
from trainer.contract.spec import TrainingSpec

REMEMBERED = timedelta(days=30)


def likeness_of(spec: TrainingSpec) -> str:
    """Equal for runs that take about the same time: seeds, rates and radii only change the result."""
    whole = spec.model_dump(mode="json")
    decides = ("model", "data", "global_batch_size", "micro_batch_size", "precision", "epochs", "steps", "resources")
    method = {"name": whole["method"]["name"], "k": whole["method"].get("k")}
    return sha256_of_document(
        {name: whole.get(name) for name in decides} | {"method": method, "optimizer": whole["optimizer"]["name"]}
    )


def expected_seconds(session: Session) -> dict[str, float]:
    """By likeness of the live runs: how long those like them that succeeded in the last 30 days held their slots, on
    average over the runs, all attempts of a run together."""
    wanted = select(Run.likeness).where(
        Run.status.in_([RunStatus.queued.value, RunStatus.launching.value, RunStatus.running.value]),
        Run.likeness.is_not(None),
    )
    each = (
        select(
            Run.likeness.label("likeness"),
            func.sum(func.extract("epoch", Attempt.slots_released_at - Attempt.created_at)).label("seconds"),
        )
        .join(Attempt, Attempt.run_id == Run.id)
        .where(
            Run.status == RunStatus.succeeded.value, Run.ended_at > func.now() - REMEMBERED, Run.likeness.in_(wanted)
        )
        .group_by(Run.likeness, Run.id)
        .subquery()
    )
    rows = session.execute(select(each.c.likeness, func.avg(each.c.seconds)).group_by(each.c.likeness))
    return {likeness: float(seconds) for likeness, seconds in rows if likeness and seconds is not None}
