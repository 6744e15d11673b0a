"""Writes metric points: one statement a batch, names as small integers, a conflict does nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import structlog
from sqlalchemy import BigInteger, Double, SmallInteger, bindparam, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session

from api.db.tables import MetricName, MetricPoint
from trainer.contract.reports import MetricsReport

log = structlog.get_logger()

MAX_METRIC_NAMES = 4096
"""All names of a database together, the catalogue's included; more is a bug in whoever makes names."""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./:@-]{0,63}")


def store_points(
    session: Session, run_id: str, attempt_number: int, reports: Sequence[MetricsReport]
) -> dict[int, dict[str, float]]:
    """Stores the numbers of each report; returns by report number what was kept.

    A name outside the catalogue is entered when first seen; one that is malformed, or over the bound, is left out and
    logged, since refusing the report would block everything behind it.
    """
    ids = _ids_of(session, {name for report in reports for name in report.values})
    kept = {report.seq: {name: value for name, value in report.values.items() if name in ids} for report in reports}
    metric_ids, steps, values = [], [], []
    for report in reports:
        for name, value in kept[report.seq].items():
            metric_ids.append(ids[name])
            steps.append(report.step)
            values.append(value)
    if values:
        rows = select(
            literal(run_id),
            func.unnest(bindparam("metric_ids", metric_ids, ARRAY(SmallInteger))),
            literal(attempt_number),
            func.unnest(bindparam("steps", steps, ARRAY(BigInteger))),
            func.unnest(bindparam("values", values, ARRAY(Double))),
        )
        session.execute(
            insert(MetricPoint)
            .from_select(["run_id", "metric_id", "attempt_number", "step", "value"], rows)
            .on_conflict_do_nothing()
        )
    return kept


def _ids_of(session: Session, names: Iterable[str]) -> dict[str, int]:
    wanted = {name for name in names if NAME.fullmatch(name)}
    ids = _known(session, wanted)
    if unknown := sorted(wanted - ids.keys()):  # Sorted: two writers that enter the same names never wait in a circle.
        room = MAX_METRIC_NAMES - (session.scalar(select(func.count()).select_from(MetricName)) or 0)
        if entered := unknown[: max(0, room)]:
            session.execute(insert(MetricName).values([{"name": name} for name in entered]).on_conflict_do_nothing())
            ids |= _known(session, entered)
    if left_out := sorted(set(names) - ids.keys()):
        log.warning("metric_names_left_out", names=left_out[:10], number=len(left_out), most=MAX_METRIC_NAMES)
    return ids


def _known(session: Session, names: Iterable[str]) -> dict[str, int]:
    rows = session.execute(select(MetricName.name, MetricName.id).where(MetricName.name.in_(sorted(names))))
    return dict(rows.all())
