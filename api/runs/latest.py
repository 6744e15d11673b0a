"""The newest and the best value of each metric, kept with the run so that a list reads no points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from api.db.tables import MetricName, MetricPoint
from api.runs.validity import points_in, ranges_of
from api.runs.views import finite
from trainer.contract.metrics import BY_NAME, Direction

INFINITY = float("inf")


def with_step(latest: Mapping[str, Any], step: int, values: Mapping[str, float]) -> dict[str, Any]:
    """`latest` after the numbers of one step; pure. A best value is finite; the first of equals stays."""
    new = dict(latest)
    for name, value in values.items():
        before = latest.get(name) or {"best": None, "best_step": None}
        best, best_step = before["best"], before["best_step"]
        shown = finite(value)
        if shown is not None and _is_better(direction_of(name), shown, best):
            best, best_step = shown, step
        new[name] = {"step": step, "value": shown, "best": best, "best_step": best_step}
    return new


def latest_values(session: Session, run_id: str) -> dict[str, Any]:
    """The same from the valid points, for when a claim takes some of them back."""
    valid = points_in(run_id, ranges_of(session, run_id))
    is_finite = MetricPoint.value.between(-1.7e308, 1.7e308)
    sign = case(
        (MetricName.name.in_([n for n, metric in BY_NAME.items() if metric.direction == "higher"]), -1.0), else_=1.0
    )
    newest = (
        select(MetricPoint.metric_id, MetricPoint.step, MetricPoint.value)
        .ext(distinct_on(MetricPoint.metric_id))
        .where(valid)
        .order_by(MetricPoint.metric_id, MetricPoint.step.desc())
        .subquery()
    )
    best = (
        select(MetricPoint.metric_id, MetricPoint.step, MetricPoint.value)
        .join(MetricName, MetricName.id == MetricPoint.metric_id)
        .ext(distinct_on(MetricPoint.metric_id))
        .where(valid, is_finite)
        .order_by(MetricPoint.metric_id, sign * MetricPoint.value, MetricPoint.step)
        .subquery()
    )
    rows = session.execute(
        select(MetricName.name, newest.c.step, newest.c.value, best.c.value, best.c.step)
        .join(newest, newest.c.metric_id == MetricName.id)
        .outerjoin(best, best.c.metric_id == MetricName.id)
        .order_by(func.lower(MetricName.name))
    )
    values = {}
    for name, step, value, best_value, best_step in rows:
        judged = direction_of(name) != "none"
        values[name] = {
            "step": step,
            "value": finite(value),
            "best": best_value if judged else None,
            "best_step": best_step if judged else None,
        }
    return values


def direction_of(name: str) -> Direction:
    metric = BY_NAME.get(name)
    return metric.direction if metric else "none"


def _is_better(direction: Direction, value: float, best: float | None) -> bool:
    if direction == "none":
        return False
    if best is None:
        return True
    return value < best if direction == "lower" else value > best
